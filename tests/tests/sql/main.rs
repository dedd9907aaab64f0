//! The `sql` function end to end: the real binary behind a Runtime API with API Gateway's events,
//! logins on `dsql-local`. One file for each promise.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(clippy::too_many_lines, reason = "a story is read in one piece")]
#![allow(
    clippy::disallowed_methods,
    reason = "real processes are measured by the machine's own clocks"
)]

mod answers;
mod errors;
mod faults;
mod flights;
mod forged_sessions;
mod guesses;
mod hostile;
mod idempotency;
mod isolation;
mod limits;
mod outcomes;
mod session_tokens;
mod site;
mod tokens;
mod values;
