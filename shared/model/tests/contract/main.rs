//! The providers against a server that plays back bytes: what is sent, what is understood, how it
//! fails.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a set-up that fails is a test that fails"
)]

mod bedrock;
mod openai;
mod server;
mod told;
