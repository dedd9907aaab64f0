//! Jobs from the queue: erasing an owner, deleting all chats, and what happens to messages that cannot be taken.

use std::time::Duration;

use dsql::Type;
use dsql_local::Faults;
use serde_json::{Value, json};
use tests::clock::WallClock;
use tests::http::Request;

use crate::stack::{LIMIT, Stack, send};
use crate::support::{batch, database, fill, insert_job, invoke, job, number, sample};

const OWNED: &str = "\
SELECT (SELECT count(*) FROM chats WHERE owner_id = 'owner') + (SELECT count(*) FROM votes WHERE owner_id = 'owner')
    + (SELECT count(*) FROM messages WHERE chat_id LIKE 'owner-%')
    + (SELECT count(*) FROM usage_daily WHERE owner_id = 'owner')
    + (SELECT count(*) FROM idempotency WHERE owner_id = 'owner')";
const OTHERS: &str = "\
SELECT (SELECT count(*) FROM chats WHERE owner_id = 'other') + (SELECT count(*) FROM votes WHERE owner_id = 'other')
    + (SELECT count(*) FROM messages WHERE chat_id LIKE 'other-%')
    + (SELECT count(*) FROM usage_daily WHERE owner_id = 'other')";

#[tokio::test]
async fn an_owner_with_20_000_messages_is_erased_while_he_writes_and_the_receipt_is_true() {
    let stack = Stack::with_operations().await;
    let db = database(&stack.server);
    fill(&db, "owner", 400, 50).await;
    fill(&db, "other", 20, 50).await;
    db.execute(
        "INSERT INTO usage_daily SELECT owner, '2026-11-22', 'echo', 1, 1, 1 FROM (VALUES ('owner'), ('other')) o (owner)",
        &[],
    )
    .await
    .unwrap();
    let (before, others) = (number(&db, OWNED).await, number(&db, OTHERS).await);
    assert_eq!(before, 20_000 + 400 + 400 + 1);
    insert_job(&db, "job-1", "erase_user", &json!({"owner": "owner"})).await;

    // He goes on writing: into chats that are deleted under him, and into new ones.
    let chats = stack.launch_chats().start().await;
    let token = stack.token("owner");
    let write = async |n: usize| {
        let into_old = Request::new(
            "POST",
            &format!("/api/chats/owner-{}/messages", n % 400 + 1),
        )
        .bearer(&token)
        .json(&json!({"role": "user", "parts": [{"type": "text", "text": "still here"}]}));
        let status = send(&chats, &into_old).await.status;
        assert!(matches!(status, 201 | 404), "{status}");
        let new = Request::new("POST", "/api/chats")
            .bearer(&token)
            .json(&json!({"id": format!("owner-new-{n}")}));
        assert_eq!(send(&chats, &new).await.status, 201);
    };

    let clock = WallClock::new();
    let first = stack.launch("jobs").clock(&clock).start().await;
    let event = batch(&[json!({"jobId": "job-1"})]);
    let running = first.begin(event.to_string(), Duration::from_secs(60));
    // Killed in the middle of its work.
    let mut written = 0;
    loop {
        write(written).await;
        written += 1;
        let row = job(&db, "job-1").await;
        if row.result["deleted"]["messages"].as_i64() >= Some(4_000) || row.state == "done" {
            break;
        }
    }
    first.kill().await;
    drop(running);
    let row = job(&db, "job-1").await;
    assert_eq!(row.state, "running", "it was killed in the middle: {row:?}");

    // Its lease keeps others away until it is over; then the job goes on where it was.
    let second = stack.launch("jobs").clock(&clock).start().await;
    assert_eq!(
        invoke(&second, &json!({"jobId": "job-1"})).await,
        json!({"outcome": "busy"})
    );
    clock.advance(Duration::from_secs(120));
    let mut outcomes = Vec::new();
    loop {
        write(written).await;
        written += 1;
        let report = invoke(&second, &json!({"jobId": "job-1"})).await;
        outcomes.push(report["outcome"].as_str().unwrap().to_owned());
        if outcomes.last().is_some_and(|outcome| outcome == "over") {
            break;
        }
        assert!(outcomes.len() < 50, "{outcomes:?}");
    }
    assert_eq!(outcomes[outcomes.len() - 2], "done", "{outcomes:?}");

    let row = job(&db, "job-1").await;
    let deleted = &row.result["deleted"];
    let left = number(&db, OWNED).await;
    let total: i64 = deleted
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_i64().unwrap())
        .sum();
    // What he wrote: chats that are new, and messages into old ones that were stored before these went.
    let stored = total + left - before;
    let new_chats = i64::try_from(written).unwrap();
    assert!(
        (new_chats..=2 * new_chats).contains(&stored),
        "{deleted}, {left} left, {written} written"
    );
    assert_eq!(
        number(
            &db,
            "SELECT count(*) FROM chats WHERE owner_id = 'owner' AND id NOT LIKE 'owner-new-%'"
        )
        .await,
        0
    );
    assert_eq!(
        number(&db, "SELECT count(*) FROM messages m WHERE NOT EXISTS (SELECT FROM chats c WHERE c.id = m.chat_id)").await,
        0,
        "no message outlives its chat"
    );
    assert_eq!(deleted["usageRows"], 1);
    assert_eq!(
        number(&db, OTHERS).await,
        others,
        "nothing of others was touched"
    );
    assert!(row.result["finishedAt"].is_string() && row.result["requestedAt"].is_string());
    assert!(
        !row.payload.contains("\"owner\":\"owner\""),
        "{}",
        row.payload
    );
}

#[tokio::test]
async fn deleting_all_chats_keeps_what_is_made_afterwards() {
    let stack = Stack::with_operations().await;
    let db = database(&stack.server);
    fill(&db, "owner", 5, 3).await;
    insert_job(&db, "job-1", "delete_all_chats", &json!({"owner": "owner"})).await;
    db.execute("UPDATE jobs SET created_at = now()", &[])
        .await
        .unwrap();
    db.execute(
        "INSERT INTO chats VALUES ('owner-new', 'owner', 't', 'private', false, false, 0, NULL, now() + interval '1 s', now())",
        &[],
    )
    .await
    .unwrap();
    let jobs = stack.launch("jobs").start().await;
    assert_eq!(
        invoke(&jobs, &json!({"jobId": "job-1"})).await["outcome"],
        "done"
    );
    assert_eq!(number(&db, OWNED).await, 1);
    assert_eq!(job(&db, "job-1").await.result["deleted"]["chats"], 5);
}

#[tokio::test]
async fn of_ten_messages_one_poisoned_goes_back_alone() {
    let stack = Stack::with_operations().await;
    let db = database(&stack.server);
    let event = sample("jobs", "03-one-poisoned-of-ten");
    for (n, record) in event["Records"].as_array().unwrap().iter().enumerate() {
        let body: Option<Value> = serde_json::from_str(record["body"].as_str().unwrap()).ok();
        let id = body.map_or_else(
            || "poisoned".to_owned(),
            |body| body["jobId"].as_str().unwrap().to_owned(),
        );
        fill(&db, &format!("owner{n}"), 1, 2).await;
        insert_job(
            &db,
            &id,
            "erase_user",
            &json!({"owner": format!("owner{n}")}),
        )
        .await;
    }
    let jobs = stack.launch("jobs").start().await;
    let answer = invoke(&jobs, &event).await;
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
    let stack = Stack::with_operations().await;
    let db = database(&stack.server);
    for n in 0..3 {
        fill(&db, &format!("owner{n}"), 3, 2).await;
        insert_job(
            &db,
            &format!("job-{n}"),
            "erase_user",
            &json!({"owner": format!("owner{n}")}),
        )
        .await;
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
    let stack = Stack::with_operations().await;
    let db = database(&stack.server);
    fill(&db, "owner", 200, 40).await;
    insert_job(&db, "job-1", "erase_user", &json!({"owner": "owner"})).await;
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
    let stack = Stack::with_operations().await;
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
    let stack = Stack::with_operations().await;
    let db = database(&stack.server);
    fill(&db, "owner", 1, 1).await;
    insert_job(&db, "job-1", "erase_user", &json!({"owner": "owner"})).await;
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
    let stack = Stack::with_operations().await;
    let db = database(&stack.server);
    insert_job(&db, "job-1", "erase_user", &json!({"owner": "owner"})).await;
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
