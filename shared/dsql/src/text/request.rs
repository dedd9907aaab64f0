//! A request: whose session, which statements, and how large their answers may be.

use std::borrow::Cow;

use super::answer::TextAnswer;

/// Whose sessions are wanted: a database role, and the search path its sessions start with, since
/// the service sets none by role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextRole {
    /// The role's name.
    pub name: String,
    /// Schemas, separated by commas; none is the server's default.
    pub search_path: Option<String>,
    /// Any text that is another one after the role was made, changed or taken away: a session
    /// serves only the generation that it was opened for, and the first request of a newer one
    /// closes it. Empty for roles that stay.
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
    ///
    /// # Examples
    /// ```
    /// use dsql::text::TextStatement;
    ///
    /// let statement = TextStatement::new("SELECT title FROM posts WHERE id = $1", &["7"]);
    /// assert_eq!(statement.params, [Some("7".into())]);
    /// ```
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
    /// A level to ask for; none leaves it to the server, whose only level is a snapshot for the
    /// whole transaction.
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
    pub(super) fn sql(self) -> String {
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
    /// Bytes of rows as the server sends them, and of the descriptions of their columns as they are
    /// kept.
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
    ///
    /// # Examples
    /// ```
    /// use dsql::text::{AnswerLimits, TextRequest, TextStatement};
    ///
    /// let statement = TextStatement::new("SELECT 1", &[]);
    /// let limits = AnswerLimits { rows: 1_000, bytes: 1 << 20 };
    /// let request = TextRequest::one(&statement, limits);
    /// ```
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

    /// All of `statements` or none, in one round trip.
    ///
    /// # Examples
    /// ```
    /// use dsql::text::{AnswerLimits, Begin, TextRequest, TextStatement};
    ///
    /// let statements = [
    ///     TextStatement::new("INSERT INTO posts (id) VALUES ($1)", &["7"]),
    ///     TextStatement::new("SELECT count(*) FROM posts", &[]),
    /// ];
    /// let limits = AnswerLimits { rows: 1_000, bytes: 1 << 20 };
    /// let request = TextRequest::batch(&statements, Begin::default(), limits);
    /// ```
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

    /// Adds a statement to a batch that is made from the answers of the others: one more round
    /// trip, the same transaction.
    ///
    /// # Examples
    /// ```
    /// use dsql::text::{AnswerLimits, Begin, TextAnswer, TextRequest, TextStatement};
    ///
    /// let statements = [TextStatement::new("SELECT name FROM tables", &[])];
    /// let drop_first = |answers: &[TextAnswer]| {
    ///     let name = answers.first().and_then(|answer| answer.rows.first()?.values().next()?);
    ///     let name = dsql::quote_identifier(&name.unwrap_or_default());
    ///     TextStatement { sql: format!("DELETE FROM {name}").into(), params: Vec::new() }
    /// };
    /// let limits = AnswerLimits { rows: 1_000, bytes: 1 << 20 };
    /// let request = TextRequest::batch(&statements, Begin::default(), limits).then(&drop_first);
    /// ```
    #[must_use]
    pub fn then(mut self, last: Last<'a>) -> Self {
        self.last = Some(last);
        self
    }

    /// Declares that running it twice equals running it once: it is sent again after a lost
    /// connection.
    ///
    /// # Examples
    /// ```
    /// use dsql::text::{AnswerLimits, TextRequest, TextStatement};
    ///
    /// let statement = TextStatement::new("DELETE FROM posts WHERE id = $1", &["7"]);
    /// let limits = AnswerLimits { rows: 1_000, bytes: 1 << 20 };
    /// let request = TextRequest::one(&statement, limits).harmless();
    /// ```
    #[must_use]
    pub fn harmless(mut self) -> Self {
        self.harmless = true;
        self
    }

    /// Declares a statement of the caller's own to be a read: [harmless](Self::harmless), and sent
    /// as it is.
    ///
    /// # Examples
    /// ```
    /// use dsql::text::{AnswerLimits, TextRequest, TextStatement};
    ///
    /// let statement = TextStatement::new("SELECT rights FROM logins WHERE name = $1", &["blog"]);
    /// let limits = AnswerLimits { rows: 1_000, bytes: 1 << 20 };
    /// let request = TextRequest::one(&statement, limits).lookup();
    /// ```
    #[must_use]
    pub fn lookup(mut self) -> Self {
        self.only_reads = true;
        self.harmless()
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
