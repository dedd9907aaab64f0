//! Owns the log format that docs/operations.md documents, as a check of everything a function
//! wrote: every line is a log line or a metrics line, every metric is documented, and no secret
//! that the function was given is in any of them. [`Function`](crate::function::Function) runs it
//! over each deployed function when it ends, whichever test started it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use serde_json::Value;

use crate::binary::workspace;

const LEVELS: [&str; 4] = ["ERROR", "WARN", "INFO", "DEBUG"];
/// What a token that opens a connection is recognized by.
const TOKEN_MARK: &str = "X-Amz-Signature";
/// Shorter ones may be words.
const MIN_SECRET_BYTES: usize = 8;

/// The metrics that docs/operations.md has in its table.
pub fn documented_metrics() -> &'static BTreeSet<String> {
    static NAMES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let page = fs::read_to_string(workspace().join("docs/operations.md"))
            .expect("the documentation is there");
        let (_, section) = page
            .split_once("\n## Metrics\n")
            .expect("it has a section on metrics");
        let section = section.split("\n## ").next().unwrap_or_default();
        let names = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .map(str::to_owned);
        names.collect()
    });
    &NAMES
}

/// Checks the form of every line.
///
/// # Panics
/// With the first line that is neither a log line nor a metrics line.
pub fn check(lines: &[String]) {
    for line in lines {
        let Ok(fields) = serde_json::from_str::<Value>(line) else {
            panic!("not JSON: {line}");
        };
        if let Some(emf) = fields.get("_aws") {
            let emf = &emf["CloudWatchMetrics"][0];
            assert_eq!(emf["Namespace"], "DsqlChat", "{line}");
            let metrics = emf["Metrics"].as_array();
            for metric in metrics.expect("metrics lines name their metrics") {
                let name = metric["Name"].as_str().expect("a metric has a name");
                assert!(
                    documented_metrics().contains(name),
                    "{name} is not documented"
                );
                assert!(fields[name].is_u64(), "{name} has no value in {line}");
            }
            let dimensions = emf["Dimensions"][0].as_array();
            for dimension in dimensions.expect("metrics lines have dimensions") {
                let name = dimension.as_str().expect("a dimension is a name");
                assert!(fields[name].is_string(), "{name} has no value in {line}");
            }
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

/// Checks that no line holds one of `secrets`, or a token for the database.
///
/// # Panics
/// With the secret that one holds.
pub fn check_secrets(lines: &[String], secrets: &BTreeSet<String>) {
    for line in lines {
        assert!(!line.contains(TOKEN_MARK), "a token is in {line}");
        for secret in secrets {
            assert!(!line.contains(secret), "{secret} is in {line}");
        }
    }
}

/// The secrets that an event carries: bearer tokens, and the passwords of connection strings.
pub(crate) fn secrets_of(event: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(event);
    let mut secrets = BTreeSet::new();
    let mut add = |secret: &str| {
        if secret.len() >= MIN_SECRET_BYTES {
            secrets.insert(secret.to_owned());
        }
    };
    for rest in text.split("Bearer ").skip(1) {
        let token = rest.split(['"', '\\', ' ']).next().unwrap_or_default();
        add(token);
        if let Some((_, signature)) = token.rsplit_once('.') {
            add(signature);
        }
    }
    for rest in text.split("postgresql://").skip(1) {
        let login = rest.split(['"', '\\', '@', '/']).next().unwrap_or_default();
        if let Some((_, password)) = login.split_once(':') {
            add(password);
        }
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[test]
    #[should_panic(expected = "not JSON")]
    fn a_line_that_is_no_json_is_found() {
        check(&line("thread 'main' panicked at src/main.rs:1:1"));
    }

    #[test]
    #[should_panic(expected = "no timestamp")]
    fn a_line_without_a_time_is_found() {
        check(&line(r#"{"level":"INFO","message":"m","target":"t"}"#));
    }

    #[test]
    #[should_panic(expected = "Unknown is not documented")]
    fn a_metric_that_is_not_documented_is_found() {
        check(&line(
            r#"{"_aws":{"CloudWatchMetrics":[{"Namespace":"DsqlChat","Dimensions":[["function"]],"Metrics":[{"Name":"Unknown"}]}]},"Unknown":1,"function":"chat"}"#,
        ));
    }

    #[test]
    #[should_panic(expected = "s3cret-token is in")]
    fn a_secret_of_an_event_is_found() {
        let event = r#"{"headers":{"Authorization":"Bearer s3cret-token"}}"#;
        check_secrets(&line("… s3cret-token …"), &secrets_of(event.as_bytes()));
    }

    #[test]
    fn tokens_their_signatures_and_passwords_are_secrets() {
        let event = r#"{"a":"Bearer head.body.signature","b":"postgresql://blog:password@db.example.com/x","c":"Bearer x"}"#;
        let found: Vec<String> = secrets_of(event.as_bytes()).into_iter().collect();
        assert_eq!(found, ["head.body.signature", "password", "signature"]);
    }

    #[test]
    fn the_documentation_has_every_metric_and_no_other() {
        let names = runtime::METRIC_NAMES.map(str::to_owned);
        assert_eq!(*documented_metrics(), BTreeSet::from(names));
    }
}
