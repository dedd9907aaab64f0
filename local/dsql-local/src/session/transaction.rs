//! The transaction of a session: its status, its block, the catalog that it knows, and what must be
//! answered instead of running a statement in it.

use std::sync::atomic::Ordering;

use super::block::Block;
use super::usage::TransactionUsage;
use crate::cluster::Cluster;
use crate::conflict;
use crate::dialect::Rules;
use crate::lock_waits::Registration;
use crate::schema::{self, Known};
use crate::statement::{Kind, Statement};
use crate::wire::{CommandTag, ErrorAnswer, ErrorResponse, TransactionCommand, TransactionStatus};

/// What an error leaves of the transaction it is answered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterFailure {
    /// Its block has failed and waits for a ROLLBACK.
    BlockFailed,
    /// It is rolled back.
    RolledBack,
}

/// What is answered instead of executing a statement.
pub(super) struct Failure {
    pub(super) answer: ErrorAnswer,
    pub(super) after: AfterFailure,
}

impl Failure {
    pub(super) fn new(answer: impl Into<ErrorAnswer>, after: AfterFailure) -> Self {
        Self {
            answer: answer.into(),
            after,
        }
    }

    /// One that leaves a failed block.
    pub(super) fn of_block(answer: impl Into<ErrorAnswer>) -> Self {
        Self::new(answer, AfterFailure::BlockFailed)
    }
}

/// What is to be done with a statement.
pub(super) enum Check {
    Run,
    /// It is run, and its client hears no more.
    RunUnanswered,
    Fail(Failure),
}

/// A conflict that PostgreSQL reported at a statement in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// A row was changed since the snapshot.
    Changed,
    /// It and another one waited for each other.
    Deadlock,
    /// A key is there already, perhaps by a transaction that its snapshot does not show.
    Key,
}

impl Conflict {
    fn of(error: &ErrorResponse) -> Option<Self> {
        match error.sqlstate()? {
            b"40001" => Some(Self::Changed),
            b"40P01" => Some(Self::Deadlock),
            b"23505" if error.field(b's') != Some(b"pg_catalog") => Some(Self::Key),
            _ => None,
        }
    }
}

/// The transaction of a session, open or not.
pub(super) struct Transaction {
    pub(super) status: TransactionStatus,
    pub(super) block: Block,
    /// The catalog that the session knows.
    known: Known,
    /// A statement of the flight that is executed met it in its block.
    conflict: Option<Conflict>,
    /// How many transactions of the cluster had changed rows when the block began.
    commits_before: u64,
}

impl Transaction {
    pub(super) fn new(known: Known) -> Self {
        Self {
            status: TransactionStatus::Idle,
            block: Block::default(),
            known,
            conflict: None,
            commits_before: 0,
        }
    }

    pub(super) fn usage(&mut self) -> &mut TransactionUsage {
        &mut self.block.usage
    }

    pub(super) fn is_idle(&self) -> bool {
        self.status == TransactionStatus::Idle
    }

    pub(super) fn is_in_block(&self) -> bool {
        self.status == TransactionStatus::InBlock
    }

    pub(super) fn has_failed(&self) -> bool {
        self.status == TransactionStatus::Failed
    }

    /// Takes note of an error of PostgreSQL's at a statement of the open block.
    pub(super) fn note_error(&mut self, error: &ErrorResponse, cluster: &Cluster) {
        if !self.is_in_block() {
            return;
        }
        // Where nobody has committed anything since, the key is in the snapshot.
        let is_alone = cluster.commits.load(Ordering::Acquire) == self.commits_before;
        self.conflict =
            Conflict::of(error).filter(|conflict| *conflict != Conflict::Key || !is_alone);
    }

    /// The conflict that a statement met, if one did.
    pub(super) fn take_conflict(&mut self) -> Option<Conflict> {
        self.conflict.take()
    }

    /// What goes wrong with a statement by an injected fault, a changed catalog, its age, or a
    /// conflict that was lost before.
    pub(super) fn check(&mut self, statement: &Statement, cluster: &Cluster) -> Check {
        if self.has_failed() || statement.is_empty() {
            return Check::Run;
        }
        if let Some(failure) = Self::injected_failure(statement, cluster) {
            return Check::Fail(failure);
        }
        let ends_block = self.is_in_block() && statement.commits_block();
        if let Some(failure) = self.lost(statement, ends_block, cluster) {
            return Check::Fail(failure);
        }
        if ends_block && self.block.is_shadowed() {
            return Check::Fail(Failure::new(conflict::data(), AfterFailure::RolledBack));
        }
        let commits = match self.status {
            TransactionStatus::InBlock => statement.commits_block(),
            _ if statement.begins_block() => statement.commits_block(),
            _ => statement.writes(),
        };
        if commits && cluster.faults.conflict() {
            cluster.counters.conflicts_injected.add_one();
            return Check::Fail(Failure::new(conflict::data(), AfterFailure::RolledBack));
        }
        if commits && cluster.faults.drop_at_commit() {
            return Check::RunUnanswered;
        }
        Check::Run
    }

    fn injected_failure(statement: &Statement, cluster: &Cluster) -> Option<Failure> {
        let Cluster {
            faults, counters, ..
        } = cluster;
        if faults.server_unavailable() {
            counters.unavailable_injected.add_one();
            let answer = ErrorAnswer::error("XX000", "server unavailable");
            return Some(Failure::of_block(answer));
        }
        if statement.uses_catalog() && faults.schema_conflict() {
            counters.schema_conflicts_injected.add_one();
            return Some(Failure::of_block(conflict::schema()));
        }
        None
    }

    /// Whether the block is too old, doomed, or behind the catalog.
    fn lost(
        &mut self,
        statement: &Statement,
        ends_block: bool,
        cluster: &Cluster,
    ) -> Option<Failure> {
        let after = if ends_block {
            AfterFailure::RolledBack
        } else {
            AfterFailure::BlockFailed
        };
        if statement.kinds.first() != Some(&Kind::Rollback) {
            let age_failure = self.block.usage.age_failure(cluster.clock.now());
            if let Some(answer) = age_failure.filter(|_| self.is_in_block()) {
                return Some(Failure::new(answer, after));
            }
            if let Some(answer) = self.block.doomed() {
                // Whoever yields to a change of the catalog need not hear of it twice.
                self.known = cluster.schema.current();
                return Some(Failure::new(answer.clone(), after));
            }
        }
        let meets_catalog = statement.uses_catalog() || (ends_block && self.block.has_run());
        (meets_catalog && cluster.schema.is_stale(&mut self.known))
            .then(|| Failure::new(conflict::schema(), after))
    }

    /// A command has completed; whether it ended the transaction, and how.
    pub(super) fn complete(&mut self, tag: &CommandTag, cluster: &Cluster) -> Option<Ended> {
        match tag.transaction() {
            Some(TransactionCommand::Commit) => return Some(Ended::Committed),
            Some(TransactionCommand::Rollback) => return Some(Ended::RolledBack),
            Some(TransactionCommand::Begin) => self.begin(cluster),
            None if schema::is_change(tag) => self.block.note_catalog_change(),
            None => {}
        }
        None
    }

    /// A block begins now.
    pub(super) fn begin(&mut self, cluster: &Cluster) {
        self.block.usage.begin(cluster.clock.now());
        self.commits_before = cluster.commits.load(Ordering::Acquire);
    }

    /// Where a command of the extended protocol leaves the transaction, before the next
    /// ReadyForQuery says so.
    pub(super) fn follow(&mut self, tag: &CommandTag) {
        match tag.transaction() {
            Some(TransactionCommand::Begin) => self.status = TransactionStatus::InBlock,
            Some(TransactionCommand::Commit | TransactionCommand::Rollback) => {
                self.status = TransactionStatus::Idle;
            }
            None => {}
        }
    }

    /// The transaction is over.
    pub(super) fn end(
        &mut self,
        ended: Ended,
        cluster: &Cluster,
        registration: Option<&Registration>,
    ) {
        let is_committed = ended == Ended::Committed;
        if let Some(registration) = registration {
            registration.ended(is_committed);
        }
        if is_committed && self.block.changes_catalog() {
            self.known = cluster.schema.change(self.known);
        }
        if is_committed && (self.block.usage.has_written() || cluster.rules == Rules::Off) {
            cluster.commits.fetch_add(1, Ordering::AcqRel);
        }
        if is_committed && self.block.usage.starts_job() {
            cluster.jobs.wake();
        }
        self.block = Block::default();
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Committed,
    RolledBack,
}
