//! Scheduled clean-up: deletes what has expired, and sums up old usage. Each function does one
//! batch below the row limit, with the effect of once when it is run twice, and says how many rows
//! it took; 0 means none is left.

use dsql::{Db, Error, Type};
use jiff::Timestamp;

/// Most rows of one batch.
const BATCH: i64 = 1_000;

/// Tables whose rows expire on their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiring {
    /// Answers kept for repeated requests.
    IdempotencyKeys,
    /// Counts of rate limits, and of the day's tokens.
    RateBuckets,
    /// Reservations of a day that is over: nobody settles them any more.
    Reservations,
    /// Jobs that are over, receipts of erasures excepted.
    Jobs,
}

impl Expiring {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::IdempotencyKeys,
        Self::RateBuckets,
        Self::Reservations,
        Self::Jobs,
    ];

    /// In reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::IdempotencyKeys => "idempotencyKeys",
            Self::RateBuckets => "rateBuckets",
            Self::Reservations => "reservations",
            Self::Jobs => "jobs",
        }
    }

    fn delete(self) -> &'static str {
        match self {
            Self::IdempotencyKeys => {
                "DELETE FROM idempotency WHERE (owner_id, key) IN (
    SELECT owner_id, key FROM idempotency WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)"
            }
            Self::RateBuckets => {
                "DELETE FROM rate_buckets WHERE (key, window_start) IN (
    SELECT key, window_start FROM rate_buckets WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)"
            }
            Self::Reservations => {
                "DELETE FROM reservations WHERE id IN (
    SELECT id FROM reservations WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)"
            }
            Self::Jobs => {
                "DELETE FROM jobs WHERE id IN (
    SELECT id FROM jobs WHERE state IN ('done', 'dead') AND kind <> 'erase_user'
        AND run_after <= $1::timestamptz - INTERVAL '30 days' LIMIT $2)"
            }
        }
    }
}

/// Deletes a batch of expired rows and says how many.
///
/// # Errors
/// Any [`Error`].
pub async fn delete_expired(db: &Db, what: Expiring, now: Timestamp) -> Result<u64, Error> {
    db.execute_idempotent(
        what.delete(),
        &[(&now, Type::TIMESTAMPTZ), (&BATCH, Type::INT8)],
    )
    .await
}

// A month's first day is both a day of its own and the month's sum, once the month is folded.
const FOLD: &str = "\
WITH old AS (
    SELECT owner_id, day, model FROM usage_daily
    WHERE day < $1::date AND day <> date_trunc('month', day)::date ORDER BY day LIMIT $2
), gone AS (
    DELETE FROM usage_daily u USING old
    WHERE u.owner_id = old.owner_id AND u.day = old.day AND u.model = old.model
    RETURNING u.owner_id, u.day, u.model, u.requests, u.input_tokens, u.output_tokens
), months AS (
    SELECT owner_id, date_trunc('month', day)::date AS day, model, sum(requests)::bigint AS requests,
        sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens
    FROM gone GROUP BY 1, 2, 3
), folded AS (
    INSERT INTO usage_daily AS u (owner_id, day, model, requests, input_tokens, output_tokens)
    SELECT owner_id, day, model, requests, input_tokens, output_tokens FROM months
    ON CONFLICT (owner_id, day, model) DO UPDATE SET requests = u.requests + EXCLUDED.requests,
        input_tokens = u.input_tokens + EXCLUDED.input_tokens, output_tokens = u.output_tokens + EXCLUDED.output_tokens
)
SELECT count(*) FROM gone";

/// Folds a batch of daily usage older than `before` into its month's first day, and says how many
/// rows it took. What is added moves with what is deleted, in one statement: run twice, the second
/// run finds nothing of the first's.
///
/// # Errors
/// Any [`Error`].
pub async fn fold_usage(db: &Db, before: jiff::civil::Date) -> Result<i64, Error> {
    let row = db
        .query_opt_idempotent(FOLD, &[(&before, Type::DATE), (&BATCH, Type::INT8)])
        .await?;
    Ok(row.map_or(0, |row| row.get(0)))
}
