//! What concerns a caller as a whole: guests and claims, retention, usage, deleting everything.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tests::clock::WallClock;

use crate::stack::{Stack, launch_chats};
use crate::visitor::Visitor;

#[tokio::test]
async fn a_guests_chats_end_unless_they_are_claimed_with_both_tokens() {
    let stack = Stack::start().await;
    // At the beginning of a minute, so that it does not end before the guest's writes are used up.
    let clock = WallClock::new();
    let since = clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    clock.advance(Duration::from_secs(60 - since.as_secs() % 60));
    let function = launch_chats(&stack)
        .env("WRITES_PER_MINUTE", "120")
        .clock(&clock)
        .start()
        .await;
    let (guest, member) = (
        Visitor {
            function: &function,
            token: stack.guest_token("anon_1"),
        },
        Visitor {
            function: &function,
            token: stack.token("member"),
        },
    );
    for n in 0..90 {
        let body = json!({"id": format!("g{n}")});
        let made = guest.ask("POST", "/api/chats", Some(body)).await;
        if made.status == 429 {
            // Guests have half of a caller's writes.
            assert_eq!(n, 60);
            assert!(made.header("retry-after").is_some());
            break;
        }
        assert!(made.status == 201 && made.json()["expiresAt"].is_string());
    }
    let claim = |body: Value| member.ask("POST", "/api/me/claim", Some(body));
    for (body, status) in [
        (json!({}), 400),
        (json!({"guestToken": "x"}), 422),
        (json!({"guestToken": stack.token("other")}), 422),
    ] {
        assert_eq!(claim(body.clone()).await.status, status, "{body}");
    }
    let by_guest = guest
        .ask(
            "POST",
            "/api/me/claim",
            Some(json!({"guestToken": guest.token})),
        )
        .await;
    assert_eq!(by_guest.status, 422);

    let body = json!({"guestToken": guest.token});
    let headers = [("idempotency-key", "claim-1")];
    for _ in 0..2 {
        let claimed = member
            .ask_with("POST", "/api/me/claim", Some(body.clone()), &headers)
            .await;
        assert_eq!(
            (claimed.status, claimed.json()),
            (200, json!({"moved": 60})),
            "also when it is repeated"
        );
    }
    assert_eq!(claim(body).await.json(), json!({"moved": 0}));
    let mine = member.get("/api/chats?limit=100").await;
    let items = mine["items"].as_array().unwrap();
    assert_eq!(items.len(), 60);
    assert!(items.iter().all(|chat| chat["expiresAt"].is_null()));
    assert_eq!(guest.get("/api/chats").await["items"], json!([]));
}

#[tokio::test]
async fn a_chat_whose_retention_is_over_is_treated_as_missing_on_every_route() {
    let stack = Stack::start().await;
    let clock = WallClock::new();
    let function = launch_chats(&stack).clock(&clock).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let guest = Visitor {
        function: &function,
        token: stack.guest_token("anon_1"),
    };
    let chat = visitor.conversation("a question").await;
    let path = format!("/api/chats/{chat}");
    let shared = visitor
        .ask("POST", &format!("{path}/share"), None)
        .await
        .json();
    let keep = |value: Value| visitor.ask("PATCH", &path, Some(json!({"retention": value})));
    for (value, status) in [
        (json!(0), 422),
        (json!(8_761), 422),
        (json!("1"), 400),
        (json!(1), 200),
        (json!(null), 200),
        (json!(1), 200),
    ] {
        let changed = keep(value.clone()).await;
        assert_eq!(changed.status, status, "{value}");
        if status == 200 {
            assert_eq!(changed.json()["expiresAt"].is_null(), value.is_null());
        }
    }
    let own = guest.conversation("a guest's").await;
    let own = format!("/api/chats/{own}");
    for value in [json!(null), json!(721)] {
        let refused = guest
            .ask("PATCH", &own, Some(json!({"retention": value})))
            .await;
        assert_eq!(refused.status, 422);
    }
    clock.advance(Duration::from_secs(3_601));
    stack.server.advance(Duration::from_secs(3_601));
    // Tokens live as long as the retention: a new one.
    let visitor = Visitor {
        function: &function,
        token: stack.key.token("visitor", clock.now()),
    };
    for (method, rest, body) in [
        ("GET", "", None),
        ("GET", "/messages", None),
        ("PATCH", "", Some(json!({"title": "x"}))),
        (
            "POST",
            "/messages",
            Some(json!({"role": "user", "parts": [{"type": "text", "text": "x"}]})),
        ),
        (
            "DELETE",
            "/messages",
            Some(json!({"messageId": "u1", "type": "edit"})),
        ),
        ("GET", "/votes", None),
        (
            "POST",
            "/votes",
            Some(json!({"messageId": "a1", "isUpvoted": true})),
        ),
        ("POST", "/fork", Some(json!({"messageId": "a1"}))),
        ("POST", "/share", None),
        ("DELETE", "/share", None),
    ] {
        let response = visitor.ask(method, &format!("{path}{rest}"), body).await;
        assert_eq!(response.status, 404, "{method} {rest}");
    }
    assert_eq!(visitor.get("/api/chats").await["items"], json!([]));
    let open = visitor
        .ask("GET", shared["url"].as_str().unwrap(), None)
        .await;
    assert_eq!(open.status, 404);
}

#[tokio::test]
async fn deleting_everything_hides_it_at_once_and_leaves_a_receipt_for_its_owner() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let of = |subject: &str| Visitor {
        function: &function,
        token: stack.token(subject),
    };
    let (visitor, stranger) = (of("visitor"), of("stranger"));
    let (gone, kept) = (
        visitor.conversation("one").await,
        stranger.conversation("two").await,
    );
    let before = stack.server.stats().client_flights;
    let all = visitor.ask("DELETE", "/api/chats", None).await;
    assert_eq!(all.status, 202);
    assert_eq!(
        stack.server.stats().client_flights - before,
        2,
        "limit and statement"
    );
    assert_eq!(visitor.get("/api/chats").await["items"], json!([]));
    assert_eq!(
        visitor
            .ask("GET", &format!("/api/chats/{gone}"), None)
            .await
            .status,
        404
    );
    stranger.get(&format!("/api/chats/{kept}")).await;

    let erase = visitor.ask("DELETE", "/api/me", None).await;
    let again = visitor.ask("DELETE", "/api/me", None).await;
    assert_eq!(
        (erase.status, erase.json()),
        (202, again.json()),
        "one is pending"
    );
    let job = erase.json()["jobId"].as_str().unwrap().to_owned();
    let path = format!("/api/me/erasure/{job}");
    let receipt = visitor.get(&path).await;
    assert_eq!(receipt["status"], "pending");
    assert_eq!(receipt["deleted"], Value::Null);
    assert!(receipt["requestedAt"].is_string());
    assert_eq!(stranger.ask("GET", &path, None).await.status, 404);
    assert_eq!(
        visitor.ask("GET", "/api/me/erasure/x", None).await.status,
        404
    );

    // The receipt outlives the owner's name.
    let db = stack.database("admin");
    let rows = db
        .query_idempotent(
            "SELECT kind, payload, state FROM jobs ORDER BY created_at",
            &[],
        )
        .await
        .unwrap();
    let jobs: Vec<(&str, &str, &str)> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let payload = r#"{"owner":"visitor"}"#;
    assert_eq!(
        jobs,
        [
            ("delete_all_chats", payload, "pending"),
            ("erase_user", payload, "pending")
        ]
    );
    let owner = chat_store::OwnerId::parse("visitor").unwrap();
    let done = format!(
        "UPDATE jobs SET state = 'done', payload = '{}', \
         result = '{{\"finishedAt\":\"2026-11-25T10:00:00Z\",\"deleted\":{{\"chats\":1}}}}' WHERE id = '{job}'",
        chat_store::jobs::anonymous_payload(&job, &owner)
    );
    db.execute_sql(&done).await.unwrap();
    let receipt = visitor.get(&path).await;
    assert_eq!(
        (receipt["status"].clone(), receipt["deleted"].clone()),
        (json!("done"), json!({"chats": 1}))
    );
    assert_eq!(stranger.ask("GET", &path, None).await.status, 404);
}

#[tokio::test]
async fn usage_is_read_by_day_and_summed() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack)
        .env("MODEL_PROVIDER", "echo")
        .env("MODEL_ALLOWED", "echo,other")
        .start()
        .await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let rows = "INSERT INTO usage_daily VALUES ('visitor', '2026-11-01', 'echo', 2, 10, 20), \
                ('visitor', '2026-11-02', 'echo', 1, 5, 6), ('other', '2026-11-01', 'echo', 9, 9, 9)";
    stack.database("admin").execute_sql(rows).await.unwrap();
    let usage = visitor
        .get("/api/me/usage?from=2026-11-01&to=2026-11-30")
        .await;
    assert_eq!(
        usage["total"],
        json!({"requests": 3, "inputTokens": 15, "outputTokens": 26})
    );
    assert_eq!(usage["days"].as_array().unwrap().len(), 2);
    let one = visitor
        .get("/api/me/usage?from=2026-11-02&to=2026-11-02")
        .await;
    assert_eq!(one["total"]["requests"], 1);
    visitor.get("/api/me/usage").await;
    for query in [
        "from=2026-11-02&to=2026-11-01",
        "from=2020-01-01&to=2026-01-01",
        "from=x",
    ] {
        let refused = visitor
            .ask("GET", &format!("/api/me/usage?{query}"), None)
            .await;
        assert_eq!(refused.status, 400, "{query}");
    }
    let listed = visitor.get("/api/models").await;
    assert_eq!(listed["default"], "echo");
    let names: Vec<_> = listed["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| {
            (
                model["id"].as_str().unwrap(),
                model["name"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(names, [("echo", "Echo"), ("other", "Other")]);
    assert_eq!(
        listed["models"][0]["attachments"],
        json!(chat_store::FILE_TYPES)
    );
    assert_eq!(listed["models"][0]["tools"], false, "it has none");
    assert_eq!(listed["uploads"], Value::Null, "there is no bucket");
}
