//! Refusals that depend on the transaction a statement runs in, and the rule of one DDL to a
//! transaction.

use crate::{refusal::Refusal, statement::Effect};

/// A refusal by the state of the transaction or of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StateRule {
    /// A second DDL statement in a transaction.
    MultipleDdl,
    /// DDL and DML in one transaction.
    DdlAndDml,
    /// A statement in a transaction that has failed.
    Failed,
    /// More than 3,000 rows changed; answered by the statement that changes them.
    Rows,
    /// More than 10 MiB written; answered by COMMIT. Holds the size in whole MiB.
    Size(u64),
    /// A value above 1 MiB as it is stored, of the type named; answered by the statement that
    /// writes it, or by COMMIT.
    ValueSize,
    /// A row above 2 MiB; answered likewise.
    RowSize,
    /// A key above about 2 kB; answered by the statement.
    KeySize,
    /// Older than 300 s. Holds the age in whole seconds.
    Age(u64),
    /// Another transaction changed the same rows; answered by COMMIT.
    DataConflict,
    /// Another transaction changed the catalog.
    SchemaConflict,
    /// `ADD UNIQUE USING INDEX` with an index whose build has not ended well.
    InvalidIndex,
    /// `sys.wait_for_job` with something that is no job id.
    BadJobId,
}

/// Name, section of the reference, SQLSTATE, message, detail.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
);

impl StateRule {
    #[rustfmt::skip]
    const fn row(self) -> Row {
        match self {
            Self::MultipleDdl => ("multiple-ddl", "3.2", "0A000", "multiple ddl statements not supported in a transaction", None),
            Self::DdlAndDml => ("ddl-and-dml", "3.2", "0A000", "ddl and dml are not supported in the same transaction", None),
            Self::Failed => ("failed-transaction", "3.2", "25P02", "current transaction is aborted, commands ignored until end of transaction block", None),
            Self::Rows => ("row-limit", "2.3", "54000", "transaction row limit exceeded", None),
            Self::Size(_) => ("size-limit", "2.3", "54000", "transaction size limit 10mb exceeded", Some("Current transaction size {}mb > 10mb")),
            Self::ValueSize => ("value-size", "2.3", "54000", "datatype limit greater than 1048576 bytes not supported for {}", None),
            Self::RowSize => ("row-size", "2.3", "54000", "maximum row size exceeded", None),
            Self::KeySize => ("stored-key-size", "2.3", "54000", "key size too large", None),
            Self::Age(_) => ("age-limit", "2.3", "54000", "transaction age limit of 300s exceeded", Some("Current transaction age {}s exceeds 300s")),
            Self::DataConflict => ("data-conflict", "3.3", "40001", "change conflicts with another transaction (OC000)", None),
            Self::SchemaConflict => ("schema-conflict", "3.3", "40001", "schema has been updated by another transaction (OC001)", None),
            Self::InvalidIndex => ("invalid-index", "4.3", "55000", "index \"{}\" is not valid", None),
            Self::BadJobId => ("bad-job-id", "6", "22P02", "Unable to convert text to UUID", None),
        }
    }

    /// Section of the reference that states it.
    pub const fn source(self) -> &'static str {
        self.row().1
    }

    /// The refusal.
    pub fn refusal(self) -> Refusal {
        self.refusal_of("")
    }

    /// The refusal about the object named, where the message names one.
    pub fn refusal_of(self, object: &str) -> Refusal {
        let (rule, _, sqlstate, message, detail) = self.row();
        let amount = match self {
            Self::Size(amount) | Self::Age(amount) => amount,
            _ => 0,
        };
        Refusal {
            rule,
            sqlstate,
            message: message.replacen("{}", object, 1),
            detail: detail.map(|detail| detail.replacen("{}", &amount.to_string(), 1)),
            hint: None,
            ask_first: None,
        }
    }
}

/// Keeps the rule of one DDL statement to a transaction, and no DML beside it. A fresh one for each
/// transaction; a whole simple query outside a block is one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DdlGuard {
    ddl: bool,
    dml: bool,
}

impl DdlGuard {
    /// Takes note of a statement that is about to run.
    ///
    /// # Errors
    ///
    /// [`StateRule::MultipleDdl`] or [`StateRule::DdlAndDml`] if it may not run in this
    /// transaction.
    pub fn admit(&mut self, effect: Effect) -> Result<(), StateRule> {
        match effect {
            Effect::Ddl if self.ddl => Err(StateRule::MultipleDdl),
            Effect::Ddl if self.dml => Err(StateRule::DdlAndDml),
            Effect::Write if self.ddl => Err(StateRule::DdlAndDml),
            Effect::Ddl => {
                self.ddl = true;
                Ok(())
            }
            Effect::Write => {
                self.dml = true;
                Ok(())
            }
            Effect::Read | Effect::Transaction | Effect::Session => Ok(()),
        }
    }
}
