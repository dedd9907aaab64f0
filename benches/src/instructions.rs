//! Instructions and allocations of an invocation, counted by Valgrind: the same on a busy machine
//! as on a quiet one.

use std::fs;
use std::ops::Range;

use tests::binary::target_dir;
use tests::function::Launch;

use crate::machine::told_by;
use crate::report::Report;
use crate::routes::{CHATS, Events, Routes, SQL, ask_any};
use crate::samples::short;
use crate::stack::Stack;

/// Invocations of the shorter and the longer run, whose difference leaves Init and the first ones
/// out.
const FEW: u32 = 20;
const MANY: u32 = 120;

/// What a run counted.
#[derive(Debug, Clone, Copy)]
struct Counted {
    instructions: f64,
    allocations: f64,
    allocated_bytes: f64,
}

/// The number behind `before` in a log of Valgrind's, which separates thousands.
fn number(log: &str, before: &str) -> f64 {
    let rest = log
        .split_once(before)
        .unwrap_or_else(|| panic!("no \"{before}\" in {log}"))
        .1;
    let digits: String = rest
        .chars()
        .take_while(|c| !c.is_alphabetic() && *c != '\n')
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap()
}

async fn watched(
    routes: &Routes<'_>,
    events: &Events,
    launch: &Launch,
    tool: &[&str],
    numbers: Range<u32>,
) -> String {
    let valgrind = told_by("sh", &["-c", "command -v valgrind"]);
    let log = target_dir().join("bench/valgrind.log");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    let mut prefix = vec![valgrind, format!("--log-file={}", log.display())];
    prefix.extend(tool.iter().map(|&word| word.to_owned()));
    let function = launch.clone().run_by(&prefix).start().await;
    for n in numbers {
        let event = events.of(routes, usize::try_from(n).unwrap());
        ask_any(&function, event).await;
    }
    function.terminate();
    function.exit().await;
    fs::read_to_string(&log).unwrap()
}

/// `first`: the number of the first invocation; one that was made before would only be answered
/// again.
async fn counted(
    routes: &Routes<'_>,
    events: &Events,
    launch: &Launch,
    first: u32,
    invocations: u32,
) -> Counted {
    let callgrind = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let log = watched(
        routes,
        events,
        launch,
        &callgrind,
        first..first + invocations,
    )
    .await;
    let instructions = number(&log, "Collected :");
    let memcheck = ["--leak-check=no", "--undef-value-errors=no"];
    let log = watched(
        routes,
        events,
        launch,
        &memcheck,
        first + 1_000..first + 1_000 + invocations,
    )
    .await;
    Counted {
        instructions,
        allocations: number(&log, "total heap usage:"),
        allocated_bytes: number(&log, " frees,"),
    }
}

pub(crate) async fn run(report: &mut Report) {
    report.section("Instructions and allocations");
    if told_by("valgrind", &["--version"]) == "unknown" {
        report.text("Not counted: Valgrind is not installed.");
        return;
    }
    report.text(&format!(
        "Of one warm invocation, all threads, from the event's arrival to the answer: the difference of runs of {MANY} and of {FEW} \
         invocations, by callgrind and memcheck. TLS, the Runtime API's client and JSON are in it, as they are in hello world.",
    ));
    let stack = Stack::start().await;
    let routes = Routes::prepare(&stack).await;
    let mut rows = Vec::new();
    let sqlx = stack.peers().swap_remove(0);
    for (name, launch) in [
        ("hello world", Stack::hello().launch),
        ("dsql alone", stack.dsql_alone().launch),
        (sqlx.name, sqlx.launch),
        ("ready", stack.chats()),
        ("list, 20 chats", stack.chats()),
        ("get, 20 messages", stack.chats()),
        ("append a message", stack.chats()),
        ("turn", stack.chat()),
        (SQL, stack.sql().launch),
    ] {
        let events = Events::named(&stack, name);
        routes.make(&events, 0..CHATS).await;
        let few = counted(&routes, &events, &launch, 0, FEW).await;
        let many = counted(&routes, &events, &launch, 2_000, MANY).await;
        let each = |few: f64, many: f64| short((many - few) / f64::from(MANY - FEW));
        rows.push(vec![
            name.to_owned(),
            each(few.instructions, many.instructions),
            each(few.allocations, many.allocations),
            each(few.allocated_bytes, many.allocated_bytes),
        ]);
    }
    let head = ["", "instructions", "allocations", "bytes allocated"];
    report.table(&head, &rows);
    stack.base.server.stop().await;
}
