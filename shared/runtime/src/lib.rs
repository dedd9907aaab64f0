//! What every function shares: how it starts, how it reads its environment, what it writes to the
//! log and as metrics, and how long it may run. It knows Lambda, but no HTTP, no chat and no SQL.

mod chain;
mod deadline;
mod env;
mod lines;
mod metrics;
mod pseudonyms;
mod start;
mod telemetry;

pub use chain::chain;
pub use deadline::known_deadline;
pub use env::{
    AWS_LAMBDA_LOG_LEVEL, AWS_LAMBDA_MAX_CONCURRENCY, BLOG_FEED, ConfigError, Lookup, RUST_LOG,
    STACK_NAME, TOKENS_PER_DAY_ALL, blog_feed, flag, from_process, limit, number, required,
    tokens_per_day_all,
};
pub use lines::{Line, SilentLine, StandardOutput};
pub use metrics::{
    ATTEMPTS, COLD_START, CONNECT_FAILURES, CONNECT_MS, CONNECTS, FUNCTION, HYPERDRIVE_REFRESHED,
    LOGINS_REFUSED, LOST, METRIC_NAMES, MODEL, MODEL_INPUT_TOKENS, MODEL_OUTPUT_TOKENS, Metrics,
    NAMESPACE, OCC_GIVEN_UP, OCC_RETRIES, POSTS_INDEXED, RECONNECTS, RETIRED_BY_AGE, STACK,
};
pub use pseudonyms::{ADDRESS_HASH_KEY, Pseudonyms};
pub use start::start;
pub use telemetry::{JsonLines, Level, REQUEST_ID, init};
