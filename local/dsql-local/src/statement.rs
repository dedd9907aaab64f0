//! What the front has to know of a statement: its kinds, what PostgreSQL gets in its place, and
//! what it counts for in its transaction. The session acts on it and knows no SQL itself; `dialect`
//! reads it.

use dsql_dialect::{Argument, CatalogCheck, Effect, Rows};

use crate::wire::{Bind, ErrorAnswer};

/// What a statement does to its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Begin,
    Commit,
    Rollback,
    /// Changes data or the catalog.
    Write,
    /// Anything else that answers from the catalog or from data.
    Read,
    /// Settings, and no statement at all.
    Other,
}

/// What becomes of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// PostgreSQL gets it as it is.
    Forward,
    /// PostgreSQL gets `sql`.
    Rewrite {
        /// The replacement.
        sql: String,
        /// What the client reads as the command tag, if not PostgreSQL's.
        tag: Option<&'static str>,
    },
    /// The front answers with an error.
    Refuse(ErrorAnswer),
}

/// What DSQL's rules have to know of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the statement"
)]
pub(crate) struct DialectFacts {
    pub(crate) effect: Effect,
    /// Questions to the catalog; a row is a refusal.
    pub(crate) needs: Vec<CatalogCheck>,
    /// PostgreSQL may know better that this is no SQL at all.
    pub(crate) ask_first: Option<String>,
    /// The parser was not sure that this is SQL.
    pub(crate) is_unsure: bool,
    /// The tables whose rows it changes, quoted.
    pub(crate) targets: Vec<String>,
    /// It changes rows that its command tag does not count.
    pub(crate) hides_writes: bool,
    /// What it writes may be longer than what it says.
    pub(crate) computes: bool,
    /// The rows it writes have columns that it does not say.
    pub(crate) rewrites_rows: bool,
    /// How many rows of which table, without its schema, it can change.
    pub(crate) rows: Option<(String, Rows)>,
    /// Every identifier in it.
    pub(crate) identifiers: Vec<String>,
    /// The job that it waits for.
    pub(crate) awaits: Option<Argument>,
    pub(crate) starts_job: bool,
    /// Reads rows from the client.
    pub(crate) is_copy_in: bool,
    /// Whether a plain CREATE INDEX passes after it.
    pub(crate) sync_create_index: Option<bool>,
}

/// A text that was sent as one query or one Parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The kinds of its statements, in order; only a simple query may have several.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) verdict: Verdict,
    /// None where DSQL's rules are off.
    pub(crate) facts: Option<DialectFacts>,
}

impl Statement {
    pub(crate) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Whether it ends a transaction block by committing it.
    pub(crate) fn commits_block(&self) -> bool {
        self.kinds.contains(&Kind::Commit)
    }

    pub(crate) fn writes(&self) -> bool {
        self.kinds.contains(&Kind::Write)
    }

    pub(crate) fn begins_block(&self) -> bool {
        self.kinds.contains(&Kind::Begin)
    }

    /// Whether it reads or writes, and so can meet a changed catalog.
    pub(crate) fn uses_catalog(&self) -> bool {
        self.kinds
            .iter()
            .any(|kind| matches!(kind, Kind::Read | Kind::Write))
    }

    /// Whether it changes rows of tables.
    pub(crate) fn changes_rows(&self) -> bool {
        let facts = self.facts.as_ref();
        facts.is_some_and(|facts| !facts.targets.is_empty())
    }

    /// Whether it reads rows from the client.
    pub(crate) fn is_copy_in(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.is_copy_in)
    }

    /// Whether it starts a job.
    pub(crate) fn starts_job(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.starts_job)
    }

    /// Whether only PostgreSQL can tell that it is SQL at all, and no refusal asks it first.
    pub(crate) fn may_be_no_sql(&self) -> bool {
        let facts = self.facts.as_ref();
        facts.is_some_and(|facts| facts.is_unsure && facts.ask_first.is_none())
    }

    /// What the client reads as the command tag, if not PostgreSQL's.
    pub(crate) fn own_tag(&self) -> Option<&'static str> {
        match self.verdict {
            Verdict::Rewrite { tag, .. } => tag,
            Verdict::Forward | Verdict::Refuse(_) => None,
        }
    }

    /// The job that its execution waits for; `bind` has its values, if it takes any.
    pub(crate) fn awaited_job(&self, bind: Option<&Bind>) -> Option<String> {
        match self.facts.as_ref()?.awaits.as_ref()? {
            Argument::Text(job_id) => Some(job_id.clone()),
            Argument::Parameter(number) => bind?.text(*number),
            Argument::Other => None,
        }
    }
}
