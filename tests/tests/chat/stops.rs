//! Stop means stopped, and only a living writer holds a chat: whatever a reply is doing, the next
//! turn is accepted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::function::Function;
use tests::http::Request;
use tests::runtime_api::Invocation;

use crate::stack::{
    LIMIT, Stack, Visitor, heard, launch_both, launch_chat, said, submit, text_of, until_true, with,
};

/// A killed writer's chat is usable within.
const USABLE_WITHIN: Duration = Duration::from_secs(10);
/// Two words of the reply are stored.
const CHECKPOINTED: &str = "SELECT parts LIKE '%word2 %' OR parts LIKE '%one two %' FROM messages WHERE status = 'streaming'";

fn at<'a>(stack: &Stack, chat: &'a Function, chats: &'a Function) -> Visitor<'a> {
    Visitor::of(stack, chat, chats, "visitor")
}

/// A reply that was begun, at some moment of it.
async fn begun(
    visitor: &Visitor<'_>,
    db: &dsql::Db,
    chat: &str,
    text: &str,
    last: Option<&str>,
) -> Invocation {
    let mut invocation = visitor.begin(&submit(chat, "u1", text), LIMIT);
    until_true(db, "the opening", "SELECT count(*) = 1 FROM generations").await;
    if let Some(last) = last {
        heard(&mut invocation, last).await;
    }
    invocation
}

#[tokio::test]
async fn a_stop_frees_the_chat_at_every_moment_of_a_reply() {
    let stack = Stack::start().await;
    let (chats, db) = (stack.launch("chats").start().await, stack.database("admin"));
    // As deployed: a writer that is asked once a second.
    let writer = launch_chat(&stack)
        .env("CHECKPOINT_MS", "1000")
        .start()
        .await;
    let other = launch_chat(&stack).start().await;
    let (visitor, elsewhere) = (at(&stack, &writer, &chats), at(&stack, &other, &chats));
    // The model is shown messages without an answer as one, so the next turn does as they say too.
    for (chat, text, last, reply) in [
        ("acceptance", "[[accept 4000]]one", None, None),
        ("start", "[[delay 4000]]one", Some("start-step"), Some("")),
        (
            "word",
            "[[delay 10]][[words 2000]]",
            Some("word3"),
            Some("word1 word2 word3 "),
        ),
        (
            "silence",
            "[[hang 4]]one two three",
            Some("two "),
            Some("one two "),
        ),
    ] {
        let invocation = begun(&visitor, &db, chat, text, last).await;
        if reply.is_some_and(|reply| !reply.is_empty()) {
            until_true(&db, "a checkpoint", CHECKPOINTED).await;
        }
        let path = format!("/api/chat/{chat}/stop");
        let flights = stack.server.stats().client_flights;
        let stopped = elsewhere.ask("POST", &path, None).await;
        assert_eq!(
            (stopped.status(), stopped.response.json()),
            (202, json!({"stopped": true})),
            "{chat}"
        );
        // One statement, and the writer's own at most.
        let flights = stack.server.stats().client_flights - flights;
        assert!((1..=2).contains(&flights), "{chat}: {flights}");
        // It is over before the writer knows.
        assert_eq!(
            visitor.read(chat).await["activeStreamId"],
            Value::Null,
            "{chat}"
        );
        let next = elsewhere.post(&submit(chat, "u2", "next")).await;
        assert_eq!(next.types().last().unwrap(), "finish", "{chat}");
        assert!(next.text().ends_with("next"), "{chat}: {}", next.text());

        let first = said(invocation.outcome().await);
        assert_eq!(first.types().last().unwrap(), "abort", "{chat}");
        let transcript = visitor.transcript(chat).await;
        let Some(reply) = reply else {
            // Nothing was sent, and nothing is stored.
            assert_eq!(first.types(), ["abort"]);
            assert_eq!(
                transcript,
                [
                    format!("u1: {text}"),
                    "u2: next".into(),
                    "*: one next".into()
                ]
            );
            continue;
        };
        // What was sent is what is stored.
        let read = visitor.read(chat).await;
        assert_eq!(read["messages"][1], first.message(), "{chat}");
        assert_eq!(first.message()["metadata"]["status"], "stopped");
        assert!(first.text().starts_with(reply), "{chat}: {}", first.text());
        assert_eq!(transcript.len(), 4, "{transcript:?}");
        let late = elsewhere.ask("POST", &path, None).await;
        assert_eq!(
            (late.status(), late.response.json()),
            (200, json!({"stopped": false}))
        );
    }
}

#[tokio::test]
async fn a_stopped_reply_is_followed_to_its_last_word_and_counted_once() {
    let stack = Stack::start().await;
    let (chats, db) = (stack.launch("chats").start().await, stack.database("admin"));
    let writer = launch_chat(&stack)
        .env("CHECKPOINT_MS", "1000")
        .start()
        .await;
    let other = launch_chat(&stack).start().await;
    let (visitor, elsewhere) = (at(&stack, &writer, &chats), at(&stack, &other, &chats));
    let invocation = begun(
        &visitor,
        &db,
        "c",
        "[[delay 10]][[words 2000]]",
        Some("word3"),
    )
    .await;
    until_true(
        &db,
        "a checkpoint",
        "SELECT parts LIKE '%word9 %' FROM messages WHERE status = 'streaming'",
    )
    .await;
    let request = Request::new("GET", "/api/chat/c/stream");
    let mut following = elsewhere.send(request, LIMIT);
    heard(&mut following, "word3").await;
    let third = launch_chat(&stack).start().await;
    let stopped = at(&stack, &third, &chats)
        .ask("POST", "/api/chat/c/stop", None)
        .await;
    assert_eq!(stopped.status(), 202);
    let (written, followed) = (said(invocation.outcome().await), following.outcome().await);
    assert_eq!(said(followed).message(), written.message());

    let noted = written.message()["metadata"]["usage"].clone();
    let row = db
        .query_opt_idempotent(
            "SELECT sum(requests)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint FROM usage_daily",
            &[],
        )
        .await
        .unwrap()
        .unwrap();
    let counted: [i64; 3] = [row.get(0), row.get(1), row.get(2)];
    assert_eq!(
        json!(counted),
        json!([1, noted["inputTokens"], noted["outputTokens"]])
    );
}

#[tokio::test]
async fn a_killed_writers_chat_is_usable_within_ten_seconds_and_after_a_stop_at_once() {
    let stack = Stack::start().await;
    let (chats, db) = (stack.launch("chats").start().await, stack.database("admin"));
    let survivor = launch_chat(&stack).start().await;
    for chat in ["stopped", "left"] {
        let victim = launch_chat(&stack).start().await;
        let invocation = begun(
            &at(&stack, &victim, &chats),
            &db,
            chat,
            "[[delay 10]][[words 2000]]",
            Some("word3"),
        )
        .await;
        until_true(&db, "a checkpoint", CHECKPOINTED).await;
        victim.kill().await;
        drop(invocation);
        let killed = Instant::now();
        if chat == "stopped" {
            let path = format!("/api/chat/{chat}/stop");
            let stopped = at(&stack, &survivor, &chats).ask("POST", &path, None).await;
            assert_eq!(stopped.status(), 202);
            let next = at(&stack, &survivor, &chats)
                .post(&submit(chat, "u2", "next"))
                .await;
            assert_eq!(next.text(), "next");
            continue;
        }
        // A client that does as it is told.
        loop {
            let next = at(&stack, &survivor, &chats)
                .post(&submit(chat, "u2", "next"))
                .await;
            if next.status() == 200 {
                assert_eq!(next.text(), "next");
                break;
            }
            assert_eq!(next.code(), "generation_in_progress");
            assert!(killed.elapsed() < USABLE_WITHIN);
        }
        assert!(killed.elapsed() < USABLE_WITHIN, "{:?}", killed.elapsed());
        let transcript = at(&stack, &survivor, &chats).transcript(chat).await;
        assert!(
            transcript[1].starts_with("*: [interrupted] "),
            "{transcript:?}"
        );
    }
}

#[tokio::test]
async fn a_writer_keeps_its_lock_while_the_model_is_silent_and_while_it_accepts() {
    let stack = Stack::start().await;
    let (chats, db) = (stack.launch("chats").start().await, stack.database("admin"));
    let chat = launch_chat(&stack)
        .env("CHECKPOINT_MS", "60000")
        .start()
        .await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    for (id, text, last) in [
        ("silent", "[[hang 4]]one two three", Some("two ")),
        ("accepting", "[[accept 30000]]one", None),
    ] {
        let invocation = begun(&visitor, &db, id, text, last).await;
        until_true(
            &db,
            "a second heartbeat",
            "SELECT g.lease_until > m.created_at + interval '11.5 s' FROM generations g JOIN messages m ON m.id = g.message_id",
        )
        .await;
        db.execute_sql("DELETE FROM generations").await.unwrap();
        db.execute_sql("DELETE FROM messages").await.unwrap();
        let over = said(invocation.outcome().await);
        assert_eq!(over.types().last().unwrap(), "abort", "{id}");
    }
}

#[tokio::test]
async fn a_writer_whose_lease_passed_learns_that_another_has_taken_over() {
    let stack = Stack::start().await;
    let (chats, db) = (stack.launch("chats").start().await, stack.database("admin"));
    let (slow, other) = (
        launch_chat(&stack)
            .env("CHECKPOINT_MS", "1000")
            .start()
            .await,
        launch_chat(&stack).start().await,
    );
    let invocation = begun(
        &at(&stack, &slow, &chats),
        &db,
        "c",
        "[[delay 10]][[words 2000]]",
        Some("word3"),
    )
    .await;
    until_true(&db, "a checkpoint", CHECKPOINTED).await;
    // As if no beat had come through.
    loop {
        let sql = "UPDATE generations SET lease_until = lease_until - interval '1 h'";
        db.execute_sql(sql).await.unwrap();
        let next = at(&stack, &other, &chats)
            .post(&submit("c", "u2", "next"))
            .await;
        if next.status() == 200 {
            assert_eq!(next.text(), "next");
            break;
        }
    }
    let first = said(invocation.outcome().await);
    assert_eq!(first.types().last().unwrap(), "error");
    let transcript = at(&stack, &other, &chats).transcript("c").await;
    assert_eq!(transcript.len(), 4);
    assert!(
        transcript[1].starts_with("*: [interrupted] "),
        "{transcript:?}"
    );
}

#[tokio::test]
async fn a_chat_that_is_claimed_under_a_reply_keeps_its_writer_and_the_new_owner_pays() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let db = stack.database("admin");
    let guest = Visitor {
        chat: &chat,
        chats: &chats,
        token: stack.guest_token("anon_guest"),
    };
    let text = "[[delay 10]][[words 200]]";
    let invocation = begun(&guest, &db, "c", text, Some("word3")).await;
    let member = Visitor::of(&stack, &chat, &chats, "member");
    let body = json!({"guestToken": guest.token});
    let claimed = member.ask_chats("POST", "/api/me/claim", Some(&body)).await;
    assert_eq!((claimed.status, claimed.json()), (200, json!({"moved": 1})));
    let written = said(invocation.outcome().await);
    assert_eq!(written.types().last().unwrap(), "finish");
    assert!(text_of(&written.message()["parts"]).ends_with("word200"));
    assert_eq!(
        member.read("c").await["messages"][1],
        written.message(),
        "the whole reply is stored"
    );
    let row = db
        .query_opt_idempotent(
            "SELECT min(owner_id), sum(requests)::bigint FROM usage_daily",
            &[],
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i64>(1)), ("member", 1));
    // The chat is free again.
    let next = member.post(&submit("c", "u2", "next")).await;
    assert_eq!(next.text(), "next");
}

#[tokio::test]
async fn what_follows_a_reply_that_never_began_keeps_its_place_in_the_chat() {
    let stack = Stack::start().await;
    let (chats, db) = (stack.launch("chats").start().await, stack.database("admin"));
    let writer = launch_chat(&stack)
        .env("CHECKPOINT_MS", "1000")
        .start()
        .await;
    let other = launch_chat(&stack).start().await;
    let (visitor, elsewhere) = (at(&stack, &writer, &chats), at(&stack, &other, &chats));
    let invocation = begun(&visitor, &db, "c", "[[accept 4000]]one", None).await;
    let stopped = elsewhere.ask("POST", "/api/chat/c/stop", None).await;
    assert_eq!(stopped.status(), 202);
    // Before the writer knows.
    let next = elsewhere.post(&submit("c", "u2", "next")).await;
    assert_eq!(next.types().last().unwrap(), "finish");
    assert_eq!(said(invocation.outcome().await).types(), ["abort"]);
    let before = visitor.transcript("c").await;
    assert_eq!(before.len(), 3, "{before:?}");

    // Set aside, and gone back to.
    let edit = with(submit("c", "u1", "uno"), "messageId", json!("u1"));
    assert_eq!(elsewhere.post(&edit).await.text(), "uno");
    let body = json!({"messageId": "u2"});
    let back = visitor
        .ask_chats("POST", "/api/chats/c/branches", Some(&body))
        .await;
    assert_eq!(back.status, 200);
    let texts = |lines: &[String]| {
        let text = |line: &String| line.split_once(": ").unwrap().1.to_owned();
        lines.iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(texts(&visitor.transcript("c").await), texts(&before));
    // And exported as it can be imported.
    let lines = visitor.ask("GET", "/api/me/export", None).await.body();
    let import = Request::new("POST", "/api/import").body(lines);
    let imported = visitor.send_chats(import).await;
    assert_eq!(imported.status, 201, "{:?}", imported.body);
}

#[tokio::test]
async fn a_cut_is_seen_by_a_turn_that_was_placed_before_it() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let db = stack.database("admin");
    let visitor = at(&stack, &chat, &chats);
    visitor.post(&submit("c", "u1", "one")).await;
    visitor.post(&submit("c", "u2", "two")).await;
    let place = async || -> i64 {
        let sql = "SELECT next_seq FROM chats WHERE id = 'c'";
        let row = db.query_opt_idempotent(sql, &[]).await.unwrap();
        row.unwrap().get(0)
    };
    let before = place().await;
    let cut = json!({"messageId": "u1", "type": "regenerate"});
    let cut = visitor
        .ask_chats("DELETE", "/api/chats/c/messages", Some(&cut))
        .await;
    assert_eq!(cut.status, 200);
    assert!(place().await > before, "what a turn is placed by");
    let again = with(
        submit("c", "u1", "one"),
        "trigger",
        json!("regenerate-message"),
    );
    assert_eq!(visitor.post(&again).await.text(), "one");
}
