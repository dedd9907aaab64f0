//! The environment variables these functions read, each under one constant, and the error that names
//! the variable when its value is wrong. Nothing here falls back silently.
//!
//! | Variable | Meaning | Default |
//! |---|---|---|
//! | `AUTH_MODE` | `jwks`: verify the bearer token here; `apigw`: trust the gateway's authorizer | `jwks` |
//! | `AUTH_JWKS` | JSON Web Key Set with the public keys, inline (mode `jwks`) | required |
//! | `AUTH_ISSUER` | the `iss` a token must carry (mode `jwks`) | required |
//! | `AUTH_AUDIENCE` | the `aud` a token must carry (mode `jwks`) | required |
//! | `AUTH_MAX_TOKEN_SECONDS` | how far ahead a token's `exp` may lie, 60 to 31622400 seconds (mode `jwks`) | 86400 |
//! | `CORS_ALLOWED_ORIGINS` | exact origins, separated by commas | none: no CORS headers |
//! | `ADDRESS_HASH_KEY` | secret of 16 bytes or more that client addresses are hashed with, for rate limits | none: limits count callers only |
//! | `TOKENS_PER_DAY_ALL` | tokens that models may cost in a UTC day, all owners and titles together | 5000000 |
//! | `STACK_NAME` | the stack's name, a dimension of every metric | `none` |
//! | `AWS_LAMBDA_LOG_LEVEL`, then `RUST_LOG` | `ERROR` to `DEBUG` (`FATAL` is `ERROR`, `TRACE` is `DEBUG`) | `INFO` |
//! | `AWS_LAMBDA_MAX_CONCURRENCY` | set by Lambda Managed Instances; above 1 the runtime is multi-threaded | 1 |

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Selects where the caller's identity comes from: `jwks` or `apigw`.
pub const AUTH_MODE: &str = "AUTH_MODE";
/// JSON Web Key Set with the public keys that sign callers' tokens, inline.
pub const AUTH_JWKS: &str = "AUTH_JWKS";
/// The `iss` every token must carry.
pub const AUTH_ISSUER: &str = "AUTH_ISSUER";
/// The `aud` every token must carry.
pub const AUTH_AUDIENCE: &str = "AUTH_AUDIENCE";
/// How far ahead the `exp` of a token may lie, in seconds.
pub const AUTH_MAX_TOKEN_SECONDS: &str = "AUTH_MAX_TOKEN_SECONDS";
/// Origins that browsers may call from, exact, separated by commas.
pub const CORS_ALLOWED_ORIGINS: &str = "CORS_ALLOWED_ORIGINS";
/// Secret that client addresses are hashed with before they are counted.
pub const ADDRESS_HASH_KEY: &str = "ADDRESS_HASH_KEY";
/// Tokens that models may cost in a UTC day, all owners and titles together.
pub const TOKENS_PER_DAY_ALL: &str = "TOKENS_PER_DAY_ALL";
/// The stack that the function belongs to, which its metrics name.
pub const STACK_NAME: &str = "STACK_NAME";
/// Log level that Lambda's log controls set.
pub const AWS_LAMBDA_LOG_LEVEL: &str = "AWS_LAMBDA_LOG_LEVEL";
/// Log level outside Lambda; weaker than [`AWS_LAMBDA_LOG_LEVEL`].
pub const RUST_LOG: &str = "RUST_LOG";
/// How many requests one container serves at once.
pub const AWS_LAMBDA_MAX_CONCURRENCY: &str = "AWS_LAMBDA_MAX_CONCURRENCY";

/// The largest number that a limit may be.
const MAX_LIMIT: i64 = 1_000_000_000;
/// Some ten dollars of the default model, if all of it is written.
const DEFAULT_TOKENS_PER_DAY_ALL: i64 = 5_000_000;

/// How configuration is read, so that tests need not touch the process environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the process environment; an empty value counts as unset.
pub fn from_process(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable is missing or wrong: the function refuses to start.
#[derive(Debug, thiserror::Error)]
#[error("{variable} {reason}")]
pub struct ConfigError {
    variable: &'static str,
    reason: String,
}

impl ConfigError {
    /// Names the variable and says what is wrong with it; the value itself stays out of it.
    pub fn new(variable: &'static str, reason: impl Into<String>) -> Self {
        Self {
            variable,
            reason: reason.into(),
        }
    }

    /// The variable at fault.
    pub fn variable(&self) -> &'static str {
        self.variable
    }
}

pub(crate) fn required(lookup: Lookup<'_>, name: &'static str) -> Result<String, ConfigError> {
    lookup(name)
        .filter(|value| !value.trim().is_empty())
        .ok_or_else(|| ConfigError::new(name, "is not set"))
}

/// Reads a whole number.
///
/// # Errors
/// When it is not a whole number, or not within `limits`.
pub fn number<N: FromStr + PartialOrd + Display>(
    lookup: Lookup<'_>,
    name: &'static str,
    default: N,
    limits: RangeInclusive<N>,
) -> Result<N, ConfigError> {
    let Some(text) = lookup(name) else {
        return Ok(default);
    };
    text.trim()
        .parse()
        .ok()
        .filter(|number| limits.contains(number))
        .ok_or_else(|| {
            ConfigError::new(
                name,
                format!(
                    "must be a whole number from {} to {}",
                    limits.start(),
                    limits.end()
                ),
            )
        })
}

/// Reads how many requests, tokens or replies are allowed: at least one.
///
/// # Errors
/// As [`number`].
pub fn limit(lookup: Lookup<'_>, name: &'static str, default: i64) -> Result<i64, ConfigError> {
    number(lookup, name, default, 1..=MAX_LIMIT)
}

/// Reads `TOKENS_PER_DAY_ALL`.
///
/// # Errors
/// As [`number`].
pub fn tokens_per_day_all(lookup: Lookup<'_>) -> Result<i64, ConfigError> {
    limit(lookup, TOKENS_PER_DAY_ALL, DEFAULT_TOKENS_PER_DAY_ALL)
}
