//! An error answer, as every table of rules makes it.

use std::fmt;

/// An error answer in DSQL's words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The name of the rule, for logs.
    pub rule: &'static str,
    /// Five characters.
    pub sqlstate: &'static str,
    /// The `M` field.
    pub message: String,
    /// The `D` field.
    pub detail: Option<String>,
    /// The `H` field.
    pub hint: Option<&'static str>,
    /// Set if the parser met a syntax error beside the refused construct, which may be its own
    /// fault. Ask PostgreSQL first, by a Parse message with this text: if it answers 42601, pass
    /// that on; otherwise send this refusal.
    pub ask_first: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sqlstate, self.message)
    }
}

impl std::error::Error for Refusal {}
