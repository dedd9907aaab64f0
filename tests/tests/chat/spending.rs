//! Spending has a ceiling: what a reply may cost is reserved before a model is asked, and nothing
//! that a visitor or a crash does gives back what was used.

use std::time::{Duration, SystemTime};

use dsql::Db;
use serde_json::{Value, json};
use tests::function::{Function, Launch};

use crate::stack::{
    LIMIT, Said, Stack, Visitor, heard, launch_both, launch_chat, said, submit, until_true,
};

/// 300 tokens written, at once.
const LONG: &str = "[[words 300]]";
const SLOW: &str = "[[delay 10]][[words 200]]";
const DAY: Duration = Duration::from_secs(86_400);

/// What a chat's function counts: tokens of all owners, of all addresses and of the deployment,
/// which are the same sum here.
async fn spent(db: &Db) -> i64 {
    let row = db
        .query_opt_idempotent(
            "SELECT COALESCE(sum(n) FILTER (WHERE key LIKE 'tokens|owner|%'), 0)::bigint,
                COALESCE(sum(n) FILTER (WHERE key LIKE 'tokens|address|%'), 0)::bigint,
                COALESCE(sum(n) FILTER (WHERE key LIKE 'tokens|all|%'), 0)::bigint FROM rate_buckets",
            &[],
        )
        .await
        .unwrap()
        .unwrap();
    let (owners, addresses, all): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!((addresses, all), (owners, owners));
    all
}

async fn number(db: &Db, sql: &'static str) -> i64 {
    let row = db.query_opt_idempotent(sql, &[]).await.unwrap().unwrap();
    row.get(0)
}

const USED: &str = "SELECT COALESCE(sum(input_tokens + output_tokens), 0)::bigint FROM usage_daily";
const RESERVATIONS: &str = "SELECT count(*) FROM reservations";

fn at<'a>(stack: &Stack, chat: &'a Function, chats: &'a Function, owner: &str) -> Visitor<'a> {
    Visitor::of(stack, chat, chats, owner)
}

/// A `chat` whose longest reply has 400 tokens.
fn short_replies(stack: &Stack) -> Launch {
    launch_chat(stack).env("MODEL_MAX_TOKENS", "400")
}

/// Asks `chats` to delete something, and has the job of it done.
async fn delete(stack: &Stack, visitor: &Visitor<'_>, path: &str) {
    let answer = visitor.ask_chats("DELETE", path, None).await;
    if answer.status == 204 {
        return;
    }
    assert_eq!(answer.status, 202, "{path}");
    let jobs = stack.launch("jobs").start().await;
    let event = json!({"jobId": answer.json()["jobId"]}).to_string();
    let report = jobs.invoke(event, LIMIT).await.response();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["outcome"], "done");
}

fn assert_spent(said: &Said, budget: &str) {
    assert_eq!(
        (said.status(), said.code().as_str()),
        (429, "budget_spent"),
        "{}",
        said.body()
    );
    assert_eq!(said.response.json()["budget"], budget);
    let wait: u64 = said
        .response
        .header("retry-after")
        .unwrap()
        .parse()
        .unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let left = DAY.as_secs() - now.unwrap().as_secs() % DAY.as_secs();
    assert!(
        wait.abs_diff(left) < 60,
        "{wait} s, {left} s are left of the day"
    );
}

#[tokio::test]
async fn a_question_that_costs_more_than_a_day_is_refused_before_a_model_is_asked() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let db = stack.database("admin");
    let guest = Visitor {
        token: stack.guest_token("guest"),
        ..at(&stack, &chat, &chats, "guest")
    };
    // Close to the 256 KiB that a message may have, by a guest with 20,000 tokens a day.
    let parts = vec![json!({"type": "text", "text": "a".repeat(16_000)}); 16];
    let body = json!({"id": "c", "message": {"id": "u", "role": "user", "parts": parts}});
    assert_spent(&guest.post(&body).await, "owner");
    assert_eq!(spent(&db).await, 0);
    assert_eq!(number(&db, "SELECT count(*) FROM messages").await, 0);
    let first = guest.post(&submit("c", "u", "[[calls]]")).await;
    assert_eq!(first.text(), "This is turn 1");
}

#[tokio::test]
async fn what_a_reply_may_cost_is_spent_until_it_has_ended_and_what_it_cost_after_that() {
    let stack = Stack::start().await;
    let (chat, chats, db) = (
        short_replies(&stack).start().await,
        stack.launch("chats").start().await,
        stack.database("admin"),
    );
    let other = short_replies(&stack).start().await;
    let visitor = at(&stack, &chat, &chats, "visitor");
    let elsewhere = at(&stack, &other, &chats, "visitor");
    let mut before = 0;
    for (id, stop) in [("ended", false), ("stopped", true)] {
        let mut invocation = visitor.begin(&submit(id, "u", SLOW), LIMIT);
        heard(&mut invocation, "word2").await;
        let meanwhile = spent(&db).await - before;
        assert!((400..450).contains(&meanwhile), "{id}: {meanwhile}");
        assert_eq!(number(&db, RESERVATIONS).await, 1);
        if stop {
            let path = format!("/api/chat/{id}/stop");
            assert_eq!(elsewhere.ask("POST", &path, None).await.status(), 202);
        }
        said(invocation.outcome().await);
        assert_eq!(number(&db, RESERVATIONS).await, 0);
        let (counted, used) = (spent(&db).await, number(&db, USED).await);
        if stop {
            // What its provider bills nobody was told: all that it was allowed.
            assert_eq!(counted, before + meanwhile, "{id}");
            assert!(counted > used, "{id}");
        } else {
            assert_eq!(counted, used, "{id}");
        }
        before = counted;
    }
    // The same again costs nothing, and neither does a model that says no.
    visitor.post(&submit("ended", "u", SLOW)).await;
    let refused = submit("refused", "u", "[[refuse invalid]]");
    assert_eq!(visitor.post(&refused).await.code(), "model_refused");
    assert_eq!(spent(&db).await, before);
    // Whether a model that was not waited for has cost something, nobody knows.
    let invocation = visitor.begin(&submit("withdrawn", "u", "[[accept 4000]]one"), LIMIT);
    until_true(&db, "the opening", "SELECT count(*) = 1 FROM generations").await;
    let stopped = elsewhere
        .ask("POST", "/api/chat/withdrawn/stop", None)
        .await;
    assert_eq!(stopped.status(), 202);
    assert_eq!(said(invocation.outcome().await).types(), ["abort"]);
    assert!(spent(&db).await >= before + 400);
}

#[tokio::test]
async fn neither_a_deletion_nor_an_erasure_gives_the_day_back() {
    let stack = Stack::start().await;
    let (chat, chats, db) = (
        short_replies(&stack)
            .env("TOKENS_PER_DAY", "900")
            .start()
            .await,
        stack.launch("chats").start().await,
        stack.database("admin"),
    );
    for (owner, path) in [
        ("eraser", "/api/me"),
        ("emptier", "/api/chats"),
        ("deleter", "/api/chats/deleter-1"),
    ] {
        let visitor = at(&stack, &chat, &chats, owner);
        let turn = |n: u8| submit(&format!("{owner}-{n}"), "u", LONG);
        assert_eq!(visitor.post(&turn(1)).await.status(), 200);
        delete(&stack, &visitor, path).await;
        assert_eq!(visitor.post(&turn(2)).await.status(), 200, "{path}");
        assert_spent(&visitor.post(&turn(3)).await, "owner");
    }
    let named = "SELECT count(*) FROM rate_buckets WHERE key LIKE 'tokens|%er%aser%' OR key LIKE '%visitor%'";
    assert_eq!(number(&db, named).await, 0, "a counter names nobody");
}

#[tokio::test]
async fn a_chat_that_is_deleted_in_its_first_second_is_counted() {
    let stack = Stack::start().await;
    let (chat, chats, db) = (
        // It stores nothing before it notices.
        short_replies(&stack)
            .env("CHECKPOINT_MS", "60000")
            .start()
            .await,
        stack.launch("chats").start().await,
        stack.database("admin"),
    );
    let visitor = at(&stack, &chat, &chats, "visitor");
    let mut before = 0;
    for (id, path) in [("c", "/api/chats/c"), ("d", "/api/chats"), ("e", "/api/me")] {
        let mut invocation = visitor.begin(&submit(id, "u", "[[delay 60]][[words 350]]"), LIMIT);
        heard(&mut invocation, "word2").await;
        delete(&stack, &visitor, path).await;
        assert!(spent(&db).await >= before + 400, "{path}");
        let said = said(invocation.outcome().await);
        assert_eq!(said.types().last().unwrap(), "abort");
        let written = i64::try_from(said.body().matches("text-delta").count()).unwrap();
        let after = spent(&db).await - before;
        assert!(
            written > 0 && after >= written && after < 1_000,
            "{written} {after}"
        );
        assert_eq!(number(&db, RESERVATIONS).await, 0);
        before += after;
    }
}

#[tokio::test]
async fn all_owners_together_and_all_of_an_address_have_a_ceiling_too() {
    let stack = Stack::start().await;
    let (chats, db) = (stack.launch("chats").start().await, stack.database("admin"));
    for (variable, budget) in [
        ("TOKENS_PER_DAY_ADDRESS", "address"),
        ("TOKENS_PER_DAY_ALL", "deployment"),
    ] {
        let begun = spent(&db).await;
        let most = (begun + 900).to_string();
        let chat = short_replies(&stack).env(variable, most).start().await;
        for n in 0..3 {
            let owner = format!("{budget}-{n}");
            let said = at(&stack, &chat, &chats, &owner)
                .post(&submit(&owner, "u", LONG))
                .await;
            if n < 2 {
                assert_eq!(said.status(), 200, "{owner}");
            } else {
                assert_spent(&said, budget);
            }
        }
        assert!(spent(&db).await <= begun + 900);
    }
}

#[tokio::test]
async fn what_a_dead_writer_reserved_is_spent_until_the_day_is_over_and_no_longer() {
    let stack = Stack::start().await;
    let (chats, db) = (stack.launch("chats").start().await, stack.database("admin"));
    let victim = short_replies(&stack).start().await;
    let visitor = at(&stack, &victim, &chats, "visitor");
    let mut invocation = visitor.begin(&submit("c", "u", SLOW), LIMIT);
    heard(&mut invocation, "word6").await;
    victim.kill().await;
    let later = SystemTime::now() + Duration::from_secs(60);
    let reaped = chat_store::replies::reap(&db, chat_store::microseconds(later), 10).await;
    assert_eq!(reaped.unwrap(), 1);
    assert!(spent(&db).await >= 400);

    for over in [
        "UPDATE reservations SET expires_at = now() - interval '1 s'",
        "UPDATE rate_buckets SET expires_at = now() - interval '1 s'",
    ] {
        db.execute_sql(over).await.unwrap();
    }
    let maintenance = stack.launch("maintenance").start().await;
    let event = json!({"task": "purge"}).to_string();
    let report = maintenance.invoke(event, LIMIT).await.response();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["deleted"]["reservations"], 1, "{report}");
    assert_eq!(number(&db, RESERVATIONS).await, 0);
    assert_eq!(spent(&db).await, 0);
}
