//! Statements refused by their kind, bodies of functions, and a query that the service's planner
//! fails at.

use crate::refusals::{answer, refused};

/// A statement of each kind, and the node that PostgreSQL makes of it.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("ALTER AGGREGATE a (int) OWNER TO r", "AlterOwner"),
    ("ALTER COLLATION c REFRESH VERSION", "AlterCollation"),
    ("ALTER CONVERSION c SET SCHEMA s", "AlterObjectSchema"),
    ("ALTER DATABASE d CONNECTION LIMIT 5", "AlterDatabase"),
    (
        "ALTER DATABASE d REFRESH COLLATION VERSION",
        "AlterDatabaseRefreshColl",
    ),
    ("ALTER DATABASE d SET timezone = 'UTC'", "AlterDatabaseSet"),
    ("ALTER EVENT TRIGGER e DISABLE", "AlterEventTrig"),
    ("ALTER EXTENSION e UPDATE", "AlterExtension"),
    ("ALTER EXTENSION e ADD TABLE t", "AlterExtensionContents"),
    ("ALTER FOREIGN DATA WRAPPER w OPTIONS (a 'b')", "AlterFdw"),
    ("ALTER FOREIGN TABLE t ADD COLUMN c int", "AlterTable"),
    ("ALTER FUNCTION f() IMMUTABLE", "AlterFunction"),
    (
        "ALTER FUNCTION f() DEPENDS ON EXTENSION e",
        "AlterObjectDepends",
    ),
    (
        "ALTER INDEX ALL IN TABLESPACE a SET TABLESPACE b",
        "AlterTableMoveAll",
    ),
    (
        "ALTER INDEX i NO DEPENDS ON EXTENSION e",
        "AlterObjectDepends",
    ),
    ("ALTER LANGUAGE l OWNER TO r", "AlterOwner"),
    ("ALTER LARGE OBJECT 5 OWNER TO r", "AlterOwner"),
    ("ALTER MATERIALIZED VIEW m CLUSTER ON i", "AlterTable"),
    (
        "ALTER OPERATOR + (int, int) SET (RESTRICT = f)",
        "AlterOperator",
    ),
    (
        "ALTER OPERATOR FAMILY f USING btree DROP OPERATOR 1 (int, int)",
        "AlterOpFamily",
    ),
    ("ALTER POLICY p ON t USING (true)", "AlterPolicy"),
    ("ALTER PUBLICATION p ADD TABLE t", "AlterPublication"),
    ("ALTER ROLE r WITH NOLOGIN", "AlterRole"),
    ("ALTER USER r SET search_path = x", "AlterRoleSet"),
    ("ALTER SERVER s VERSION '1'", "AlterForeignServer"),
    ("ALTER SUBSCRIPTION s DISABLE", "AlterSubscription"),
    (
        "ALTER TABLE ALL IN TABLESPACE a SET TABLESPACE b",
        "AlterTableMoveAll",
    ),
    (
        "ALTER TABLESPACE s SET (seq_page_cost = 1)",
        "AlterTableSpaceOptions",
    ),
    (
        "ALTER TEXT SEARCH CONFIGURATION c DROP MAPPING FOR word",
        "AlterTSConfiguration",
    ),
    (
        "ALTER TEXT SEARCH DICTIONARY d (StopWords = x)",
        "AlterTSDictionary",
    ),
    (
        "ALTER USER MAPPING FOR r SERVER s OPTIONS (SET a 'b')",
        "AlterUserMapping",
    ),
    ("CHECKPOINT", "CheckPoint"),
    ("CLOSE c", "ClosePortal"),
    ("CLUSTER t", "Cluster"),
    ("CREATE ACCESS METHOD a TYPE INDEX HANDLER h", "CreateAm"),
    (
        "CREATE AGGREGATE a (int) (SFUNC = f, STYPE = int)",
        "Define",
    ),
    ("CREATE CAST (a AS b) WITHOUT FUNCTION", "CreateCast"),
    ("CREATE COLLATION c (locale = 'C')", "Define"),
    (
        "CREATE CONVERSION c FOR 'UTF8' TO 'LATIN1' FROM f",
        "CreateConversion",
    ),
    (
        "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
        "CreateEventTrig",
    ),
    ("CREATE FOREIGN DATA WRAPPER w", "CreateFdw"),
    ("CREATE LANGUAGE plperl", "CreateExtension"),
    ("CREATE LANGUAGE l HANDLER h", "CreatePLang"),
    (
        "CREATE TRUSTED PROCEDURAL LANGUAGE l HANDLER h",
        "CreatePLang",
    ),
    ("CREATE PROCEDURAL LANGUAGE plperl", "CreateExtension"),
    (
        "CREATE OPERATOR + (LEFTARG = a, RIGHTARG = b, FUNCTION = f)",
        "Define",
    ),
    (
        "CREATE OPERATOR CLASS c FOR TYPE t USING btree AS OPERATOR 1 <",
        "CreateOpClass",
    ),
    ("CREATE OPERATOR FAMILY f USING btree", "CreateOpFamily"),
    ("CREATE POLICY p ON t", "CreatePolicy"),
    ("CREATE PUBLICATION p FOR ALL TABLES", "CreatePublication"),
    ("CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING", "Rule"),
    (
        "CREATE SERVER s FOREIGN DATA WRAPPER w",
        "CreateForeignServer",
    ),
    (
        "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
        "CreateSubscription",
    ),
    (
        "CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)",
        "Define",
    ),
    (
        "CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple)",
        "Define",
    ),
    ("CREATE TYPE shell", "Define"),
    ("CREATE TYPE t (INPUT = f, OUTPUT = g)", "Define"),
    ("CREATE USER MAPPING FOR r SERVER s", "CreateUserMapping"),
    ("DEALLOCATE PREPARE \"all\"", "Deallocate"),
    ("DECLARE c CURSOR FOR SELECT 1", "DeclareCursor"),
    ("DISCARD ALL", "Discard"),
    ("DO $$ BEGIN END $$", "Do"),
    ("DROP DATABASE d", "Dropdb"),
    ("DROP OWNED BY r", "DropOwned"),
    ("DROP SUBSCRIPTION s", "DropSubscription"),
    ("DROP TABLESPACE s", "DropTableSpace"),
    ("DROP USER MAPPING FOR r SERVER s", "DropUserMapping"),
    ("EXECUTE p", "Execute"),
    ("EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE n(1)", "Execute"),
    ("EXPLAIN DECLARE c CURSOR FOR SELECT 1", "DeclareCursor"),
    ("FETCH 1 FROM c", "Fetch"),
    (
        "IMPORT FOREIGN SCHEMA a FROM SERVER s INTO b",
        "ImportForeignSchema",
    ),
    ("LISTEN a", "Listen"),
    ("LOAD 'x'", "Load"),
    ("LOCK TABLE t IN SHARE MODE", "Lock"),
    ("MOVE c", "Fetch"),
    ("NOTIFY a, 'b'", "Notify"),
    ("PREPARE p AS SELECT 1", "Prepare"),
    ("REASSIGN OWNED BY a TO b", "ReassignOwned"),
    ("REFRESH MATERIALIZED VIEW m", "RefreshMatView"),
    ("REINDEX TABLE t", "Reindex"),
    ("SECURITY LABEL ON TABLE t IS 'x'", "SecLabel"),
    (
        "SELECT a INTO b FROM t UNION (SELECT 1) EXCEPT SELECT 2",
        "CreateTableAs",
    ),
    ("UNLISTEN *", "Unlisten"),
];

#[test]
fn a_statement_outside_the_dialect_is_named_by_its_parse_node() {
    for (sql, node) in UNSUPPORTED {
        assert_eq!(
            answer(sql),
            format!("0A000 unsupported statement: {node}"),
            "{sql}"
        );
    }
}

#[test]
fn the_body_of_a_function_follows_the_rules_of_statements() {
    let create = |body: &str| format!("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS {body}");
    let truncate = "0A000 unsupported statement: Truncate";
    refused(&[
        (&create("$$TRUNCATE t$$"), truncate),
        (&create("'SELECT ''a;''; TRUNCATE t'"), truncate),
        (&create("E'SELECT 1;\\nTRUNCATE t'"), truncate),
        (
            "CREATE OR REPLACE FUNCTION f() RETURNS void BEGIN ATOMIC SELECT 1; LOCK TABLE t; END",
            "0A000 unsupported statement: Lock",
        ),
        (
            &create("$$CREATE ROLE r$$"),
            "0A000 unsupported statement: CreateRole",
        ),
        (
            &create("$$CREATE TABLE t (a int)$$"),
            "0A000 unsupported statement: Create",
        ),
        (
            &create("$$GRANT SELECT ON t TO r$$"),
            "0A000 unsupported statement: Grant",
        ),
        (
            &create("$$DROP TABLE t$$"),
            "0A000 unsupported statement: Drop",
        ),
        (
            &create("$$ALTER TABLE t RENAME COLUMN a TO b$$"),
            "0A000 unsupported statement: Rename",
        ),
        (
            &create("$$SET statement_timeout = 1$$"),
            "0A000 setting configuration parameter \"statement_timeout\" not supported",
        ),
        (
            &create("$$SELECT pg_advisory_lock(1)$$"),
            "0A000 function pg_advisory_lock not supported",
        ),
        (
            &create("$$SELECT * FROM t FOR SHARE$$"),
            "0A000 locking clauses other than FOR UPDATE/FOR KEY SHARE are not supported",
        ),
        (
            "CREATE FUNCTION f() RETURNS boolean LANGUAGE sql RETURN pg_try_advisory_lock(1)",
            "0A000 function pg_try_advisory_lock not supported",
        ),
        (
            "CREATE SCHEMA s CREATE VIEW v AS SELECT 1 CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()",
            "0A000 CREATE TRIGGER not supported",
        ),
        (
            &create("$$INSERT INTO t VALUES (1); SELECT set_config('jit', 'off', true)$$"),
            "accepted",
        ),
    ]);
}

#[test]
fn functions_neither_take_nor_return_what_only_expressions_know() {
    for (signature, display) in [
        ("() RETURNS money", "money"),
        ("(a int, b tsvector) RETURNS int", "tsvector"),
        ("() RETURNS SETOF int4range", "int4range"),
        ("(OUT a pg_lsn)", "pg_lsn"),
        ("() RETURNS TABLE (a int, b money[])", "money[]"),
        ("() RETURNS point", "point"),
    ] {
        let sql = format!("CREATE FUNCTION f{signature} LANGUAGE sql AS 'SELECT 1'");
        assert_eq!(
            answer(&sql),
            format!("0A000 datatype {display} not supported")
        );
    }
}

#[test]
fn a_left_lateral_join_that_shows_a_column_from_outside_fails_as_in_the_services_planner() {
    let join = |kind: &str, targets: &str| {
        format!(
            "SELECT * FROM p AS x {kind} LATERAL (SELECT {targets} FROM c y WHERE y.k = x.k) z ON true"
        )
    };
    let first = "42804 attribute 1 of type c has wrong type";
    assert_eq!(answer(&join("LEFT JOIN", "x.k, y.v")), first);
    assert_eq!(answer(&join("left outer join", "X.k AS n")), first);
    assert_eq!(
        answer(&join("LEFT JOIN", "length(x.k)::bigint AS v")),
        first
    );
    assert_eq!(
        answer(&join("LEFT JOIN", "y.v, x.k")),
        first.replace('1', "2")
    );
    for (kind, targets) in [
        ("LEFT JOIN", "y.k, count(*)"),
        ("LEFT JOIN", "*"),
        ("JOIN", "x.k"),
        ("LEFT JOIN", "(SELECT max(w.v) FROM w)"),
        ("LEFT JOIN", "EXISTS (SELECT FROM w WHERE w.v > x.k)"),
    ] {
        let sql = join(kind, targets);
        assert_eq!(answer(&sql), "accepted", "{sql}");
    }
}
