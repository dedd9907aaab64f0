//! Rate limits: per caller, per guest, per address, with the time to wait.

use std::time::Duration;

use serde_json::json;
use tests::clock::WallClock;

use crate::stack::Stack;
use crate::visitor::Visitor;

#[tokio::test]
async fn writes_beyond_the_limit_wait_for_the_next_window_and_reads_do_not() {
    let stack = Stack::start().await;
    let clock = WallClock::new();
    let function = stack
        .launch_chats()
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
    for _ in 0..5 {
        answers.push(create("visitor").await);
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    // A window may end in between; then there are two.
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!((1..=2).contains(&refused), "{statuses:?}");
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
