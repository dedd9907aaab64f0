
-- What a transaction writes: how much, how large, by whatever it calls. Run after `bootstrap.sql`, with its settings.
-- Tables of users that this session has written into since it last was idle, the open transaction's among them.
CREATE OR REPLACE VIEW pg_catalog.dsql_written AS
    SELECT * FROM (
        SELECT oid, pg_stat_get_xact_tuples_inserted(oid) + pg_stat_get_xact_tuples_updated(oid)
            + pg_stat_get_xact_tuples_deleted(oid) AS rows
        FROM pg_class WHERE relkind = 'r' AND oid >= 16384 AND relnamespace <> 'pg_catalog'::regnamespace) tables
    WHERE rows > 0;

-- The same, for those who may not read the view.
CREATE OR REPLACE FUNCTION pg_catalog.dsql_written_tables()
RETURNS SETOF oid LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT oid FROM dsql_written';

-- Where the server's log stands, in bytes.
CREATE OR REPLACE FUNCTION pg_catalog.dsql_log_position()
RETURNS bigint LANGUAGE sql AS $$SELECT (pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_catalog.pg_lsn)::bigint$$;

-- Rows that this session has changed in them, by whatever statement, function or cascade.
CREATE OR REPLACE FUNCTION pg_catalog.dsql_changed_rows()
RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT coalesce(sum(rows), 0)::bigint FROM dsql_written
$$;

-- For each index of a table, what a row adds to it: bytes of its key, with the primary key's, and of what it includes
-- beside the key. A computed one has an expression or a predicate, which may call functions of users.
DROP FUNCTION IF EXISTS pg_catalog.dsql_index_bytes(oid);
CREATE FUNCTION pg_catalog.dsql_index_bytes(target oid)
RETURNS TABLE (is_primary boolean, is_computed boolean, predicate text, key text, included text)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    WITH parts AS (
        SELECT i.indexrelid, i.indisprimary, i.indexprs IS NOT NULL OR i.indpred IS NOT NULL AS is_computed,
               pg_get_expr(i.indpred, i.indrelid) AS predicate, place < i.indnkeyatts AS is_key,
               format(CASE WHEN coalesce(nullif(t.typbasetype, 0), t.oid)
                                IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype)
                           THEN 'coalesce(octet_length(%s), 0)' ELSE 'coalesce(pg_column_size(%s), 0)' END,
                      coalesce(quote_ident(a.attname), postgresql_indexdef(i.indexrelid, place + 1, false))) AS bytes
        FROM pg_index i CROSS JOIN generate_series(0, i.indnatts - 1) place
        JOIN pg_attribute stored ON stored.attrelid = i.indexrelid AND stored.attnum = place + 1
        JOIN pg_type t ON t.oid = stored.atttypid
        LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[place] AND a.attnum > 0
        WHERE i.indrelid = target
    ), sizes AS (
        SELECT indexrelid, indisprimary, is_computed, predicate, string_agg(bytes, ' + ') FILTER (WHERE is_key) AS key,
               coalesce(string_agg(bytes, ' + ') FILTER (WHERE NOT is_key), '0') AS included
        FROM parts GROUP BY 1, 2, 3, 4
    )
    SELECT s.indisprimary, s.is_computed, coalesce(s.predicate, 'true'),
           s.key || coalesce((SELECT ' + ' || p.key FROM sizes p WHERE p.indisprimary AND NOT s.indisprimary), ''),
           s.included
    FROM sizes s
$$;

-- Which rows the open transaction wrote, of those between two places in a table: those it sees and its snapshot does not.
-- Rows that are older than the transaction are left out by their age first, which takes a quarter of the time.
CREATE OR REPLACE FUNCTION pg_catalog.dsql_is_written() RETURNS text LANGUAGE sql IMMUTABLE AS
    'SELECT ''ctid >= $1 AND ctid < $2 AND age(xmin) <= 0
              AND NOT pg_visible_in_snapshot(xmin::text::xid8, pg_current_snapshot())''';

-- How large a table is from which on the log tells first which of its pages to read: 4 MiB, and far more than the log's
-- stretch. Nothing if there is no such stretch.
CREATE OR REPLACE FUNCTION pg_catalog.dsql_large(log_start text)
RETURNS numeric LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT greatest(4194304, (pg_current_wal_insert_lsn() - '0/0'::pg_lsn - log_start::bigint) * 8)
    WHERE log_start <> '' AND to_regproc('pg_catalog.dsql_log') IS NOT NULL
$$;

-- Where in a table the open transaction wrote after a place in the log: up to 32 stretches of a large one, by the log, which
-- has been written out up to `log_end`; else the whole of it.
CREATE OR REPLACE FUNCTION pg_catalog.dsql_written_pages(target oid, log_start text, log_end text, OUT low tid, OUT beyond tid)
RETURNS SETOF record LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    size bigint := pg_relation_size(target);
    stretch bigint := size / current_setting('block_size')::int / 32 + 1;
BEGIN
    IF log_end <> '' AND size >= dsql_large(log_start)
        AND pg_current_wal_flush_lsn() - '0/0'::pg_lsn >= log_end::bigint THEN
        BEGIN
            RETURN QUERY
                SELECT format('(%s,0)', min(relblocknumber))::tid, format('(%s,0)', max(relblocknumber) + 1)::tid
                FROM dsql_log('0/0'::pg_lsn + log_start::bigint, '0/0'::pg_lsn + log_end::bigint, false)
                WHERE relfilenode = pg_relation_filenode(target) AND relforknumber = 0
                AND reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
                GROUP BY relblocknumber / stretch;
            RETURN;
        EXCEPTION WHEN OTHERS THEN
            -- So old a part of the log is gone, or the library with the server of today.
            NULL;
        END;
    END IF;
    low := '(0,0)';
    beyond := '(4294967295,0)';
    RETURN NEXT;
END
$$;

-- These rows themselves, for the functions below that run as the session's user, who may lack the right to read them. What
-- an index computes is never run as a superuser: it may call a function that a user has made.
DROP FUNCTION IF EXISTS pg_catalog.dsql_written_rows(oid);
CREATE OR REPLACE FUNCTION pg_catalog.dsql_written_rows(target oid, log_start text, log_end text)
RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    pages record;
BEGIN
    FOR pages IN SELECT * FROM dsql_written_pages(target, log_start, log_end) LOOP
        RETURN QUERY EXECUTE format('SELECT * FROM ONLY %s WHERE %s', target::regclass, dsql_is_written())
            USING pages.low, pages.beyond;
    END LOOP;
END
$$;

-- The same as what a query reads from: a function needs its columns named.
DROP FUNCTION IF EXISTS pg_catalog.dsql_written_source(oid);
CREATE OR REPLACE FUNCTION pg_catalog.dsql_written_source(target oid, log_start text, log_end text)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('dsql_written_rows(%s, %L, %L) t (%s)', target, log_start, log_end,
                  string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum))
    FROM pg_attribute WHERE attrelid = target AND attnum > 0 AND NOT attisdropped
$$;

-- Bytes of the rows and index entries that the open transaction wrote. The primary key's index is the row itself. What the
-- user may not compute is left out. 'unflushed' if it needs to know where the log ends.
DROP FUNCTION IF EXISTS pg_catalog.dsql_written_bytes();
CREATE OR REPLACE FUNCTION pg_catalog.dsql_written_bytes(log_start text, log_end text)
RETURNS text LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog AS $$
DECLARE
    total bigint := 0;
    bytes bigint;
    written oid;
    entries text;
    computed text;
    large numeric := CASE WHEN log_end = '' THEN dsql_large(log_start) END;
BEGIN
    FOR written IN SELECT * FROM dsql_written_tables() LOOP
        IF pg_relation_size(written) >= large THEN
            RETURN 'unflushed';
        END IF;
        SELECT coalesce(string_agg(format(' + %s + %s', i.key, i.included), '') FILTER (WHERE NOT i.is_computed), ''),
               string_agg(format('CASE WHEN %s THEN %s + %s ELSE 0 END', i.predicate, i.key, i.included), ' + ')
                   FILTER (WHERE i.is_computed)
        INTO entries, computed FROM dsql_index_bytes(written) i WHERE NOT i.is_primary;
        EXECUTE format('SELECT coalesce(sum(pg_column_size(t.*)%s), 0) FROM %s', entries,
                       dsql_written_source(written, log_start, log_end))
        INTO bytes;
        total := total + bytes;
        CONTINUE WHEN computed IS NULL;
        BEGIN
            EXECUTE format('SELECT coalesce(sum(%s), 0) FROM %s', computed,
                           dsql_written_source(written, log_start, log_end)) INTO bytes;
            total := total + bytes;
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;
        END;
    END LOOP;
    RETURN total;
END
$$;

-- The query that looks through the rows which the open transaction wrote between two places in a table. It finds the type
-- of a value that takes up more than 1 MiB as it is stored, 'key' if a key has more than 1,981 bytes, or 'row' if all values
-- of one take up more than 2 MiB. Empty for a table whose columns all have a fixed size. Of indexes that are computed see
-- below.
CREATE OR REPLACE FUNCTION pg_catalog.dsql_oversized_query(target oid)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    types text;
    bytes text;
    keys text;
BEGIN
    SELECT string_agg(format('WHEN pg_column_size(%I) > 1048576 THEN %L', attname,
                             coalesce(base.typname, t.typname)), ' ' ORDER BY attnum),
           string_agg(format('coalesce(pg_column_size(%I), 0)', attname), ' + ')
    INTO types, bytes
    FROM pg_attribute JOIN pg_type t ON t.oid = atttypid LEFT JOIN pg_type base ON base.oid = t.typbasetype
    WHERE attrelid = target AND attnum > 0 AND NOT attisdropped AND attlen = -1;
    IF types IS NULL THEN
        RETURN '';
    END IF;
    SELECT coalesce(string_agg(format('WHEN %s > 1981 THEN ''key''', i.key), ' '), '')
    INTO keys FROM dsql_index_bytes(target) i WHERE NOT i.is_computed;
    RETURN format('SELECT found FROM (SELECT CASE %s %s WHEN %s > 2097152 THEN ''row'' END AS found FROM ONLY %s WHERE %s) t
                   WHERE found IS NOT NULL LIMIT 1',
                  types, keys, bytes, target::regclass, dsql_is_written());
END
$$;

-- Makes that query a function of its table, for one version of the catalogue: a session plans it once. It runs with the
-- rights of whoever calls it. It does not wait for who may be waiting for the session that it is made for.
CREATE OR REPLACE FUNCTION pg_catalog.dsql_make_check(target oid, version bigint)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog SET lock_timeout = '50ms' AS $$
DECLARE
    name text := format('dsql_check_%s_%s', target, version);
    query text := coalesce(nullif(dsql_oversized_query(target), ''), 'SELECT NULL');
    stale regprocedure;
BEGIN
    IF to_regproc(name) IS NULL THEN
        FOR stale IN SELECT oid FROM pg_proc
            WHERE proname ^@ format('dsql_check_%s_', target) AND pronamespace = 'pg_catalog'::regnamespace
            AND split_part(proname, '_', 4)::bigint < version - 1
        LOOP
            EXECUTE format('DROP FUNCTION %s', stale);
        END LOOP;
        EXECUTE format('CREATE FUNCTION pg_catalog.%I(tid, tid) RETURNS text LANGUAGE plpgsql AS %L',
                       name, format(E'#variable_conflict use_column\nBEGIN RETURN (%s); END', query));
    END IF;
END
$$;

-- Versions begin anew with the program.
DO $$
DECLARE
    stale regprocedure;
BEGIN
    FOR stale IN SELECT oid FROM pg_proc WHERE proname ^@ 'dsql_check_' AND proargtypes = '27 27'::oidvector LOOP
        EXECUTE format('DROP FUNCTION %s', stale);
    END LOOP;
END
$$;

-- What these queries find first in the tables that this transaction wrote rows into, and those of the tables that have a
-- computed index. Without a version they are made anew. 'unflushed' if it needs to know where the log ends, 'unmade' and
-- the tables whose functions are not there.
DROP TABLE IF EXISTS pg_catalog.dsql_secret;
DROP FUNCTION IF EXISTS pg_catalog.dsql_oversized(text);
CREATE OR REPLACE FUNCTION pg_catalog.dsql_oversized(
    version bigint, log_start text, log_end text, OUT oversized text, OUT computed oid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    large numeric := dsql_large(log_start);
    written record;
    pages record;
    query text;
    calls text := '';
    unmade text := '';
BEGIN
    FOR written IN
        SELECT oid, pg_relation_size(oid) >= large IS TRUE AS is_large,
               EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND (indexprs IS NOT NULL OR indpred IS NOT NULL))
                   AS is_computed
        FROM pg_class c WHERE relkind = 'r' AND oid >= 16384 AND relnamespace <> 'pg_catalog'::regnamespace
        AND pg_stat_get_xact_tuples_inserted(oid) + pg_stat_get_xact_tuples_updated(oid) > 0
    LOOP
        IF written.is_large AND log_end = '' THEN
            oversized := 'unflushed';
            RETURN;
        ELSIF version IS NOT NULL AND to_regproc(format('dsql_check_%s_%s', written.oid, version)) IS NULL THEN
            unmade := unmade || ' ' || written.oid;
            CONTINUE;
        END IF;
        IF written.is_computed THEN
            computed := computed || written.oid;
        END IF;
        query := CASE WHEN version IS NULL THEN dsql_oversized_query(written.oid) END;
        CONTINUE WHEN query = '';
        IF written.is_large OR version IS NULL THEN
            query := coalesce(query, format('SELECT dsql_check_%s_%s($1, $2)', written.oid, version));
            FOR pages IN SELECT * FROM dsql_written_pages(written.oid, log_start, log_end) LOOP
                EXECUTE query INTO oversized USING pages.low, pages.beyond;
                IF oversized IS NOT NULL THEN
                    RETURN;
                END IF;
            END LOOP;
        ELSE
            calls := calls || format('dsql_check_%s_%s($1, $2), ', written.oid, version);
        END IF;
    END LOOP;
    IF unmade <> '' THEN
        oversized := 'unmade' || unmade;
    ELSIF calls <> '' THEN
        EXECUTE format('SELECT coalesce(%sNULL)', calls) INTO oversized USING '(0,0)'::tid, '(4294967295,0)'::tid;
    END IF;
END
$$;

-- 'key' if a computed index of one of these tables got a key of more than 1,981 bytes. As far as the user may compute it.
DROP FUNCTION IF EXISTS pg_catalog.dsql_long_key(oid[]);
CREATE OR REPLACE FUNCTION pg_catalog.dsql_long_key(targets oid[], log_start text, log_end text)
RETURNS text LANGUAGE plpgsql STRICT SECURITY INVOKER SET search_path = pg_catalog AS $$
DECLARE
    target oid;
    keys text;
    is_long boolean;
BEGIN
    FOREACH target IN ARRAY targets LOOP
        SELECT string_agg(format('CASE WHEN %s THEN %s > 1981 END', i.predicate, i.key), ' OR ')
        INTO keys FROM dsql_index_bytes(target) i WHERE i.is_computed;
        BEGIN
            EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %s)', dsql_written_source(target, log_start, log_end),
                           keys) INTO is_long;
        EXCEPTION WHEN insufficient_privilege THEN
            CONTINUE;
        END;
        IF is_long THEN
            RETURN 'key';
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- What may write though the statement does not say so: functions, what is computed by one, and tables whose rows take
-- others with them. Beside them tables with keys of no fixed size.
CREATE OR REPLACE VIEW pg_catalog.dsql_writers AS
    WITH RECURSIVE functions AS (
        SELECT p.oid, p.proname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE l.lanname = 'sql' AND p.oid >= 16384
        AND p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'sys'::regnamespace)
    ), users (class, object) AS (
        SELECT 'pg_proc'::regclass::oid, oid FROM functions
        UNION
        SELECT u.class, u.object FROM users
        CROSS JOIN LATERAL (
            SELECT CASE WHEN d.classid IN ('pg_rewrite'::regclass, 'pg_attrdef'::regclass) THEN 'pg_class'::regclass
                        WHEN c.contypid <> 0 THEN 'pg_type'::regclass
                        WHEN c.conrelid <> 0 THEN 'pg_class'::regclass
                        ELSE d.classid END::oid AS class,
                   coalesce(r.ev_class, a.adrelid, nullif(c.contypid, 0), c.conrelid, d.objid) AS object
            FROM pg_depend d
            LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
            LEFT JOIN pg_attrdef a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
            LEFT JOIN pg_constraint c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid
            WHERE d.refclassid = users.class AND d.refobjid = users.object) u
    )
    SELECT 'call' AS how, proname::text AS name FROM functions
    UNION SELECT 'call', relname::text FROM users JOIN pg_class c ON class = 'pg_class'::regclass AND c.oid = object
    UNION SELECT 'call', typname::text FROM users JOIN pg_type t ON class = 'pg_type'::regclass AND t.oid = object
    UNION SELECT 'cascade', relname::text FROM pg_constraint JOIN pg_class c ON c.oid = confrelid
          WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))
    UNION SELECT 'key', c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
          JOIN pg_attribute a ON a.attrelid = i.indexrelid AND a.attlen = -1
          WHERE c.oid >= 16384 AND c.relnamespace <> 'pg_catalog'::regnamespace;

-- Of each relation that a name may mean, the columns of each of its keys. Left out are keys of types whose values may be
-- equal to one value of another type though they differ, as those of numeric to a double.
CREATE OR REPLACE VIEW pg_catalog.dsql_keys AS
    SELECT c.relname::text AS name, coalesce(json_agg(k.columns) FILTER (WHERE k.columns IS NOT NULL), '[]') AS keys
    FROM pg_class c LEFT JOIN LATERAL (
        SELECT (SELECT json_agg(a.attname) FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])) AS columns
        FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
        AND i.indpred IS NULL AND i.indexprs IS NULL
        AND NOT EXISTS (SELECT FROM pg_attribute a
                        WHERE a.attrelid = i.indexrelid AND a.attnum <= i.indnkeyatts
                        AND format_type(a.atttypid, NULL) NOT IN
                            ('smallint', 'integer', 'bigint', 'text', 'character varying', 'uuid'))
        ) k ON true
    WHERE c.relkind IN ('r', 'v') AND c.oid >= 16384 AND c.relnamespace <> 'pg_catalog'::regnamespace
    GROUP BY c.oid, c.relname;

-- The words given, and those in the bodies of functions that one of them names.
CREATE OR REPLACE FUNCTION pg_catalog.dsql_words(words text)
RETURNS SETOF text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    WITH RECURSIVE named (word) AS (
        SELECT unnest(string_to_array(words, ' ')) COLLATE "C"
        UNION
        SELECT w.word COLLATE "C" FROM named JOIN pg_proc ON proname::text = named.word AND pg_proc.oid >= 16384
        CROSS JOIN LATERAL regexp_split_to_table(prosrc || ' ' || lower(prosrc), '[^[:alnum:]_$]+') w (word)
    )
    SELECT word FROM named
$$;

-- A copy, by the transaction's own snapshot, that hides the table from it: for a transaction that has lost and goes on
-- until its COMMIT. Both end with the transaction. A table that computes something by a function of a user is not copied:
-- that would run it as a superuser.
CREATE OR REPLACE FUNCTION pg_catalog.dsql_shadow(source oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    shadow text;
    columns text;
    item text;
BEGIN
    IF pg_total_relation_size(source) > 32 * 1024 * 1024 THEN
        RAISE EXCEPTION 'too large to copy' USING ERRCODE = '40001';
    END IF;
    IF EXISTS (SELECT FROM pg_class c JOIN dsql_writers w ON w.how = 'call' AND w.name = c.relname
               WHERE c.oid = source OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = source)) THEN
        RAISE EXCEPTION 'calls a function of a user' USING ERRCODE = '40001';
    END IF;
    SELECT format('pg_temp.%I', relname) INTO shadow FROM pg_class WHERE oid = source;
    SELECT string_agg(format('%I', attname), ', ') INTO columns FROM pg_attribute
    WHERE attrelid = source AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    EXECUTE format('CREATE TEMPORARY TABLE %s (LIKE %s INCLUDING ALL)', shadow, source::regclass);
    EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %3$s', shadow, columns, source::regclass);
    FOR item IN SELECT attname FROM pg_attribute WHERE attrelid = source AND attidentity <> '' LOOP
        PERFORM setval(pg_get_serial_sequence(shadow, item)::regclass,
                       nextval(pg_get_serial_sequence(source::regclass::text, item)::regclass));
    END LOOP;
    FOREACH item IN ARRAY ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'] LOOP
        IF has_table_privilege(session_user, source, item) THEN
            EXECUTE format('GRANT %s ON %s TO %I', item, shadow, session_user);
        END IF;
    END LOOP;
END
$$;
