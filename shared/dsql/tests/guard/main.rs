//! The `dsql` crate against `dsql-local`, in one process, with both clocks moved: sessions, tokens,
//! conflicts, lost connections, round trips.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod connect;
mod examples;
mod fixture;
mod flights;
mod lost;
mod pins;
mod reads;
mod retry;
mod roles;
mod statements;
mod statements_changes;
mod statements_text;
mod text;
mod transactions;
mod warm;
