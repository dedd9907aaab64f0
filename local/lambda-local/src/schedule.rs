//! Owns schedule expressions: `rate(…)`, `cron(…)`, `at(…)`, and when each fires next.

use jiff::Timestamp;
use std::time::Duration;

/// When a schedule fires.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// Every so often, from the moment the stack starts.
    Rate(Duration),
    /// Once.
    At(Timestamp),
}
