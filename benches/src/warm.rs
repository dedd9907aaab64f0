//! Warm path: what an invocation costs in a container that has its connection, route by route.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::function::Function;
use tests::http::{Request, Response};
use tests::runtime_api::Outcome;

use crate::Run;
use crate::machine::cpu_time;
use crate::plot::Plot;
use crate::report::{Report, Target};
use crate::samples::{Samples, short};
use crate::stack::{LIMIT, Stack, ask};

/// A route with a process of its own, so that its CPU time is its own.
struct Route {
    name: &'static str,
    function: Function,
    times: Vec<Duration>,
    cpu: Duration,
    flights: u64,
}

const FLIGHT: &str = "bare flight";
/// Chats that take turns in being written to: one has at most 500 messages.
const CHATS: usize = 16;
/// Invocations in a row before the next route's turn.
const BLOCK: usize = 25;
const BLOCK_FLIGHTS: u32 = 25;

/// The event of a route for its n-th invocation.
pub(crate) fn event(stack: &Stack, token: &str, name: &str, n: usize) -> String {
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    let chat = format!("/api/chats/bench-{}", n % CHATS);
    let request = match name {
        "ready" => Request::new("GET", "/api/ready"),
        "list, 20 chats" => Request::new("GET", "/api/chats"),
        "get, 20 messages" => Request::new("GET", "/api/chats/bench-read"),
        "messages, the last 2" => Request::new("GET", "/api/chats/bench-read/messages?limit=2"),
        "create" => Request::new("POST", "/api/chats").json(&json!({"title": "A chat"})),
        "append a message" => Request::new("POST", &format!("{chat}/messages"))
            .json(&json!({"role": "user", "parts": text("How do I boil an egg?")})),
        "rename" => Request::new("PATCH", &format!("{chat}/title"))
            .json(&json!({"title": format!("Title {n}")})),
        "vote" => Request::new("PUT", "/api/chats/bench-read/messages/reply-1/vote")
            .json(&json!({"isUpvoted": n.is_multiple_of(2)})),
        "usage" => Request::new("GET", "/api/me/usage"),
        "sql: SELECT 1" => return stack.sql().event,
        "turn (chat, echo)" => Request::new("POST", "/api/chat").json(&json!({
            "id": format!("turns-{}", n / 100),
            "trigger": "submit-message",
            "messages": [{"id": format!("u{n}"), "role": "user", "parts": text("hi")}],
        })),
        _ => return "{}".to_owned(),
    };
    request.bearer(token).rest_event().to_string()
}

pub(crate) async fn fill(stack: &Stack, token: &str) {
    let function = stack.chats().start().await;
    let post = async |target: &str, body: Value| {
        let request = Request::new("POST", target).bearer(token).json(&body);
        ask(&function, &request.rest_event().to_string()).await;
    };
    for n in 0..CHATS {
        post(
            "/api/chats",
            json!({"id": format!("bench-{n}"), "title": "Written to"}),
        )
        .await;
    }
    post("/api/chats", json!({"id": "bench-read", "title": "Read"})).await;
    for n in 0..20 {
        let (id, role) = if n % 2 == 0 {
            (format!("question-{n}"), "user")
        } else {
            (format!("reply-{n}"), "assistant")
        };
        let parts =
            json!([{"type": "text", "text": "A sentence or two of what was said. ".repeat(4)}]);
        post(
            "/api/chats/bench-read/messages",
            json!({"id": id, "role": role, "parts": parts}),
        )
        .await;
    }
}

/// Invokes once, streamed or not, and insists on a good answer.
pub(crate) async fn ask_any(function: &Function, event: String) {
    let response = match function.invoke(event, LIMIT).await {
        Outcome::Streamed(streamed) => Response::from_streamed(&streamed),
        other => Response::from_answer(&other.response()),
    };
    assert!(
        (200..300).contains(&response.status),
        "{} {}",
        response.status,
        String::from_utf8_lossy(&response.body)
    );
}

pub(crate) async fn run(run: &Run, stack: &Stack, report: &mut Report) {
    report.section("Warm path");
    report.text(
        "One invocation through the Runtime API in a container with an open connection; each route has its own process, and \
         they take turns of 25. CPU is the function's own, all threads; flights are by the server's count.",
    );
    let samples = run.of(1_000, 200);
    let token = stack.token();
    fill(stack, &token).await;
    let mut starts = vec![
        ("hello world", Stack::hello().launch),
        ("ready", stack.chats()),
        ("list, 20 chats", stack.chats()),
        ("get, 20 messages", stack.chats()),
        ("messages, the last 2", stack.chats()),
        ("usage", stack.chats()),
        ("create", stack.chats()),
        ("append a message", stack.chats()),
        ("rename", stack.chats()),
        ("vote", stack.chats()),
        ("turn (chat, echo)", stack.chat()),
        ("sql: SELECT 1", stack.sql().launch),
        ("connect per invocation", stack.reconnect().launch),
    ];
    starts.extend(
        stack
            .peers()
            .into_iter()
            .map(|peer| (peer.name, peer.launch)),
    );
    let mut routes = Vec::new();
    for (name, launch) in starts {
        routes.push(Route {
            name,
            function: launch.start().await,
            times: Vec::new(),
            cpu: Duration::ZERO,
            flights: 0,
        });
    }
    let warm_up = 2 * BLOCK;
    let mut flights = Vec::new();
    for block in 0..(warm_up + samples) / BLOCK {
        for route in &mut routes {
            for n in block * BLOCK..(block + 1) * BLOCK {
                let event = event(stack, &token, route.name, n);
                if n == warm_up {
                    route.cpu = cpu_time(route.function.pid());
                }
                let before = stack.server.stats().client_flights;
                let begun = Instant::now();
                ask_any(&route.function, event).await;
                if n >= warm_up {
                    route.times.push(begun.elapsed());
                }
                if n == warm_up {
                    route.flights = stack.server.stats().client_flights - before;
                }
            }
        }
        let measured = stack.raw(stack.server.port(), &[], BLOCK_FLIGHTS).await;
        flights.extend_from_slice(&measured[1..]);
    }
    let flight = Samples::times(flights);
    let measured: Vec<(&str, Samples, f64, u64)> = routes
        .into_iter()
        .map(|route| {
            let cpu = cpu_time(route.function.pid()).saturating_sub(route.cpu);
            let each = cpu.as_secs_f64() * 1e6 / f64::from(u32::try_from(samples).unwrap());
            (route.name, Samples::times(route.times), each, route.flights)
        })
        .collect();
    tell(report, &measured, &flight);
}

fn tell(report: &mut Report, measured: &[(&str, Samples, f64, u64)], flight: &Samples) {
    let of = |name: &str| measured.iter().find(|(known, ..)| *known == name).unwrap();
    let p50 = |name: &str| of(name).1.p50();
    let floor = p50("hello world") + flight.p50();
    let mut rows = vec![vec![
        FLIGHT.to_owned(),
        short(flight.p50()),
        short(flight.p99()),
        String::new(),
        "1".to_owned(),
        String::new(),
    ]];
    rows.extend(measured.iter().map(|(name, times, cpu, flights)| {
        vec![
            (*name).to_owned(),
            short(times.p50()),
            short(times.p99()),
            short(*cpu),
            flights.to_string(),
            short(times.p50() / floor),
        ]
    }));
    report.table(
        &[
            "",
            "p50 ms",
            "p99 ms",
            "CPU µs",
            "flights",
            "p50 to hello world + bare flight",
        ],
        &rows,
    );
    let bars = measured
        .iter()
        .map(|(name, times, ..)| ((*name).to_owned(), times.p50()))
        .chain([(FLIGHT.to_owned(), flight.p50())])
        .collect();
    let title = "One warm invocation, p50".to_owned();
    report.plot(
        "warm",
        &Plot::Bars {
            title,
            unit: "ms",
            bars,
        },
    );
    report.verdict(
        "In-process overhead of a route of one statement (ready) over hello world plus one bare flight, p50",
        (p50("ready") - floor) * 1_000.0,
        Target::AtMost(150.0),
        "µs",
    );
    report.verdict(
        "Connect per invocation, of the same query over the kept connection, p50",
        p50("connect per invocation") / p50("ready"),
        Target::AtLeast(10.0),
        "×",
    );
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let flights = |name: &str| of(name).3 as f64;
    report.verdict(
        "Flights of a warm statement",
        flights("list, 20 chats"),
        Target::AtMost(1.0),
        "",
    );
    report.verdict(
        "Flights of a turn: one to open, one to close",
        flights("turn (chat, echo)"),
        Target::AtMost(2.0),
        "",
    );
}
