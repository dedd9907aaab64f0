//! What the HTTP functions share: who is calling, what is read from a request, how an answer and a
//! failure leave, and what is written about it. Knows Lambda and HTTP; knows no chat and no SQL.

mod address;
mod admission;
mod caller;
mod cors;
mod edge;
mod env;
mod error;
#[cfg(test)]
mod fuzz;
mod jwk;
mod jwt;
mod metrics;
mod request;
mod response;
mod start;
mod telemetry;

pub use address::AddressHasher;
pub use admission::{Limiter, OpenStream, REQUESTS_PER_MINUTE};
pub use caller::{Authenticator, Caller};
pub use cors::Cors;
pub use edge::Edge;
pub use env::{
    ADDRESS_HASH_KEY, AUTH_AUDIENCE, AUTH_ISSUER, AUTH_JWKS, AUTH_MAX_TOKEN_SECONDS, AUTH_MODE,
    AWS_LAMBDA_LOG_LEVEL, AWS_LAMBDA_MAX_CONCURRENCY, CORS_ALLOWED_ORIGINS, ConfigError, Lookup,
    RUST_LOG, STACK_NAME, TOKENS_PER_DAY_ALL, from_process, limit, number, tokens_per_day_all,
};
pub use error::{ApiError, ClientCode, ServerCode, chain};
pub use jwk::{Algorithm, JwkSet, VerifyingKey};
pub use jwt::{Claims, Policy, Rejection, verify};
pub use metrics::{
    ATTEMPTS, COLD_START, CONNECT_FAILURES, CONNECT_MS, CONNECTS, FUNCTION, HYPERDRIVE_REFRESHED,
    LOGINS_REFUSED, LOST, Line, METRIC_NAMES, MODEL, MODEL_INPUT_TOKENS, MODEL_OUTPUT_TOKENS,
    Metrics, NAMESPACE, OCC_GIVEN_UP, OCC_RETRIES, RECONNECTS, RETIRED_BY_AGE, STACK, SilentLine,
    StandardOutput,
};
pub use request::{BODY, MAX_DEPTH, body, bytes, deadline, known_deadline, query, segments};
pub use response::{empty, json, json_text, with_tag};
pub use start::start;
pub use telemetry::{JsonLines, Level, REQUEST_ID, init};
