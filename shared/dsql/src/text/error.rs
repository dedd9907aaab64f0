//! What can go wrong with text statements. A server's error keeps all its fields: whoever asked for
//! the statement reads them.

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::ErrorResponseBody;

use super::prepared::without_name;
use crate::error::Error;

/// An error of the server, every field of it. Positions and lines are the server's text.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message} (SQLSTATE {code})")]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`.
    pub severity: String,
    /// The SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the statement, in characters from 1.
    pub position: Option<String>,
    /// Where in `internal_query`.
    pub internal_position: Option<String>,
    /// A query the server ran by itself.
    pub internal_query: Option<String>,
    /// What the server was doing: its field `where`.
    pub context: Option<String>,
    /// The schema concerned.
    pub schema: Option<String>,
    /// The table concerned.
    pub table: Option<String>,
    /// The column concerned.
    pub column: Option<String>,
    /// The data type concerned.
    pub data_type: Option<String>,
    /// The constraint concerned.
    pub constraint: Option<String>,
    /// Source file of the server.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<String>,
    /// Function in it.
    pub routine: Option<String>,
}

impl ServerError {
    pub(super) fn read(body: &ErrorResponseBody) -> std::io::Result<Self> {
        let mut error = Self::default();
        let mut fields = body.fields();
        while let Some(field) = fields.next()? {
            let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'S' => error.severity = text,
                b'C' => error.code = text,
                b'M' => error.message = without_name(text),
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                b'P' => error.position = Some(text),
                b'p' => error.internal_position = Some(text),
                b'q' => error.internal_query = Some(text),
                b'W' => error.context = Some(text),
                b's' => error.schema = Some(text),
                b't' => error.table = Some(text),
                b'c' => error.column = Some(text),
                b'd' => error.data_type = Some(text),
                b'n' => error.constraint = Some(text),
                b'F' => error.file = Some(text),
                b'L' => error.line = Some(text),
                b'R' => error.routine = Some(text),
                _ => {}
            }
        }
        Ok(error)
    }

    /// Whether the server ends the connection with it.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }
}

/// Which limit an answer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// More rows than this.
    Rows(usize),
    /// More bytes than this.
    Bytes(usize),
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The server refused a statement or the COMMIT; nothing was changed.
    #[error("{error}")]
    Server {
        /// What it said.
        error: Box<ServerError>,
        /// Which statement, from 0; `None` for COMMIT, and for BEGIN.
        statement: Option<usize>,
        /// Attempts made.
        attempts: u32,
    },
    /// The connection was lost, or the time was up, after something was sent that may have been
    /// committed.
    #[error("the connection was lost or the time was up, the outcome is unknown")]
    OutcomeUnknown,
    /// The time was up; nothing was changed.
    #[error("the deadline passed while a statement ran")]
    Deadline,
    /// The connection was lost; nothing was changed.
    #[error("the connection was lost while a statement ran")]
    Lost,
    /// The answer is larger than allowed.
    #[error("the answer is larger than allowed ({excess:?})")]
    TooLarge {
        /// The limit.
        excess: Excess,
        /// Whether the server ended the transaction as asked: what it wrote is committed.
        is_committed: bool,
    },
    /// A `COPY` of data, which has no place in a request.
    #[error("COPY of data is not possible in a request")]
    Copy,
    /// No session: connecting failed, or none was free in time.
    #[error(transparent)]
    Session(#[from] Error),
}

const _: () = {
    const fn assert_send_sync<T: Send + Sync + 'static>() {}
    assert_send_sync::<TextError>();
    assert_send_sync::<ServerError>();
};
