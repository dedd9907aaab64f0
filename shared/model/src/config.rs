//! Configuration that every provider shares: the environment variables, and one clear error for each wrong value.

use std::str::FromStr;

/// `bedrock`, `openai` (any OpenAI-compatible server) or `echo`. Required.
pub const MODEL_PROVIDER: &str = "MODEL_PROVIDER";
/// The model that answers when a caller names none. Required, except for `echo`.
pub const MODEL_ID: &str = "MODEL_ID";
/// The models a caller may name, separated by commas. [`MODEL_ID`] is always one of them.
pub const MODEL_ALLOWED: &str = "MODEL_ALLOWED";
/// The longest reply in tokens, 1 to 1,000,000. Default [`DEFAULT_MAX_TOKENS`].
pub const MODEL_MAX_TOKENS: &str = "MODEL_MAX_TOKENS";

/// The longest reply when [`MODEL_MAX_TOKENS`] is not set.
pub const DEFAULT_MAX_TOKENS: u32 = 4096;

/// Reads one variable by name.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a configuration is refused. The text names the variable and never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {reason}")]
pub struct ConfigError {
    variable: &'static str,
    reason: String,
}

impl ConfigError {
    pub(crate) fn new(variable: &'static str, reason: impl Into<String>) -> Self {
        Self {
            variable,
            reason: reason.into(),
        }
    }

    /// The variable that is missing or wrong.
    pub fn variable(&self) -> &'static str {
        self.variable
    }
}

/// The models a caller may name, the default one first.
pub(crate) fn models(
    lookup: Lookup<'_>,
    fallback: Option<&str>,
) -> Result<Vec<String>, ConfigError> {
    let default = text(lookup, MODEL_ID)
        .or_else(|| fallback.map(str::to_owned))
        .ok_or_else(|| ConfigError::new(MODEL_ID, "is not set: the model that answers"))?;
    let mut models = vec![default];
    for name in text(lookup, MODEL_ALLOWED).unwrap_or_default().split(',') {
        let name = name.trim();
        if !name.is_empty() && !models.iter().any(|known| known == name) {
            models.push(name.to_owned());
        }
    }
    Ok(models)
}

/// A variable's value without surrounding space; empty is unset.
pub(crate) fn text(lookup: Lookup<'_>, name: &str) -> Option<String> {
    lookup(name)
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

/// A whole number within limits.
pub(crate) fn number<T>(
    lookup: Lookup<'_>,
    name: &'static str,
    limits: std::ops::RangeInclusive<T>,
    default: T,
) -> Result<T, ConfigError>
where
    T: FromStr + PartialOrd + std::fmt::Display,
{
    let Some(value) = text(lookup, name) else {
        return Ok(default);
    };
    value
        .parse()
        .ok()
        .filter(|number| limits.contains(number))
        .ok_or_else(|| {
            ConfigError::new(
                name,
                format!(
                    "is {value:?}: not a number from {} to {}",
                    limits.start(),
                    limits.end()
                ),
            )
        })
}

/// `true` or `false`.
#[cfg(feature = "echo")]
pub(crate) fn flag(lookup: Lookup<'_>, name: &'static str) -> Result<bool, ConfigError> {
    match text(lookup, name).as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(ConfigError::new(
            name,
            format!("is {other:?}: neither true nor false"),
        )),
    }
}
