//! End-to-end tests, one file for each surface.

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

mod admin;
mod chats;
mod clients;
mod faults;
mod harness;
mod logins;
mod sql_clients;
mod stack;
mod warm;
mod weight;
