//! Refusals by family, each statement with the whole answer.

use dsql_dialect::{RULES, Verdict, classify};

/// The refusal of `sql` as `SQLSTATE message`, or why there is none.
pub(crate) fn answer(sql: &str) -> String {
    match classify(sql).verdict {
        Verdict::Refuse(refusal) => {
            let unsure = if refusal.ask_first.is_some() {
                " (tentative)"
            } else {
                ""
            };
            format!("{refusal}{unsure}")
        }
        _ => "accepted".to_owned(),
    }
}

pub(crate) fn refused(cases: &[(&str, &str)]) {
    let wrong: Vec<_> = cases
        .iter()
        .map(|(sql, expected)| (sql, answer(sql), expected))
        .filter(|(_, answer, expected)| answer != *expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The rule that refuses each statement, where the words are our own.
pub(crate) fn refused_by(cases: &[(&str, &str)]) {
    let wrong: Vec<_> = cases
        .iter()
        .map(|(sql, rule)| match classify(sql).verdict {
            Verdict::Refuse(refusal) => (sql, refusal.rule, refusal.to_string(), *rule),
            _ => (sql, "", "accepted".to_owned(), *rule),
        })
        .filter(|(_, found, _, rule)| found != rule)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn rules_have_unique_names_and_five_character_states() {
    for (position, rule) in RULES.iter().enumerate() {
        assert_eq!(rule.sqlstate.len(), 5, "{}", rule.name);
        assert!(
            !RULES[..position]
                .iter()
                .any(|other| other.name == rule.name),
            "{}",
            rule.name
        );
    }
}

#[test]
fn transaction_statements_are_refused_in_their_own_words() {
    refused(&[
        (
            "SAVEPOINT a",
            "0A000 unsupported transaction statement: SAVEPOINT",
        ),
        (
            "RELEASE SAVEPOINT a",
            "0A000 unsupported transaction statement: RELEASE",
        ),
        (
            "release a",
            "0A000 unsupported transaction statement: RELEASE",
        ),
        (
            "ROLLBACK TO a",
            "0A000 unsupported transaction statement: ROLLBACK TO",
        ),
        (
            "ROLLBACK TRANSACTION TO SAVEPOINT a",
            "0A000 unsupported transaction statement: ROLLBACK TO",
        ),
        (
            "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "0A000 Unsupported isolation level: SERIALIZABLE",
        ),
        (
            "BEGIN READ ONLY, ISOLATION LEVEL READ COMMITTED",
            "0A000 Unsupported isolation level: READ COMMITTED",
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "0A000 Unsupported isolation level: SERIALIZABLE",
        ),
        (
            "SET TRANSACTION READ ONLY",
            "0A000 setting configuration parameter \"TRANSACTION\" not supported",
        ),
        (
            "SET LOCAL TRANSACTION READ WRITE",
            "0A000 setting configuration parameter \"TRANSACTION\" not supported",
        ),
        (
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "0A000 setting configuration parameter \"TRANSACTION\" not supported",
        ),
        (
            "SET transaction_isolation = 'serializable'",
            "0A000 setting configuration parameter \"transaction_isolation\" not supported",
        ),
    ]);
    refused_by(&[
        ("COMMIT AND CHAIN", "chain"),
        ("PREPARE TRANSACTION 'x'", "two-phase"),
        ("COMMIT PREPARED 'x'", "two-phase"),
        (
            "BEGIN ISOLATION LEVEL REPEATABLE READ, DEFERRABLE",
            "deferrable",
        ),
    ]);
}

#[test]
fn settings_outside_the_list_are_refused_by_name() {
    let text =
        |name: &str| format!("0A000 setting configuration parameter \"{name}\" not supported");
    for (sql, name) in [
        ("SET statement_timeout = 5", "statement_timeout"),
        ("SET LOCAL lock_timeout TO '5s'", "lock_timeout"),
        ("set session Row_Security = off", "row_security"),
        ("RESET work_mem", "work_mem"),
        ("SET ROLE other", "role"),
        ("SET LOCAL ROLE other", "role"),
        ("SET SESSION AUTHORIZATION 'other'", "session_authorization"),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET statement_timeout = '1s' AS 'SELECT 1'",
            "statement_timeout",
        ),
        ("SET role = 'other'", "role"),
        ("RESET ROLE", "role"),
        ("SET SESSION AUTHORIZATION other", "session_authorization"),
        ("SET my.own = 1", "my.own"),
        ("SET XML OPTION DOCUMENT", "xmloption"),
        (
            "SET /* c */ idle_in_transaction_session_timeout=1",
            "idle_in_transaction_session_timeout",
        ),
    ] {
        assert_eq!(answer(sql), text(name), "{sql}");
    }
    for absent in ["lc_collate", "jit"] {
        assert_eq!(
            answer(&format!("SHOW {absent}")),
            format!("42704 unrecognized configuration parameter \"{absent}\"")
        );
    }
}

#[test]
fn unknown_kinds_of_object_are_refused() {
    refused(&[
        (
            "CREATE EXTENSION IF NOT EXISTS pgcrypto",
            "0A000 unsupported statement: CreateExtension",
        ),
        (
            "CREATE TYPE p AS (a int, b text)",
            "0A000 unsupported statement: CompositeType",
        ),
        (
            "CREATE TYPE s.e AS ENUM ()",
            "0A000 CREATE TYPE not supported",
        ),
        (
            "ALTER TYPE e ADD VALUE 'x'",
            "0A000 ALTER TYPE not supported",
        ),
        (
            "ALTER TYPE e RENAME TO f",
            "0A000 unsupported object in RENAME statement",
        ),
        (
            "ALTER TRIGGER a ON b RENAME TO c",
            "0A000 unsupported object in RENAME statement",
        ),
        ("DROP TYPE e", "0A000 unsupported object in DROP statement"),
        (
            "DROP MATERIALIZED VIEW IF EXISTS m",
            "0A000 unsupported object in DROP statement",
        ),
        (
            "DROP EXTENSION pgcrypto",
            "0A000 unsupported object in DROP statement",
        ),
        (
            "CREATE PROCEDURE p() LANGUAGE sql AS 'select 1'",
            "0A000 PROCEDURE is not supported",
        ),
        (
            "CREATE OR REPLACE FUNCTION f() RETURNS trigger AS $$ begin end $$ LANGUAGE 'plpgsql'",
            "0A000 CREATE FUNCTION with language plpgsql not supported",
        ),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE PLV8 AS 'x'",
            "0A000 CREATE FUNCTION with language plv8 not supported",
        ),
        (
            "ALTER SYSTEM SET work_mem = '1MB'",
            "0A000 unsupported statement: AlterSystem",
        ),
        (
            "ALTER STATISTICS s SET STATISTICS 101",
            "22023 statistics target 101 exceeds maximum allowed value of 100",
        ),
        (
            "ALTER STATISTICS IF EXISTS s.\"S\" SET STATISTICS 10000",
            "22023 statistics target 10000 exceeds maximum allowed value of 100",
        ),
        ("VACUUM", "0A000 unsupported VACUUM statement"),
        ("VACUUM (ANALYZE) t", "0A000 unsupported VACUUM statement"),
        (
            "SELECT 1 AS a INTO t",
            "0A000 unsupported statement: CreateTableAs",
        ),
        (
            "CREATE TABLE IF NOT EXISTS t AS TABLE u WITH NO DATA",
            "0A000 unsupported statement: CreateTableAs",
        ),
        (
            "EXPLAIN CREATE TABLE t AS SELECT 1",
            "0A000 unsupported statement: CreateTableAs",
        ),
        (
            "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE",
            "0A000 unsupported statement type: MERGE",
        ),
        (
            "TRUNCATE TABLE a, b RESTART IDENTITY CASCADE",
            "0A000 unsupported statement: Truncate",
        ),
        (
            "CREATE CONSTRAINT TRIGGER a AFTER INSERT ON b FOR EACH ROW EXECUTE FUNCTION c()",
            "0A000 CREATE TRIGGER not supported",
        ),
    ]);
    refused_by(&[
        ("DROP DOMAIN d CASCADE", "drop-domain-cascade"),
        (
            "ALTER DOMAIN d ADD CONSTRAINT c CHECK (VALUE > '')",
            "alter-domain",
        ),
        ("ALTER DOMAIN d SET NOT NULL", "alter-domain"),
        ("CREATE TEMP VIEW v AS SELECT 1", "temporary-view"),
        ("COPY t FROM '/etc/passwd'", "copy-file"),
        ("COPY (SELECT 1) TO PROGRAM 'cat'", "copy-file"),
    ]);
}

#[test]
fn privileges_and_roles_follow_the_services_limits() {
    refused(&[
        (
            "GRANT CONNECT ON DATABASE postgres TO r",
            "0A000 unsupported object type in GRANT",
        ),
        (
            "REVOKE ALL ON DATABASE postgres FROM r",
            "0A000 unsupported object type in GRANT",
        ),
        (
            "GRANT USAGE ON SCHEMA public TO r",
            "0A000 feature not supported on system entity",
        ),
        (
            "GRANT USAGE ON SCHEMA app, \"public\" TO r",
            "0A000 feature not supported on system entity",
        ),
        (
            "GRANT SELECT ON sys.jobs TO r",
            "0A000 feature not supported on system entity",
        ),
        (
            "DROP SCHEMA public",
            "0A000 feature not supported on system entity",
        ),
        (
            "DROP ROLE admin",
            "0A000 feature not supported on system entity",
        ),
        (
            "AWS IAM GRANT r TO 'somebody'",
            "22023 IAM role must look like an IAM ARN",
        ),
        (
            "AWS IAM GRANT r FROM 'arn:aws:iam::123456789012:role/r'",
            "42601 syntax error at or near \"FROM\"",
        ),
        ("AWS IAM REVOKE r", "42601 syntax error at end of input"),
        ("AWS IAM", "42601 syntax error at end of input"),
    ]);
}

#[test]
fn queries_are_refused_wherever_the_construct_stands() {
    let lock = "0A000 locking clauses other than FOR UPDATE/FOR KEY SHARE are not supported";
    refused(&[
        ("SELECT * FROM t FOR SHARE", lock),
        ("SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED", lock),
        (
            "WITH x AS (SELECT * FROM t FOR SHARE OF t) SELECT * FROM x",
            lock,
        ),
        ("EXPLAIN ANALYZE SELECT * FROM t FOR UPDATE FOR SHARE", lock),
        (
            "SELECT * FROM t TABLESAMPLE BERNOULLI (1) REPEATABLE (3)",
            "0A000 TABLESAMPLE clause not supported",
        ),
        (
            "INSERT INTO u SELECT * FROM s.t AS x TABLESAMPLE SYSTEM (1)",
            "0A000 TABLESAMPLE clause not supported",
        ),
        (
            "CREATE VIEW v AS SELECT * FROM t TABLESAMPLE SYSTEM (1)",
            "0A000 TABLESAMPLE clause not supported",
        ),
        (
            "SELECT a FROM t GROUP BY ALL ORDER BY 1",
            "42601 syntax error at or near \"ORDER\"",
        ),
        (
            "SELECT a FROM t GROUP BY ALL;",
            "42601 syntax error at or near \";\"",
        ),
        (
            "SELECT count(*) FROM (SELECT a FROM t GROUP BY ALL) x",
            "42601 syntax error at or near \")\"",
        ),
        (
            "SELECT pg_advisory_lock(1)",
            "0A000 function pg_advisory_lock not supported",
        ),
        (
            "SELECT pg_catalog.pg_try_advisory_xact_lock_shared(1, 2)",
            "0A000 function pg_try_advisory_xact_lock_shared not supported",
        ),
        (
            "SELECT 1 WHERE PG_ADVISORY_UNLOCK(7)",
            "0A000 function pg_advisory_unlock not supported",
        ),
        ("SELECT point(1, 2)", "0A000 datatype point not supported"),
        (
            "SELECT '(1,2)'::point",
            "0A000 datatype point not supported",
        ),
        (
            "SELECT box '(1,2),(3,4)'",
            "0A000 datatype box not supported",
        ),
        (
            "SELECT * FROM sys.wait_for_job('x')",
            "42809 sys.wait_for_job(text) is a procedure",
        ),
        (
            "CALL p(1, (VALUES (2)))",
            "0A000 cannot use subquery in CALL argument",
        ),
    ]);
    refused_by(&[
        ("SELECT lastval()", "function"),
        ("SELECT xmlelement(name a)", "runtime-type"),
        (
            "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a + 1) VIRTUAL)",
            "later-syntax",
        ),
    ]);
}

#[test]
fn a_refused_construct_beside_a_syntax_error_is_refused_tentatively() {
    refused(&[
        (
            "TRUNCATE",
            "0A000 unsupported statement: Truncate (tentative)",
        ),
        (
            "SAVEPOINT a b",
            "0A000 unsupported transaction statement: SAVEPOINT (tentative)",
        ),
        (
            "SELECT pg_advisory_lock(1) FROM FROM",
            "0A000 function pg_advisory_lock not supported (tentative)",
        ),
    ]);
}
