//! What a reply has used is counted once, also when its writer does not live to tell: up to the
//! last checkpoint.

use std::time::{Duration, SystemTime};

use dsql::Db;
use serde_json::{Value, json};
use tests::clock::WallClock;

use crate::stack::{
    LIMIT, Stack, Visitor, heard, launch_both, launch_chat, said, submit, until_true,
};

/// Beyond every lease of these tests.
const LATER: Duration = Duration::from_secs(120);
const SLOW: &str = "[[delay 10]][[words 200]]";
/// A reply that a test ends.
const ENDLESS: &str = "[[delay 50]][[words 500]]";

/// Replies, tokens read and tokens written, by what is counted for the owner.
async fn counted(db: &Db) -> (i64, i64, i64) {
    let row = db
        .query_opt_idempotent(
            "SELECT COALESCE(sum(requests), 0)::bigint, COALESCE(sum(input_tokens), 0)::bigint,
                COALESCE(sum(output_tokens), 0)::bigint FROM usage_daily WHERE owner_id = 'visitor'",
            &[],
        )
        .await
        .unwrap()
        .unwrap();
    (row.get(0), row.get(1), row.get(2))
}

/// The same, noted at the last checkpoint of the reply being written.
async fn noted(db: &Db) -> (i64, i64) {
    let row = db
        .query_opt_idempotent(
            "SELECT input_tokens, output_tokens FROM messages WHERE status = 'streaming'",
            &[],
        )
        .await
        .unwrap()
        .unwrap();
    (row.get(0), row.get(1))
}

async fn checkpointed(db: &Db) {
    let sql = "SELECT parts LIKE '%word5 %' FROM messages WHERE status = 'streaming'";
    until_true(db, "a checkpoint", sql).await;
}

#[tokio::test]
async fn a_killed_reply_is_counted_up_to_its_last_checkpoint_and_once() {
    let stack = Stack::start().await;
    let (chats, db) = (stack.launch("chats").start().await, stack.database("admin"));
    let now = SystemTime::now();
    let later = WallClock::new();
    later.advance(LATER);
    let reap = async || -> Value {
        let maintenance = stack.launch("maintenance").clock(&later).start().await;
        let event = json!({"task": "reap"}).to_string();
        let report = maintenance.invoke(event, LIMIT).await.response();
        serde_json::from_slice(&report).unwrap()
    };

    let victim = launch_chat(&stack).start().await;
    let at = |chat| Visitor {
        chat,
        chats: &chats,
        token: stack.token_at("visitor", now),
    };
    let mut invocation = at(&victim).begin(&submit("reaped", "u1", SLOW), LIMIT);
    heard(&mut invocation, "word6").await;
    checkpointed(&db).await;
    victim.kill().await;
    let (read, written) = noted(&db).await;
    assert!(read > 0 && written > 0, "{read} {written}");
    assert_eq!(counted(&db).await, (0, 0, 0));
    assert_eq!(reap().await["interrupted"], 1);
    assert_eq!(counted(&db).await, (1, read, written));
    assert_eq!(reap().await["interrupted"], 0);
    assert_eq!(counted(&db).await, (1, read, written));

    // The day's budget knows it.
    let thrifty = launch_chat(&stack)
        .env("TOKENS_PER_DAY", (read + written).to_string())
        .start()
        .await;
    let refused = at(&thrifty).post(&submit("other", "u1", "hi")).await;
    assert_eq!(refused.code(), "budget_spent");

    // Taken over by the same POST again, without the reaper.
    let victim = launch_chat(&stack).start().await;
    let mut invocation = at(&victim).begin(&submit("taken", "u1", SLOW), LIMIT);
    heard(&mut invocation, "word6").await;
    checkpointed(&db).await;
    victim.kill().await;
    let (read_again, written_again) = noted(&db).await;
    let survivor = launch_chat(&stack).clock(&later).start().await;
    let patient = Visitor {
        token: stack.token_at("visitor", later.now()),
        ..at(&survivor)
    };
    let mut invocation = patient.begin(&submit("taken", "u1", SLOW), LIMIT);
    heard(&mut invocation, "word6").await;
    let so_far = (2, read + read_again, written + written_again);
    assert_eq!(counted(&db).await, so_far);
    assert_eq!(invocation.outcome().await.streamed().status(), Some(200));
    let (replies, _, all_written) = counted(&db).await;
    assert_eq!(replies, 3);
    assert!(all_written > so_far.2);
}

#[tokio::test]
async fn deleting_one_chat_or_all_does_not_hide_what_a_reply_has_used() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let jobs = stack.launch("jobs").start().await;
    let db = stack.database("admin");
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    let mut before = (0, 0, 0);
    for (id, path, status) in [("c", "/api/chats/c", 204), ("d", "/api/chats", 202)] {
        let mut invocation = visitor.begin(&submit(id, "u1", ENDLESS), LIMIT);
        heard(&mut invocation, "word6").await;
        checkpointed(&db).await;
        let deleted = visitor.ask_chats("DELETE", path, None).await;
        assert_eq!(deleted.status, status);
        if status == 202 {
            let event = json!({"jobId": deleted.json()["jobId"]}).to_string();
            let report = jobs.invoke(event, LIMIT).await.response();
            let report: Value = serde_json::from_slice(&report).unwrap();
            assert_eq!(report["outcome"], "done");
        }
        let after = counted(&db).await;
        assert!(
            after.0 == before.0 + 1 && after.1 > before.1 && after.2 > before.2,
            "{path}: {before:?} {after:?}"
        );
        // Its writer notices, and counts nothing more.
        let said = said(invocation.outcome().await);
        assert_eq!(said.types().last().unwrap(), "abort");
        assert_eq!(counted(&db).await, after);
        before = after;
    }
}

#[tokio::test]
async fn the_purge_of_a_chat_does_not_hide_what_its_reply_has_used() {
    let stack = Stack::start().await;
    let (chat, chats, maintenance, db) = (
        launch_chat(&stack).start().await,
        stack.launch("chats").start().await,
        stack.launch("maintenance").start().await,
        stack.database("admin"),
    );
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    let mut invocation = visitor.begin(&submit("c", "u1", ENDLESS), LIMIT);
    heard(&mut invocation, "word6").await;
    checkpointed(&db).await;
    db.execute_sql("UPDATE chats SET expires_at = now() - interval '1 day'")
        .await
        .unwrap();
    let event = json!({"task": "purge"}).to_string();
    let report = maintenance.invoke(event, LIMIT).await.response();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["deleted"]["chats"], 1, "{report}");
    let purged = counted(&db).await;
    assert!(purged.0 == 1 && purged.1 > 0 && purged.2 > 0, "{purged:?}");
    // Its writer notices, and counts nothing more.
    let said = said(invocation.outcome().await);
    assert_eq!(said.types().last().unwrap(), "abort");
    assert_eq!(counted(&db).await, purged);
}
