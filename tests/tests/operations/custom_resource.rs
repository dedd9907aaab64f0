//! The custom resource: CloudFormation always gets its answer, and running it again is harmless.

use std::time::Duration;

use dsql_local::{DsqlLocal, Faults, Options};
use serde_json::{Value, json};
use tests::function::{Function, Launch};
use tests::response_url::ResponseUrl;
use tests::runtime_api::Outcome;
use tests::wait;

use crate::support::{database, number};

/// A migration is some eighty transactions, which a busy machine takes its time for.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

async fn server() -> DsqlLocal {
    DsqlLocal::start(Options::default()).await.unwrap()
}

pub(crate) async fn admin(server: &DsqlLocal) -> Function {
    Launch::binary("admin")
        .envs(server.env())
        .env("DSQL_ROLE", "admin")
        .start()
        .await
}

pub(crate) fn event(request: &str, url: &ResponseUrl, properties: &Value) -> Value {
    let mut event = json!({
        "RequestType": request,
        "ServiceToken": "arn:aws:lambda:us-east-1:111122223333:function:admin",
        "ResponseURL": url.url(),
        "StackId": "arn:aws:cloudformation:us-east-1:111122223333:stack/chat/0a1b",
        "RequestId": "request-1",
        "LogicalResourceId": "Schema",
        "ResourceType": "Custom::DatabaseSchema",
        "ResourceProperties": properties,
    });
    if request != "Create" {
        event["PhysicalResourceId"] = json!("database-schema");
    }
    event
}

pub(crate) fn properties(server: &DsqlLocal) -> Value {
    json!({
        "ServiceToken": "arn:aws:lambda:us-east-1:111122223333:function:admin",
        "Fingerprint": "0a1b",
        "Roles": {"chats": server.admin().arn},
    })
}

/// How many migrations there are.
fn migrations() -> i64 {
    let folder = tests::binary::workspace().join("migrations");
    std::fs::read_dir(folder)
        .unwrap()
        .count()
        .try_into()
        .unwrap()
}

#[tokio::test]
async fn create_migrates_update_changes_nothing_and_delete_touches_no_data() {
    let server = server().await;
    let function = admin(&server).await;
    let mut versions = Vec::new();
    for request in ["Create", "Update"] {
        let url = ResponseUrl::start().await;
        let event = event(request, &url, &properties(&server));
        function.invoke(event.to_string(), LIMIT).await.response();
        let answer = url.answer().await;
        assert_eq!(answer.body["Status"], "SUCCESS", "{request}: {answer:?}");
        assert_eq!(answer.body["PhysicalResourceId"], "database-schema");
        assert_eq!(answer.body["StackId"], event["StackId"]);
        assert_eq!(answer.body["RequestId"], "request-1");
        assert_eq!(answer.body["LogicalResourceId"], "Schema");
        assert_eq!(answer.target, "/stack/answer?X-Amz-Signature=0a%2Fb");
        assert_eq!(answer.content_type, None);
        let version = answer.body["Data"]["SchemaVersion"].as_str().unwrap();
        versions.push(version.parse::<i64>().unwrap());
    }
    assert!(
        versions[0] > 0 && versions[0] == versions[1],
        "{versions:?}"
    );

    let db = database(&server);
    db.execute(
        "INSERT INTO usage_daily VALUES ('o', '2026-11-22', 'm', 1, 1, 1)",
        &[],
    )
    .await
    .unwrap();
    let url = ResponseUrl::start().await;
    let delete = event("Delete", &url, &properties(&server));
    function.invoke(delete.to_string(), LIMIT).await.response();
    let answer = url.answer().await;
    assert_eq!(answer.body["Status"], "SUCCESS");
    assert_eq!(answer.body.get("Data"), None, "{answer:?}");
    assert_eq!(number(&db, "SELECT count(*) FROM usage_daily").await, 1);
}

#[tokio::test]
async fn a_failure_is_answered_with_its_reason() {
    let server = server().await;
    let function = admin(&server).await;
    for (properties, words) in [
        (json!({"Roles": {"chats": "no arn"}}), "needs the ARN"),
        (json!({"Roles": {"root": "x"}}), "unknown role"),
        (json!({"Roles": 7}), "must be an object"),
    ] {
        let url = ResponseUrl::start().await;
        let event = event("Create", &url, &properties);
        function.invoke(event.to_string(), LIMIT).await.response();
        let answer = url.answer().await;
        assert_eq!(answer.body["Status"], "FAILED");
        assert_eq!(answer.body.get("Data"), None, "{answer:?}");
        let reason = answer.body["Reason"].as_str().unwrap();
        assert!(reason.contains(words), "{reason}");
    }
    let url = ResponseUrl::start().await;
    let unknown = event("Rename", &url, &properties(&server));
    function.invoke(unknown.to_string(), LIMIT).await.response();
    assert_eq!(url.answer().await.body["Status"], "FAILED");
}

#[tokio::test]
async fn the_answer_comes_before_the_deadline_when_the_database_does_not() {
    let server = server().await;
    let function = admin(&server).await;
    server
        .set_faults(Faults {
            freeze: true,
            ..Faults::default()
        })
        .unwrap();
    let url = ResponseUrl::start().await;
    let create = event("Create", &url, &properties(&server));
    let outcome = function
        .invoke(create.to_string(), Duration::from_secs(8))
        .await;
    outcome.response();
    let answer = url.answer().await;
    assert_eq!(answer.body["Status"], "FAILED");

    // What was left undone is done by the next run.
    server.set_faults(Faults::default()).unwrap();
    let url = ResponseUrl::start().await;
    let update = event("Update", &url, &properties(&server));
    function.invoke(update.to_string(), LIMIT).await.response();
    assert_eq!(url.answer().await.body["Status"], "SUCCESS");
}

#[tokio::test]
async fn an_answer_that_is_refused_is_sent_again() {
    let server = server().await;
    let function = admin(&server).await;
    let url = ResponseUrl::refusing(2).await;
    let create = event("Create", &url, &properties(&server));
    function.invoke(create.to_string(), LIMIT).await.response();
    assert_eq!(url.answer().await.body["Status"], "SUCCESS");
}

#[tokio::test]
async fn an_answer_that_hangs_is_sent_again_before_the_deadline() {
    let server = server().await;
    let function = admin(&server).await;
    for silences in 0..3 {
        let url = ResponseUrl::silent(silences).await;
        let event = event("Delete", &url, &properties(&server));
        // As little time as is kept back to answer.
        let limit = Duration::from_secs(5);
        function.invoke(event.to_string(), limit).await.response();
        assert_eq!(url.answer().await.body["Status"], "SUCCESS", "{silences}");
    }
    // It is told, and not cut off.
    let url = ResponseUrl::silent(9).await;
    let event = event("Delete", &url, &properties(&server));
    let limit = Duration::from_secs(5);
    let outcome = function.invoke(event.to_string(), limit).await;
    let Outcome::FunctionError { message, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(message.contains("no answer within"), "{message}");
}

#[tokio::test]
async fn two_deploys_at_once_both_succeed() {
    let server = server().await;
    let (one, two) = (admin(&server).await, admin(&server).await);
    let (first, second) = (ResponseUrl::start().await, ResponseUrl::start().await);
    let events = [
        event("Create", &first, &properties(&server)).to_string(),
        event("Update", &second, &properties(&server)).to_string(),
    ];
    let [create, update] = events;
    tokio::join!(one.invoke(create, LIMIT), two.invoke(update, LIMIT));
    for url in [first, second] {
        let answer = url.answer().await;
        assert_eq!(answer.body["Status"], "SUCCESS", "{answer:?}");
    }
}

#[tokio::test]
async fn a_run_killed_at_any_statement_is_repaired_by_the_next() {
    let server = server().await;
    let db = database(&server);
    let mut kills = 0;
    loop {
        let function = admin(&server).await;
        let url = ResponseUrl::start().await;
        let create = event("Create", &url, &properties(&server));
        // Each run may do a few statements more than the one before.
        let (before, allowed) = (server.stats().statements, 5 + 2 * kills);
        let running = function.begin(create.to_string(), LIMIT);
        wait::until("the next statements", LIMIT, || {
            let done = server.stats().statements - before >= allowed || !url.answers().is_empty();
            done.then_some(())
        })
        .await;
        function.kill().await;
        drop(running);
        if url
            .answers()
            .iter()
            .any(|answer| answer.body["Status"] == "SUCCESS")
        {
            break;
        }
        kills += 1;
        assert!(kills < 200, "no run comes to its end");
    }
    assert!(kills >= 5, "only {kills} kills");
    let url = ResponseUrl::start().await;
    let update = event("Update", &url, &properties(&server));
    admin(&server)
        .await
        .invoke(update.to_string(), LIMIT)
        .await
        .response();
    assert_eq!(url.answer().await.body["Status"], "SUCCESS");
    let applied = number(&db, "SELECT count(*) FROM schema_migrations").await;
    let written = migrations();
    assert_eq!(applied, written);
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indrelid >= 16384";
    assert_eq!(number(&db, invalid).await, 0);
}

#[tokio::test]
async fn a_changed_migration_is_refused_and_named() {
    let server = server().await;
    let function = admin(&server).await;
    let url = ResponseUrl::start().await;
    let create = event("Create", &url, &properties(&server));
    function.invoke(create.to_string(), LIMIT).await.response();
    let db = database(&server);
    db.execute(
        "UPDATE schema_migrations SET checksum = 'another' WHERE version = 3",
        &[],
    )
    .await
    .unwrap();
    let url = ResponseUrl::start().await;
    let update = event("Update", &url, &properties(&server));
    function.invoke(update.to_string(), LIMIT).await.response();
    let answer = url.answer().await;
    assert_eq!(answer.body["Status"], "FAILED");
    let reason = answer.body["Reason"].as_str().unwrap();
    assert!(reason.contains("0003_create_generations"), "{reason}");
}

#[tokio::test]
async fn an_index_build_longer_than_the_deadline_fails_the_run_and_the_next_one_waits_for_it() {
    // Longer than any run here, shorter than a token lives: the server's clock alone is moved.
    const BUILD: Duration = Duration::from_secs(600);
    let server = server().await;
    server.set_job_duration(BUILD);
    let function = admin(&server).await;
    let url = ResponseUrl::start().await;
    let create = event("Create", &url, &properties(&server));
    function
        .invoke(create.to_string(), Duration::from_secs(20))
        .await
        .response();
    let answer = url.answer().await;
    assert_eq!(answer.body["Status"], "FAILED", "{answer:?}");

    // The build goes on in the cluster; nothing tells the schema that it is done.
    let db = database(&server);
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indrelid >= 16384";
    let builds = "SELECT count(*) FROM sys.jobs WHERE job_type = 'INDEX_BUILD'";
    assert_eq!(number(&db, invalid).await, 1);
    assert_eq!(number(&db, builds).await, 1);
    let unfinished = number(&db, "SELECT max(version) FROM schema_migrations").await;
    let before = number(&db, "SELECT count(*) FROM schema_migrations").await;

    // A run while it goes on fails the same way, and begins no second build.
    let url = ResponseUrl::start().await;
    let update = event("Update", &url, &properties(&server));
    function
        .invoke(update.to_string(), Duration::from_secs(10))
        .await
        .response();
    assert_eq!(url.answer().await.body["Status"], "FAILED");
    assert_eq!(number(&db, builds).await, 1);
    assert_eq!(
        number(&db, "SELECT max(version) FROM schema_migrations").await,
        unfinished
    );

    // The build ends while a run waits for it.
    server.set_job_duration(Duration::ZERO);
    let (statements, url) = (server.stats().statements, ResponseUrl::start().await);
    let update = event("Update", &url, &properties(&server));
    let running = function.begin(update.to_string(), LIMIT);
    wait::until("the next run", LIMIT, || {
        (server.stats().statements > statements).then_some(())
    })
    .await;
    server.advance(BUILD);
    running.outcome().await.response();
    let answer = url.answer().await;
    assert_eq!(answer.body["Status"], "SUCCESS", "{answer:?}");
    assert_eq!(number(&db, invalid).await, 0);
    let applied = number(&db, "SELECT count(*) FROM schema_migrations").await;
    let written = migrations();
    assert!(
        applied == written && applied > before,
        "{applied} of {written}"
    );
}
