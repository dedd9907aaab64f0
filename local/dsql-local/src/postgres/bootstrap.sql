-- What a DSQL cluster has from the start. Run by the superuser at every start; every statement may run again.

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

-- Ours: hidden bookkeeping.
CREATE SCHEMA IF NOT EXISTS dsql_internal;
GRANT USAGE ON SCHEMA dsql_internal TO PUBLIC;
CREATE SEQUENCE IF NOT EXISTS dsql_internal.iam_oid START 20000;
CREATE TABLE IF NOT EXISTS dsql_internal.iam_mapping (
    iam_oid oid PRIMARY KEY DEFAULT nextval('dsql_internal.iam_oid')::oid,
    arn text NOT NULL,
    role_oid oid NOT NULL,
    grantor_oid oid NOT NULL,
    UNIQUE (arn, role_oid)
);
-- A mapped role holds a privilege on this table, so that PostgreSQL itself refuses to drop it.
CREATE TABLE IF NOT EXISTS dsql_internal.iam_trust ();

CREATE SCHEMA IF NOT EXISTS sys;
GRANT USAGE ON SCHEMA sys TO PUBLIC;
CREATE OR REPLACE VIEW sys.iam_pg_role_mappings AS
    SELECT m.iam_oid, m.arn, m.role_oid AS pg_role_oid, r.rolname AS pg_role_name,
           m.grantor_oid AS grantor_pg_role_oid, g.rolname AS grantor_pg_role_name
    FROM dsql_internal.iam_mapping m
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = m.role_oid
    LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.grantor_oid;
GRANT SELECT ON sys.iam_pg_role_mappings TO PUBLIC;

CREATE OR REPLACE PROCEDURE dsql_internal.iam_grant(role_name text, iam_arn text)
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
    INSERT INTO dsql_internal.iam_mapping (arn, role_oid, grantor_oid)
    VALUES (iam_arn, target.oid, (SELECT oid FROM pg_roles WHERE rolname = session_user))
    ON CONFLICT DO NOTHING;
    EXECUTE format('GRANT REFERENCES ON dsql_internal.iam_trust TO %I', role_name);
END
$$;

CREATE OR REPLACE PROCEDURE dsql_internal.iam_revoke(role_name text, iam_arn text)
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
    DELETE FROM dsql_internal.iam_mapping WHERE arn = iam_arn AND role_oid = target;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'IAM role % does not exist', iam_arn USING ERRCODE = '42704';
    END IF;
    IF NOT EXISTS (SELECT FROM dsql_internal.iam_mapping WHERE role_oid = target) THEN
        EXECUTE format('REVOKE REFERENCES ON dsql_internal.iam_trust FROM %I', role_name);
    END IF;
END
$$;

-- Jobs: index builds and validations. `jobs.rs` moves them on by the movable clock.
CREATE TABLE IF NOT EXISTS dsql_internal.job (
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
    FROM dsql_internal.job;
GRANT SELECT ON sys.jobs TO PUBLIC;

CREATE OR REPLACE FUNCTION dsql_internal.begin_job(kind text, object oid, constraint_name text, failure text)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    -- 16 bytes in base32: the last character holds three bits.
    id text := (SELECT string_agg(substr('abcdefghijklmnopqrstuvwxyz234567', 1 + floor(random() * 32)::int, 1), '')
                FROM generate_series(1, 25)) || substr('aeimquy4', 1 + floor(random() * 8)::int, 1);
BEGIN
    UPDATE pg_index SET indisvalid = false,
        indpred = CASE WHEN failure IS NULL OR pg_get_expr(indpred, indrelid) <> 'false' THEN indpred END
    WHERE kind = 'INDEX_BUILD' AND indexrelid = object;
    INSERT INTO dsql_internal.job (job_id, job_type, object_id, object_name, constraint_name, failure)
    SELECT id, kind, object, nspname || '.' || relname, begin_job.constraint_name, begin_job.failure
    FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE pg_class.oid = object;
    RETURN id;
END
$$;

CREATE OR REPLACE PROCEDURE dsql_internal.create_index(
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
        job_id := dsql_internal.begin_job('INDEX_BUILD', built, NULL, failure);
    END IF;
END
$$;

CREATE OR REPLACE PROCEDURE dsql_internal.validate_constraint(
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
                   AND conname = validate_constraint.constraint_name) THEN
        RAISE EXCEPTION 'constraint "%" of relation "%" does not exist', constraint_name, relation
            USING ERRCODE = '42704';
    END IF;
    job_id := dsql_internal.begin_job('VALIDATE_CONSTRAINT', target, constraint_name, NULL);
END
$$;

-- Ends a job: what it was for takes effect, or it fails.
CREATE OR REPLACE FUNCTION dsql_internal.end_job(id text, at timestamptz)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    ended dsql_internal.job;
BEGIN
    SELECT * INTO STRICT ended FROM dsql_internal.job WHERE job_id = id;
    IF ended.failure IS NULL AND ended.job_type = 'INDEX_BUILD' THEN
        UPDATE pg_index SET indisvalid = true WHERE indexrelid = ended.object_id;
        IF NOT FOUND THEN
            ended.failure := 'the index was dropped';
        END IF;
    ELSIF ended.job_type = 'VALIDATE_CONSTRAINT' THEN
        BEGIN
            EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', ended.object_id::regclass, ended.constraint_name);
        EXCEPTION
            WHEN lock_not_available THEN RETURN;
            WHEN OTHERS THEN ended.failure := SQLERRM;
        END;
    END IF;
    UPDATE dsql_internal.job SET update_time = at, details = ended.failure,
        status = CASE WHEN ended.failure IS NULL THEN 'completed' ELSE 'failed' END
    WHERE job_id = id;
END
$$;
REVOKE EXECUTE ON FUNCTION dsql_internal.end_job FROM PUBLIC;

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
    succeeded := coalesce((SELECT j.status = 'completed' FROM dsql_internal.job j
                           WHERE j.job_id = wait_for_job.job_id), false);
END
$$;

-- Bytes of the rows that the open transaction wrote into these tables: whatever it sees and its snapshot does not.
CREATE OR REPLACE FUNCTION dsql_internal.written_bytes(tables oid[])
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    total bigint := 0;
    bytes bigint;
    written oid;
BEGIN
    FOREACH written IN ARRAY tables LOOP
        CONTINUE WHEN written IS NULL;
        EXECUTE format('SELECT coalesce(sum(pg_column_size(t)), 0) FROM ONLY %s t
                        WHERE NOT pg_visible_in_snapshot(t.xmin::text::xid8, pg_current_snapshot())',
                       written::regclass) INTO bytes;
        total := total + bytes;
    END LOOP;
    RETURN total;
END
$$;

-- Of the rows that this transaction wrote into some tables: the type of a value that takes up more than 1 MiB as it is stored,
-- or 'row' if all values of one take up more than 2 MiB.
CREATE OR REPLACE FUNCTION dsql_internal.oversized(tables oid[])
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    written oid;
    types text;
    bytes text;
    found text;
BEGIN
    FOREACH written IN ARRAY tables LOOP
        SELECT string_agg(format('WHEN pg_column_size(%I) > 1048576 THEN %L', attname, typname), ' ' ORDER BY attnum),
               string_agg(format('coalesce(pg_column_size(%I), 0)', attname), ' + ')
        INTO types, bytes
        FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
        WHERE attrelid = written AND attnum > 0 AND NOT attisdropped AND attlen = -1;
        CONTINUE WHEN types IS NULL;
        EXECUTE format('SELECT found FROM (
                            SELECT CASE %s WHEN %s > 2097152 THEN ''row'' END AS found FROM ONLY %s
                            WHERE NOT pg_visible_in_snapshot(xmin::text::xid8, pg_current_snapshot())) t
                        WHERE found IS NOT NULL LIMIT 1',
                       types, bytes, written::regclass) INTO found;
        IF found IS NOT NULL THEN
            RETURN found;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- The service's version in place of PostgreSQL's.
DO $$
BEGIN
    IF to_regprocedure('pg_catalog.postgresql_version()') IS NULL THEN
        ALTER FUNCTION pg_catalog.version() RENAME TO postgresql_version;
        ALTER FUNCTION pg_catalog.current_setting(text) RENAME TO postgresql_setting;
        ALTER FUNCTION pg_catalog.current_setting(text, boolean) RENAME TO postgresql_setting;
        CREATE FUNCTION pg_catalog.version() RETURNS text
            LANGUAGE sql STABLE PARALLEL SAFE RETURN 'PostgreSQL 16';
        CREATE FUNCTION pg_catalog.current_setting(text, boolean) RETURNS text
            LANGUAGE sql STABLE STRICT PARALLEL SAFE RETURN CASE pg_catalog.lower($1)
                WHEN 'server_version' THEN '16.15' WHEN 'server_version_num' THEN '160015'
                ELSE pg_catalog.postgresql_setting($1, $2) END;
        CREATE FUNCTION pg_catalog.current_setting(text) RETURNS text
            LANGUAGE sql STABLE STRICT PARALLEL SAFE RETURN CASE pg_catalog.lower($1)
                WHEN 'server_version' THEN '16.15' WHEN 'server_version_num' THEN '160015'
                ELSE pg_catalog.postgresql_setting($1) END;
    END IF;
END
$$;

-- A copy, by the transaction's own snapshot, that hides the table from it: for a transaction that has lost and goes on
-- until its COMMIT. Both end with the transaction.
CREATE OR REPLACE FUNCTION dsql_internal.shadow(source oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    shadow text;
    columns text;
    item text;
BEGIN
    IF pg_total_relation_size(source) > 32 * 1024 * 1024 THEN
        RAISE EXCEPTION 'too large to copy' USING ERRCODE = '40001';
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
