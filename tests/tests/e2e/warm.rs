//! The real `chats` as a warm container: one connection, freezes, clocks that move, secrets that
//! stay inside.

use std::time::Duration;

use dsql_local::Faults;
use serde_json::json;
use tests::clock::WallClock;
use tests::function::Function;
use tests::http::Request;
use tests::proxy::Proxy;

use crate::stack::{Stack, launch_chats, send};

async fn ready(function: &Function) -> u16 {
    send(function, &Request::new("GET", "/api/ready"))
        .await
        .status
}

#[tokio::test]
async fn a_hundred_invocations_use_one_connection_and_one_token() {
    let stack = Stack::start().await;
    let before = stack.server.stats();
    let function = launch_chats(&stack).start().await;
    let token = stack.token("visitor");
    for _ in 0..100 {
        assert_eq!(
            send(&function, &Request::new("GET", "/api/chats").bearer(&token))
                .await
                .status,
            200
        );
    }
    let stats = stack.server.stats();
    assert_eq!(stats.connections_opened - before.connections_opened, 1);
    assert_eq!(stats.tokens_accepted - before.tokens_accepted, 1);
    assert_eq!(stats.client_flights - before.client_flights, 100);
}

#[tokio::test]
async fn sixteen_minutes_later_the_connection_is_kept_or_in_strict_mode_replaced() {
    let stack = Stack::start().await;
    let clock = WallClock::new();
    let usual = launch_chats(&stack).clock(&clock).start().await;
    let strict = launch_chats(&stack)
        .clock(&clock)
        .env("DSQL_RETIRE_WITH_TOKEN", "true")
        .start()
        .await;
    let before = stack.server.stats().connections_opened;
    let by = Duration::from_mins(16);
    clock.advance(by);
    stack.server.advance(by);
    assert_eq!(ready(&usual).await, 200);
    assert_eq!(stack.server.stats().connections_opened, before);
    assert_eq!(ready(&strict).await, 200);
    assert_eq!(stack.server.stats().connections_opened, before + 1);
}

#[tokio::test]
async fn sixty_one_minutes_later_there_is_exactly_one_reconnect() {
    let stack = Stack::start().await;
    let clock = WallClock::new();
    let function = launch_chats(&stack).clock(&clock).start().await;
    assert_eq!(ready(&function).await, 200);
    let before = stack.server.stats().connections_opened;
    let by = Duration::from_mins(61);
    clock.advance(by);
    stack.server.advance(by);
    for _ in 0..3 {
        assert_eq!(ready(&function).await, 200);
    }
    assert_eq!(stack.server.stats().connections_opened, before + 1);
}

#[tokio::test]
async fn a_connection_closed_during_a_freeze_is_replaced_at_the_next_request() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    assert_eq!(ready(&function).await, 200);
    let before = stack.server.stats().connections_opened;
    function.freeze().await;
    stack.server.cut_connections();
    function.thaw();
    assert_eq!(ready(&function).await, 200);
    assert_eq!(stack.server.stats().connections_opened, before + 1);
}

#[tokio::test]
async fn a_connection_that_died_silently_during_a_freeze_is_replaced_within_the_deadline() {
    let stack = Stack::start().await;
    let proxy = Proxy::to(stack.server.address()).await;
    let clock = WallClock::new();
    let function = launch_chats(&stack)
        .clock(&clock)
        .env("DSQL_PORT", proxy.address().port().to_string())
        .start()
        .await;
    assert_eq!(ready(&function).await, 200);
    let before = stack.server.stats().connections_opened;
    function.freeze().await;
    proxy.blackhole();
    clock.advance(Duration::from_secs(30));
    function.thaw();
    assert_eq!(ready(&function).await, 200);
    assert_eq!(stack.server.stats().connections_opened, before + 1);
}

#[tokio::test]
async fn a_database_that_is_away_at_start_is_found_by_the_first_request() {
    let stack = Stack::start().await;
    let faults = Faults {
        refuse_connections: Some(dsql_local::Refuse::AccessDenied),
        ..Faults::default()
    };
    stack.server.set_faults(faults).unwrap();
    let function = launch_chats(&stack).start().await;
    assert_eq!(ready(&function).await, 500);
    stack.server.set_faults(Faults::default()).unwrap();
    assert_eq!(ready(&function).await, 200);
}

#[tokio::test]
async fn several_requests_at_once_in_one_container_share_a_few_connections() {
    let stack = Stack::start().await;
    let before = stack.server.stats().connections_opened;
    let function = launch_chats(&stack).concurrency(8).start().await;
    let token = stack.token("visitor");
    stack
        .server
        .set_faults(Faults {
            delay_ms: 20,
            ..Faults::default()
        })
        .unwrap();
    let requests: Vec<Request> = (0..40)
        .map(|n| {
            Request::new("POST", "/api/chats")
                .bearer(&token)
                .json(&json!({"id": format!("c{n}")}))
        })
        .collect();
    let answers =
        futures_util::future::join_all(requests.iter().map(|request| send(&function, request)))
            .await;
    assert!(answers.iter().all(|answer| answer.status == 201));
    let opened = stack.server.stats().connections_opened - before;
    assert!((2..=4).contains(&opened), "{opened} connections");
}

#[tokio::test]
async fn no_secret_reaches_a_log_line_or_an_answer() {
    let mut stack = Stack::start().await;
    let token = stack.token("visitor");
    let function = launch_chats(&stack)
        .env("AWS_LAMBDA_LOG_LEVEL", "DEBUG")
        .env("RUST_LOG", "trace")
        .start()
        .await;
    let mut bodies = Vec::new();
    let create = Request::new("POST", "/api/chats")
        .bearer(&token)
        .json(&json!({"id": "s1", "title": "confidential title"}));
    bodies.push(send(&function, &create).await);
    bodies.push(send(&function, &create).await);
    let list = Request::new("GET", "/api/chats").bearer(&token);
    for faults in [
        Faults {
            conflict_commits: 1,
            ..Faults::default()
        },
        Faults {
            schema_conflicts: 50,
            ..Faults::default()
        },
        Faults {
            server_unavailable: 50,
            ..Faults::default()
        },
        Faults {
            drop_rate: 1.0,
            ..Faults::default()
        },
        Faults {
            refuse_connections: Some(dsql_local::Refuse::AccessDenied),
            ..Faults::default()
        },
    ] {
        stack.server.set_faults(faults).unwrap();
        bodies.push(send(&function, &list).await);
    }
    stack.server.set_faults(Faults::default()).unwrap();
    bodies.push(send(&function, &list).await);
    assert_eq!(bodies.last().map(|response| response.status), Some(200));

    let mut lines = std::mem::take(&mut stack.written);
    let own = function.end().await;
    lines.extend_from_slice(&own);
    assert!(lines.len() > 20, "{} lines", lines.len());
    for secret in [
        token.as_str(),
        token.rsplit('.').next().unwrap(),
        stack.server.admin().secret_access_key.expose(),
        "X-Amz-Signature",
        "confidential title",
    ] {
        assert!(
            lines.iter().all(|line| !line.contains(secret)),
            "a log line shows {secret}"
        );
    }
    for response in &bodies[1..7] {
        let text = String::from_utf8_lossy(&response.body);
        assert!(!text.contains("X-Amz") && !text.contains(&token), "{text}");
    }
    for line in own.iter().filter(|line| line.starts_with('{')) {
        let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            parsed["_aws"].is_object()
                || (parsed["timestamp"].is_string() && parsed["level"].is_string()),
            "{line}"
        );
    }
}
