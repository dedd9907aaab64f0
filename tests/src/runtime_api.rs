//! The Runtime API and what is known of an invocation: those of `lambda-local`.

pub use lambda_local::runtime_api::{Chunk, Invocation, Outcome, RuntimeApi, Streamed};
