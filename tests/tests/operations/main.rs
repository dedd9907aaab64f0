//! What runs without a visitor, end to end: the custom resource, jobs from a queue, schedules, the
//! relay.

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

mod custom_resource;
mod desired_state;
mod discard;
mod doctor;
mod erasure;
mod hyperdrive;
mod jobs;
mod pooler;
mod posts;
mod posts_faults;
mod relay;
mod schedules;
#[allow(dead_code, reason = "shared with the other test binaries")]
#[path = "../e2e/stack.rs"]
mod stack;
mod support;
mod titles;
mod uploads;
#[allow(dead_code, reason = "shared with the other test binaries")]
#[path = "../e2e/visitor.rs"]
mod visitor;
