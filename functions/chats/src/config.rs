//! What this function reads from its environment besides the configuration of `runtime`, `http-api`
//! and `dsql`.
//!
//! | Variable | Meaning | Default |
//! |---|---|---|
//! | `WRITES_PER_MINUTE` | writes a caller may make in a minute; guests half of it, an address five times it | 120 |
//! | `UPLOAD_BYTES` | bytes of one upload; uploads need the variables of `bucket` | 20971520 |
//! | `UPLOAD_BYTES_PER_DAY` | bytes that an owner may upload in a UTC day | 209715200 |
//! | `UPLOAD_BYTES_PER_DAY_GUEST` | the same for a guest | 41943040 |
//! | `MODEL_PROVIDER`, `MODEL_ID`, `MODEL_ALLOWED`, `MODEL_NAMES` | those of `chat`, for the list of models (docs/models.md) | none |
//! | `MODEL_TOOLS` | whether `chat` has tools that models may call | false |

use std::time::Duration;

use bucket::Bucket;
use chat_store::{FILE_TYPES, Limit};
use runtime::{ConfigError, Lookup, flag, limit};
use serde_json::{Value, json};

/// Writes that a caller may make in a minute.
pub const WRITES_PER_MINUTE: &str = "WRITES_PER_MINUTE";

/// Bytes of one upload.
pub const UPLOAD_BYTES: &str = "UPLOAD_BYTES";
/// Bytes that an owner may upload in a UTC day.
pub const UPLOAD_BYTES_PER_DAY: &str = "UPLOAD_BYTES_PER_DAY";
/// The same for a guest.
pub const UPLOAD_BYTES_PER_DAY_GUEST: &str = "UPLOAD_BYTES_PER_DAY_GUEST";
/// Whether `chat` has tools that models may call: those of MCP servers, or the search of posts.
const MODEL_TOOLS: &str = "MODEL_TOOLS";

const MIB: i64 = 1024 * 1024;

/// The limits of this function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Every write that is cheap.
    pub(crate) writes: Limit,
    /// Writes of many rows, and those that start long work: forks, shares, imports, claims,
    /// erasures.
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

/// Where uploads go, and how much of them.
#[derive(Debug)]
pub(crate) struct Uploads {
    pub(crate) bucket: Bucket,
    /// Of one.
    pub(crate) bytes: i64,
    /// Of an owner.
    pub(crate) bytes_per_day: i64,
    pub(crate) bytes_per_day_of_guest: i64,
}

impl Uploads {
    /// `None` where there is no bucket.
    pub(crate) fn from_lookup(lookup: Lookup<'_>) -> Result<Option<Self>, ConfigError> {
        let Some(bucket) = Bucket::from_lookup(lookup)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            bucket,
            bytes: limit(lookup, UPLOAD_BYTES, 20 * MIB)?,
            bytes_per_day: limit(lookup, UPLOAD_BYTES_PER_DAY, 200 * MIB)?,
            bytes_per_day_of_guest: limit(lookup, UPLOAD_BYTES_PER_DAY_GUEST, 40 * MIB)?,
        }))
    }
}

/// What a page may offer, as `GET /api/models` answers: the models, by the rule of `model`, by
/// which `chat` answers; and what an upload may be, `null` where there are none.
///
/// # Errors
/// When a variable is wrong; the error names it.
pub(crate) fn models(lookup: Lookup<'_>, uploads: Option<&Uploads>) -> Result<Value, ConfigError> {
    let ids = model::models(lookup)
        .map_err(|error| ConfigError::new(error.variable(), error.reason().to_owned()))?;
    let tools = flag(lookup, MODEL_TOOLS)?;
    let models: Vec<Value> = ids
        .iter()
        .map(|id| {
            json!({
                "id": id,
                "name": model::display_name(lookup, id),
                "attachments": FILE_TYPES,
                "tools": tools,
            })
        })
        .collect();
    let uploads =
        uploads.map(|uploads| json!({"maxBytes": uploads.bytes, "mediaTypes": FILE_TYPES}));
    Ok(json!({"models": models, "default": ids.first(), "uploads": uploads}))
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
    fn the_list_names_its_models_the_default_and_what_an_upload_may_be() {
        let listed = |variables: &[(&str, &str)]| {
            let lookup = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name)?;
                Some(found.1.to_owned())
            };
            models(&lookup, Uploads::from_lookup(&lookup)?.as_ref())
        };
        assert_eq!(
            listed(&[("MODEL_ID", "a"), ("MODEL_ALLOWED", "b-v1:0")]).unwrap(),
            json!({
                "models": [
                    {"id": "a", "name": "A", "attachments": FILE_TYPES, "tools": false},
                    {"id": "b-v1:0", "name": "B", "attachments": FILE_TYPES, "tools": false},
                ],
                "default": "a",
                "uploads": null,
            })
        );
        let with_tools = listed(&[("MODEL_ID", "a"), (MODEL_TOOLS, "true")]).unwrap();
        assert_eq!(with_tools["models"][0]["tools"], true);
        assert!(listed(&[("MODEL_ID", "a"), (MODEL_TOOLS, "some")]).is_err());
        let none = json!({"models": [], "default": null, "uploads": null});
        assert_eq!(listed(&[]).unwrap(), none);
        let bucket = [
            (bucket::UPLOADS_BUCKET, "a-bucket"),
            ("AWS_REGION", "eu-west-1"),
        ];
        let uploads = |more: &[(&str, &str)]| {
            let listed = listed(&[&bucket[..], more].concat()).unwrap();
            listed["uploads"].clone()
        };
        let whole = json!({"maxBytes": 20 * MIB, "mediaTypes": FILE_TYPES});
        assert_eq!(uploads(&[]), whole);
        assert_eq!(uploads(&[(UPLOAD_BYTES, "1000")])["maxBytes"], 1000);
        let long = "x".repeat(257);
        assert!(listed(&[("MODEL_ID", &long)]).is_err());
    }
}
