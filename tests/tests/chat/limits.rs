//! What is refused: too much, too often, too large, malformed. A refusal writes nothing.

use dsql::Db;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tests::http::Request;

use crate::stack::{LIMIT, Stack, Visitor, heard, launch_both, launch_chat, said, submit, with};

async fn rows(db: &Db) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM chats) + (SELECT count(*) FROM messages) \
        + (SELECT count(*) FROM generations) + COALESCE((SELECT sum(n) FROM rate_buckets), 0)::bigint";
    db.query_opt_idempotent(sql, &[])
        .await
        .unwrap()
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn turns_and_tokens_are_counted_per_owner_guest_and_address() {
    let stack = Stack::start().await;
    let chats = stack.launch("chats").start().await;
    let db = stack.database("admin");
    // In six turns at least two meet the limit, even if a new minute begins between them.
    for (variable, guest, name) in [
        ("TURNS_PER_MINUTE", false, "owner"),
        ("TURNS_PER_MINUTE_GUEST", true, "guest"),
        ("TURNS_PER_MINUTE_ADDRESS", false, "address"),
    ] {
        let chat = launch_chat(&stack).env(variable, "2").start().await;
        let mut refused = 0;
        for n in 0..6 {
            let owner = if name == "address" {
                format!("{name}-{n}")
            } else {
                name.to_owned()
            };
            let visitor = Visitor {
                chat: &chat,
                chats: &chats,
                token: if guest {
                    stack.guest_token(&owner)
                } else {
                    stack.token(&owner)
                },
            };
            let before = rows(&db).await;
            let said = visitor
                .post(&submit(&format!("{name}-{n}"), "u", "hi"))
                .await;
            if said.status() == 429 {
                assert_eq!(said.code(), "rate_limited");
                let wait: u64 = said
                    .response
                    .header("retry-after")
                    .unwrap()
                    .parse()
                    .unwrap();
                assert!((1..=60).contains(&wait), "{wait}");
                assert_eq!(rows(&db).await, before);
                refused += 1;
            }
        }
        assert!(refused >= 2, "{variable}: {refused} refused");
    }

    let chat = launch_chat(&stack)
        .env("MODEL_MAX_TOKENS", "10")
        .env("TOKENS_PER_DAY", "14")
        .start()
        .await;
    let visitor = Visitor::of(&stack, &chat, &chats, "spender");
    assert_eq!(
        visitor.post(&submit("s", "u1", "one two")).await.status(),
        200
    );
    let said_no = visitor.post(&submit("s", "u2", "three")).await;
    assert_eq!(
        (said_no.status(), said_no.code().as_str()),
        (429, "budget_spent")
    );
    assert_eq!(said_no.response.json()["budget"], "owner");
    assert!(said_no.response.header("retry-after").is_some());
    // What is there can still be had.
    assert_eq!(
        visitor.post(&submit("s", "u1", "one two")).await.text(),
        "one two"
    );

    let busy = launch_chat(&stack)
        .env("CONCURRENT_REPLIES", "1")
        .start()
        .await;
    let other = launch_chat(&stack)
        .env("CONCURRENT_REPLIES", "1")
        .start()
        .await;
    let on = |chat| Visitor {
        chat,
        chats: &chats,
        token: stack.token("eager"),
    };
    let mut running = on(&busy).begin(&submit("e1", "u", "[[delay 10]][[words 100]]"), LIMIT);
    heard(&mut running, "word2").await;
    let said_no = on(&other).post(&submit("e2", "u", "hi")).await;
    assert_eq!(
        (said_no.status(), said_no.code().as_str()),
        (429, "rate_limited")
    );
    said(running.outcome().await);
    assert_eq!(
        on(&other).post(&submit("e2", "u", "hi")).await.status(),
        200
    );
}

#[tokio::test]
async fn every_cap_has_its_code_and_no_body_does_harm() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let db = stack.database("admin");
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    visitor.post(&submit("c", "u0", "hi")).await;
    let part =
        |part: Value| json!({"id": "c", "message": {"id": "u", "role": "user", "parts": [part]}});
    let text = |n: usize| json!({"type": "text", "text": "a".repeat(n)});
    let before = rows(&db).await;
    for (body, status, code) in [
        (part(text(16_001)), 422, "unprocessable"),
        (part(text(0)), 422, "unprocessable"),
        (
            json!({"id": "c", "message": {"id": "u", "role": "user", "parts": vec![text(1); 21]}}),
            422,
            "unprocessable",
        ),
        (
            json!({"id": "c", "message": {"id": "u", "role": "user", "parts": vec![text(16_000); 20]}}),
            413,
            "too_large",
        ),
        (
            part(
                json!({"type": "file", "mediaType": "image/png", "url": "https://example.com/x.png"}),
            ),
            422,
            "unprocessable",
        ),
        (
            part(
                json!({"type": "file", "mediaType": "image/png", "url": format!("data:image/png;base64,{}", "A".repeat(262_144))}),
            ),
            413,
            "too_large",
        ),
        (
            json!({"id": "c", "message": {"id": "u", "role": "system", "parts": [text(1)]}}),
            422,
            "unprocessable",
        ),
        (
            json!({"id": "c", "message": {"id": "u", "role": "user", "parts": [text(1)], "metadata": {"x": "y".repeat(2_048)}}}),
            422,
            "unprocessable",
        ),
        (
            with(submit("c", "u", "x"), "messageId", json!("a b")),
            400,
            "invalid_request",
        ),
        (submit("c", "a b", "x"), 400, "invalid_request"),
        (submit(&"c".repeat(65), "u", "x"), 400, "invalid_request"),
        (
            with(submit("c", "u", "x"), "model", json!("unknown")),
            422,
            "unprocessable",
        ),
        (submit("c", "u", "a\0b"), 400, "invalid_json"),
        (
            submit("c", "u", &"a".repeat(4 * 1024 * 1024)),
            413,
            "too_large",
        ),
    ] {
        let said = visitor.post(&body).await;
        assert_eq!(
            (said.status(), said.code().as_str()),
            (status, code),
            "{:.200}",
            body.to_string()
        );
    }
    for raw in [&b"{"[..], b"\xff\xfe", b"[]", b""] {
        let request = Request::new("POST", "/api/chat")
            .header("content-type", "application/json")
            .body(raw.to_vec());
        let said = said(visitor.send(request, LIMIT).outcome().await);
        assert_eq!((said.status(), said.code().as_str()), (400, "invalid_json"));
    }
    assert_eq!(visitor.ask("GET", "/api/chat", None).await.status(), 405);
    assert_eq!(rows(&db).await, before, "a refusal writes nothing");
    // A chat with 499 messages has no room for two more.
    let fill: Vec<Value> = (0..499)
        .map(|n| json!({"id": format!("m{n}"), "role": "user", "content": "x"}))
        .collect();
    let answer = visitor
        .ask_chats("POST", "/api/import", Some(&json!(fill)))
        .await;
    let ids = answer.json()["ids"].clone();
    let before = rows(&db).await;
    let full = visitor
        .post(&submit(ids[0].as_str().unwrap(), "u", "x"))
        .await;
    assert_eq!(
        (full.status(), full.code().as_str()),
        (422, "unprocessable")
    );
    assert_eq!(rows(&db).await, before, "a refusal writes nothing");

    // Any JSON in any place: answered, never an error of ours, and written only when accepted.
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[a-zA-Z0-9_-]{1,16}".prop_map(Value::from),
        Just(json!("user")),
        Just(json!("regenerate-message")),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("id|role|parts|type|text|metadata|url", inner, 0..4)
                .prop_map(|fields| json!(fields)),
        ]
    });
    let places = [
        "id",
        "messages",
        "message",
        "trigger",
        "messageId",
        "model",
        "role",
        "parts",
        "metadata",
    ];
    let strategy = (proptest::sample::select(places.to_vec()), value);
    let mut runner = TestRunner::deterministic();
    let mut before = rows(&db).await;
    for n in 0..200 {
        let (place, value) = strategy.new_tree(&mut runner).unwrap().current();
        let mut body = json!({"id": "c", "message": {"id": format!("p{n}"), "role": "user", "parts": [{"type": "text", "text": "x"}]}});
        if ["role", "parts", "metadata"].contains(&place) {
            body["message"][place] = value;
        } else {
            body[place] = value;
        }
        let said = visitor.post(&body).await;
        let now = rows(&db).await;
        match said.status() {
            200 => assert!(said.is_complete),
            400..=499 => assert_eq!(now, before, "{body} wrote"),
            other => panic!("{body}: {other} {}", said.body()),
        }
        before = now;
    }
}
