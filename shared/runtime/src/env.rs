//! How configuration is read: the environment variables that every function knows, the readers of
//! numbers and limits, and the error that names the variable when its value is wrong. Nothing here
//! falls back silently.
//!
//! | Variable | Meaning | Default |
//! |---|---|---|
//! | `ADDRESS_HASH_KEY` | secret of 16 bytes or more that client addresses are hashed with, for rate limits | none: limits count callers only |
//! | `TOKENS_PER_DAY_ALL` | tokens that models may cost in a UTC day, all owners and titles together | 5000000 |
//! | `BLOG_FEED` | a feed or a sitemap of the blog whose posts are indexed and searched | none: they are not |
//! | `STACK_NAME` | the stack's name, a dimension of every metric | `none` |
//! | `AWS_LAMBDA_LOG_LEVEL`, then `RUST_LOG` | `ERROR` to `DEBUG` (`FATAL` is `ERROR`, `TRACE` is `DEBUG`) | `INFO` |
//! | `AWS_LAMBDA_MAX_CONCURRENCY` | set by Lambda Managed Instances; above 1 the runtime is multi-threaded | 1 |

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Tokens that models may cost in a UTC day, all owners and titles together.
pub const TOKENS_PER_DAY_ALL: &str = "TOKENS_PER_DAY_ALL";
/// The address of a feed (RSS, Atom, JSON Feed) or a sitemap of the blog.
pub const BLOG_FEED: &str = "BLOG_FEED";
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

/// Reads a text that must be there.
///
/// # Errors
/// When it is missing or blank.
pub fn required(lookup: Lookup<'_>, name: &'static str) -> Result<String, ConfigError> {
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

/// Reads a switch: `true` or `false`, which is the default.
///
/// # Errors
/// Anything else.
pub fn flag(lookup: Lookup<'_>, name: &'static str) -> Result<bool, ConfigError> {
    match lookup(name).as_deref().map(str::trim) {
        None | Some("" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ConfigError::new(name, "must be true or false")),
    }
}

/// Reads `TOKENS_PER_DAY_ALL`.
///
/// # Errors
/// As [`number`].
pub fn tokens_per_day_all(lookup: Lookup<'_>) -> Result<i64, ConfigError> {
    limit(lookup, TOKENS_PER_DAY_ALL, DEFAULT_TOKENS_PER_DAY_ALL)
}

/// Reads `BLOG_FEED`.
pub fn blog_feed(lookup: Lookup<'_>) -> Option<String> {
    lookup(BLOG_FEED).filter(|address| !address.trim().is_empty())
}
