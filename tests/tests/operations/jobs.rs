//! Jobs from the queue: what is done once, tried again, given up, and what happens to messages that
//! cannot be taken.

use std::time::Duration;

use chat_store::JobKind;
use dsql::Type;
use dsql_local::Faults;
use serde_json::{Value, json};
use tests::clock::WallClock;
use tokio::time::timeout;

use crate::stack::{LIMIT, Stack};
use crate::support::{
    batch, database, discard, fill, insert_job, invoke, invoke_within, job, number, sample,
};

const OWNED: &str = "\
SELECT (SELECT count(*) FROM chats WHERE owner_id = 'owner') + (SELECT count(*) FROM votes WHERE owner_id = 'owner')
    + (SELECT count(*) FROM messages WHERE chat_id LIKE 'owner-%')
    + (SELECT count(*) FROM usage_daily WHERE owner_id = 'owner')
    + (SELECT count(*) FROM idempotency WHERE owner_id = 'owner')";
#[tokio::test]
async fn of_ten_messages_one_poisoned_goes_back_alone() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let event = sample("jobs", "03-one-poisoned-of-ten");
    for (n, record) in event["Records"].as_array().unwrap().iter().enumerate() {
        let body: Option<Value> = serde_json::from_str(record["body"].as_str().unwrap()).ok();
        let id = body.map_or_else(
            || "poisoned".to_owned(),
            |body| body["jobId"].as_str().unwrap().to_owned(),
        );
        fill(&db, &format!("owner{n}"), 1, 2).await;
        let owner = format!("owner{n}");
        discard(&db, &id, JobKind::EraseUser, &owner).await;
    }
    let jobs = stack.launch("jobs").start().await;
    // A job that finds no time left goes on in the next invocation.
    let answer = invoke_within(&jobs, &event, Duration::from_secs(300)).await;
    let poisoned = &event["Records"][6]["messageId"];
    assert_eq!(
        answer,
        json!({"batchItemFailures": [{"itemIdentifier": poisoned}]})
    );
    assert_eq!(
        number(&db, "SELECT count(*) FROM jobs WHERE state = 'done'").await,
        9
    );
    assert_eq!(number(&db, "SELECT count(*) FROM chats").await, 1);
    // A message for a job that does not exist is one as well.
    let answer = invoke(&jobs, &batch(&[json!({"jobId": "none"})])).await;
    assert_eq!(answer["batchItemFailures"][0]["itemIdentifier"], "m0");
}

#[tokio::test]
async fn a_message_delivered_twice_and_out_of_order_has_its_effect_once() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    for n in 0..3 {
        fill(&db, &format!("owner{n}"), 3, 2).await;
        let owner = format!("owner{n}");
        discard(&db, &format!("job-{n}"), JobKind::EraseUser, &owner).await;
    }
    let deliveries: Vec<Value> = [2, 0, 2, 1, 0, 1]
        .iter()
        .map(|n| json!({"jobId": format!("job-{n}")}))
        .collect();
    let (one, two) = (
        stack.launch("jobs").start().await,
        stack.launch("jobs").start().await,
    );
    let event = batch(&deliveries);
    let (first, second) = tokio::join!(invoke(&one, &event), invoke(&two, &event));
    for answer in [first, second] {
        assert_eq!(answer, json!({"batchItemFailures": []}));
    }
    for n in 0..3 {
        let id = format!("job-{n}");
        let row = job(&db, &id).await;
        assert_eq!((row.state.as_str(), row.attempts), ("done", 1), "{id}");
        assert_eq!(row.result["deleted"]["messages"], 6, "{id}: {row:?}");
    }
}

#[tokio::test]
async fn conflicts_and_lost_connections_leave_the_receipt_exact() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    fill(&db, "owner", 200, 40).await;
    discard(&db, "job-1", JobKind::EraseUser, "owner").await;
    stack
        .server
        .set_faults(Faults {
            conflict_rate: 0.2,
            drop_rate: 0.05,
            seed: Some(7),
            ..Faults::default()
        })
        .unwrap();
    let clock = WallClock::new();
    let jobs = stack.launch("jobs").clock(&clock).start().await;
    let mut runs = 0;
    loop {
        let _ = jobs
            .invoke(batch(&[json!({"jobId": "job-1"})]).to_string(), LIMIT)
            .await;
        runs += 1;
        // A run that lost its connection left its lease behind.
        clock.advance(Duration::from_secs(600));
        stack.server.set_faults(Faults::default()).unwrap();
        let row = job(&db, "job-1").await;
        if row.state == "done" {
            assert_eq!(row.result["deleted"]["messages"], 8_000);
            assert_eq!(row.result["deleted"]["chats"], 200);
            assert_eq!(row.result["deleted"]["votes"], 200);
            break;
        }
        assert!(row.state != "failed", "{row:?}");
        assert!(runs < 20, "{row:?}");
    }
    assert_eq!(number(&db, OWNED).await, 0);
}

#[tokio::test]
async fn a_job_that_cannot_be_done_is_given_up_with_its_reason() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    insert_job(&db, "job-1", "fly", &json!({"owner": "owner"})).await;
    insert_job(&db, "job-2", "erase_user", &json!({"user": "owner"})).await;
    let jobs = stack.launch("jobs").start().await;
    for (id, words) in [("job-1", "unknown kind"), ("job-2", "no \"owner\"")] {
        assert_eq!(
            invoke(&jobs, &json!({"jobId": id})).await["outcome"],
            "given up"
        );
        let row = job(&db, id).await;
        assert_eq!(row.state, "failed");
        assert!(row.cursor.as_deref().unwrap().contains(words), "{row:?}");
    }
}

#[tokio::test]
async fn a_job_that_fails_is_tried_five_times_and_then_given_up() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    fill(&db, "owner", 1, 1).await;
    discard(&db, "job-1", JobKind::EraseUser, "owner").await;
    db.execute_sql("REVOKE DELETE ON votes FROM jobs")
        .await
        .unwrap();
    let jobs = stack.launch("jobs").start().await;
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        let report = invoke(&jobs, &json!({"jobId": "job-1"})).await;
        outcomes.push(report["outcome"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        outcomes,
        ["retried", "retried", "retried", "retried", "given up"]
    );
    let row = job(&db, "job-1").await;
    assert!(
        row.cursor.as_deref().unwrap().contains("permission denied"),
        "{row:?}"
    );
    assert_eq!(number(&db, OWNED).await, 3, "nothing was deleted");
}

#[tokio::test]
async fn a_batch_whose_database_is_away_goes_back_whole() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    discard(&db, "job-1", JobKind::EraseUser, "owner").await;
    let jobs = stack.launch("jobs").start().await;
    stack
        .server
        .set_faults(Faults {
            server_unavailable: 1_000_000,
            ..Faults::default()
        })
        .unwrap();
    let answer = jobs
        .invoke(
            batch(&[json!({"jobId": "job-1"})]).to_string(),
            Duration::from_secs(12),
        )
        .await
        .response();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["batchItemFailures"][0]["itemIdentifier"], "m0");
    stack.server.set_faults(Faults::default()).unwrap();
    assert_eq!(job(&db, "job-1").await.state, "pending");
    let answer = invoke(&jobs, &batch(&[json!({"jobId": "job-1"})])).await;
    assert_eq!(answer, json!({"batchItemFailures": []}));
    let count = db
        .query_opt_idempotent(
            "SELECT count(*) FROM jobs WHERE state = $1",
            &[(&"done", Type::TEXT)],
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(count.get::<_, i64>(0), 1);
}

#[tokio::test]
async fn a_job_that_kills_every_worker_is_given_up_after_its_attempts() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    fill(&db, "owner", 1, 1).await;
    discard(&db, "job-1", JobKind::EraseUser, "owner").await;
    let clock = WallClock::new();
    let slowly = |delay_ms| {
        let faults = Faults {
            delay_ms,
            ..Faults::default()
        };
        stack.server.set_faults(faults).unwrap();
    };
    for attempt in 1..=5 {
        let worker = stack.launch("jobs").clock(&clock).start().await;
        slowly(300);
        let running = worker.begin(batch(&[json!({"jobId": "job-1"})]).to_string(), LIMIT);
        let begun = async { while job(&db, "job-1").await.attempts < attempt {} };
        timeout(LIMIT, begun).await.expect("the job is begun");
        worker.kill().await;
        drop(running);
        slowly(0);
        let lease = Duration::from_secs(120);
        clock.advance(lease);
        stack.server.advance(lease);
    }
    assert_eq!(job(&db, "job-1").await.state, "running");
    let jobs = stack.launch("jobs").clock(&clock).start().await;
    assert_eq!(
        invoke(&jobs, &json!({"jobId": "job-1"})).await,
        json!({"outcome": "given up"})
    );
    let row = job(&db, "job-1").await;
    assert_eq!((row.state.as_str(), row.attempts), ("failed", 5));
    let reason = row.cursor.as_deref().unwrap();
    assert!(reason.contains("worker died"), "{reason}");
    jobs.line_with("killed every worker").await;
    assert_eq!(
        invoke(&jobs, &json!({"jobId": "job-1"})).await,
        json!({"outcome": "over"})
    );
}
