//! What the front learns about a statement. Plain data; every name is folded.

use std::ops::Range;

use crate::{catalog::CatalogCheck, iam::IamMapping, name::Name, refusal::Refusal, rows::Rows};

/// One statement, read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statement {
    /// What kind of statement it is, with what the front needs to act on it.
    pub kind: Kind,
    /// What it does to the transaction it runs in.
    pub effect: Effect,
    /// Whether DSQL takes it.
    pub verdict: Verdict,
    /// Conditions on the catalog. Each is a query to run before the statement; a row means refusal.
    pub needs: Vec<CatalogCheck>,
    /// It changes rows that its command tag does not count: in a `WITH` part, under
    /// `EXPLAIN ANALYZE`, in a query that is copied.
    pub hides_writes: bool,
    /// What it writes may be longer than what it says: it calls functions, joins texts, or copies
    /// other rows.
    pub computes: bool,
    /// Every identifier in it, folded, each once.
    pub identifiers: Vec<String>,
    /// The parser met a syntax error. `kind` and `needs` may be incomplete.
    pub unsure: bool,
}

/// What a statement does to the transaction it runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Reads, or does nothing that lasts.
    Read,
    /// Changes rows.
    Write,
    /// Changes the catalog: one such statement in a transaction, and none beside a
    /// [`Effect::Write`].
    Ddl,
    /// Begins or ends a transaction.
    Transaction,
    /// Changes settings of the session.
    Session,
}

impl Effect {
    /// Whether anything stored changes.
    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Ddl)
    }
}

/// What to do with a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send it as it is, unless its kind is one that the front answers itself (`AWS IAM`,
    /// `sys.wait_for_job`).
    Accept,
    /// Send this text in its place.
    Rewrite(Rewritten),
    /// Do not send it; answer this.
    Refuse(Refusal),
}

/// A statement's text as PostgreSQL must see it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rewritten {
    /// The text to send.
    pub sql: String,
    /// What was changed, in the order of the original text.
    pub edits: Vec<Edit>,
}

impl Rewritten {
    /// The byte offset in the original text of an offset in [`Self::sql`], for error positions.
    pub fn original_offset(&self, offset: usize) -> usize {
        let (mut before, mut shift) = (0_usize, 0_isize);
        for edit in &self.edits {
            let start = edit.at.saturating_add_signed(shift);
            if start >= offset {
                break;
            }
            if start + edit.inserted.len() > offset {
                return edit.at;
            }
            shift = shift
                .saturating_add_unsigned(edit.inserted.len())
                .saturating_sub_unsigned(edit.removed);
            before = edit.at;
        }
        offset.saturating_add_signed(-shift).max(before)
    }
}

/// One change of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edit {
    /// Byte offset in the original text.
    pub at: usize,
    /// How many bytes were taken out there.
    pub removed: usize,
    /// What was put there.
    pub inserted: String,
}

/// The kinds of statement that a front treats differently.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Nothing but white space, comments and semicolons.
    Empty,
    /// `BEGIN`, `START TRANSACTION`.
    Begin {
        /// The isolation level named.
        isolation: Option<Isolation>,
        /// `READ ONLY` was said.
        read_only: bool,
    },
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `SAVEPOINT`, `RELEASE`, `ROLLBACK TO`, two-phase commit: always refused.
    Savepoint,
    /// `SET CONSTRAINTS`.
    SetConstraints,
    /// `SELECT`, `VALUES`, `TABLE`, set operations.
    Select(Select),
    /// `INSERT`, `UPDATE`, `DELETE`.
    Dml(Dml),
    /// Any change of the catalog that has no kind of its own below.
    Ddl(Ddl),
    /// `CREATE INDEX`, as a job if asynchronous.
    CreateIndex(IndexBuild),
    /// `ALTER TABLE ASYNC … VALIDATE CONSTRAINT`, a job.
    ValidateConstraint(Validation),
    /// `AWS IAM GRANT` and `REVOKE`. PostgreSQL cannot run it.
    AwsIam(IamMapping),
    /// `CALL sys.wait_for_job(…)`. PostgreSQL cannot run it.
    WaitForJob(Argument),
    /// Any other `CALL`.
    Call(Name),
    /// `SET`.
    Set {
        /// `SET LOCAL`.
        local: bool,
        /// The parameter, folded; `TRANSACTION`, `role`, `timezone` and the like for the special
        /// forms.
        parameter: String,
        /// The value without its quotes; `None` for `DEFAULT` and for lists.
        value: Option<String>,
    },
    /// `RESET`; `None` for all.
    Reset(Option<String>),
    /// `SHOW`.
    Show(String),
    /// `COPY`.
    Copy(Copy),
    /// `EXPLAIN` of another statement.
    Explain {
        /// It is run too.
        analyze: bool,
        /// What is explained.
        inner: Box<Kind>,
    },
    /// `ANALYZE`, with the tables named.
    Analyze(Vec<Name>),
    /// `DEALLOCATE ALL`.
    DeallocateAll,
    /// None of these.
    Other,
}

impl Kind {
    /// The command tag of a statement that the front answers itself or runs under another text.
    pub fn tag(&self) -> Option<&'static str> {
        match self {
            Self::CreateIndex(_) => Some("CREATE INDEX"),
            Self::ValidateConstraint(_) => Some("ALTER TABLE"),
            Self::AwsIam(mapping) if mapping.grant => Some("GRANT"),
            Self::AwsIam(_) => Some("REVOKE"),
            Self::WaitForJob(_) => Some("CALL"),
            Self::Begin { .. } => Some("BEGIN"),
            Self::Commit => Some("COMMIT"),
            Self::Rollback => Some("ROLLBACK"),
            _ => None,
        }
    }
}

/// An isolation level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// `READ UNCOMMITTED`.
    ReadUncommitted,
    /// `READ COMMITTED`.
    ReadCommitted,
    /// `REPEATABLE READ`, DSQL's only one.
    RepeatableRead,
    /// `SERIALIZABLE`.
    Serializable,
}

/// A query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Select {
    /// Locking clauses, outermost first.
    pub locks: Vec<Lock>,
    /// Tables that its data-modifying `WITH` parts change.
    pub writes: Vec<Name>,
}

/// A locking clause.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lock {
    /// How strong.
    pub strength: LockStrength,
    /// The tables or aliases after `OF`; all of the query's if empty.
    pub of: Vec<String>,
}

/// The strength of a locking clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockStrength {
    /// `FOR UPDATE`.
    Update,
    /// `FOR NO KEY UPDATE`, refused.
    NoKeyUpdate,
    /// `FOR SHARE`, refused.
    Share,
    /// `FOR KEY SHARE`.
    KeyShare,
}

/// A change of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dml {
    /// Which.
    pub verb: Verb,
    /// The table changed, and after it those that `WITH` parts change.
    pub targets: Vec<Name>,
    /// How many rows it can change.
    pub rows: Rows,
    /// It has a `RETURNING` clause.
    pub returning: bool,
}

/// A verb of a [`Dml`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `INSERT`.
    Insert,
    /// `UPDATE`.
    Update,
    /// `DELETE`.
    Delete,
}

/// A change of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ddl {
    /// `CREATE TABLE`, `DROP INDEX`, `GRANT`.
    pub what: String,
    /// The objects created, altered or dropped.
    pub objects: Vec<Name>,
    /// The index that `ADD UNIQUE USING INDEX` adopts. If its build has not ended, see
    /// [`StateRule::InvalidIndex`](crate::StateRule::InvalidIndex).
    pub adopts_index: Option<String>,
}

/// An index to build.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of the statement"
)]
pub struct IndexBuild {
    /// Where `ASYNC` stands in the text, in bytes, if it was said: answer one row with one column
    /// `job_id`.
    pub asynchronous: Option<Range<usize>>,
    /// `UNIQUE`.
    pub unique: bool,
    /// The name given. Without one PostgreSQL chooses, usually [`Self::usual_name`].
    pub index: Option<String>,
    /// The name PostgreSQL chooses for an unnamed index if it is free.
    pub usual_name: String,
    /// The table, in whose schema the index will be.
    pub table: Name,
    /// The key columns, `None` for an expression.
    pub keys: Vec<Option<String>>,
    /// `IF NOT EXISTS`: there may be nothing to build.
    pub if_not_exists: bool,
    /// `NULLS NOT DISTINCT`.
    pub nulls_not_distinct: bool,
    /// There is a `WHERE` clause.
    pub partial: bool,
}

/// A constraint to validate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validation {
    /// The table.
    pub table: Name,
    /// The constraint.
    pub constraint: String,
}

/// The argument of `sys.wait_for_job`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A string constant.
    Text(String),
    /// `$n`, from 1.
    Parameter(u32),
    /// Anything else, or more than one.
    Other,
}

/// A `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copy {
    /// From the client into the table.
    pub from_stdin: bool,
    /// The table; `None` for a query.
    pub table: Option<Name>,
}
