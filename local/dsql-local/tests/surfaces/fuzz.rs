//! Fuzz target: mutated statements on a server. None ends it, and none that is accepted changes
//! what a rule forbids.

use std::time::Duration;

use dsql_local::{DsqlLocal, Options};
use fuzzing::{Corpus, Inputs, Strategy, inputs};
use tokio_postgres::Client;

use crate::support::admin;

/// Statements to change: recorded ones, and ones that a rule refuses.
const FORBIDDEN: &[&str] = &[
    "ALTER SYSTEM SET work_mem = '1MB'",
    "ALTER DATABASE postgres SET timezone = 'UTC'",
    "ALTER ROLE admin SET search_path = x",
    "ALTER ROLE admin SUPERUSER",
    "COPY mt TO '/tmp/x'",
    "COPY mt FROM PROGRAM 'id'",
    "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
    "CREATE FUNCTION mf() RETURNS void LANGUAGE sql AS $$CREATE TABLE mx (a int)$$",
    "CREATE FUNCTION mf() RETURNS void LANGUAGE sql SET jit = off BEGIN ATOMIC SELECT 1; END",
    "CREATE FUNCTION mf() RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN 1; END$$",
    "CREATE INDEX mi ON mt USING gin (v)",
    "CREATE MATERIALIZED VIEW mv AS SELECT 1",
    "CREATE POLICY p ON mt USING (true)",
    "CREATE RULE r AS ON INSERT TO mt DO INSTEAD NOTHING",
    "CREATE STATISTICS (mcv) ON k, v FROM mt",
    "CREATE TABLE mx (a int[], b money, c inet) PARTITION BY HASH (a)",
    "CREATE TEMP TABLE mx AS SELECT 1",
    "CREATE TRIGGER g AFTER INSERT ON mt FOR EACH ROW EXECUTE FUNCTION f()",
    "CREATE TYPE me AS ENUM ('a')",
    "CREATE UNLOGGED TABLE mx (a serial)",
    "CREATE VIEW mw AS SELECT k FROM mt",
    "DO $$BEGIN PERFORM 1; END$$",
    "EXPLAIN ANALYZE CREATE TABLE mx AS SELECT 1",
    "LISTEN x",
    "LOCK TABLE mt IN ACCESS EXCLUSIVE MODE",
    "PREPARE TRANSACTION 'x'",
    "SELECT lo_create(0), pg_advisory_lock(1)",
    "SELECT set_config('statement_timeout', '1', false)",
    "SELECT * INTO mx FROM mt",
    "SET SESSION AUTHORIZATION admin",
    "SET LOCAL ROLE admin",
    "SET statement_timeout = 1",
    "TRUNCATE mt",
    "UPDATE mt SET v = 'x' WHERE k = 1",
    "WITH w AS (DELETE FROM mt RETURNING *) SELECT * FROM w FOR SHARE",
];

/// What must not be there, whatever was sent.
const TRACES: &[(&str, &str)] = &[
    (
        "a superuser",
        "SELECT 1 FROM pg_authid WHERE rolsuper AND oid <> 10",
    ),
    (
        "a setting of a role or the database",
        "SELECT 1 FROM pg_db_role_setting",
    ),
    (
        "a trigger",
        "SELECT 1 FROM pg_trigger WHERE NOT tgisinternal",
    ),
    (
        "a rule",
        "SELECT 1 FROM pg_rewrite r JOIN pg_class c ON c.oid = ev_class WHERE c.oid >= 16384 AND rulename <> '_RETURN'",
    ),
    (
        "a table of another kind",
        "SELECT 1 FROM pg_class WHERE oid >= 16384 AND relnamespace <> 'pg_catalog'::regnamespace \
      AND (relkind NOT IN ('r', 'v', 'i', 'S', 't', 'c') OR relpersistence <> 'p' OR relrowsecurity)",
    ),
    (
        "an index of another kind",
        "SELECT 1 FROM pg_class WHERE oid >= 16384 AND relkind = 'i' AND relam <> 403",
    ),
    (
        "a column of another type",
        "SELECT 1 FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_type t ON t.oid = atttypid \
      WHERE c.oid >= 16384 AND c.relkind = 'r' AND relnamespace <> 'pg_catalog'::regnamespace AND attnum > 0 AND NOT attisdropped \
      AND (t.typcategory IN ('A', 'G', 'R', 'E', 'V') OR t.typname IN ('money', 'inet', 'tsvector', 'xml', 'pg_lsn'))",
    ),
    (
        "a type",
        "SELECT 1 FROM pg_type WHERE oid >= 16384 AND typtype IN ('e', 'r', 'm', 'p')",
    ),
    (
        "a function in another language",
        "SELECT 1 FROM pg_proc p JOIN pg_language l ON l.oid = prolang WHERE p.oid >= 16384 \
      AND lanname <> 'sql' AND pronamespace NOT IN ('pg_catalog'::regnamespace, 'sys'::regnamespace)",
    ),
    (
        "a procedure, an aggregate",
        "SELECT 1 FROM pg_proc WHERE oid >= 16384 AND prokind <> 'f' \
      AND pronamespace NOT IN ('pg_catalog'::regnamespace, 'sys'::regnamespace)",
    ),
    (
        "an operator, a cast",
        "SELECT 1 FROM pg_operator WHERE oid >= 16384 UNION ALL SELECT 1 FROM pg_cast WHERE oid >= 16384",
    ),
    (
        "a collation, a text search object",
        "SELECT 1 FROM pg_collation WHERE oid >= 16384 UNION ALL SELECT 1 FROM pg_ts_config WHERE oid >= 16384 \
      UNION ALL SELECT 1 FROM pg_ts_dict WHERE oid >= 16384",
    ),
    (
        "an extension, a publication",
        "SELECT 1 FROM pg_extension WHERE extname <> 'plpgsql' UNION ALL SELECT 1 FROM pg_publication",
    ),
    ("a large object", "SELECT 1 FROM pg_largeobject_metadata"),
    (
        "a lock that outlives its transaction",
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'",
    ),
    ("a prepared transaction", "SELECT 1 FROM pg_prepared_xacts"),
];

/// A setting of the session that no list has.
const SETTINGS: &str = "SELECT name FROM pg_settings WHERE source = 'session' AND lower(name) NOT IN \
    ('application_name', 'client_encoding', 'datestyle', 'extra_float_digits', 'intervalstyle', 'timezone', 'search_path', \
     'dsql.enable_batched_nestloop', 'dsql.disable_sync_create_index', 'transaction_isolation', 'transaction_read_only', \
     'transaction_deferrable', 'default_transaction_isolation', 'default_transaction_read_only', 'default_transaction_deferrable') \
    AND name NOT LIKE 'enable\\_%'";

/// Recorded statements and forbidden ones, changed.
fn statements() -> Inputs<impl Strategy<Value = String>> {
    let probes: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../../../tests/conformance/probes.json")).unwrap();
    let recorded = probes.iter().flat_map(|probe| {
        let steps = probe["steps"].as_array().unwrap().iter();
        steps.filter_map(|step| step["sql"].as_str().map(str::to_owned))
    });
    let own = FORBIDDEN.iter().map(|sql| (*sql).to_owned());
    // Waiting is not what this is about.
    let seeds = recorded
        .chain(own)
        .filter(|sql| !sql.contains("pg_sleep") && !sql.contains("wait_for_job"));
    let corpus =
        Corpus::new(seeds).words(["ONLY ", "EXPLAIN ", "\"a\" ", "; ", "/* x */ ", "-- y\n"]);
    inputs(corpus.text(), 1_500)
}

async fn begin_anew(dsql: &DsqlLocal) -> Client {
    let client = admin(dsql).await;
    let tables = "CREATE TABLE IF NOT EXISTS mt (k int PRIMARY KEY, v text)";
    // Another session's change of the catalogue is heard of once.
    let _table = client.batch_execute(tables).await;
    client
}

#[tokio::test]
async fn what_is_accepted_of_mutated_statements_changes_nothing_that_a_rule_forbids() {
    let options = Options {
        connect_burst: 1_000_000,
        ..Options::default()
    };
    let dsql = DsqlLocal::start(options).await.unwrap();
    let mut inputs = statements();
    let seed = inputs.seed();
    let superuser = superuser(&dsql).await;
    // A number that became too large is no statement that hangs.
    for sql in [
        "ALTER SYSTEM SET statement_timeout = '5s'",
        "SELECT pg_reload_conf()",
    ] {
        superuser.execute(sql, &[]).await.unwrap();
    }
    loop {
        let sent: Vec<String> = inputs.by_ref().take(50).collect();
        if sent.is_empty() {
            break;
        }
        let client = begin_anew(&dsql).await;
        for sql in &sent {
            let run = tokio::time::timeout(Duration::from_secs(60), client.batch_execute(sql));
            assert!(run.await.is_ok(), "FUZZ_SEED={seed}: hangs: {sql}");
            assert!(
                !client.is_closed(),
                "FUZZ_SEED={seed}: ends the session: {sql}"
            );
        }
        let _block = client.batch_execute("ROLLBACK").await;
        for (trace, sql) in TRACES {
            let found = superuser.query(*sql, &[]).await.unwrap();
            assert!(
                found.is_empty(),
                "FUZZ_SEED={seed}: {trace} after {sent:#?}"
            );
        }
        let found = client.query(SETTINGS, &[]).await;
        let names: Vec<String> = found.iter().flatten().map(|row| row.get(0)).collect();
        assert_eq!(
            names,
            Vec::<String>::new(),
            "FUZZ_SEED={seed}: after {sent:#?}"
        );
    }
    dsql.stop().await;
}

/// PostgreSQL behind the stand-in, in the directory that it throws away at its end.
async fn superuser(dsql: &DsqlLocal) -> Client {
    let mut config = tokio_postgres::Config::new();
    config
        .host_path(dsql.ca_file().parent().unwrap().join("socket"))
        .user("postgres")
        .dbname("postgres");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
