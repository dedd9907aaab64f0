//! The `chat` function, one file for each subject: the real binary behind a streaming Runtime API,
//! `echo` for its model.

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

mod branches;
mod ceiling;
mod crashes;
mod deadlines;
mod dynamic_tools;
mod ends;
mod exports;
mod flights;
mod limits;
mod plan_log;
mod plans;
mod posts;
mod resumes;
mod samples;
mod searches;
mod settled;
mod spending;
mod stack;
mod stops;
mod tabs;
mod tools;
mod turns;
mod unusual;
mod uploads;
mod waits;
