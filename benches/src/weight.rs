//! Memory and size of what is deployed.

use serde_json::json;
use tests::binary::{crates, release_binary};
use tests::function::Function;
use tests::http::Request;

use crate::Run;
use crate::machine::resident_mib;
use crate::report::{Report, Target};
use crate::samples::short;
use crate::stack::{Stack, ask};

const FUNCTIONS: [&str; 6] = ["admin", "chat", "chats", "jobs", "maintenance", "sql"];

fn size_mb(name: &str) -> f64 {
    let path = release_binary(name).expect("make bench builds the functions first");
    let bytes = u32::try_from(std::fs::metadata(path).unwrap().len()).unwrap();
    f64::from(bytes) / 1e6
}

/// Resident memory after few and after many invocations.
async fn grown(function: &Function, events: &[String], invocations: usize) -> (f64, f64) {
    let mut early = 0.0;
    for n in 0..invocations {
        if n == invocations / 10 {
            early = resident_mib(function.pid());
        }
        ask(function, &events[n % events.len()]).await;
    }
    (early, resident_mib(function.pid()))
}

pub(crate) async fn run(run: &Run, stack: &Stack, report: &mut Report) {
    report.section("Memory and size");
    let invocations = run.of(10_000, 1_000);
    let text = json!([{"type": "text", "text": "A sentence of what was said."}]);
    let post = |target: &str, body| stack.event(Request::new("POST", target).json(&body));
    let chats = vec![
        post("/api/chats", json!({"id": "weight", "title": "Weighed"})),
        stack.event(Request::new("GET", "/api/chats")),
        stack.event(Request::new("GET", "/api/chats/weight")),
        post(
            "/api/chats/weight/messages",
            json!({"id": "m1", "role": "user", "parts": text}),
        ),
    ];
    let rows = |rows: u32| {
        let sql = format!("SELECT g, md5(g::text) FROM generate_series(1, {rows}) g");
        stack.sql_event(&json!({"query": sql, "params": []}))
    };
    let sql = vec![rows(1), rows(20), rows(200)];
    let mut memory = Vec::new();
    for (name, launch, events) in [
        ("chats", stack.chats(), chats),
        ("sql", stack.sql().launch, sql),
    ] {
        let function = launch.start().await;
        let started = resident_mib(function.pid());
        let (early, late) = grown(&function, &events, invocations).await;
        memory.push((name, started, early, late));
        report.verdict(
            format!("RSS of {name} after {invocations} invocations"),
            late,
            Target::AtMost(16.0),
            "MiB",
        );
        report.verdict(
            format!("Growth of {name} in the last nine tenths of them"),
            late / early,
            Target::AtMost(1.02),
            "×",
        );
    }
    for name in ["chats", "sql"] {
        report.verdict(
            format!("Stripped size of {name}"),
            size_mb(name),
            Target::AtMost(5.0),
            "MB",
        );
    }
    let head = [
        "",
        "MB, stripped",
        "crates",
        "RSS MiB after Init",
        "after a tenth",
        "after all",
    ];
    let rows: Vec<Vec<String>> = FUNCTIONS
        .iter()
        .map(|name| {
            let rss = memory.iter().find(|(known, ..)| known == name);
            let cell = |value: Option<f64>| value.map_or_else(String::new, short);
            vec![
                (*name).to_owned(),
                short(size_mb(name)),
                crates(name).to_string(),
                cell(rss.map(|rss| rss.1)),
                cell(rss.map(|rss| rss.2)),
                cell(rss.map(|rss| rss.3)),
            ]
        })
        .collect();
    report.table(&head, &rows);
    report.text(&format!(
        "hello world, built alike: {} MB. Budgets are held by `tests/tests/e2e/weight.rs`.",
        short(size_mb("hello"))
    ));
}
