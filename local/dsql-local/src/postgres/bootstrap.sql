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
