//! Owns the log format that docs/operations.md documents, as a check of everything a function wrote.

use std::fs;

use serde_json::Value;

use crate::binary::workspace;

const LEVELS: [&str; 4] = ["ERROR", "WARN", "INFO", "DEBUG"];

/// Checks that every line is a log line or a metrics line, and that every metric is documented. A function that was
/// killed may have written half a line at its end.
///
/// # Panics
/// With the first line that is neither.
pub fn check(lines: &[String]) {
    let documented = fs::read_to_string(workspace().join("docs/operations.md"))
        .expect("the documentation is there");
    for line in lines {
        let Ok(fields) = serde_json::from_str::<Value>(line) else {
            panic!("not JSON: {line}");
        };
        if let Some(emf) = fields.get("_aws") {
            let metrics = emf["CloudWatchMetrics"][0]["Metrics"].as_array();
            for metric in metrics.expect("metrics lines name their metrics") {
                let name = metric["Name"].as_str().expect("a metric has a name");
                assert!(
                    documented.contains(&format!("`{name}`")),
                    "{name} is not documented"
                );
                assert!(fields[name].is_u64(), "{name} has no value in {line}");
            }
            assert!(fields["function"].is_string(), "{line}");
            continue;
        }
        for name in ["timestamp", "level", "message", "target"] {
            assert!(fields[name].is_string(), "no {name} in {line}");
        }
        assert!(
            LEVELS.contains(&fields["level"].as_str().unwrap_or_default()),
            "{line}"
        );
    }
}
