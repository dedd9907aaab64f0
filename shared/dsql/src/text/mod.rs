//! Statements in text form: any SQL, parameters and results as PostgreSQL's text, every field of an
//! error kept. For a function that serves statements it did not write, on behalf of several
//! database roles ("logins"). It stands on the same tokens, TLS, age limits and retries as
//! everything else in this crate, with a small wire client of its own, since the driver asks for
//! binary results.
//!
//! # Promises
//! 1. A statement is one round trip, and so is a whole batch: BEGIN, its statements and COMMIT.
//! 2. Nothing is reported as done before the server was ready again: conflicts are told at COMMIT,
//!    and a lone statement's COMMIT comes after its last row.
//! 3. Sessions are kept by role and generation, a bounded number in all; the one unused for longest
//!    makes room. A session that may carry state of one request (a setting, an open block, a
//!    prepared statement) is closed, never handed on.
//! 4. A text that comes again is prepared in the round trip in which it runs, for its session
//!    alone, a bounded number in all. DDL by others between two uses costs at most one retry more.
//! 5. Conflicts are retried within attempts and the deadline. After a lost connection only what
//!    cannot have been committed, or is declared harmless, is sent again; else the answer is
//!    [`TextError::OutcomeUnknown`].
//! 6. What looks like a read is sent in a `READ ONLY` transaction, in the same round trip; what
//!    turns out to write is run again as it is. So only what the server itself kept from writing is
//!    said to have changed nothing.
//! 7. A session that was idle has to answer before anything is sent over it that must not run
//!    twice. What may, goes along with that question.

mod answer;
mod error;
mod flight;
mod pool;
mod prepared;
mod read;
mod request;
mod run;
mod session;
mod spare;
mod words;

pub use answer::{TextAnswer, TextField, TextRow};
pub use error::{Excess, ServerError, TextError};
pub use pool::{OpenedSession, TextSessions};
pub use request::{AnswerLimits, Begin, Isolation, Last, TextRequest, TextRole, TextStatement};
