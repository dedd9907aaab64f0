//! What the performance claims rest on: everything side by side in one run, ratios first.
//!
//! `make bench` builds what is measured and runs all subjects; `make bench ONLY="cold warm"` some;
//! `QUICK=1` takes fewer samples. The report lies in `target/bench/report.md`, beside its plots.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints its figures, measures by the machine's clock, and stops at the first surprise"
)]

mod admission;
mod cold;
mod concurrent;
mod contention;
mod cost;
mod distance;
mod emulator;
mod growth;
mod http;
mod instructions;
mod machine;
mod network;
mod plot;
mod report;
mod routes;
mod samples;
mod stack;
mod statements;
mod storm;
mod warm;
mod weight;

use std::time::Instant;

use report::Report;
use stack::Stack;
use tests::binary::target_dir;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    is_quick: bool,
}

impl Run {
    fn of<T>(self, all: T, quick: T) -> T {
        if self.is_quick { quick } else { all }
    }
}

const SUBJECTS: [&str; 14] = [
    "admission",
    "cold",
    "warm",
    "concurrent",
    "statements",
    "instructions",
    "weight",
    "contention",
    "storm",
    "http",
    "distance",
    "cost",
    "growth",
    "emulator",
];

fn main() {
    assert!(
        std::env::var("TEST_PROFILE").is_ok_and(|profile| profile == "release"),
        "run by make bench, which builds the functions as deployed and sets TEST_PROFILE"
    );
    let run = Run {
        is_quick: std::env::var_os("QUICK").is_some_and(|quick| !quick.is_empty()),
    };
    let only = std::env::var("ONLY").unwrap_or_default();
    let only: Vec<&str> = only.split_whitespace().collect();
    for subject in &only {
        assert!(
            SUBJECTS.contains(subject),
            "no subject {subject}: there are {}",
            SUBJECTS.join(", ")
        );
    }
    let chosen: Vec<&str> = SUBJECTS
        .into_iter()
        .filter(|subject| only.is_empty() || only.contains(subject))
        .collect();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(measure(run, &chosen));
}

async fn measure(run: Run, subjects: &[&str]) {
    let begun = Instant::now();
    let load = machine::load();
    let mut report = Report::default();
    let stack = Stack::start().await;
    let folder = target_dir().join("bench");
    let mut path = folder.clone();
    for (place, subject) in subjects.iter().enumerate() {
        let started = Instant::now();
        match *subject {
            "admission" => admission::run(run, &mut report),
            "cold" => cold::run(&run, &stack, &mut report).await,
            "warm" => warm::run(&run, &stack, &mut report).await,
            "concurrent" => concurrent::run(&run, &stack, &mut report).await,
            "statements" => statements::run(&run, &stack, &mut report).await,
            "instructions" => instructions::run(&mut report).await,
            "weight" => weight::run(&run, &stack, &mut report).await,
            "contention" => contention::run(&run, &mut report).await,
            "storm" => storm::run(&mut report).await,
            "http" => http::run(&run, &stack, &mut report).await,
            "distance" => distance::run(&run, &stack, &mut report).await,
            "cost" => cost::run(&mut report).await,
            "growth" => growth::run(&run, &mut report).await,
            "emulator" => emulator::run(&run, &stack, &mut report).await,
            _ => unreachable!("chosen from the list"),
        }
        println!("  {subject} took {:.0} s", started.elapsed().as_secs_f64());
        // After each, so that a run which is ended leaves what it has measured.
        let measured = subjects.get(..=place).unwrap_or(subjects);
        let preface = preface(run, measured, &load, begun);
        path = report.write(&folder, &preface, include_str!("afterword.md"));
    }
    report.print_ratios();
    stack.base.server.stop().await;
    println!("{}", path.display());
}

fn preface(run: Run, subjects: &[&str], load: &str, begun: Instant) -> String {
    let of_all = if subjects.len() == SUBJECTS.len() {
        String::new()
    } else {
        format!(" Only a part was measured: {}.", subjects.join(", "))
    };
    format!(
        "# Performance\n\nMeasured on {} by `make bench{}` at commit {}, in one run of {:.0} min.{of_all} Load of the machine \
         before the start: {load}.\n\nMachine: {}. Everything runs on this one machine: contenders, `dsql-local` and the \
         PostgreSQL behind it share its processors. Contenders take turns, so that what disturbs one disturbs all; the claims \
         are the ratios.\n",
        jiff::Zoned::now().strftime("%Y-%m-%d"),
        run.of("", " QUICK=1"),
        machine::told_by("git", &["rev-parse", "--short", "HEAD"]),
        begun.elapsed().as_secs_f64() / 60.0,
        machine::description(),
    )
}
