//! Statements recorded on a real cluster: what it refused by the text alone is refused in the same
//! words, and what it accepted is not.

use dsql_dialect::{DdlGuard, Verdict, classify, split};
use serde_json::Value;

const PROBES: &str = include_str!("../../../../tests/conformance/probes.json");

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Errors that data, the catalog or another transaction decides.
fn needs_a_database(sqlstate: &str, message: &str) -> bool {
    matches!(
        sqlstate,
        "23503" | "23514" | "25P02" | "40001" | "42704" | "55000"
    ) || message == "transaction row limit exceeded"
        || message.starts_with("cannot drop primary key column")
        || message == "ddl and dml are not supported in the same transaction"
}

#[test]
fn every_refusal_decided_by_text_has_the_recorded_words() {
    let cases: Vec<Value> = serde_json::from_str(PROBES).unwrap();
    let mut checked = 0;
    for case in &cases {
        for step in array(case, "steps") {
            let sql = step["sql"].as_str().unwrap();
            let expect = &step["expect"];
            let Some(sqlstate) = expect["sqlstate"].as_str() else {
                continue;
            };
            let message = expect["message"].as_str().unwrap();
            if needs_a_database(sqlstate, message) || case["protocol"] == "simple" {
                continue;
            }
            let Verdict::Refuse(refusal) = classify(sql).verdict else {
                panic!("{}: not refused: {sql}", case["name"]);
            };
            assert_eq!(
                (
                    refusal.sqlstate,
                    refusal.message.as_str(),
                    refusal.ask_first.is_some()
                ),
                (sqlstate, message, false),
                "{sql}"
            );
            checked += 1;
        }
    }
    assert!(checked > 35, "only {checked} refusals");
}

#[test]
fn nothing_recorded_as_accepted_is_refused() {
    let cases: Vec<Value> = serde_json::from_str(PROBES).unwrap();
    for case in &cases {
        let steps = array(case, "steps")
            .iter()
            .filter(|step| step["expect"]["ok"] == true)
            .map(|step| &step["sql"]);
        for sql in array(case, "setup").iter().chain(steps) {
            let sql = sql.as_str().unwrap();
            for piece in split(sql) {
                let statement = classify(piece.text(sql));
                assert!(
                    !matches!(statement.verdict, Verdict::Refuse(_)) && !statement.unsure,
                    "{}: {sql}: {:?}",
                    case["name"],
                    statement
                );
            }
        }
    }
}

#[test]
fn simple_queries_obey_the_rule_of_one_ddl() {
    let cases: Vec<Value> = serde_json::from_str(PROBES).unwrap();
    let simple = cases.iter().filter(|case| case["protocol"] == "simple");
    for case in simple {
        for step in array(case, "steps") {
            let sql = step["sql"].as_str().unwrap();
            let mut guard = DdlGuard::default();
            let refusal = split(sql)
                .iter()
                .find_map(|piece| guard.admit(classify(piece.text(sql)).effect).err())
                .map(|rule| rule.refusal().message);
            assert_eq!(
                refusal.as_deref(),
                step["expect"]["message"].as_str(),
                "{sql}"
            );
        }
    }
}
