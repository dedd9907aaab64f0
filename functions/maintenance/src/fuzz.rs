//! Fuzz target: what a schedule asks for.

use fuzzing::{Corpus, Seen, check, prop_assert_eq};
use serde_json::{Value, json};

use crate::Event;

const TASKS: [&str; 6] = [
    "purge",
    "reap",
    "roll-up-usage",
    "relay",
    "refresh-hyperdrive",
    "index-posts",
];

#[test]
fn a_schedule_names_one_task_and_says_nothing_else() {
    let seeds = TASKS.map(|task| json!({"task": task}).to_string());
    let words = TASKS.map(|task| json!(task).to_string());
    let others = ["\"task\":", "[\"purge\"]", "null"];
    let corpus = Corpus::new(seeds).words(words.iter().map(String::as_str).chain(others));
    check("an event of maintenance", corpus.text(), |text| {
        let Ok(tree) = serde_json::from_str::<Value>(&text) else {
            return Ok(Seen::Refused);
        };
        if Event::read(tree.clone()).is_err() {
            return Ok(Seen::Refused);
        }
        let is_task = TASKS.iter().any(|task| tree == json!({"task": task}));
        prop_assert_eq!(is_task, true, "{}", tree);
        Ok(Seen::Accepted)
    });
}
