//! What end-to-end tests stand on: a migrated database with what starts on it ([`stack`]), real
//! function binaries in `lambda-local`'s containers ([`function`]), behind its gateway
//! ([`gateway`]), whose clock can be moved ([`clock`]); events as API Gateway sends them ([`http`],
//! [`sample`]), visitors' tokens ([`jwt`]), the API's description ([`openapi`]), and a network that
//! loses connections ([`proxy`]). Nothing here sleeps for a fixed time.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    reason = "a test library: a set-up that fails is a test that fails"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "measures real processes by the machine's own clocks; the movable one is the functions'"
)]

pub mod background;
pub mod binary;
pub mod blog;
pub mod bucket;
pub mod client;
pub mod clock;
pub mod cloudflare;
pub mod function;
pub mod gateway;
pub mod http;
pub mod jwt;
pub mod log;
pub mod logins;
pub mod mcp;
pub mod openapi;
pub mod opener;
pub mod pooler;
pub mod preload;
pub mod proxy;
pub mod python;
pub mod response_url;
pub mod runtime_api;
pub mod sample;
pub mod server;
pub mod session;
pub mod stack;
pub mod template;
pub mod wait;
