//! Statements in text form: any SQL, parameters and results as PostgreSQL's text, every field of an error kept. For a
//! function that serves statements it did not write, on behalf of several database roles ("logins"). It stands on the same
//! tokens, TLS, age limits and retries as everything else in this crate, with a small wire client of its own, since the
//! driver asks for binary results.
//!
//! # Promises
//! 1. A statement is one flight, and so is a whole batch: BEGIN, its statements and COMMIT.
//! 2. Nothing is reported as done before the server was ready again: conflicts are told at COMMIT, and a lone statement's
//!    COMMIT comes after its last row.
//! 3. Sessions are kept by role and generation, a bounded number in all; the one unused for longest makes room. A session that may carry
//!    state of one request (a setting, an open block, a prepared statement) is closed, never handed on.
//! 4. A text that comes again is prepared in the flight in which it runs, for its session alone, a bounded number in all. DDL by
//!    others between two uses costs at most one retry more.
//! 5. Conflicts are retried within attempts and the deadline. After a lost connection only what cannot have been committed,
//!    or is declared harmless, is sent again; else the answer is [`TextError::OutcomeUnknown`].
//! 6. What looks like a read is sent in a `READ ONLY` transaction, in the same flight; what turns out to write is run again
//!    as it is. So only what the server itself kept from writing is said to have changed nothing.
//! 7. A session that was idle has to answer before anything is sent over it that must not run twice. What may, goes along with
//!    that question.

mod answer;
mod error;
mod flight;
mod pool;
mod prepared;
mod read;
mod run;
mod session;

use std::borrow::Cow;

pub use answer::{TextAnswer, TextField, TextRow};
pub use error::{Excess, ServerError, TextError};
pub use pool::{OpenedSession, TextSessions};

/// Whose sessions are wanted: a database role, and the search path its sessions start with, since the service sets none by
/// role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextRole {
    /// The role's name.
    pub name: String,
    /// Schemas, separated by commas; none is the server's default.
    pub search_path: Option<String>,
    /// Any text that is another one after the role was made, changed or taken away: a session serves only the generation
    /// that it was opened for, and the first request of a newer one closes it. Empty for roles that stay.
    pub generation: String,
}

/// A statement and its parameters, all in text form; `None` is NULL.
#[derive(Debug, Clone, Default)]
pub struct TextStatement<'a> {
    /// The SQL, one statement.
    pub sql: Cow<'a, str>,
    /// The values of `$1` and on.
    pub params: Vec<Option<Cow<'a, str>>>,
}

impl<'a> TextStatement<'a> {
    /// A statement of our own, with values bound.
    pub fn new(sql: &'static str, params: &[&'a str]) -> Self {
        Self {
            sql: Cow::Borrowed(sql),
            params: params
                .iter()
                .map(|value| Some(Cow::Borrowed(*value)))
                .collect(),
        }
    }
}

/// How a batch's transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Begin {
    /// `READ ONLY`.
    pub read_only: bool,
    /// A level to ask for; none leaves it to the server, whose only level is a snapshot for the whole transaction.
    pub isolation: Option<Isolation>,
    /// `DEFERRABLE`, which plain PostgreSQL knows.
    pub deferrable: bool,
}

/// A transaction's isolation level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// `READ UNCOMMITTED`
    ReadUncommitted,
    /// `READ COMMITTED`
    ReadCommitted,
    /// `REPEATABLE READ`, the only one the service has.
    RepeatableRead,
    /// `SERIALIZABLE`
    Serializable,
}

impl Begin {
    fn sql(self) -> String {
        let level = self.isolation.map(|level| match level {
            Isolation::ReadUncommitted => "ISOLATION LEVEL READ UNCOMMITTED",
            Isolation::ReadCommitted => "ISOLATION LEVEL READ COMMITTED",
            Isolation::RepeatableRead => "ISOLATION LEVEL REPEATABLE READ",
            Isolation::Serializable => "ISOLATION LEVEL SERIALIZABLE",
        });
        let clauses = [
            level,
            self.read_only.then_some("READ ONLY"),
            self.deferrable.then_some("DEFERRABLE"),
        ];
        let clauses: Vec<&str> = clauses.into_iter().flatten().collect();
        format!("START TRANSACTION {}", clauses.join(", "))
            .trim_end()
            .to_owned()
    }
}

/// The most that one request's answer may hold in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerLimits {
    /// Rows, over all statements.
    pub rows: usize,
    /// Bytes of rows as the server sends them, and of the descriptions of their columns as they are kept.
    pub bytes: usize,
}

/// Makes a batch's last statement from the answers of the others.
pub type Last<'a> = &'a (dyn Fn(&[TextAnswer]) -> TextStatement<'static> + Sync);

/// What to run: one statement in a transaction of its own, or a batch in one.
#[derive(Clone, Copy)]
pub struct TextRequest<'a> {
    pub(crate) statements: &'a [TextStatement<'a>],
    pub(crate) begin: Option<Begin>,
    pub(crate) last: Option<Last<'a>>,
    pub(crate) harmless: bool,
    /// The caller vouches that it changes nothing.
    pub(crate) only_reads: bool,
    pub(crate) limits: AnswerLimits,
}

impl std::fmt::Debug for TextRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextRequest")
            .field("statements", &self.statements.len())
            .field("begin", &self.begin)
            .field("harmless", &self.harmless)
            .finish_non_exhaustive()
    }
}

impl<'a> TextRequest<'a> {
    /// One statement.
    pub fn one(statement: &'a TextStatement<'a>, limits: AnswerLimits) -> Self {
        Self {
            statements: std::slice::from_ref(statement),
            begin: None,
            last: None,
            harmless: false,
            only_reads: false,
            limits,
        }
    }

    /// All of `statements` or none, in one flight.
    pub fn batch(statements: &'a [TextStatement<'a>], begin: Begin, limits: AnswerLimits) -> Self {
        Self {
            statements,
            begin: Some(begin),
            last: None,
            harmless: begin.read_only,
            only_reads: begin.read_only,
            limits,
        }
    }

    /// Adds a statement to a batch that is made from the answers of the others: one more flight, the same transaction.
    #[must_use]
    pub fn then(mut self, last: Last<'a>) -> Self {
        self.last = Some(last);
        self
    }

    /// Declares that running it twice equals running it once: it is sent again after a lost connection.
    #[must_use]
    pub fn harmless(mut self) -> Self {
        self.harmless = true;
        self
    }

    /// Declares a statement of the caller's own to be a read: [harmless](Self::harmless), and sent as it is.
    #[must_use]
    pub fn lookup(mut self) -> Self {
        self.only_reads = true;
        self.harmless()
    }

    /// The same in a transaction in which the server lets nothing write, if it looks as if that were enough.
    pub(crate) fn as_read_only(&self) -> Option<Self> {
        let is_read = !self.statements.is_empty()
            && self.last.is_none()
            && !self.harmless
            && self
                .statements
                .iter()
                .all(|one| read::worth_trying(&one.sql));
        is_read.then(|| Self {
            begin: Some(Begin {
                read_only: true,
                ..self.begin.unwrap_or_default()
            }),
            harmless: true,
            only_reads: true,
            ..*self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begin_joins_its_clauses_with_commas() {
        assert_eq!(Begin::default().sql(), "START TRANSACTION");
        let all = Begin {
            read_only: true,
            isolation: Some(Isolation::Serializable),
            deferrable: true,
        };
        assert_eq!(
            all.sql(),
            "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"
        );
    }
}
