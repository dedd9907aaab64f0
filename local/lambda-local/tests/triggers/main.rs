//! Tests of what invokes functions without a visitor: queues, schedules, custom resources.
//! Functions are closures behind an invoker, clients are real ones, and time stands still until a
//! test moves it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod custom_resource;
mod queue_api;
mod queue_boto3;
mod queue_limits;
mod queue_source;
mod queue_time;
mod scheduler;
mod support;
