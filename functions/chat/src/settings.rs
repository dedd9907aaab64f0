//! The function's own configuration.
//!
//! | Variable | Meaning | Default |
//! |---|---|---|
//! | `SYSTEM_PROMPT` | instructions that stand before every conversation | none |
//! | `CONTEXT_TOKENS` | how much of a conversation the model is shown, in tokens (estimated: 4 bytes each) | 16000 |
//! | `TOKENS_PER_DAY` | tokens of an owner in a UTC day, asked and answered | 200000 |
//! | `TOKENS_PER_DAY_GUEST` | the same for a guest | 20000 |
//! | `TOKENS_PER_DAY_ADDRESS` | the same from one address; needs `ADDRESS_HASH_KEY` | 600000 |
//! | `TOKENS_PER_DAY_ALL` | the same of all owners together, titles included; also read by `jobs` | 5000000 |
//! | `TURNS_PER_MINUTE` | turns of an owner | 20 |
//! | `TURNS_PER_MINUTE_GUEST` | the same for a guest | 6 |
//! | `TURNS_PER_MINUTE_ADDRESS` | turns from one address; needs `ADDRESS_HASH_KEY` | 60 |
//! | `CONCURRENT_REPLIES` | replies of one owner that are written at once | 3 |
//! | `CHECKPOINT_MS` | how often a growing reply is stored, 50 to 60000 | 1000 |
//! | `KEEP_ALIVE_MS` | the longest silence of a stream | 15000 |
//! | `RESUME_POLL_MS` | how often a follower looks for more, 50 to 60000 | 500 |
//! | `TOOL_STEPS` | how often the model is asked in one turn, 1 to 20: again after each round of tools | 5 |
//! | `TOOL_TIMEOUT_MS` | the longest call of a tool, 100 to 300000 | 20000 |
//! | `TOOL_RESULT_BYTES` | the longest result of a tool, 256 to 65536; what is longer is cut | 16384 |
//! | `UPLOAD_BYTES_PER_TURN` | bytes of uploads that a model is given in one turn; uploads need the variables of `bucket` | 20971520 |
//! | `TITLES_BY_MODEL` | `true`: a job has a model make a new chat's title, until then it is the first line | `false` |

use std::time::Duration;

use chat_store::{Limit, TokenLimits};
use runtime::{ConfigError, Lookup, flag, limit, number, tokens_per_day_all};

use crate::context::estimate_bytes;

/// Instructions that stand before every conversation.
pub const SYSTEM_PROMPT: &str = "SYSTEM_PROMPT";
/// How much of a conversation the model is shown, in tokens.
pub const CONTEXT_TOKENS: &str = "CONTEXT_TOKENS";
/// Tokens of an owner in a UTC day.
pub const TOKENS_PER_DAY: &str = "TOKENS_PER_DAY";
/// Tokens of a guest in a UTC day.
pub const TOKENS_PER_DAY_GUEST: &str = "TOKENS_PER_DAY_GUEST";
/// Tokens from one address in a UTC day.
pub const TOKENS_PER_DAY_ADDRESS: &str = "TOKENS_PER_DAY_ADDRESS";
/// Turns of an owner in a minute.
pub const TURNS_PER_MINUTE: &str = "TURNS_PER_MINUTE";
/// Turns of a guest in a minute.
pub const TURNS_PER_MINUTE_GUEST: &str = "TURNS_PER_MINUTE_GUEST";
/// Turns from one address in a minute.
pub const TURNS_PER_MINUTE_ADDRESS: &str = "TURNS_PER_MINUTE_ADDRESS";
/// Replies of one owner that are written at once.
pub const CONCURRENT_REPLIES: &str = "CONCURRENT_REPLIES";
/// How often a growing reply is stored, in milliseconds.
pub const CHECKPOINT_MS: &str = "CHECKPOINT_MS";
/// The longest silence of a stream, in milliseconds.
pub const KEEP_ALIVE_MS: &str = "KEEP_ALIVE_MS";
/// How often a follower looks for more, in milliseconds.
pub const RESUME_POLL_MS: &str = "RESUME_POLL_MS";
/// How often the model is asked in one turn.
pub const TOOL_STEPS: &str = "TOOL_STEPS";
/// The longest call of a tool, in milliseconds.
pub const TOOL_TIMEOUT_MS: &str = "TOOL_TIMEOUT_MS";
/// The longest result of a tool, in bytes.
pub const TOOL_RESULT_BYTES: &str = "TOOL_RESULT_BYTES";
/// Whether `jobs` has a model make the titles of new chats.
pub const TITLES_BY_MODEL: &str = "TITLES_BY_MODEL";

const MINUTE: Duration = Duration::from_secs(60);

/// What is configured.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) system: Option<String>,
    pub(crate) context_tokens: usize,
    /// Of an owner who is no guest.
    pub(crate) tokens: TokenLimits,
    pub(crate) tokens_of_guest: i64,
    pub(crate) turns: Limit,
    pub(crate) concurrent: i64,
    pub(crate) checkpoint: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) resume_poll: Duration,
    pub(crate) titles_by_model: bool,
    pub(crate) tools: ToolLimits,
}

/// What the tools of one turn may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToolLimits {
    /// Times that the model is asked.
    pub(crate) steps: usize,
    /// Of one call.
    pub(crate) time: Duration,
    /// Of one result.
    pub(crate) result_bytes: usize,
}

impl Settings {
    pub(crate) fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let count = |name, default| limit(lookup, name, default);
        let millis =
            |name, default| number(lookup, name, default, 50..=60_000).map(Duration::from_millis);
        Ok(Self {
            system: lookup(SYSTEM_PROMPT).filter(|text| !text.trim().is_empty()),
            context_tokens: usize::try_from(count(CONTEXT_TOKENS, 16_000)?).unwrap_or(usize::MAX),
            tokens: TokenLimits {
                owner: count(TOKENS_PER_DAY, 200_000)?,
                address: count(TOKENS_PER_DAY_ADDRESS, 600_000)?,
                deployment: tokens_per_day_all(lookup)?,
            },
            tokens_of_guest: count(TOKENS_PER_DAY_GUEST, 20_000)?,
            turns: Limit {
                name: "turns",
                window: MINUTE,
                per_owner: count(TURNS_PER_MINUTE, 20)?,
                per_guest: count(TURNS_PER_MINUTE_GUEST, 6)?,
                per_address: count(TURNS_PER_MINUTE_ADDRESS, 60)?,
            },
            concurrent: count(CONCURRENT_REPLIES, 3)?,
            checkpoint: millis(CHECKPOINT_MS, 1_000)?,
            keep_alive: millis(KEEP_ALIVE_MS, 15_000)?,
            resume_poll: millis(RESUME_POLL_MS, 500)?,
            titles_by_model: flag(lookup, TITLES_BY_MODEL)?,
            tools: ToolLimits {
                steps: number(lookup, TOOL_STEPS, 5, 1..=20)?,
                time: number(lookup, TOOL_TIMEOUT_MS, 20_000, 100..=300_000)
                    .map(Duration::from_millis)?,
                result_bytes: number(lookup, TOOL_RESULT_BYTES, 16_384, 256..=65_536)?,
            },
        })
    }

    /// The most tokens of what stands before every conversation.
    pub(crate) fn most_system_tokens(&self) -> u64 {
        let bytes = self.system.as_deref().unwrap_or_default().len();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Tokens of what stands before every conversation, roughly.
    pub(crate) fn system_tokens(&self) -> u64 {
        estimate_bytes(self.system.as_deref().unwrap_or_default().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_number_stops_the_start_and_names_its_variable() {
        for (name, value) in [
            (TURNS_PER_MINUTE, "0"),
            (CHECKPOINT_MS, "49"),
            (TOKENS_PER_DAY, "many"),
            (runtime::TOKENS_PER_DAY_ALL, "-1"),
            (TITLES_BY_MODEL, "yes"),
        ] {
            let lookup = |asked: &str| (asked == name).then(|| value.to_owned());
            let error = Settings::from_lookup(&lookup).unwrap_err();
            assert_eq!(error.variable(), name);
        }
        assert!(Settings::from_lookup(&|_| None).is_ok());
    }
}
