//! Bodies of any kind: no panic, no 5xx, and nothing written by what is refused.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tests::http::Request;

use crate::stack::{Stack, launch_chats, send};
use crate::visitor::Visitor;

/// JSON that resembles what the routes take.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        prop_oneof![
            Just("user"),
            Just("assistant"),
            Just("system"),
            Just("text"),
            Just("file"),
            Just("edit"),
            Just("u1"),
            Just("a1"),
            Just("public"),
            Just("a\u{0}b"),
        ]
        .prop_map(Value::from),
    ];
    let key = prop_oneof![
        "[a-z]{1,6}",
        prop_oneof![
            Just("id"),
            Just("title"),
            Just("message"),
            Just("role"),
            Just("parts"),
            Just("type"),
            Just("text"),
            Just("metadata"),
            Just("messageId"),
            Just("isUpvoted"),
            Just("comment"),
            Just("visibility"),
            Just("retention"),
            Just("guestToken"),
            Just("chatId"),
            Just("content"),
        ]
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[tokio::test]
async fn no_body_makes_a_route_fail_or_write_what_it_refuses() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let chat = visitor.conversation("a question").await;
    let db = stack.database("admin");
    let state = async || -> Vec<String> {
        let sql = "SELECT c::text AS t FROM chats c UNION ALL SELECT m::text FROM messages m \
                   UNION ALL SELECT v::text FROM votes v UNION ALL SELECT s::text FROM shares s \
                   UNION ALL SELECT j::text FROM jobs j UNION ALL SELECT i::text FROM idempotency i ORDER BY 1";
        let rows = db.query_idempotent(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get("t")).collect()
    };
    let mut before = state().await;
    let mut runner = TestRunner::deterministic();
    let routes = [
        ("POST", "/api/chats".to_owned()),
        ("PATCH", format!("/api/chats/{chat}")),
        ("PATCH", format!("/api/chats/{chat}/title")),
        ("POST", format!("/api/chats/{chat}/messages")),
        ("DELETE", format!("/api/chats/{chat}/messages")),
        ("POST", format!("/api/chats/{chat}/votes")),
        ("PUT", format!("/api/chats/{chat}/messages/a1/vote")),
        ("POST", format!("/api/chats/{chat}/fork")),
        ("POST", "/api/import".to_owned()),
        ("POST", "/api/me/claim".to_owned()),
    ];
    for n in 0..400 {
        let (method, path) = &routes[n % routes.len()];
        let body = value().new_tree(&mut runner).unwrap().current();
        let text = body.to_string();
        // Every third is cut somewhere.
        let cut = if n % 3 == 0 {
            text.len() * (n % 7) / 7
        } else {
            text.len()
        };
        let bytes = text.as_bytes()[..cut].to_vec();
        let request = Request::new(method, path)
            .bearer(&visitor.token)
            .body(bytes);
        let response = send(&function, &request).await;
        assert!(
            response.status < 500,
            "{method} {path} {text}: {}",
            response.status
        );
        if response.status >= 400 {
            assert!(
                response.json()["message"].is_string(),
                "{method} {path} {text}"
            );
            if n % 5 == 0 {
                assert_eq!(before, state().await, "{method} {path} {text}");
            }
        } else {
            before = state().await;
        }
    }
}

#[tokio::test]
async fn every_cap_has_its_code() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let chat = visitor.conversation("a question").await;
    let messages = format!("/api/chats/{chat}/messages");
    let part = |text: String| json!({"type": "text", "text": text});
    let says = |parts: Vec<Value>| json!({"role": "user", "parts": parts});
    let image = |bytes: usize| json!({"type": "file", "mediaType": "image/png", "url": format!("data:image/png;base64,{}", "A".repeat(bytes))});
    let chat_path = format!("/api/chats/{chat}");
    let votes = format!("/api/chats/{chat}/votes");
    for (what, method, path, body, status) in [
        (
            "text",
            "POST",
            &messages,
            says(vec![part("x".repeat(16_001))]),
            422,
        ),
        (
            "parts",
            "POST",
            &messages,
            says(vec![part("x".into()); 21]),
            422,
        ),
        ("bytes", "POST", &messages, says(vec![image(262_144)]), 413),
        (
            "url",
            "POST",
            &messages,
            says(vec![
                json!({"type": "file", "mediaType": "image/png", "url": "https://a.example/x.png"}),
            ]),
            422,
        ),
        (
            "system",
            "POST",
            &messages,
            json!({"role": "system", "parts": [part("x".into())]}),
            422,
        ),
        (
            "metadata",
            "POST",
            &messages,
            json!({"role": "user", "parts": [part("x".into())], "metadata": {"x": "y".repeat(2_048)}}),
            422,
        ),
        (
            "id",
            "POST",
            &messages,
            json!({"id": "a b", "role": "user", "parts": [part("x".into())]}),
            400,
        ),
        (
            "id",
            "POST",
            &messages,
            json!({"id": "x".repeat(65), "role": "user", "parts": [part("x".into())]}),
            400,
        ),
        (
            "nul",
            "POST",
            &messages,
            says(vec![part("a\0b".into())]),
            400,
        ),
        (
            "title",
            "PATCH",
            &chat_path,
            json!({"title": "x".repeat(101)}),
            422,
        ),
        (
            "comment",
            "POST",
            &votes,
            json!({"messageId": "a1", "isUpvoted": true, "comment": "x".repeat(1_001)}),
            422,
        ),
    ] {
        let response = visitor.ask(method, path, Some(body)).await;
        assert_eq!(response.status, status, "{what}: {:?}", response.json());
    }
    let fill: Vec<Value> = (0..500)
        .map(|n| json!({"id": format!("m{n}"), "role": "user", "content": "x"}))
        .collect();
    let full = visitor
        .ask("POST", "/api/import", Some(json!(fill)))
        .await
        .json();
    let path = format!("/api/chats/{}/messages", full["ids"][0].as_str().unwrap());
    let more = visitor
        .ask("POST", &path, Some(says(vec![part("x".into())])))
        .await;
    assert_eq!(
        (more.status, more.code().as_str()),
        (422, "unprocessable"),
        "500 messages"
    );
}

#[tokio::test]
async fn times_that_the_database_cannot_keep_are_refused_wherever_they_come_in() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let early = ["-004713-12-31", "-005000-01-01", "-009999-01-02"];
    let late = ["%2B294277-01-01", "%2B999999-12-31"];
    for day in early.iter().chain(&late) {
        for query in [
            format!("from={day}"),
            format!("to={day}"),
            format!("from={day}&to={day}"),
        ] {
            let path = format!("/api/me/usage?{query}");
            assert_eq!(visitor.ask("GET", &path, None).await.status, 400, "{query}");
        }
    }
    // 29 days before a day that is kept.
    let path = "/api/me/usage?to=0000-01-05";
    assert_eq!(visitor.ask("GET", path, None).await.status, 400);
    let path = "/api/me/usage?from=0000-01-05&to=0000-01-05";
    visitor.get(path).await;

    // 4714 BC, 9978 BC, 294247 AD.
    for us in [
        -210_900_000_000_000_000_i64,
        -377_000_000_000_000_000,
        i64::MAX,
    ] {
        let cursor = BASE64_URL_SAFE_NO_PAD.encode(format!("{us} c"));
        let path = format!("/api/chats?cursor={cursor}");
        assert_eq!(visitor.ask("GET", &path, None).await.status, 400, "{us}");
    }

    for day in early.iter().chain(&late) {
        let time = format!("{}T00:00:00Z", day.replace("%2B", "+"));
        let end = json!({"type": "end", "chats": 1, "messages": 0});
        for name in ["createdAt", "updatedAt"] {
            let chat = json!({"type": "chat", "id": "c", "title": "t", name: time});
            let array = json!([{"role": "user", "content": "x", "createdAt": time}]);
            for body in [format!("{chat}\n{end}"), array.to_string()] {
                let request = Request::new("POST", "/api/import")
                    .bearer(&visitor.token)
                    .body(body.clone());
                assert_eq!(send(&function, &request).await.status, 400, "{body}");
            }
        }
    }
    assert_eq!(visitor.get("/api/chats").await["items"], json!([]));
}
