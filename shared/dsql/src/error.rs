//! One typed error for everything that can go wrong between a handler and its rows, and the one
//! place that reads SQLSTATEs. Rules: `Display` is one frame, without source, secret or parameter;
//! [`Error::kind`] decides what a caller does; causes travel in `source()`.

use std::error::Error as StdError;

use tokio_postgres::error::{DbError, Severity};

use crate::chain::chain;
use crate::token::TokenError;

/// What a caller does with an [`Error`]. Small on purpose: it decides status, retry and metric
/// label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The statement's data was wrong, or too much: a constraint, a value, a limit.
    Client,
    /// Conflicts with other transactions used up all attempts; nothing was written. Try again
    /// later.
    Conflict,
    /// The database could not be reached or did not answer in time. Try again later.
    Unavailable,
    /// Configuration or code is wrong; someone must look.
    Bug,
}

/// Which of the two OCC conflicts it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConflictKind {
    /// `OC000`: another transaction changed the same rows and committed first.
    Data,
    /// `OC001`: the catalog changed since this session last looked.
    Schema,
}

impl ConflictKind {
    /// Reads a SQLSTATE and its message; `None`: no conflict.
    pub(crate) fn of(code: &str, message: &str) -> Option<Self> {
        match code {
            "OC001" => Some(Self::Schema),
            "40001" if message.starts_with("schema") => Some(Self::Schema),
            "40001" | "OC000" => Some(Self::Data),
            _ => None,
        }
    }
}

/// Whether the server asks to try again on the same connection.
pub(crate) fn is_unavailable(code: &str, message: &str) -> bool {
    code == "XX000" && message.contains("server unavailable")
}

/// What was under way when the outcome became unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A COMMIT was sent and its answer never came.
    Commit,
    /// A statement outside a transaction was sent and its answer never came.
    Statement,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No token could be made.
    #[error("no token could be made to connect")]
    Token(#[from] TokenError),
    /// The server refused the token, the role or the action. Never retried.
    #[error("{message}{}", hint.as_deref().map(|h| format!(" (hint: {h})")).unwrap_or_default())]
    AccessDenied {
        /// The server's message.
        message: String,
        /// The server's hint, which alone names the cause.
        hint: Option<String>,
    },
    /// SQLSTATE 53400: new connections came too fast, until the deadline.
    #[error("{message}")]
    RateLimited {
        /// The server's message.
        message: String,
    },
    /// SQLSTATE 53300: the cluster has no free connection, until the deadline.
    #[error("{message}")]
    TooManyConnections {
        /// The server's message.
        message: String,
    },
    /// The cluster was scaled to zero and did not wake before the deadline.
    #[error("{message}")]
    WakingUp {
        /// The server's message.
        message: String,
    },
    /// TCP or TLS failed.
    #[error("cannot connect to {endpoint} ({step})")]
    Connect {
        /// Host and port.
        endpoint: String,
        /// Which step failed.
        step: &'static str,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// SQLSTATE 40001 on every attempt. Nothing was written.
    #[error("{message}, {attempts} attempts")]
    Conflict {
        /// Data or schema.
        conflict: ConflictKind,
        /// The server's last message.
        message: String,
        /// Attempts made.
        attempts: u32,
    },
    /// XX000 `server unavailable`, on every attempt. Nothing was written.
    #[error("{message}, {attempts} attempts")]
    Unavailable {
        /// The server's last message.
        message: String,
        /// Attempts made.
        attempts: u32,
    },
    /// A limit of the service (class 54): rows, bytes or age of a transaction, size of a value or
    /// key.
    #[error("{message}{}", detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default())]
    LimitExceeded {
        /// The server's message.
        message: String,
        /// The server's detail.
        detail: Option<String>,
    },
    /// The connection was lost after a write was sent: it may have happened. Read before trying
    /// again.
    #[error("the connection was lost during a {}, its outcome is unknown", match stage { Stage::Commit => "COMMIT", Stage::Statement => "statement" })]
    OutcomeUnknown {
        /// What was under way.
        stage: Stage,
        /// How it was lost, if the driver said so.
        #[source]
        source: Option<Box<tokio_postgres::Error>>,
    },
    /// The connection was lost, on every attempt, before anything was committed.
    #[error("the connection was lost before the transaction was committed")]
    Lost {
        /// How, if the driver said so.
        #[source]
        source: Option<Box<tokio_postgres::Error>>,
    },
    /// The deadline passed. Nothing was written by a transaction; an idempotent statement may have
    /// run.
    #[error("the deadline passed while {during}")]
    Deadline {
        /// What was under way.
        during: &'static str,
    },
    /// BEGIN, COMMIT and their like do not go through the statement functions: use
    /// [`Db::transaction`](crate::Db::transaction).
    #[error("transaction control is not a statement: use Db::transaction")]
    TransactionControl,
    /// The transaction was used after it ended, or after one of its statements failed or was
    /// dropped before its answer came. Nothing was committed.
    #[error("the transaction has ended or failed")]
    TransactionOver,
    /// Any other answer of the server.
    #[error("{}", db_message(.0))]
    Database(Box<tokio_postgres::Error>),
}

const _: () = {
    const fn assert_send_sync<T: Send + Sync + 'static>() {}
    assert_send_sync::<Error>();
};

impl Error {
    /// What to do about it.
    ///
    /// # Examples
    /// ```
    /// use dsql::{Error, ErrorKind};
    ///
    /// let error = Error::Deadline { during: "connecting" };
    /// let status = match error.kind() {
    ///     ErrorKind::Client => 400,
    ///     ErrorKind::Conflict | ErrorKind::Unavailable => 503,
    ///     ErrorKind::Bug => 500,
    /// };
    /// assert_eq!(status, 503);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::LimitExceeded { .. } => ErrorKind::Client,
            Self::AccessDenied { .. } | Self::TransactionControl | Self::TransactionOver => {
                ErrorKind::Bug
            }
            Self::Token(_)
            | Self::RateLimited { .. }
            | Self::TooManyConnections { .. }
            | Self::WakingUp { .. }
            | Self::Connect { .. }
            | Self::Unavailable { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Lost { .. }
            | Self::Deadline { .. } => ErrorKind::Unavailable,
            Self::Database(_) => match self.sqlstate() {
                Some(code) if code.starts_with("22") || code.starts_with("23") => ErrorKind::Client,
                _ => ErrorKind::Bug,
            },
        }
    }

    /// The server's SQLSTATE, where the error came from the server as such.
    ///
    /// # Examples
    /// ```no_run
    /// # fn example(error: dsql::Error) {
    /// if error.sqlstate() == Some("23505") {
    ///     println!("there is one of this name already");
    /// }
    /// # }
    /// ```
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Conflict { .. } => Some("40001"),
            Self::Database(error) => error.code().map(tokio_postgres::error::SqlState::code),
            _ => None,
        }
    }

    /// The server's own error, where there is one.
    ///
    /// # Examples
    /// ```no_run
    /// # fn example(error: dsql::Error) {
    /// if let Some(db) = error.as_db_error() {
    ///     println!("{} of {:?}", db.message(), db.constraint());
    /// }
    /// # }
    /// ```
    pub fn as_db_error(&self) -> Option<&DbError> {
        match self {
            Self::Database(error) => error.as_db_error(),
            _ => None,
        }
    }

    /// Whether a write may have happened although no answer came.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(db: dsql::Db) -> Result<(), dsql::Error> {
    /// match db.execute("UPDATE counters SET n = n + 1 WHERE id = 'a'", &[]).await {
    ///     Err(error) if error.is_outcome_unknown() => println!("look before trying again"),
    ///     result => println!("{} changed", result?),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }

    /// The whole chain of causes in one line, for the log.
    ///
    /// # Examples
    /// ```
    /// let error = dsql::Error::Deadline { during: "connecting" };
    /// assert_eq!(error.report(), "the deadline passed while connecting");
    /// ```
    pub fn report(&self) -> String {
        chain(self)
    }
}

fn db_message(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || error.to_string(),
        |db| format!("{} (SQLSTATE {})", db.message(), db.code().code()),
    )
}

/// What a failed statement means for its session and its transaction.
#[derive(Debug)]
pub(crate) enum Failure {
    Conflict(ConflictKind, String),
    Unavailable(String),
    Lost(tokio_postgres::Error),
    /// A prepared statement is of no use any more, and did not run: sent whole it may.
    Stale(tokio_postgres::Error),
    Final(Error),
}

impl Failure {
    /// As [`of`](Self::of), while values were bound to a prepared statement: the server may have
    /// forgotten it (26000), or its result is not what it was (0A000).
    pub(crate) fn of_bind(error: tokio_postgres::Error, closed: bool) -> Self {
        match error.code().map(tokio_postgres::error::SqlState::code) {
            Some("26000" | "0A000") => Self::Stale(error),
            _ => Self::of(error, closed),
        }
    }

    /// `closed`: whether the session's connection has ended by now.
    pub(crate) fn of(error: tokio_postgres::Error, closed: bool) -> Self {
        let Some(db) = error.as_db_error() else {
            let io = error
                .source()
                .is_some_and(|s| s.downcast_ref::<std::io::Error>().is_some());
            return if closed || io || error.is_closed() {
                Self::Lost(error)
            } else {
                Self::Final(Error::Database(Box::new(error)))
            };
        };
        let message = db.message().to_owned();
        let code = db.code().code();
        if let Some(conflict) = ConflictKind::of(code, &message) {
            return Self::Conflict(conflict, message);
        }
        if is_unavailable(code, &message) {
            return Self::Unavailable(message);
        }
        match code {
            code if code.starts_with("54") || code == "53200" => {
                Self::Final(Error::LimitExceeded {
                    detail: db.detail().map(str::to_owned),
                    message,
                })
            }
            _ if matches!(
                db.parsed_severity(),
                Some(Severity::Fatal | Severity::Panic)
            ) =>
            {
                Self::Lost(error)
            }
            _ => Self::Final(Error::Database(Box::new(error))),
        }
    }
}

/// Reads a refusal during the startup of a connection.
pub(crate) fn startup(error: tokio_postgres::Error, endpoint: String) -> Error {
    let Some(db) = error.as_db_error() else {
        return Error::Connect {
            endpoint,
            step: "startup",
            source: Box::new(error),
        };
    };
    refusal(db.code().code(), db.message(), db.hint())
        .unwrap_or_else(|| Error::Database(Box::new(error)))
}

/// What the server's refusal of a connection means; `None`: nothing in particular.
pub(crate) fn refusal(code: &str, message: &str, hint: Option<&str>) -> Option<Error> {
    let lower = message.to_ascii_lowercase();
    let message = message.to_owned();
    Some(match code {
        "53400" => Error::RateLimited { message },
        "53300" => Error::TooManyConnections { message },
        _ if lower.contains("rate exceeded") => Error::RateLimited { message },
        _ if lower.contains("too many open connections") => Error::TooManyConnections { message },
        _ if lower.contains("waking up") => Error::WakingUp { message },
        code if lower.contains("access denied")
            || lower.contains("authentication failed")
            || code.starts_with("28") =>
        {
            Error::AccessDenied {
                hint: hint.map(str::to_owned),
                message,
            }
        }
        _ => return None,
    })
}
