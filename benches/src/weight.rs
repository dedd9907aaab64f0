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

const HELLO: &str = "hello world";
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
    let hello = Stack::hello();
    let mut memory = Vec::new();
    let mut left_by_hello = 0.0;
    for (name, launch, events) in [
        (HELLO, hello.launch, vec![hello.event]),
        ("chats", stack.chats(), chats),
        ("sql", stack.sql().launch, sql),
    ] {
        let function = launch.start().await;
        let started = resident_mib(function.pid());
        let (early, late) = grown(&function, &events, invocations).await;
        memory.push((name, started, early, late));
        let counted = u32::try_from(invocations - invocations / 10).unwrap();
        let left = (late - early) * 1024.0 * 1024.0 / f64::from(counted);
        if name == HELLO {
            left_by_hello = left;
            continue;
        }
        report.verdict(
            format!("RSS of {name} after {invocations} invocations"),
            late,
            Target::AtMost(16.0),
            "MiB",
        );
        report.verdict(
            format!("Memory that an invocation of {name} leaves behind, beyond {HELLO}'s"),
            left - left_by_hello,
            Target::AtMost(64.0),
            "bytes",
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
        .into_iter()
        .chain([HELLO])
        .map(|name| {
            let rss = memory.iter().find(|(known, ..)| *known == name);
            let cell = |value: Option<f64>| value.map_or_else(String::new, short);
            let program = if name == HELLO { "hello" } else { name };
            let count = (name != HELLO).then(|| crates(name).to_string());
            vec![
                name.to_owned(),
                short(size_mb(program)),
                count.unwrap_or_default(),
                cell(rss.map(|rss| rss.1)),
                cell(rss.map(|rss| rss.2)),
                cell(rss.map(|rss| rss.3)),
            ]
        })
        .collect();
    report.table(&head, &rows);
    report.text(&format!(
        "Budgets are held by `tests/tests/e2e/weight.rs`. Each invocation leaves {} bytes in {HELLO} too: the Runtime API's client puts \
         its trace id into the environment, and glibc frees no value that the environment had.",
        short(left_by_hello)
    ));
}
