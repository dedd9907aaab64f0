//! One line of metrics for each invocation, in CloudWatch's embedded metric format (EMF). The names
//! are a contract with dashboards and alarms: they are constants, and change only with a changelog entry.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::telemetry::REQUEST_ID;

/// The CloudWatch namespace of every metric.
pub const NAMESPACE: &str = "DsqlChat";
/// The dimension that names the function.
pub const FUNCTION: &str = "function";
/// 1 for a container's first invocation, else 0.
pub const COLD_START: &str = "ColdStart";
/// Database connections opened since the last line.
pub const CONNECTS: &str = "DsqlConnects";
/// Of these, the ones that replaced an earlier connection.
pub const RECONNECTS: &str = "DsqlReconnects";
/// Statements and transactions that were run again after a conflict.
pub const OCC_RETRIES: &str = "DsqlConflictsRetried";

/// Where finished lines go.
pub trait Line: fmt::Debug + Send + Sync {
    /// Writes one line; the line break is the writer's.
    fn write(&self, line: &str);
}

/// Standard output, which is the log of a Lambda function.
#[derive(Debug, Clone, Copy)]
pub struct StandardOutput;

/// Nowhere.
#[derive(Debug, Clone, Copy)]
pub struct SilentLine;

impl Line for SilentLine {
    fn write(&self, _: &str) {}
}

/// Turns running totals into what happened since the last line.
#[derive(Debug)]
pub struct Metrics {
    function: &'static str,
    line: Arc<dyn Line>,
    last: Mutex<Option<Totals>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    connects: u64,
    reconnects: u64,
    conflicts: u64,
}

impl From<dsql::Stats> for Totals {
    fn from(stats: dsql::Stats) -> Self {
        Self {
            connects: stats.connects,
            reconnects: stats.connects.saturating_sub(1),
            conflicts: stats.conflicts.saturating_sub(stats.conflicts_given_up),
        }
    }
}

impl Metrics {
    /// Metrics of `function`, written to `line`.
    pub fn new(function: &'static str, line: Arc<dyn Line>) -> Self {
        Self {
            function,
            line,
            last: Mutex::new(None),
        }
    }

    /// Writes the line of one invocation. With several at once each event is counted in one of them.
    pub fn report(&self, now: SystemTime, request_id: &str, stats: dsql::Stats) {
        let totals = Totals::from(stats);
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(totals);
        let before = last.unwrap_or_default();
        let names = [COLD_START, CONNECTS, RECONNECTS, OCC_RETRIES];
        let metrics = names.map(|name| json!({"Name": name, "Unit": "Count"}));
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let line: Value = json!({
            "_aws": {
                "Timestamp": u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
                "CloudWatchMetrics": [{
                    "Namespace": NAMESPACE,
                    "Dimensions": [[FUNCTION]],
                    "Metrics": metrics,
                }],
            },
            FUNCTION: self.function,
            REQUEST_ID: request_id,
            COLD_START: u64::from(last.is_none()),
            CONNECTS: totals.connects.saturating_sub(before.connects),
            RECONNECTS: totals.reconnects.saturating_sub(before.reconnects),
            OCC_RETRIES: totals.conflicts.saturating_sub(before.conflicts),
        });
        self.line.write(&line.to_string());
    }
}

/// Keeps its lines, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct KeptLines(Mutex<Vec<String>>);

#[cfg(test)]
impl KeptLines {
    pub(crate) fn take(&self) -> Vec<Value> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[cfg(test)]
impl Line for KeptLines {
    fn write(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
}
