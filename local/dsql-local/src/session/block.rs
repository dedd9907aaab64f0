//! The open transaction block, and its state towards sessions that wait for its locks.
//!
//! 1. What a block does is done behind a guard (a savepoint), and kept (`history`).
//! 2. Whoever is waited for while its client is idle yields: what it did is taken back, and with it
//!    its locks; its snapshot stays.
//! 3. Before its next statement, or COMMIT, the history is replayed on the same snapshot. If an
//!    answer differs from the one the client had, or a transaction that it yielded to was
//!    committed, it is doomed: 40001 OC000.

use std::sync::Arc;

use super::history::History;
use super::usage::TransactionUsage;
use crate::conflict;
use crate::lock_waits::{CommitState, Obstacle};
use crate::statement::Statement;
use crate::wire::ErrorAnswer;

/// Where a block stands.
#[derive(Default)]
enum Standing {
    /// Nothing of it could be taken back.
    #[default]
    Unguarded,
    /// What it does can be taken back and done again.
    Guarded,
    /// It yielded its locks to these transactions.
    Yielded(Vec<Arc<CommitState>>),
    /// It has lost, and goes on until its COMMIT on copies of its tables (`shadow`).
    Shadowed,
    /// It has lost; the answer to whatever comes.
    Doomed(ErrorAnswer),
}

/// What is known of the open block.
#[derive(Default)]
pub(super) struct Block {
    pub(super) history: History,
    standing: Standing,
    /// A statement of it read or wrote.
    has_run: bool,
    changes_catalog: bool,
    /// What it has done, by which the rules for transactions are kept.
    pub(super) usage: TransactionUsage,
}

impl Block {
    /// A statement of it is about to run.
    pub(super) fn runs(&mut self, statement: &Statement) {
        self.has_run |= statement.uses_catalog();
    }

    pub(super) fn has_run(&self) -> bool {
        self.has_run
    }

    /// A command of it changed the catalog.
    pub(super) fn note_catalog_change(&mut self) {
        self.changes_catalog = true;
    }

    pub(super) fn changes_catalog(&self) -> bool {
        self.changes_catalog
    }

    /// Its guard stands.
    pub(super) fn guard(&mut self) {
        if matches!(self.standing, Standing::Unguarded) {
            self.standing = Standing::Guarded;
        }
    }

    pub(super) fn is_guarded(&self) -> bool {
        !matches!(self.standing, Standing::Unguarded)
    }

    /// Whether what was done since the guard can be done again.
    pub(super) fn can_replay(&self) -> bool {
        matches!(self.standing, Standing::Guarded) && self.history.is_complete()
    }

    /// It has yielded its locks.
    pub(super) fn yield_to(&mut self, others: Vec<Arc<CommitState>>) {
        self.standing = Standing::Yielded(others);
    }

    pub(super) fn has_yielded(&self) -> bool {
        matches!(self.standing, Standing::Yielded(_))
    }

    /// Those that it yielded to, if it did; it is about to be replayed.
    pub(super) fn take_yielded(&mut self) -> Option<Vec<Arc<CommitState>>> {
        match std::mem::take(&mut self.standing) {
            Standing::Yielded(others) => {
                self.standing = Standing::Guarded;
                Some(others)
            }
            standing => {
                self.standing = standing;
                None
            }
        }
    }

    /// It goes on upon copies of its tables.
    pub(super) fn shadow(&mut self) {
        self.standing = Standing::Shadowed;
    }

    pub(super) fn is_shadowed(&self) -> bool {
        matches!(self.standing, Standing::Shadowed)
    }

    /// It has lost to what stands in the way.
    pub(super) fn doom(&mut self, obstacle: Obstacle) {
        if !matches!(self.standing, Standing::Doomed(_)) {
            self.standing = Standing::Doomed(self.conflict(obstacle));
        }
        self.history.cut();
    }

    /// The answer to whatever comes, if it has lost.
    pub(super) fn doomed(&self) -> Option<&ErrorAnswer> {
        match &self.standing {
            Standing::Doomed(answer) => Some(answer),
            _ => None,
        }
    }

    /// What a conflict of this block is called.
    pub(super) fn conflict(&self, obstacle: Obstacle) -> ErrorAnswer {
        if obstacle == Obstacle::Catalog || self.changes_catalog {
            conflict::schema()
        } else {
            conflict::data()
        }
    }
}
