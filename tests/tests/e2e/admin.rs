//! Migrations by the real `admin`: again, twice at once, with wrong commands.

use serde_json::{Value, json};
use tests::logins::as_role;
use tests::runtime_api::Outcome;

use crate::stack::{LIMIT, Stack};

#[tokio::test]
async fn a_second_migration_changes_nothing() {
    let mut stack = Stack::start().await;
    let again = stack
        .admin(json!({"command": "migrate", "roles": {"chats": stack.server.admin().arn}}))
        .await;
    assert_eq!(again["applied"], json!([]));
    assert_eq!(again["roles"]["chats"], json!([]));
    let status = stack.admin(json!({"command": "status"})).await;
    assert_eq!(status["pending"], json!([]));
    assert_eq!(status["roles"]["chats"], json!([stack.server.admin().arn]));
}

#[tokio::test]
async fn two_migrations_at_once_both_succeed() {
    let server = dsql_local::DsqlLocal::start(dsql_local::Options::default())
        .await
        .unwrap();
    let launch = || {
        tests::function::Launch::binary("admin")
            .envs(server.env())
            .env("DSQL_ROLE", "admin")
    };
    let (one, two) = tokio::join!(launch().start(), launch().start());
    let command = json!({"command": "migrate", "roles": {"chats": server.admin().arn}}).to_string();
    let (first, second) = tokio::join!(
        one.invoke(command.clone(), LIMIT),
        two.invoke(command, LIMIT)
    );
    for outcome in [first, second] {
        let report: Value = serde_json::from_slice(&outcome.response()).unwrap();
        assert!(
            report["schemaVersion"]
                .as_u64()
                .is_some_and(|version| version > 0),
            "{report}"
        );
    }
}

#[tokio::test]
async fn a_wrong_command_says_which_are_known() {
    let stack = Stack::start().await;
    let function = stack.launch_admin().start().await;
    let Outcome::FunctionError {
        error_type,
        message,
    } = function.invoke("{\"command\":\"drop\"}", LIMIT).await
    else {
        panic!("a wrong command succeeded")
    };
    assert_eq!(error_type, "InvalidCommand");
    assert!(
        message.contains("known are \"migrate\", \"status\"")
            && message.contains("\"create-login\""),
        "{message}"
    );
}

#[tokio::test]
async fn the_chats_role_can_do_no_more_than_its_function_does() {
    let stack = Stack::start().await;
    let client = as_role(&stack.server, "chats");
    let db = client.until(client.clock().now() + LIMIT);
    for sql in [
        "DELETE FROM usage_daily",
        "UPDATE jobs SET state = 'done'",
        "DELETE FROM rate_buckets",
        "SELECT * FROM schema_migrations",
        "SELECT * FROM sql_logins",
        "INSERT INTO generations VALUES ('a', 'b', 'c', 'd', now())",
        "CREATE TABLE mine (id text PRIMARY KEY)",
        "DROP TABLE chats",
        "CREATE ROLE other WITH LOGIN",
    ] {
        let error = db.execute(sql, &[]).await.unwrap_err();
        assert_eq!(error.sqlstate(), Some("42501"), "{sql}: {error:?}");
    }
}
