//! What a transaction has done so far, by which DSQL's rules for transactions are kept: one change
//! of the catalog and no rows beside it, 3,000 rows, 10 MiB, 300 seconds.

use std::time::{Duration, SystemTime};

use dsql_dialect::{DdlGuard, Effect, StateRule};

use crate::statement::DialectFacts;
use crate::wire::{CommandTag, ErrorAnswer};
use crate::writers::Names;

/// Rows that a transaction may change.
const MAX_ROWS: u64 = 3000;
/// Bytes that a transaction may write.
const MAX_BYTES: u64 = 10 * MIB;
const MIB: u64 = 1024 * 1024;
/// Bytes that a value may take up as it is stored, compressed.
const MAX_VALUE: u64 = MIB;
/// Bytes with which a row that is there is taken to stay within its limit.
const SMALL_CHANGE: usize = 64 * 1024;
/// Bytes that a key may have.
const MAX_KEY: usize = 1981;
/// How old a transaction may become.
const MAX_AGE: Duration = Duration::from_secs(300);

/// What has to be looked at when the command under way ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Command {
    /// It may have written a value, a row or a key above its limit.
    may_be_large: bool,
    /// Its tag does not tell what it changed: the rows that PostgreSQL had counted before it.
    counted_before: Option<u64>,
    /// It has changed more rows than may be.
    is_over_limit: bool,
    /// What it brings along, if that bounds what it writes.
    cargo: Option<Cargo>,
    /// Whatever it changes, its transaction stays within all limits.
    is_harmless: bool,
}

/// What a command brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cargo {
    /// Of its text and values.
    pub(super) bytes: usize,
    /// Its rows come later, or it computes values.
    pub(super) may_grow: bool,
    /// A key of its table may be too long.
    pub(super) has_long_keys: bool,
    /// The rows it writes have columns that it does not bring.
    pub(super) rewrites_rows: bool,
    /// The rows it changes at most, if that is known.
    pub(super) most_rows: Option<u64>,
}

impl Cargo {
    /// What a statement brings along with so many bytes of text and values.
    pub(super) fn of(
        facts: &DialectFacts,
        bytes: usize,
        hides_writes: bool,
        names: &Names,
    ) -> Self {
        Self {
            bytes,
            may_grow: facts.computes || facts.is_copy_in || hides_writes,
            has_long_keys: hides_writes || names.may_lengthen_keys(facts),
            rewrites_rows: facts.rewrites_rows,
            most_rows: names.most_rows(facts),
        }
    }

    /// Bytes of a row that is there, at most.
    const ROW: u64 = 2 * MIB;

    /// Whether what it wrote may have to be looked at.
    pub(super) fn is_looked_at(&self) -> bool {
        !self.is_bounded() || self.may_be_large()
    }

    /// Whether the bytes that it can write follow from what it brings and from its count of rows.
    fn is_bounded(&self) -> bool {
        !self.may_grow && self.bytes as u64 <= MAX_VALUE
    }

    /// Whether a value, a key or a row that it writes may be above its limit.
    fn may_be_large(&self) -> bool {
        let may_be_long = self.has_long_keys && (self.may_grow || self.bytes > MAX_KEY);
        let may_fill_row = self.rewrites_rows && self.bytes > SMALL_CHANGE;
        may_be_long || may_fill_row || self.bytes as u64 > MAX_VALUE
    }

    /// Whether a transaction of this command alone is within all limits, whatever it changes.
    pub(super) fn is_harmless(&self) -> bool {
        let within = |rows: u64| rows <= MAX_ROWS && self.bound(rows) <= MAX_BYTES;
        self.is_bounded() && !self.may_be_large() && self.most_rows.is_some_and(within)
    }

    /// At most this many bytes, if it changes this many rows.
    fn bound(&self, rows: u64) -> u64 {
        let bytes = self.bytes as u64;
        if self.rewrites_rows {
            rows.saturating_mul(Self::ROW.saturating_add(bytes))
        } else {
            bytes
        }
    }
}

/// What becomes of the end of a command that changed rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completion {
    Answered,
    /// What it wrote has to be looked at first.
    HeldBack,
    /// An error is answered in its place.
    Refused,
}

/// The count of an open transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct TransactionUsage {
    guard: DdlGuard,
    rows: u64,
    command: Command,
    /// Bytes at most of the commands whose own bytes bound what they write.
    bounded_bytes: u64,
    /// Where PostgreSQL's log stood before the first command that may have to be looked at.
    log_start: Option<u64>,
    /// Where it stood after the last command, if that was asked.
    log_seen: Option<u64>,
    /// Commands before that one changed rows.
    wrote_before_log: bool,
    /// Nothing bounds what one of its commands wrote.
    is_unbounded: bool,
    /// When the transaction block began.
    began_at: Option<SystemTime>,
    starts_job: bool,
}

impl TransactionUsage {
    /// Takes note of a statement that is about to run.
    pub(super) fn admit(&mut self, facts: &DialectFacts) -> Result<(), ErrorAnswer> {
        self.guard
            .admit(facts.effect)
            .map_err(|rule| ErrorAnswer::from(rule.refusal()))?;
        self.starts_job |= facts.starts_job;
        Ok(())
    }

    /// A block begins.
    pub(super) fn begin(&mut self, now: SystemTime) {
        self.began_at = Some(now);
    }

    pub(super) fn starts_job(&self) -> bool {
        self.starts_job
    }

    pub(super) fn has_log_start(&self) -> bool {
        self.log_start.is_some()
    }

    pub(super) fn log_start(&self) -> Option<u64> {
        self.log_start
    }

    /// Where PostgreSQL's log stood after the last command, if that was asked.
    pub(super) fn log_seen(&self) -> Option<u64> {
        self.log_seen
    }

    /// Where PostgreSQL's log stands after a command.
    pub(super) fn see_log(&mut self, position: Option<u64>) {
        self.log_seen = position;
    }

    /// Where PostgreSQL's log stood before whatever the transaction wrote.
    pub(super) fn whole_log_start(&self) -> Option<u64> {
        self.log_start.filter(|_| !self.wrote_before_log)
    }

    /// Where PostgreSQL's log stands before the first command that may have to be looked at.
    pub(super) fn start_log(&mut self, position: Option<u64>) {
        self.log_start = position;
        self.wrote_before_log = self.rows > 0;
    }

    /// Takes note of what a writing command brings. `counted_before`: the rows that PostgreSQL had
    /// counted before it, if its tag does not tell what it changes.
    pub(super) fn carries(&mut self, cargo: Cargo, counted_before: Option<u64>) {
        let is_harmless = self.has_no_writes() && counted_before.is_none() && cargo.is_harmless();
        self.is_unbounded |= !cargo.is_bounded();
        self.log_seen = None;
        self.command = Command {
            may_be_large: cargo.may_be_large(),
            counted_before,
            is_over_limit: false,
            cargo: cargo.is_bounded().then_some(cargo),
            is_harmless,
        };
    }

    /// Whether no command of it has written, or was about to.
    pub(super) fn has_no_writes(&self) -> bool {
        self.rows == 0 && self.log_start.is_none() && self.command == Command::default()
    }

    /// Whether its end need not be waited for: nothing that the command under way may do has to be
    /// looked at.
    pub(super) fn is_harmless(&self) -> bool {
        self.command.is_harmless
    }

    /// Whether the rows of the command under way are PostgreSQL's to count.
    pub(super) fn is_counted(&self) -> bool {
        self.command.counted_before.is_some()
    }

    /// Whether what the command wrote has to be looked at; says so once.
    pub(super) fn take_may_be_large(&mut self) -> bool {
        std::mem::take(&mut self.command.may_be_large)
    }

    /// The rows that PostgreSQL had counted before the command, if its own are to be counted; says
    /// so once.
    pub(super) fn take_counted_before(&mut self) -> Option<u64> {
        self.command.counted_before.take()
    }

    /// Counts rows that PostgreSQL counted; whether that is too many, or any is beside a change of
    /// the catalog.
    pub(super) fn add_counted(&mut self, rows: u64) -> Option<ErrorAnswer> {
        if rows > 0
            && let Err(rule) = self.guard.admit(Effect::Write)
        {
            return Some(rule.refusal().into());
        }
        self.rows = self.rows.saturating_add(rows);
        (self.rows > MAX_ROWS).then(|| StateRule::Rows.refusal().into())
    }

    /// Counts the rows that a command changed.
    pub(super) fn complete(&mut self, tag: &CommandTag) -> Completion {
        if self.is_counted() {
            return Completion::HeldBack;
        }
        let rows = tag.changed_rows();
        self.rows = self.rows.saturating_add(rows);
        if let Some(cargo) = self.command.cargo {
            self.bounded_bytes = self.bounded_bytes.saturating_add(cargo.bound(rows));
        }
        if self.rows > MAX_ROWS {
            self.command = Command {
                is_over_limit: true,
                ..Command::default()
            };
            Completion::Refused
        } else if self.command.may_be_large {
            Completion::HeldBack
        } else {
            Completion::Answered
        }
    }

    /// The refusal of a command that changed too many rows; says so once.
    pub(super) fn take_row_failure(&mut self) -> Option<ErrorAnswer> {
        let is_over = std::mem::take(&mut self.command.is_over_limit);
        is_over.then(|| StateRule::Rows.refusal().into())
    }

    /// Whether a command of it changed rows, or was about to.
    pub(super) fn has_written(&self) -> bool {
        self.rows > 0 || self.log_start.is_some()
    }

    /// Whether its commit has to be looked at.
    pub(super) fn may_be_over_limits(&self) -> bool {
        self.rows > 0 && (self.is_unbounded || self.bounded_bytes > MAX_BYTES)
    }

    /// Whether the transaction is too old.
    pub(super) fn age_failure(&self, now: SystemTime) -> Option<ErrorAnswer> {
        let age = now.duration_since(self.began_at?).unwrap_or_default();
        (age > MAX_AGE).then(|| StateRule::Age(age.as_secs()).refusal().into())
    }

    /// Whether it can have written a value above its limit, given where PostgreSQL's log stands
    /// now.
    pub(super) fn may_hold_large_value(&self, log_end: u64) -> bool {
        self.is_unbounded
            && self
                .log_start
                .is_some_and(|start| log_end.saturating_sub(start) > MAX_VALUE)
    }

    /// The refusal of what is above a limit: a value of the type named, a whole row, a key, or
    /// nothing.
    pub(super) fn oversize_failure(found: &str) -> Option<ErrorAnswer> {
        match found {
            "" => None,
            "row" => Some(StateRule::RowSize.refusal().into()),
            "key" => Some(StateRule::KeySize.refusal().into()),
            type_name => Some(StateRule::ValueSize.refusal_of(type_name).into()),
        }
    }

    /// Whether it can have written too much, given where PostgreSQL's log stands now; others write
    /// to it too.
    pub(super) fn may_be_too_large(&self, log_end: u64) -> bool {
        let logged = self
            .log_start
            .map_or(0, |start| log_end.saturating_sub(start));
        logged.saturating_add(self.bounded_bytes) > MAX_BYTES
    }

    pub(super) fn size_failure(bytes: u64) -> Option<ErrorAnswer> {
        (bytes > MAX_BYTES).then(|| StateRule::Size(bytes.div_ceil(MIB)).refusal().into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn exactly_three_thousand_rows_pass() {
        let mut usage = TransactionUsage::default();
        let last = usage.complete(&CommandTag::new("INSERT 0 3000"));
        assert_eq!(last, Completion::Answered);
        let beyond = usage.complete(&CommandTag::new("DELETE 1"));
        assert_eq!(beyond, Completion::Refused);
        assert!(usage.take_row_failure().is_some() && usage.take_row_failure().is_none());
    }

    #[test]
    fn a_commit_is_looked_at_only_if_its_commands_could_write_too_much() {
        let small = Cargo {
            bytes: 100,
            may_grow: false,
            has_long_keys: false,
            rewrites_rows: true,
            most_rows: None,
        };
        let mut usage = TransactionUsage::default();
        for (tag, is_looked_at) in [("UPDATE 2", false), ("UPDATE 2", false), ("UPDATE 9", true)] {
            usage.carries(small, None);
            usage.complete(&CommandTag::new(tag));
            assert_eq!(usage.may_be_over_limits(), is_looked_at, "{tag}");
        }
    }

    #[test]
    fn a_command_is_harmless_if_it_comes_first_and_its_rows_and_bytes_are_bounded() {
        let one = Cargo {
            bytes: 100,
            may_grow: false,
            has_long_keys: true,
            rewrites_rows: true,
            most_rows: Some(1),
        };
        let is_harmless = |cargo: Cargo| {
            let mut usage = TransactionUsage::default();
            usage.carries(cargo, None);
            usage.is_harmless()
        };
        assert!(is_harmless(one));
        let rewrites_rows = false;
        for (most_rows, harmless) in [(Some(3000), true), (Some(3001), false), (None, false)] {
            assert_eq!(
                is_harmless(Cargo {
                    rewrites_rows,
                    most_rows,
                    ..one
                }),
                harmless
            );
        }
        for harmful in [
            Cargo {
                may_grow: true,
                ..one
            },
            Cargo {
                bytes: MAX_KEY + 1,
                ..one
            },
            Cargo {
                most_rows: Some(5),
                ..one
            },
        ] {
            assert!(!is_harmless(harmful), "{harmful:?}");
        }
        let mut usage = TransactionUsage::default();
        usage.carries(one, Some(0));
        assert!(!usage.is_harmless());
        usage = TransactionUsage::default();
        usage.carries(one, None);
        usage.carries(one, None);
        assert!(!usage.is_harmless());
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
