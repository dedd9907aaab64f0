//! What this function reads from its environment besides the configuration of `api` and `dsql`.
//!
//! | Variable | Meaning | Default |
//! |---|---|---|
//! | `WRITES_PER_MINUTE` | writes a caller may make in a minute; guests half of it, an address five times it | 120 |
//! | `MODEL_PROVIDER`, `MODEL_ID`, `MODEL_ALLOWED` | those of `chat`, for the list of models (docs/models.md) | none |

use std::time::Duration;

use api::{ConfigError, Lookup};
use chat_store::Limit;
use serde_json::{Value, json};

/// Writes that a caller may make in a minute.
pub const WRITES_PER_MINUTE: &str = "WRITES_PER_MINUTE";

const MODEL_PROVIDER: &str = "MODEL_PROVIDER";
const MODEL_ID: &str = "MODEL_ID";
const MODEL_ALLOWED: &str = "MODEL_ALLOWED";
/// The provider that has a model without being told, and that model.
const ECHO: &str = "echo";
const MAX_MODEL_ID_BYTES: usize = 256;

/// The limits of this function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Every write that is cheap.
    pub(crate) writes: Limit,
    /// Writes of many rows, and those that start long work: forks, shares, imports, claims, erasures.
    pub(crate) heavy: Limit,
}

impl Limits {
    pub(crate) fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let per_minute: i64 = match lookup(WRITES_PER_MINUTE) {
            None => 120,
            Some(text) => text
                .trim()
                .parse()
                .ok()
                .filter(|n| (1..=1_000_000).contains(n))
                .ok_or_else(|| {
                    ConfigError::new(
                        WRITES_PER_MINUTE,
                        "must be a whole number from 1 to 1000000",
                    )
                })?,
        };
        let guests = (per_minute / 2).max(1);
        Ok(Self {
            writes: Limit {
                name: "write",
                window: Duration::from_secs(60),
                per_owner: per_minute,
                per_guest: guests,
                per_address: per_minute * 5,
            },
            heavy: Limit {
                name: "heavy",
                window: Duration::from_secs(3_600),
                per_owner: per_minute,
                per_guest: guests,
                per_address: per_minute * 5,
            },
        })
    }
}

/// The models a page may offer, the default one first. The rule is `model`'s, by which `chat` answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Models(Vec<String>);

impl Models {
    pub(crate) fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let text = |name| {
            let value = lookup(name)?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let is_echo = text(MODEL_PROVIDER).as_deref() == Some(ECHO);
        let Some(default) = text(MODEL_ID).or_else(|| is_echo.then(|| ECHO.to_owned())) else {
            return Ok(Self::default());
        };
        let mut ids = vec![default];
        for id in text(MODEL_ALLOWED).unwrap_or_default().split(',') {
            let id = id.trim();
            if !id.is_empty() && !ids.iter().any(|known| known == id) {
                ids.push(id.to_owned());
            }
        }
        match ids.iter().position(|id| id.len() > MAX_MODEL_ID_BYTES) {
            None => Ok(Self(ids)),
            Some(at) => Err(ConfigError::new(
                if at == 0 { MODEL_ID } else { MODEL_ALLOWED },
                format!("has a model's id of more than {MAX_MODEL_ID_BYTES} bytes"),
            )),
        }
    }

    pub(crate) fn json(&self) -> Value {
        let models: Vec<Value> = self.0.iter().map(|id| json!({"id": id})).collect();
        json!({"models": models, "default": self.0.first()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_have_half_and_a_wrong_number_stops_the_start() {
        let read = |text: Option<&str>| Limits::from_lookup(&|_| text.map(str::to_owned));
        assert_eq!(read(None).unwrap().writes.per_owner, 120);
        assert_eq!(read(Some("3")).unwrap().writes.per_guest, 1);
        for text in ["0", "-1", "many", "1.5"] {
            assert!(read(Some(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn the_models_listed_are_those_that_answer() {
        let long = "x".repeat(257);
        let echo = (MODEL_PROVIDER, "echo");
        for (variables, default) in [
            (vec![echo], Some("echo")),
            (vec![echo, (MODEL_ALLOWED, "echo,b")], Some("echo")),
            (vec![echo, (MODEL_ID, "a")], Some("a")),
            (
                vec![(MODEL_ID, " a "), (MODEL_ALLOWED, "b, a,, c")],
                Some("a"),
            ),
            (vec![(MODEL_PROVIDER, "bedrock"), (MODEL_ID, " ")], None),
            (vec![(MODEL_ALLOWED, "b")], None),
            (vec![(MODEL_ID, long.as_str())], None),
            (vec![(MODEL_ID, "a"), (MODEL_ALLOWED, &long)], None),
        ] {
            let lookup = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name)?;
                Some(found.1.to_owned())
            };
            let listed = Models::from_lookup(&lookup)
                .map(|models| models.0)
                .map_err(|error| error.to_string());
            let answering = model::models(&lookup).map_err(|error| error.to_string());
            assert_eq!(listed, answering, "{variables:?}");
            let first = listed.ok().and_then(|ids| ids.into_iter().next());
            assert_eq!(first.as_deref(), default, "{variables:?}");
        }
    }

    #[test]
    fn the_list_names_its_default() {
        let models = Models(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            models.json(),
            json!({"models": [{"id": "a"}, {"id": "b"}], "default": "a"})
        );
        let none = json!({"models": [], "default": null});
        assert_eq!(Models::default().json(), none);
    }
}
