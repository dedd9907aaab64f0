//! Configuration that every provider shares: the environment variables, and one clear error for
//! each wrong value.

use std::str::FromStr;

/// `bedrock`, `openai` (any OpenAI-compatible server) or `echo`. Required.
pub const MODEL_PROVIDER: &str = "MODEL_PROVIDER";
/// The model that answers when a caller names none. Required, except for the provider `echo`, whose
/// model is `echo`.
pub const MODEL_ID: &str = "MODEL_ID";
/// The models a caller may name, separated by commas. [`MODEL_ID`] is always one of them.
pub const MODEL_ALLOWED: &str = "MODEL_ALLOWED";
/// What people call the models, where their ids do not tell: `id=name`, separated by commas.
pub const MODEL_NAMES: &str = "MODEL_NAMES";
/// The longest reply in tokens, 1 to 1,000,000. Default [`DEFAULT_MAX_TOKENS`].
pub const MODEL_MAX_TOKENS: &str = "MODEL_MAX_TOKENS";

/// The longest reply when [`MODEL_MAX_TOKENS`] is not set.
pub const DEFAULT_MAX_TOKENS: u32 = 4096;

/// The model that answers for the provider `echo` when [`MODEL_ID`] is not set.
const ECHO: &str = "echo";
/// Of a model's id, in bytes.
const MAX_ID_BYTES: usize = 256;

/// Reads one variable by name.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

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

    /// What is wrong with it.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// The models a caller may name, the default one first; empty where no model is configured.
///
/// # Errors
/// An id of more than 256 bytes.
pub fn models(lookup: Lookup<'_>) -> Result<Vec<String>, ConfigError> {
    let is_echo = || text(lookup, MODEL_PROVIDER).as_deref() == Some(ECHO);
    let default = text(lookup, MODEL_ID).or_else(|| is_echo().then(|| ECHO.to_owned()));
    let Some(default) = default else {
        return Ok(Vec::new());
    };
    let mut models = vec![default];
    for name in text(lookup, MODEL_ALLOWED).unwrap_or_default().split(',') {
        let name = name.trim();
        if !name.is_empty() && !models.iter().any(|known| known == name) {
            models.push(name.to_owned());
        }
    }
    match models.iter().position(|id| id.len() > MAX_ID_BYTES) {
        None => Ok(models),
        Some(at) => Err(ConfigError::new(
            if at == 0 { MODEL_ID } else { MODEL_ALLOWED },
            format!("has a model's id of more than {MAX_ID_BYTES} bytes"),
        )),
    }
}

/// What people call a model: as [`MODEL_NAMES`] says, else its id without vendor, inference
/// profile, version and date.
pub fn display_name(lookup: Lookup<'_>, id: &str) -> String {
    let names = text(lookup, MODEL_NAMES).unwrap_or_default();
    let mut given = names.split(',').filter_map(|entry| entry.split_once('='));
    if let Some((_, name)) = given.find(|(known, _)| known.trim() == id) {
        return name.trim().to_owned();
    }
    let name = id.rsplit('/').next().unwrap_or(id);
    let mut name = name.split(':').next().unwrap_or(name);
    while let Some((vendor, rest)) = name.split_once('.')
        && vendor.bytes().all(|b| b.is_ascii_lowercase())
    {
        name = rest;
    }
    let is_number = |word: &str| word.bytes().all(|b| b.is_ascii_digit());
    let is_noise = |word: &&str| {
        word.len() == 8 && is_number(word) || word.strip_prefix('v').is_some_and(is_number)
    };
    let words = name.split(['-', '_']).filter(|word| !is_noise(word));
    let words = words.map(|word| match word.chars().next() {
        _ if word == "gpt" => "GPT".to_owned(),
        Some(first) => first.to_uppercase().chain(word.chars().skip(1)).collect(),
        None => String::new(),
    });
    let words: Vec<String> = words.collect();
    words.join(" ")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Vec<String>, ConfigError> {
        models(&|name| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        })
    }

    #[test]
    fn the_default_model_comes_first_and_none_is_named_twice() {
        let several = [(MODEL_ID, " a "), (MODEL_ALLOWED, "b, a,, c")];
        assert_eq!(read(&several).unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn the_provider_echo_has_a_model_without_being_told() {
        let echo = (MODEL_PROVIDER, "echo");
        assert_eq!(read(&[echo]).unwrap(), ["echo"]);
        assert_eq!(
            read(&[echo, (MODEL_ALLOWED, "echo,b")]).unwrap(),
            ["echo", "b"]
        );
        assert_eq!(read(&[echo, (MODEL_ID, "a")]).unwrap(), ["a"]);
    }

    #[test]
    fn without_a_default_no_model_answers() {
        for variables in [
            &[][..],
            &[(MODEL_ALLOWED, "b")],
            &[(MODEL_PROVIDER, "bedrock")],
        ] {
            assert!(read(variables).unwrap().is_empty());
        }
    }

    #[test]
    fn a_model_has_the_name_it_was_given_or_one_made_of_its_id() {
        let name = |id: &str| {
            let given =
                |name: &str| (name == MODEL_NAMES).then(|| "a=Alpha, b = Beta 2".to_owned());
            display_name(&given, id)
        };
        for (id, shown) in [
            ("a", "Alpha"),
            ("b", "Beta 2"),
            ("echo", "Echo"),
            ("amazon.nova-lite-v1:0", "Nova Lite"),
            (
                "us.anthropic.claude-sonnet-4-20250514-v1:0",
                "Claude Sonnet 4",
            ),
            (
                "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova-pro-v1:0",
                "Nova Pro",
            ),
            ("gpt-4.1-mini", "GPT 4.1 Mini"),
            ("meta-llama/Llama-3.1-8B", "Llama 3.1 8B"),
        ] {
            assert_eq!(name(id), shown);
        }
    }

    #[test]
    fn an_id_that_is_too_long_names_its_variable() {
        let long = "x".repeat(257);
        assert_eq!(read(&[(MODEL_ID, &long)]).unwrap_err().variable(), MODEL_ID);
        let allowed = [(MODEL_ID, "a"), (MODEL_ALLOWED, long.as_str())];
        assert_eq!(read(&allowed).unwrap_err().variable(), MODEL_ALLOWED);
    }
}
