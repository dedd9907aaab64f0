//! The dialect from outside: refusals by family, rewrites, splitting, recorded probes, and inputs
//! nobody meant.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first thing that is not as expected"
)]

mod accepted;
mod fuzz;
mod garbage;
mod kinds;
mod probes;
mod refusals;
mod rewrites;
mod splitting;
mod statements;
mod table_refusals;
