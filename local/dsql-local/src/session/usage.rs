//! What a transaction has done so far, by which DSQL's rules for transactions are kept: one change of the catalog and no
//! rows beside it, 3,000 rows, 10 MiB, 300 seconds.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use dsql_dialect::{DdlGuard, StateRule};

use crate::dialect::DialectFacts;
use crate::wire::{ErrorAnswer, Message};

/// Rows that a transaction may change.
const MAX_ROWS: u64 = 3000;
/// Bytes that a transaction may write.
const MAX_BYTES: u64 = 10 * MIB;
const MIB: u64 = 1024 * 1024;
/// Bytes that a value may take up as it is stored, compressed.
const MAX_VALUE: u64 = MIB;
/// How old a transaction may become.
const MAX_AGE: Duration = Duration::from_secs(300);

/// The count of an open transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct TransactionUsage {
    guard: DdlGuard,
    rows: u64,
    /// More rows were changed than may be.
    pub(super) is_over: bool,
    /// A command under way brought enough bytes for a value above its limit.
    pub(super) carries_large: bool,
    /// Where PostgreSQL's log stood before the first row was written.
    pub(super) log_start: Option<u64>,
    /// Tables whose rows were changed, quoted.
    pub(super) tables: BTreeSet<String>,
    /// When the transaction block began.
    pub(super) began_at: Option<SystemTime>,
    /// It starts a job.
    pub(super) has_job: bool,
}

impl TransactionUsage {
    /// Takes note of a statement that is about to run.
    pub(super) fn admit(&mut self, facts: &DialectFacts) -> Result<(), ErrorAnswer> {
        self.guard
            .admit(facts.effect)
            .map_err(|rule| ErrorAnswer::from(rule.refusal()))?;
        self.has_job |= facts.has_job;
        self.tables.extend(facts.targets.iter().cloned());
        Ok(())
    }

    /// Counts the rows that a command changed; whether they are too many.
    pub(super) fn count(&mut self, complete: &Message) -> bool {
        self.rows = self.rows.saturating_add(changed_rows(&complete.body));
        self.is_over = self.rows > MAX_ROWS;
        self.is_over
    }

    /// Takes note of the bytes a writing command brings; those of a COPY come later.
    pub(super) fn carries(&mut self, bytes: usize, is_copy: bool) {
        self.carries_large = is_copy || bytes as u64 > MAX_VALUE;
    }

    /// Whether rows were changed.
    pub(super) fn has_rows(&self) -> bool {
        self.rows > 0
    }

    pub(super) fn too_many_rows() -> ErrorAnswer {
        StateRule::Rows.refusal().into()
    }

    /// Whether the transaction is too old.
    pub(super) fn age_failure(&self, now: SystemTime) -> Option<ErrorAnswer> {
        let age = now.duration_since(self.began_at?).unwrap_or_default();
        (age > MAX_AGE).then(|| StateRule::Age(age.as_secs()).refusal().into())
    }

    /// Whether it can have written a value above its limit, given where PostgreSQL's log stands now.
    pub(super) fn may_hold_large_value(&self, log_end: u64) -> bool {
        self.log_start
            .is_some_and(|start| log_end.saturating_sub(start) > MAX_VALUE)
    }

    /// The refusal of what is above a limit: a value of the type named, a whole row, or nothing.
    pub(super) fn oversize_failure(found: &str) -> Option<ErrorAnswer> {
        match found {
            "" => None,
            "row" => Some(StateRule::RowSize.refusal().into()),
            type_name => Some(StateRule::ValueSize.refusal_of(type_name).into()),
        }
    }

    /// Whether it can have written too much, given where PostgreSQL's log stands now; others write to it too.
    pub(super) fn may_be_too_large(&self, log_end: u64) -> bool {
        self.log_start
            .is_some_and(|start| log_end.saturating_sub(start) > MAX_BYTES)
    }

    pub(super) fn size_failure(bytes: u64) -> Option<ErrorAnswer> {
        (bytes > MAX_BYTES).then(|| StateRule::Size(bytes.div_ceil(MIB)).refusal().into())
    }
}

/// The rows that a command tag tells of.
fn changed_rows(tag: &[u8]) -> u64 {
    let tag = tag.strip_suffix(b"\0").unwrap_or(tag);
    let words: Vec<&[u8]> = tag.split(|&byte| byte == b' ').collect();
    let ([b"INSERT", _, number] | [b"UPDATE" | b"DELETE" | b"COPY", number]) = words.as_slice()
    else {
        return 0;
    };
    std::str::from_utf8(number)
        .ok()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn command_tags_tell_how_many_rows_were_changed() {
        for (tag, rows) in [
            ("INSERT 0 3\0", 3),
            ("UPDATE 12\0", 12),
            ("DELETE 0\0", 0),
            ("COPY 7\0", 7),
            ("SELECT 9\0", 0),
            ("INSERT\0", 0),
            ("", 0),
        ] {
            assert_eq!(changed_rows(tag.as_bytes()), rows, "{tag}");
        }
    }

    #[test]
    fn exactly_three_thousand_rows_pass() {
        let mut usage = TransactionUsage::default();
        assert!(!usage.count(&Message::new(b'C', &b"INSERT 0 3000\0"[..])));
        assert!(usage.count(&Message::new(b'C', &b"DELETE 1\0"[..])));
    }

    #[test]
    fn a_transaction_of_exactly_three_hundred_seconds_passes() {
        let usage = TransactionUsage {
            began_at: Some(UNIX_EPOCH),
            ..TransactionUsage::default()
        };
        assert_eq!(usage.age_failure(UNIX_EPOCH + MAX_AGE), None);
        let answer = usage
            .age_failure(UNIX_EPOCH + Duration::from_secs(310))
            .unwrap();
        assert_eq!(answer.message, "transaction age limit of 300s exceeded");
        assert_eq!(
            answer.detail.as_deref(),
            Some("Current transaction age 310s exceeds 300s")
        );
    }

    #[test]
    fn the_size_is_told_in_whole_mebibytes() {
        assert_eq!(TransactionUsage::size_failure(10 * MIB), None);
        let answer = TransactionUsage::size_failure(16 * MIB).unwrap();
        assert_eq!(
            answer.detail.as_deref(),
            Some("Current transaction size 16mb > 10mb")
        );
    }
}
