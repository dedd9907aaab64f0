//! What this function reads from its environment besides the configuration of `api` and `dsql`.
//!
//! | Variable | Meaning | Default |
//! |---|---|---|
//! | `WRITES_PER_MINUTE` | writes a caller may make in a minute; guests half of it, an address five times it | 120 |
//! | `MODEL_ID` | the model that answers when a request names none | none |
//! | `MODEL_ALLOWED` | further models that requests may name, separated by commas | none |

use std::time::Duration;

use api::{ConfigError, Lookup};
use chat_store::Limit;
use serde_json::{Value, json};

/// Writes that a caller may make in a minute.
pub const WRITES_PER_MINUTE: &str = "WRITES_PER_MINUTE";
/// The model that answers when a request names none.
pub const MODEL_ID: &str = "MODEL_ID";
/// Further models that requests may name.
pub const MODEL_ALLOWED: &str = "MODEL_ALLOWED";

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

/// The models a page may offer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Models {
    default: Option<String>,
    ids: Vec<String>,
}

impl Models {
    pub(crate) fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let default = lookup(MODEL_ID).map(|id| id.trim().to_owned());
        let mut ids: Vec<String> = default.iter().cloned().collect();
        for id in lookup(MODEL_ALLOWED).unwrap_or_default().split(',') {
            let id = id.trim();
            if !id.is_empty() && !ids.iter().any(|known| known == id) {
                ids.push(id.to_owned());
            }
        }
        if ids.iter().any(|id| id.len() > 256) {
            return Err(ConfigError::new(
                MODEL_ALLOWED,
                "a model's id has at most 256 bytes",
            ));
        }
        Ok(Self { default, ids })
    }

    pub(crate) fn json(&self) -> Value {
        let models: Vec<Value> = self.ids.iter().map(|id| json!({"id": id})).collect();
        json!({"models": models, "default": self.default})
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
    fn the_default_model_is_offered_once() {
        let models = Models::from_lookup(&|name| match name {
            MODEL_ID => Some("a".to_owned()),
            _ => Some("a, b,,".to_owned()),
        })
        .unwrap();
        assert_eq!(
            models.json(),
            json!({"models": [{"id": "a"}, {"id": "b"}], "default": "a"})
        );
    }
}
