//! `dsql-local` as its clients see it: one file per surface.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and its runtime ends its tasks"
)]

mod catalogue;
mod clock;
mod conflict;
mod conformance;
mod connect;
mod connectors;
mod control_plane;
mod faults;
mod fuzz;
mod garbage;
mod jobs;
mod keys;
mod lifecycle;
mod limits;
mod packages;
mod privileges;
mod psql;
mod session;
mod sizes;
mod soak;
mod support;
mod token;
mod transaction;
mod unseen_writes;
mod websocket;
