//! Rate limits: per caller, per guest, per address, with the time to wait.

use std::time::Duration;

use serde_json::json;
use tests::clock::WallClock;
use tests::http::Request;

use crate::stack::{Stack, launch_chats, send};
use crate::visitor::Visitor;

#[tokio::test]
async fn writes_beyond_the_limit_wait_for_the_next_window_and_reads_do_not() {
    let stack = Stack::start().await;
    let clock = WallClock::new();
    let function = launch_chats(&stack)
        .clock(&clock)
        .env("WRITES_PER_MINUTE", "3")
        .env("ADDRESS_HASH_KEY", "0123456789abcdef")
        .start()
        .await;
    let of = |subject: &str| Visitor {
        function: &function,
        token: stack.token(subject),
    };
    let visitor = of("visitor");
    let create = |who| {
        let visitor = of(who);
        async move { visitor.ask("POST", "/api/chats", Some(json!({}))).await }
    };
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(create("visitor").await);
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    // A window may end in between; then there are two.
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!((2..=5).contains(&refused), "{statuses:?}");
    let answer = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(answer.code(), "rate_limited");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    visitor.get("/api/chats").await;
    let malformed = visitor
        .ask("POST", "/api/chats", Some(json!({"title": 1})))
        .await;
    assert_eq!(malformed.status, 400, "what is malformed is not counted");

    clock.advance(Duration::from_secs(wait + 1));
    assert_eq!(create("visitor").await.status, 201);
    // The address has five times a caller's writes.
    let mut admitted = 1;
    for n in 0..20 {
        let who = format!("visitor-{n}");
        let visitor = of(&who);
        let answer = visitor.ask("POST", "/api/chats", Some(json!({}))).await;
        if answer.status == 429 {
            break;
        }
        admitted += 1;
    }
    assert!((15..20).contains(&admitted), "{admitted}");
    let rows = stack
        .database("admin")
        .query_idempotent("SELECT key FROM rate_buckets", &[])
        .await
        .unwrap();
    assert!(rows.len() >= 3);
    for row in rows {
        assert!(
            !row.get::<_, &str>("key").contains("203.0.113"),
            "no clear address"
        );
    }
}

#[tokio::test]
async fn reads_and_refused_requests_are_bounded_in_the_container_without_a_statement() {
    let stack = Stack::start().await;
    let clock = WallClock::new();
    let launch = launch_chats(&stack).clock(&clock);
    let function = launch.env("REQUESTS_PER_MINUTE", "10").start().await;
    let of = |subject: &str| Visitor {
        function: &function,
        token: stack.token(subject),
    };
    let (ada, nobody) = (
        of("ada"),
        Visitor {
            function: &function,
            token: "x".to_owned(),
        },
    );
    let mut statuses = Vec::new();
    for _ in 0..14 {
        statuses.push(ada.ask("GET", "/api/chats", None).await.status);
    }
    assert!(statuses[..10].iter().all(|status| *status == 200));
    assert_eq!(statuses[13], 429, "{statuses:?}");
    let before = stack.server.stats().client_flights;
    for (method, path) in [
        ("GET", "/api/chats"),
        ("GET", "/api/me/usage"),
        ("POST", "/api/chats"),
        ("POST", "/api/import"),
    ] {
        let refused = ada.ask(method, path, None).await;
        assert_eq!(refused.code(), "rate_limited", "{method} {path}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=6).contains(&wait), "{wait}");
    }
    assert_eq!(stack.server.stats().client_flights, before);

    // Whoever calls, the address has five times as much; also without a credential.
    let mut answers = Vec::new();
    for _ in 0..60 {
        answers.push(nobody.ask("GET", "/api/chats", None).await.status);
    }
    assert_eq!((answers[0], answers[59]), (401, 429), "{answers:?}");
    let ready = send(&function, &Request::new("GET", "/api/ready")).await;
    assert_eq!(ready.status, 429);
    clock.advance(Duration::from_secs(60));
    assert_eq!(ada.ask("GET", "/api/chats", None).await.status, 200);
}
