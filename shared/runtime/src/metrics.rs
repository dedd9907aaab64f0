//! One line of metrics for each invocation, in CloudWatch's embedded metric format (EMF). The names
//! are a contract with dashboards and alarms: they are constants, and change only with a changelog
//! entry.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{json, value::RawValue};

use crate::{
    env::{STACK_NAME, from_process},
    lines::Line,
    telemetry::REQUEST_ID,
};

/// The CloudWatch namespace of every metric.
pub const NAMESPACE: &str = "DsqlChat";
/// The dimension that names the function.
pub const FUNCTION: &str = "function";
/// The dimension that names the stack: of two in one account each has its own dashboard and alarms.
pub const STACK: &str = "stack";
/// The stack where [`STACK_NAME`] names none.
const NO_STACK: &str = "none";
/// 1 for a container's first invocation, else 0.
pub const COLD_START: &str = "ColdStart";
/// Database connections opened since the last line.
pub const CONNECTS: &str = "DsqlConnects";
/// Of these, the ones that replaced an earlier connection.
pub const RECONNECTS: &str = "DsqlReconnects";
/// Connections retired because of their age, or a clock that stepped back.
pub const RETIRED_BY_AGE: &str = "DsqlRetiredByAge";
/// Connections found closed or dead, or lost while in use.
pub const LOST: &str = "DsqlLost";
/// Attempts to connect that were refused or failed.
pub const CONNECT_FAILURES: &str = "DsqlConnectFailures";
/// Milliseconds spent in connecting, retries included.
pub const CONNECT_MS: &str = "DsqlConnectTime";
/// Statements outside transactions, and transactions, each attempt counted.
pub const ATTEMPTS: &str = "DsqlAttempts";
/// Statements and transactions that were run again after a conflict.
pub const OCC_RETRIES: &str = "DsqlConflictsRetried";
/// Conflicts that used up all attempts.
pub const OCC_GIVEN_UP: &str = "DsqlConflictsGivenUp";
/// The dimension that names a model.
pub const MODEL: &str = "model";
/// Tokens that a model read for one reply.
pub const MODEL_INPUT_TOKENS: &str = "ModelInputTokens";
/// Tokens that a model wrote in one reply.
pub const MODEL_OUTPUT_TOKENS: &str = "ModelOutputTokens";

/// Requests whose password or token did not open the login they named.
pub const LOGINS_REFUSED: &str = "LoginsRefused";

/// 1 for a run that gave each configuration of Hyperdrive a fresh token, else 0.
pub const HYPERDRIVE_REFRESHED: &str = "HyperdriveRefreshed";

/// 1 for a run that read what the blog lists, else 0.
pub const POSTS_INDEXED: &str = "PostsIndexed";

/// Every metric there is.
pub const METRIC_NAMES: [&str; 15] = [
    COLD_START,
    CONNECTS,
    RECONNECTS,
    RETIRED_BY_AGE,
    LOST,
    CONNECT_FAILURES,
    CONNECT_MS,
    ATTEMPTS,
    OCC_RETRIES,
    OCC_GIVEN_UP,
    MODEL_INPUT_TOKENS,
    MODEL_OUTPUT_TOKENS,
    LOGINS_REFUSED,
    HYPERDRIVE_REFRESHED,
    POSTS_INDEXED,
];

/// Turns running totals into what happened since the last line.
#[derive(Debug)]
pub struct Metrics {
    stack: String,
    function: &'static str,
    line: Arc<dyn Line>,
    last: Mutex<Option<dsql::Stats>>,
    of_invocation: Box<RawValue>,
    of_tokens: Box<RawValue>,
    of_refusals: Box<RawValue>,
}

/// A counter of each line: its name, its unit, and its running total.
type Counter = (&'static str, &'static str, fn(&dsql::Stats) -> u64);

const COUNTERS: [Counter; 9] = [
    (CONNECTS, "Count", |stats| stats.connects),
    (RECONNECTS, "Count", |stats| {
        stats.connects.saturating_sub(1)
    }),
    (RETIRED_BY_AGE, "Count", |stats| stats.retired_by_age),
    (LOST, "Count", |stats| stats.lost),
    (CONNECT_FAILURES, "Count", |stats| stats.connect_failures),
    (CONNECT_MS, "Milliseconds", |stats| stats.connect_us / 1_000),
    (ATTEMPTS, "Count", |stats| stats.attempts),
    (OCC_RETRIES, "Count", |stats| {
        stats.conflicts.saturating_sub(stats.conflicts_given_up)
    }),
    (OCC_GIVEN_UP, "Count", |stats| stats.conflicts_given_up),
];

impl Metrics {
    /// Metrics of `function`, in the stack that the environment names, written to `line`.
    pub fn new(function: &'static str, line: Arc<dyn Line>) -> Self {
        let stack = from_process(STACK_NAME).unwrap_or_else(|| NO_STACK.to_owned());
        Self::of_stack(stack, function, line)
    }

    fn of_stack(stack: String, function: &'static str, line: Arc<dyn Line>) -> Self {
        let counters = COUNTERS.map(|(name, unit, _)| (name, unit));
        let of_invocation = [&[(COLD_START, "Count")], counters.as_slice()].concat();
        Self {
            stack,
            function,
            line,
            last: Mutex::new(None),
            of_invocation: directive(&[STACK, FUNCTION], &of_invocation),
            of_refusals: directive(&[STACK, FUNCTION], &[(LOGINS_REFUSED, "Count")]),
            of_tokens: directive(
                &[STACK, FUNCTION, MODEL],
                &[
                    (MODEL_INPUT_TOKENS, "Count"),
                    (MODEL_OUTPUT_TOKENS, "Count"),
                ],
            ),
        }
    }

    /// Does `work` and writes its lines together: each write to standard output wakes whoever
    /// collects it, while a visitor waits.
    pub fn together(&self, work: impl FnOnce()) {
        struct Held<'a>(&'a dyn Line);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.release();
            }
        }
        self.line.hold();
        let _held = Held(self.line.as_ref());
        work();
    }

    /// Writes the line of one invocation. With several at once each event is counted in one of
    /// them.
    pub fn report(&self, now: SystemTime, request_id: &str, stats: dsql::Stats) {
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(stats);
        let before = last.unwrap_or_default();
        let cold_start = (COLD_START, u64::from(last.is_none()));
        let counts = COUNTERS.iter().map(|(name, _, total)| {
            let since = total(&stats).saturating_sub(total(&before));
            (*name, since)
        });
        let texts = [
            (STACK, self.stack.as_str()),
            (FUNCTION, self.function),
            (REQUEST_ID, request_id),
        ];
        let counts: Vec<_> = std::iter::once(cold_start).chain(counts).collect();
        self.write(now, &self.of_invocation, &texts, &counts);
    }

    /// Writes the line of one reply of `model`: the tokens that it read and wrote.
    pub fn report_tokens(
        &self,
        now: SystemTime,
        request_id: &str,
        model: &str,
        input: u64,
        output: u64,
    ) {
        let texts = [
            (STACK, self.stack.as_str()),
            (FUNCTION, self.function),
            (MODEL, model),
            (REQUEST_ID, request_id),
        ];
        let counts = [(MODEL_INPUT_TOKENS, input), (MODEL_OUTPUT_TOKENS, output)];
        self.write(now, &self.of_tokens, &texts, &counts);
    }

    /// Writes the line of one request that did not open the login it named.
    pub fn report_refused_login(&self, now: SystemTime, request_id: &str) {
        let texts = [
            (STACK, self.stack.as_str()),
            (FUNCTION, self.function),
            (REQUEST_ID, request_id),
        ];
        self.write(now, &self.of_refusals, &texts, &[(LOGINS_REFUSED, 1)]);
    }

    /// Writes the line of one count of its own, for what happens seldom.
    pub fn report_count(
        &self,
        now: SystemTime,
        request_id: &str,
        (name, count): (&'static str, u64),
    ) {
        let texts = [
            (STACK, self.stack.as_str()),
            (FUNCTION, self.function),
            (REQUEST_ID, request_id),
        ];
        let directive = directive(&[STACK, FUNCTION], &[(name, "Count")]);
        self.write(now, &directive, &texts, &[(name, count)]);
    }

    fn write(
        &self,
        now: SystemTime,
        directive: &RawValue,
        texts: &[(&'static str, &str)],
        counts: &[(&'static str, u64)],
    ) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let aws = Aws {
            timestamp: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            directive,
        };
        let whole = Whole { aws, texts, counts };
        // Into memory, of texts and numbers: it cannot fail.
        if let Ok(line) = serde_json::to_string(&whole) {
            self.line.write(&line);
        }
    }
}

/// A line to be, written once.
struct Whole<'a> {
    aws: Aws<'a>,
    texts: &'a [(&'static str, &'a str)],
    counts: &'a [(&'static str, u64)],
}

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("_aws", &self.aws)?;
        for (name, text) in self.texts {
            map.serialize_entry(name, text)?;
        }
        for (name, count) in self.counts {
            map.serialize_entry(name, count)?;
        }
        map.end()
    }
}

/// What makes metrics of a line's numbers. It is the same in every line, so it is put in words
/// once.
fn directive(dimensions: &[&str], metrics: &[(&str, &str)]) -> Box<RawValue> {
    let metrics: Vec<_> = metrics
        .iter()
        .map(|(name, unit)| json!({"Name": name, "Unit": unit}))
        .collect();
    let directive =
        json!([{"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics}]);
    serde_json::value::to_raw_value(&directive).expect("JSON is JSON")
}

/// The member of a line that CloudWatch reads.
#[derive(Serialize)]
struct Aws<'a> {
    #[serde(rename = "Timestamp")]
    timestamp: u64,
    #[serde(rename = "CloudWatchMetrics")]
    directive: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lines::KeptLines;

    #[test]
    fn each_line_counts_what_happened_since_the_one_before() {
        let kept = Arc::new(KeptLines::default());
        let metrics = Metrics::new("chats", kept.clone());
        let now = UNIX_EPOCH + Duration::from_secs(7);
        let mut stats = dsql::Stats::default();
        stats.connects = 1;
        metrics.report(now, "r-1", stats);
        stats.connects = 2;
        stats.conflicts = 3;
        metrics.report(now, "r-2", stats);
        let lines = kept.take();
        assert_eq!(lines[0][COLD_START], 1);
        assert_eq!(lines[0][CONNECTS], 1);
        assert_eq!(lines[1][COLD_START], 0);
        assert_eq!(lines[1][CONNECTS], 1);
        assert_eq!(lines[1][RECONNECTS], 1);
        assert_eq!(lines[1][OCC_RETRIES], 3);
        assert_eq!(lines[1]["requestId"], "r-2");
        assert_eq!(lines[1]["_aws"]["Timestamp"], 7000);
        let names = &lines[1]["_aws"]["CloudWatchMetrics"][0]["Metrics"];
        for metric in names.as_array().unwrap() {
            assert!(lines[1][metric["Name"].as_str().unwrap()].is_u64());
        }
    }
    #[test]
    fn the_tokens_of_a_reply_are_counted_by_stack_function_and_model() {
        let kept = Arc::new(KeptLines::default());
        let metrics = Metrics::of_stack("blog".to_owned(), "chat", kept.clone());
        metrics.report_tokens(UNIX_EPOCH, "r-1", "nova", 7, 11);
        let lines = kept.take();
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (
                &lines[0][MODEL_INPUT_TOKENS],
                &lines[0][MODEL_OUTPUT_TOKENS]
            ),
            (&json!(7), &json!(11))
        );
        let emf = &lines[0]["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(emf["Dimensions"], json!([[STACK, FUNCTION, MODEL]]));
        for (dimension, value) in [(STACK, "blog"), (FUNCTION, "chat"), (MODEL, "nova")] {
            assert_eq!(lines[0][dimension], value);
        }
    }
}
