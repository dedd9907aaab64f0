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
mod alike;
mod blog_worker;
mod chats;
mod chats_account;
mod chats_input;
mod chats_limits;
mod chats_pages;
mod chats_replies;
mod chats_shared;
mod chats_transfer;
mod chats_transfer_parts;
mod clients;
mod described;
mod faults;
mod harness;
mod logins;
mod logins_crashes;
mod logins_dropped;
mod logins_wall;
mod memory;
mod openapi;
mod samples;
mod sessions;
mod shapes;
mod sql_clients;
mod sql_rows;
mod stack;
mod strangers;
mod threats;
mod visitor;
mod warm;
mod web_page;
mod weight;
