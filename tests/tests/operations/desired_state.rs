//! The database is brought to what this build wants, whatever it finds: indexes in any state,
//! privileges that were taken away, a role that IAM does not know everywhere yet, the schema of a
//! newer version.

use std::time::Duration;

use dsql::Db;
use dsql_local::{DsqlLocal, Faults, Options, Refuse};
use serde_json::{Value, json};
use tests::function::Function;
use tests::response_url::ResponseUrl;

use crate::custom_resource::{LIMIT, admin, event, properties};
use crate::support::{database, invoke, number};

const CREATE_UNIQUE: &str =
    "CREATE UNIQUE INDEX ASYNC messages_seq ON chats.messages (chat_id, seq)";
const BUILDS: &str = "SELECT count(*) FROM sys.jobs WHERE job_type = 'INDEX_BUILD'";
const INVALID: &str = "SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indrelid >= 16384";

/// Sends Create or Update and returns CloudFormation's answer.
async fn provide(server: &DsqlLocal, function: &Function, request: &str) -> Value {
    let url = ResponseUrl::start().await;
    let event = event(request, &url, &properties(server));
    function.invoke(event.to_string(), LIMIT).await.response();
    url.answer().await.body
}

async fn provided() -> (DsqlLocal, Function, Db) {
    let server = DsqlLocal::start(Options::default()).await.unwrap();
    let function = admin(&server).await;
    let answer = provide(&server, &function, "Create").await;
    assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    let db = database(&server);
    (server, function, db)
}

/// Replaces the index by a unique one whose build two equal rows let fail.
async fn fail_a_build(db: &Db) {
    for row in ["a", "b"] {
        let insert = format!(
            "INSERT INTO chats.messages (chat_id, id, seq, role, parts, status, created_at)
             VALUES ('c', '{row}', 1, 'user', '[]', 'complete', now())"
        );
        db.execute_sql(&insert).await.unwrap();
    }
    db.execute_sql("DROP INDEX chats.messages_seq")
        .await
        .unwrap();
    db.execute_sql(CREATE_UNIQUE).await.unwrap();
    let failed = "SELECT count(*) FROM sys.jobs WHERE status = 'failed'";
    until(db, failed, 1).await;
}

async fn until(db: &Db, sql: &'static str, wanted: i64) {
    let poll = async { while number(db, sql).await != wanted {} };
    let in_time = tokio::time::timeout(LIMIT, poll).await;
    in_time.unwrap_or_else(|_| panic!("{sql} is not {wanted} within {LIMIT:?}"));
}

#[tokio::test]
async fn an_index_that_is_gone_or_whose_build_failed_is_rebuilt() {
    let (server, function, db) = provided().await;
    db.execute_sql("DROP INDEX chats.shares_chat")
        .await
        .unwrap();
    fail_a_build(&db).await;
    assert_eq!(number(&db, INVALID).await, 1);
    let report = invoke(&function, &json!({"command": "doctor"})).await;
    assert_eq!(report["healthy"], false, "{report}");

    let answer = provide(&server, &function, "Update").await;
    assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    assert_eq!(number(&db, INVALID).await, 0);
    let valid = "SELECT count(*) FROM pg_class WHERE relname IN ('messages_seq', 'shares_chat')";
    assert_eq!(number(&db, valid).await, 2);
    let unique = "SELECT count(*) FROM pg_index WHERE indisunique AND indexrelid = 'chats.messages_seq'::regclass";
    assert_eq!(number(&db, unique).await, 0, "the migration's own index");
}

#[tokio::test]
async fn a_failed_build_that_no_job_remembers_is_built_again() {
    let (server, function, db) = provided().await;
    fail_a_build(&db).await;
    server.advance(Duration::from_secs(1_801));
    until(&db, BUILDS, 0).await;
    let answer = provide(&server, &function, "Update").await;
    assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    assert_eq!(number(&db, INVALID).await, 0);
}

#[tokio::test]
async fn two_runs_that_find_a_failed_build_both_succeed() {
    let (server, function, db) = provided().await;
    fail_a_build(&db).await;
    let second = admin(&server).await;
    let (one, two) = tokio::join!(
        provide(&server, &function, "Update"),
        provide(&server, &second, "Update")
    );
    assert_eq!(
        (&one["Status"], &two["Status"]),
        (&json!("SUCCESS"), &json!("SUCCESS")),
        "{one} {two}"
    );
    assert_eq!(number(&db, INVALID).await, 0);
}

#[tokio::test]
async fn a_role_that_iam_does_not_know_yet_is_waited_for() {
    let server = DsqlLocal::start(Options::default()).await.unwrap();
    server
        .set_faults(Faults {
            refuse_connections: Some(Refuse::AccessDenied),
            refuse_count: Some(4),
            ..Faults::default()
        })
        .unwrap();
    let function = admin(&server).await;
    let answer = provide(&server, &function, "Create").await;
    assert_eq!(answer["Status"], "SUCCESS", "{answer}");
}

#[tokio::test]
async fn a_privilege_without_a_migration_is_granted_and_missed_by_the_doctor() {
    let (server, function, db) = provided().await;
    db.execute_sql("REVOKE INSERT ON chats.usage_daily FROM jobs")
        .await
        .unwrap();
    let arn = &server.admin().arn;
    for role in ["chat", "jobs", "maintenance", "sql_function"] {
        db.execute_sql(&format!("AWS IAM GRANT {role} TO '{arn}'"))
            .await
            .unwrap();
    }
    let report = invoke(&function, &json!({"command": "doctor"})).await;
    let checks = report["checks"].as_array().unwrap();
    let privileges = checks.iter().find(|check| check["check"] == "privileges");
    let found = &privileges.unwrap()["found"];
    assert_eq!(found, "jobs may not INSERT usage_daily", "{report}");

    let answer = provide(&server, &function, "Update").await;
    assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    let report = invoke(&function, &json!({"command": "doctor"})).await;
    assert_eq!(report["healthy"], true, "{report}");
}

#[tokio::test]
async fn an_older_build_leaves_a_newer_schema_alone() {
    let (server, function, db) = provided().await;
    // What a later version may have done: another migration, with it an index replaced and a
    // privilege more.
    for statement in [
        "INSERT INTO chats.schema_migrations VALUES (1000, '1000_later', 'another', now())",
        "DROP INDEX chats.shares_chat",
        "GRANT DELETE ON chats.usage_daily TO chat",
    ] {
        db.execute_sql(statement).await.unwrap();
    }
    let answer = provide(&server, &function, "Update").await;
    assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    let index = "SELECT count(*) FROM pg_class WHERE relname = 'shares_chat'";
    assert_eq!(number(&db, index).await, 0);
    let kept = "SELECT count(*) FROM schema_migrations WHERE version = 1000";
    assert_eq!(number(&db, kept).await, 1);
    let granted = "SELECT has_table_privilege('chat', 'chats.usage_daily', 'DELETE')::int::bigint";
    assert_eq!(number(&db, granted).await, 1);
}
