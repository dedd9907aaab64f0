//! Owns what a run tells: a line while it goes on, and the figures at its end.

use std::fmt::Write as _;
use std::time::Duration;

use dsql_local::Stats;

use crate::model::{Model, Outcome};

/// How far a run is.
pub(crate) fn line(model: &Model, elapsed: Duration) -> String {
    let requests = model.requests();
    let facts = model.facts();
    format!(
        "{:.0} s, {requests} requests, {} faults, {} violations",
        elapsed.as_secs_f64(),
        facts.faults.values().sum::<u64>(),
        facts.violations.len()
    )
}

/// Everything, as Markdown.
pub(crate) fn whole(model: &Model, seed: u64, elapsed: Duration, stats: &Stats) -> String {
    let mut text = format!("\nsoak: seed {seed}, {}\n\n", line(model, elapsed));
    let facts = model.facts();
    text.push_str("| Route | answers by status | slowest, s |\n|---|---|---|\n");
    for (route, figures) in &facts.routes {
        let mut told: Vec<String> = figures
            .statuses
            .iter()
            .map(|(status, times)| match status {
                0 => format!("{times} × cut"),
                status => format!("{times} × {status}"),
            })
            .collect();
        told.extend(
            figures
                .codes
                .iter()
                .map(|(code, times)| format!("{times} {code}")),
        );
        let slowest = figures.slowest.as_secs_f64();
        let _ = writeln!(text, "| `{route}` | {} | {slowest:.1} |", told.join(", "));
    }
    text.push_str("\n| Fault | times |\n|---|---|\n");
    for (fault, times) in &facts.faults {
        let _ = writeln!(text, "| {fault} | {times} |");
    }
    let outcomes = |outcome: Outcome| {
        let messages = facts.chats.values().flat_map(|chat| chat.messages.values());
        let messages = messages
            .filter(|message| message.write.outcome == outcome)
            .count();
        let transfers = facts
            .transfers
            .values()
            .filter(|row| row.0 == outcome)
            .count();
        let appends = facts
            .appends
            .values()
            .filter(|row| **row == outcome)
            .count();
        (messages, transfers + appends)
    };
    text.push_str("\n| Writes | of messages | of logins |\n|---|---|---|\n");
    for outcome in [Outcome::Done, Outcome::Refused, Outcome::Unknown] {
        let (messages, rows) = outcomes(outcome);
        let _ = writeln!(text, "| {outcome:?} | {messages} | {rows} |");
    }
    let [found, absent] = facts.resolved;
    let _ = writeln!(
        text,
        "\nOf the unknown ones, imports included, {found} had been done and {absent} had not.\n\n{stats:#?}"
    );
    text
}
