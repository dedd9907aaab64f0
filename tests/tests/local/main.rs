//! `lambda-local` with the hand-written probe for its functions: what it promises of containers, of
//! the API before them and of the template that says which there are.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod containers;
mod gateway;
mod invoke;
mod support;
mod template;
