-- What a DSQL cluster has from the start. Run by the superuser at every start; every statement may run again.
-- Bookkeeping of our own lies among the system's objects, which tools leave out. The lists in braces are the dialect's.
SET allow_system_table_mods = on;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'admin') THEN
        CREATE ROLE admin LOGIN CREATEROLE;
    END IF;
END
$$;
GRANT CREATE ON DATABASE postgres TO admin;
REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT CREATE, USAGE ON SCHEMA public TO admin WITH GRANT OPTION;

-- A directory made when the bookkeeping had a schema of its own.
DO $$
BEGIN
    IF to_regnamespace('dsql_internal') IS NOT NULL THEN
        ALTER SEQUENCE dsql_internal.iam_oid SET SCHEMA pg_catalog;
        ALTER SEQUENCE pg_catalog.iam_oid RENAME TO dsql_iam_oid;
        ALTER TABLE dsql_internal.iam_mapping SET SCHEMA pg_catalog;
        ALTER TABLE pg_catalog.iam_mapping RENAME TO dsql_iam_mapping;
        ALTER TABLE dsql_internal.iam_trust SET SCHEMA pg_catalog;
        ALTER TABLE pg_catalog.iam_trust RENAME TO dsql_iam_trust;
        ALTER TABLE dsql_internal.job SET SCHEMA pg_catalog;
        ALTER TABLE pg_catalog.job RENAME TO dsql_job;
        DROP SCHEMA dsql_internal CASCADE;
    END IF;
END
$$;

CREATE SEQUENCE IF NOT EXISTS pg_catalog.dsql_iam_oid START 20000;
CREATE TABLE IF NOT EXISTS pg_catalog.dsql_iam_mapping (
    iam_oid oid PRIMARY KEY DEFAULT nextval('pg_catalog.dsql_iam_oid')::oid,
    arn text NOT NULL,
    role_oid oid NOT NULL,
    grantor_oid oid NOT NULL,
    UNIQUE (arn, role_oid)
);
-- A mapped role holds a privilege on this table, so that PostgreSQL itself refuses to drop it.
CREATE TABLE IF NOT EXISTS pg_catalog.dsql_iam_trust ();

CREATE SCHEMA IF NOT EXISTS sys;
GRANT USAGE ON SCHEMA sys TO PUBLIC;
CREATE OR REPLACE VIEW sys.iam_pg_role_mappings AS
    SELECT m.iam_oid, m.arn, m.role_oid AS pg_role_oid, r.rolname AS pg_role_name,
           m.grantor_oid AS grantor_pg_role_oid, g.rolname AS grantor_pg_role_name
    FROM pg_catalog.dsql_iam_mapping m
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = m.role_oid
    LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.grantor_oid;
GRANT SELECT ON sys.iam_pg_role_mappings TO PUBLIC;

CREATE OR REPLACE PROCEDURE pg_catalog.dsql_iam_grant(role_name text, iam_arn text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    target pg_roles;
BEGIN
    IF session_user <> 'admin' THEN
        RAISE EXCEPTION 'permission denied to grant IAM trust with role %', role_name USING ERRCODE = '42501';
    END IF;
    IF role_name = 'admin' THEN
        RAISE EXCEPTION 'Role % not supported', role_name USING ERRCODE = '0A000';
    END IF;
    SELECT * INTO target FROM pg_roles WHERE rolname = role_name AND NOT rolsuper;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Role % does not exist', role_name USING ERRCODE = '42704';
    END IF;
    IF iam_arn !~ '^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/.+$' THEN
        RAISE EXCEPTION 'IAM role must look like an IAM ARN' USING ERRCODE = '22023';
    END IF;
    IF NOT target.rolcanlogin THEN
        RAISE EXCEPTION 'role % must have the LOGIN attribute', role_name USING ERRCODE = '22023';
    END IF;
    INSERT INTO pg_catalog.dsql_iam_mapping (arn, role_oid, grantor_oid)
    VALUES (iam_arn, target.oid, (SELECT oid FROM pg_roles WHERE rolname = session_user))
    ON CONFLICT DO NOTHING;
    EXECUTE format('GRANT REFERENCES ON pg_catalog.dsql_iam_trust TO %I', role_name);
END
$$;

CREATE OR REPLACE PROCEDURE pg_catalog.dsql_iam_revoke(role_name text, iam_arn text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    target oid;
BEGIN
    IF session_user <> 'admin' THEN
        RAISE EXCEPTION 'permission denied to revoke IAM trust with role %', role_name USING ERRCODE = '42501';
    END IF;
    SELECT oid INTO target FROM pg_roles WHERE rolname = role_name AND NOT rolsuper;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Role % does not exist', role_name USING ERRCODE = '42704';
    END IF;
    DELETE FROM pg_catalog.dsql_iam_mapping WHERE arn = iam_arn AND role_oid = target;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'IAM role % does not exist', iam_arn USING ERRCODE = '42704';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.dsql_iam_mapping WHERE role_oid = target) THEN
        EXECUTE format('REVOKE REFERENCES ON pg_catalog.dsql_iam_trust FROM %I', role_name);
    END IF;
END
$$;

-- Jobs: index builds and validations. `jobs.rs` moves them on by the movable clock.
CREATE TABLE IF NOT EXISTS pg_catalog.dsql_job (
    job_id text PRIMARY KEY,
    status text NOT NULL DEFAULT 'submitted',
    details text,
    job_type text NOT NULL,
    class_id oid NOT NULL DEFAULT 1259,
    object_id oid NOT NULL,
    object_name text NOT NULL,
    constraint_name text,
    failure text,
    start_time timestamptz,
    due_time timestamptz,
    update_time timestamptz
);
CREATE OR REPLACE VIEW sys.jobs AS
    SELECT job_id, status, details, job_type, class_id, object_id, object_name,
           coalesce(start_time, now()) AS start_time, coalesce(update_time, now()) AS update_time
    FROM pg_catalog.dsql_job;
GRANT SELECT ON sys.jobs TO PUBLIC;

CREATE OR REPLACE FUNCTION pg_catalog.dsql_begin_job(kind text, object oid, constraint_name text, failure text)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    -- 16 bytes in base32: the last character holds three bits.
    id text := (SELECT string_agg(substr('abcdefghijklmnopqrstuvwxyz234567', 1 + floor(random() * 32)::int, 1), '')
                FROM generate_series(1, 25)) || substr('aeimquy4', 1 + floor(random() * 8)::int, 1);
BEGIN
    UPDATE pg_index SET indisvalid = false,
        indpred = CASE WHEN failure IS NULL OR pg_get_expr(indpred, indrelid) <> 'false' THEN indpred END
    WHERE kind = 'INDEX_BUILD' AND indexrelid = object;
    INSERT INTO pg_catalog.dsql_job (job_id, job_type, object_id, object_name, constraint_name, failure)
    SELECT id, kind, object, nspname || '.' || relname, dsql_begin_job.constraint_name, dsql_begin_job.failure
    FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE pg_class.oid = object;
    RETURN id;
END
$$;

-- Refuses a key whose type is none of a key's, by whatever expression it comes about.
CREATE OR REPLACE FUNCTION pg_catalog.dsql_check_keys(index oid)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    refused text := (
        SELECT format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL)
        FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indexrelid JOIN pg_type t ON t.oid = a.atttypid
        WHERE i.indexrelid = index AND a.attnum <= i.indnkeyatts
        AND format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL) <> ALL ('{keys}'::text[])
        ORDER BY a.attnum LIMIT 1);
BEGIN
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION 'datatype % is not supported in a key', refused USING ERRCODE = '0A000';
    END IF;
END
$$;

CREATE OR REPLACE PROCEDURE pg_catalog.dsql_create_index(
    statement text, without_rows text, table_name text, INOUT job_id text DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
    target oid := pg_catalog.to_regclass(table_name);
    known oid[] := ARRAY(SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid = target);
    built oid;
    failure text;
BEGIN
    BEGIN
        EXECUTE statement;
    EXCEPTION WHEN unique_violation THEN
        failure := 'Found duplicate key while validating index for UCVs';
        EXECUTE without_rows;
    END;
    SELECT indexrelid INTO built FROM pg_catalog.pg_index
    WHERE indrelid = target AND indexrelid <> ALL (known);
    IF built IS NOT NULL THEN
        PERFORM pg_catalog.dsql_check_keys(built);
        job_id := pg_catalog.dsql_begin_job('INDEX_BUILD', built, NULL, failure);
    END IF;
END
$$;

CREATE OR REPLACE PROCEDURE pg_catalog.dsql_validate_constraint(
    table_name text, constraint_name text, INOUT job_id text DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
    target oid := table_name::pg_catalog.regclass;
    relation text := (SELECT relname FROM pg_catalog.pg_class WHERE oid = target);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = target
                   AND pg_catalog.pg_has_role(relowner, 'USAGE')) THEN
        RAISE EXCEPTION 'must be owner of table %', relation USING ERRCODE = '42501';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE conrelid = target
                   AND conname = dsql_validate_constraint.constraint_name) THEN
        RAISE EXCEPTION 'constraint "%" of relation "%" does not exist', constraint_name, relation
            USING ERRCODE = '42704';
    END IF;
    job_id := pg_catalog.dsql_begin_job('VALIDATE_CONSTRAINT', target, constraint_name, NULL);
END
$$;

-- Ends a job: what it was for takes effect, or it fails.
CREATE OR REPLACE FUNCTION pg_catalog.dsql_end_job(id text, at timestamptz)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    ended pg_catalog.dsql_job;
BEGIN
    SELECT * INTO STRICT ended FROM pg_catalog.dsql_job WHERE job_id = id;
    IF ended.failure IS NULL AND ended.job_type = 'INDEX_BUILD' THEN
        UPDATE pg_index SET indisvalid = true WHERE indexrelid = ended.object_id;
        IF NOT FOUND THEN
            ended.failure := 'the index was dropped';
        END IF;
    ELSIF ended.job_type = 'VALIDATE_CONSTRAINT' THEN
        BEGIN
            -- As the table's owner, since the constraint may call a function that a user has made: in a function of
            -- the owner's, out of which no SET ROLE leads back.
            EXECUTE format('CREATE FUNCTION pg_temp.dsql_validate() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS %L',
                           format('BEGIN ALTER TABLE %s VALIDATE CONSTRAINT %I; END', ended.object_id::regclass,
                                  ended.constraint_name));
            EXECUTE format('ALTER FUNCTION pg_temp.dsql_validate() OWNER TO %I',
                           (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = ended.object_id));
            PERFORM pg_temp.dsql_validate();
            DROP FUNCTION pg_temp.dsql_validate();
        EXCEPTION
            WHEN lock_not_available THEN RETURN;
            WHEN OTHERS THEN ended.failure := SQLERRM;
        END;
    END IF;
    UPDATE pg_catalog.dsql_job SET update_time = at, details = ended.failure,
        status = CASE WHEN ended.failure IS NULL THEN 'completed' ELSE 'failed' END
    WHERE job_id = id;
END
$$;
REVOKE EXECUTE ON FUNCTION pg_catalog.dsql_end_job FROM PUBLIC;

-- The front waits before it calls. What it learned comes as a setting, since the caller's snapshot may be older.
CREATE OR REPLACE PROCEDURE sys.wait_for_job(job_id text, INOUT succeeded boolean DEFAULT NULL)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF job_id IS NULL OR job_id !~ '^[a-z2-7]{26}$' THEN
        RAISE EXCEPTION 'Unable to convert text to UUID' USING ERRCODE = '22P02';
    END IF;
    IF current_setting('dsql_local.completed_job', true) = job_id THEN
        succeeded := true;
        RETURN;
    END IF;
    succeeded := coalesce((SELECT j.status = 'completed' FROM pg_catalog.dsql_job j
                           WHERE j.job_id = wait_for_job.job_id), false);
END
$$;

-- The service's answers in place of PostgreSQL's: its version, its settings, and its kind of index.
DO $$
BEGIN
    IF to_regprocedure('pg_catalog.postgresql_version()') IS NULL THEN
        ALTER FUNCTION pg_catalog.version() RENAME TO postgresql_version;
        ALTER FUNCTION pg_catalog.current_setting(text) RENAME TO postgresql_setting;
        ALTER FUNCTION pg_catalog.current_setting(text, boolean) RENAME TO postgresql_setting;
    END IF;
    IF to_regprocedure('pg_catalog.postgresql_indexdef(oid)') IS NULL THEN
        ALTER FUNCTION pg_catalog.set_config(text, text, boolean) RENAME TO postgresql_set_config;
        ALTER FUNCTION pg_catalog.pg_get_indexdef(oid) RENAME TO postgresql_indexdef;
        ALTER FUNCTION pg_catalog.pg_get_indexdef(oid, integer, boolean) RENAME TO postgresql_indexdef;
        ALTER TABLE pg_catalog.pg_am RENAME TO postgresql_am;
    END IF;
END
$$;
CREATE OR REPLACE FUNCTION pg_catalog.version() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE RETURN 'PostgreSQL 16';
CREATE OR REPLACE FUNCTION pg_catalog.dsql_absent_setting(name text, missing_ok boolean) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    IF NOT missing_ok THEN
        RAISE EXCEPTION 'unrecognized configuration parameter "%"', name USING ERRCODE = '42704';
    END IF;
    RETURN NULL;
END
$$;
CREATE OR REPLACE FUNCTION pg_catalog.current_setting(text, boolean) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE RETURN CASE pg_catalog.lower($1)
        {reported}
        WHEN 'disable_sync_create_index' THEN pg_catalog.postgresql_setting('dsql.disable_sync_create_index', $2)
        ELSE CASE WHEN pg_catalog.lower($1) = ANY ('{absent}'::text[]) THEN pg_catalog.dsql_absent_setting($1, $2)
                  ELSE pg_catalog.postgresql_setting($1, $2) END END;
CREATE OR REPLACE FUNCTION pg_catalog.current_setting(text) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE RETURN pg_catalog.current_setting($1, false);
CREATE OR REPLACE FUNCTION pg_catalog.dsql_check_setting(name text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF pg_catalog.lower(name) <> ALL ('{settable}'::text[]) THEN
        RAISE EXCEPTION 'setting configuration parameter "%" not supported', name USING ERRCODE = '0A000';
    END IF;
    RETURN CASE pg_catalog.lower(name) WHEN 'disable_sync_create_index' THEN 'dsql.' || name ELSE name END;
END
$$;
CREATE OR REPLACE FUNCTION pg_catalog.set_config(setting_name text, new_value text, is_local boolean) RETURNS text
    LANGUAGE sql RETURN pg_catalog.postgresql_set_config(pg_catalog.dsql_check_setting($1), $2, $3);
CREATE OR REPLACE FUNCTION pg_catalog.dsql_indexdef(index oid, definition text) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog AS $$
    SELECT regexp_replace(definition, ' USING btree ', ' USING btree_index ')
        || coalesce((SELECT ' INCLUDE (' || string_agg(quote_ident(attname), ', ' ORDER BY attnum) || ')'
                     FROM pg_index JOIN pg_attribute ON attrelid = indrelid
                     WHERE indexrelid = index AND indisprimary AND attnum > 0 AND NOT attisdropped
                     AND attnum <> ALL (indkey)), '')
$$;
CREATE OR REPLACE FUNCTION pg_catalog.pg_get_indexdef(oid) RETURNS text
    LANGUAGE sql STABLE STRICT RETURN pg_catalog.dsql_indexdef($1, pg_catalog.postgresql_indexdef($1));
CREATE OR REPLACE FUNCTION pg_catalog.pg_get_indexdef(oid, integer, boolean) RETURNS text
    LANGUAGE sql STABLE STRICT RETURN CASE $2
        WHEN 0 THEN pg_catalog.dsql_indexdef($1, pg_catalog.postgresql_indexdef($1, 0, $3))
        ELSE pg_catalog.postgresql_indexdef($1, $2, $3) END;
CREATE OR REPLACE VIEW pg_catalog.pg_am AS
    SELECT tableoid, oid, CASE amname WHEN 'btree' THEN 'btree_index'::name ELSE amname END AS amname, amhandler, amtype
    FROM pg_catalog.postgresql_am;
GRANT SELECT ON pg_catalog.pg_am TO PUBLIC;
REVOKE ALL ON pg_catalog.postgresql_am FROM PUBLIC;
CREATE OR REPLACE VIEW pg_catalog.pg_settings AS
    SELECT name, CASE name {reported} ELSE setting END AS setting, unit, category, short_desc, extra_desc, context,
           vartype, source, min_val, max_val, enumvals, boot_val, CASE name {reported} ELSE reset_val END AS reset_val,
           sourcefile, sourceline, pending_restart
    FROM pg_catalog.pg_show_all_settings() WHERE name <> ALL ('{absent}'::text[]);
CREATE OR REPLACE RULE pg_settings_u AS ON UPDATE TO pg_catalog.pg_settings WHERE new.name = old.name
    DO SELECT pg_catalog.set_config(old.name, new.setting, false);

-- What a cluster has none of, or none to be seen: extensions, a superuser among its users, stemmers.
DO $$
DECLARE
    hidden record;
BEGIN
    FOR hidden IN SELECT * FROM (VALUES
        ('pg_available_extensions', 'WHERE false'), ('pg_available_extension_versions', 'WHERE false'),
        ('pg_user', 'WHERE usesysid <> 10'),
        ('pg_sequences', 'AND n.nspname <> ''pg_catalog''')) v (view, condition)
    LOOP
        CONTINUE WHEN obj_description(hidden.view::regclass, 'pg_class') = 'dsql-local';
        EXECUTE format('CREATE OR REPLACE VIEW pg_catalog.%I AS %s %s', hidden.view,
                       rtrim(pg_get_viewdef(hidden.view::regclass), ';'), hidden.condition);
        EXECUTE format('COMMENT ON VIEW pg_catalog.%I IS ''dsql-local''', hidden.view);
    END LOOP;
    -- It was hidden here once; it owns the system's objects, and pg_dump looks every owner up.
    IF obj_description('pg_roles'::regclass, 'pg_class') = 'dsql-local' THEN
        EXECUTE 'CREATE OR REPLACE VIEW pg_catalog.pg_roles AS '
            || regexp_replace(pg_get_viewdef('pg_roles'::regclass), '\s+WHERE .*', '');
        COMMENT ON VIEW pg_catalog.pg_roles IS NULL;
    END IF;
    IF obj_description('pg_indexes'::regclass, 'pg_class') IS NULL THEN
        EXECUTE 'CREATE OR REPLACE VIEW pg_catalog.pg_indexes AS '
            || replace(pg_get_viewdef('pg_indexes'::regclass), 'postgresql_indexdef', 'pg_get_indexdef');
        COMMENT ON VIEW pg_catalog.pg_indexes IS 'dsql-local';
    END IF;
    FOR hidden IN SELECT cfgname AS name FROM pg_ts_config WHERE cfgname <> 'simple' LOOP
        EXECUTE format('DROP TEXT SEARCH CONFIGURATION pg_catalog.%I', hidden.name);
    END LOOP;
    FOR hidden IN SELECT dictname AS name FROM pg_ts_dict WHERE dictname <> 'simple' AND oid >= 12000 LOOP
        EXECUTE format('DROP TEXT SEARCH DICTIONARY pg_catalog.%I', hidden.name);
    END LOOP;
    -- The dialect refuses these where a statement names them; this holds wherever they are called.
    FOR hidden IN SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^({refused})$'
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', hidden.name);
    END LOOP;
END
$$;

-- What PostgreSQL's log says of pages, where the server comes with a library that reads it, as 16 does.
DO $$
BEGIN
    CREATE OR REPLACE FUNCTION pg_catalog.dsql_log(
        low pg_lsn, beyond pg_lsn, show_data boolean,
        OUT start_lsn pg_lsn, OUT end_lsn pg_lsn, OUT prev_lsn pg_lsn, OUT block_id int2,
        OUT reltablespace oid, OUT reldatabase oid, OUT relfilenode oid, OUT relforknumber int2, OUT relblocknumber int8,
        OUT xid xid, OUT resource_manager text, OUT record_type text, OUT record_length int4, OUT main_data_length int4,
        OUT block_data_length int4, OUT block_fpi_length int4, OUT block_fpi_info text[], OUT description text,
        OUT block_data bytea, OUT block_fpi_data bytea)
    RETURNS SETOF record LANGUAGE c STRICT AS '$libdir/pg_walinspect', 'pg_get_wal_block_info';
    REVOKE EXECUTE ON FUNCTION pg_catalog.dsql_log FROM PUBLIC;
EXCEPTION WHEN undefined_file OR undefined_function THEN
    NULL;
END
$$;

-- A dump has no privilege of the system's own objects that is as it was when the cluster was made.
DELETE FROM pg_catalog.pg_init_privs WHERE classoid IN ('pg_proc'::regclass, 'pg_class'::regclass) AND objsubid = 0
    AND objoid IN (SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
                   UNION SELECT oid FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace);
INSERT INTO pg_catalog.pg_init_privs (objoid, classoid, objsubid, privtype, initprivs)
    SELECT oid, tableoid, 0, 'i', proacl FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace AND proacl IS NOT NULL
    UNION ALL SELECT oid, tableoid, 0, 'i', relacl FROM pg_class
    WHERE relnamespace = 'pg_catalog'::regnamespace AND relacl IS NOT NULL;

-- The types that a column can have.
CREATE OR REPLACE FUNCTION sys.supported_datatypes() RETURNS SETOF text
    LANGUAGE sql IMMUTABLE AS $$SELECT pg_catalog.unnest('{types}'::text[])$$;
