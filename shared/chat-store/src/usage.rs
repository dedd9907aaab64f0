//! What a caller has used: tokens by day and model.

use dsql::{Db, Error, Type};
use jiff::civil::Date;
use serde::Serialize;

use crate::ids::OwnerId;

/// One day's use of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DailyUsage {
    /// UTC.
    pub day: Date,
    /// The model.
    pub model: String,
    /// Replies.
    pub requests: i64,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
}

const USAGE: &str = "\
SELECT day, model, requests, input_tokens, output_tokens FROM usage_daily
WHERE owner_id = $1 AND day BETWEEN $2 AND $3 ORDER BY day, model LIMIT 10000";

/// The owner's use from one day to another, both included.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn by_day(
    db: &Db,
    owner: &OwnerId,
    from: Date,
    to: Date,
) -> Result<Vec<DailyUsage>, Error> {
    let rows = db
        .query_idempotent(
            USAGE,
            &[
                (&owner.as_str(), Type::TEXT),
                (&from, Type::DATE),
                (&to, Type::DATE),
            ],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| DailyUsage {
            day: row.get("day"),
            model: row.get("model"),
            requests: row.get("requests"),
            input_tokens: row.get("input_tokens"),
            output_tokens: row.get("output_tokens"),
        })
        .collect())
}
