//! Tokens that models may cost in one UTC day: of an owner, of an address, and of the whole
//! deployment.
//!
//! Life cycle of a reservation: what a request may cost at most is reserved in the statement that
//! decides whether it is made, and counts as spent from then on. When the request has ended, its
//! writer settles: the difference is given back, or added, and the reservation is gone. A writer
//! that dies settles nothing, and what it reserved stays spent until the day is over.
//!
//! # Promises
//! 1. What is counted is never less than what was used: nobody but the writer gives back, and only
//!    what the provider says was not used. Until it says so, a text has a token a byte and a reply
//!    all the tokens that it was allowed.
//! 2. A reservation is made once and settled once, whatever is repeated after a lost connection.
//! 3. Counters name an owner by a pseudonym alone, so that they outlive the owner's erasure, until
//!    the day is over.
//! 4. A turn that would likely exceed a budget is refused. One that was admitted may exceed it by
//!    what its text has more than a likely count of tokens. The deployment's counter is divided, so
//!    that turns of different chats do not conflict: requests of the same moment may exceed its
//!    budget by what each of them reserves.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use dsql::{Db, Error, Type};
use jiff::Timestamp;

use crate::ids::{ChatId, OwnerId};
use crate::key::key;
use crate::limits::{Bucket, Window};
use crate::values::day_of;

const DAY: Duration = Duration::from_secs(86_400);
/// Rows that the deployment's counter is divided into.
const SHARDS: u64 = 16;

/// The branches of a verdict that refuse what would cost `$tokens` beyond a budget of the day, by
/// the CTE `spent` (`key`, `n`): each pair is a counter's key, that of the deployment's rows all of
/// them, and what it may reach.
macro_rules! beyond_budgets {
    ($tokens:literal, ($owner:literal, $owner_most:literal), ($address:literal, $address_most:literal),
        ($shards:literal, $deployment_most:literal)) => {
        concat!(
            "WHEN COALESCE((SELECT n FROM spent WHERE key = ",
            $owner,
            "), 0) + ",
            $tokens,
            " > ",
            $owner_most,
            " THEN 'owner'
        WHEN COALESCE((SELECT n FROM spent WHERE key = ",
            $address,
            "), 0) + ",
            $tokens,
            " > ",
            $address_most,
            " THEN 'address'
        WHEN COALESCE((SELECT sum(n) FROM spent WHERE key = ANY(",
            $shards,
            ")), 0) + ",
            $tokens,
            " > ",
            $deployment_most,
            " THEN 'deployment'
        "
        )
    };
}
pub(crate) use beyond_budgets;

/// Whose budget does not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// The owner's.
    Owner,
    /// That of the address.
    Address,
    /// That of all owners together.
    Deployment,
}

impl Budget {
    /// In responses, and in verdicts of statements.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Address => "address",
            Self::Deployment => "deployment",
        }
    }

    pub(crate) fn of_verdict(verdict: &str) -> Option<Self> {
        [Self::Owner, Self::Address, Self::Deployment]
            .into_iter()
            .find(|budget| budget.as_str() == verdict)
    }
}

/// Tokens of one UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLimits {
    /// Of one owner.
    pub owner: i64,
    /// Of one address, whoever calls from it.
    pub address: i64,
    /// Of all owners together.
    pub deployment: i64,
}

/// Who spends.
#[derive(Debug, Clone, Copy)]
pub struct Spender<'a> {
    /// The owner's pseudonym for the day.
    pub owner: &'a str,
    /// The keyed hash of the address, if there is one.
    pub address: Option<&'a str>,
    /// The chat that it is for; it decides which row of the deployment's counter is written.
    pub chat: &'a ChatId,
}

/// The counters that a request's tokens are taken from, each with its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// The UTC day.
    pub day: Window,
    /// The owner's.
    pub owner: Bucket,
    /// That of the address, if it is known.
    pub address: Option<Bucket>,
    /// The deployment's: the key is that of one of its rows, the limit that of their sum.
    pub deployment: Bucket,
}

impl Budgets {
    /// Those of `spender` on the day of `now`.
    pub fn new(spender: Spender<'_>, limits: TokenLimits, now: Timestamp) -> Self {
        let mut hasher = DefaultHasher::new();
        spender.chat.as_str().hash(&mut hasher);
        Self {
            day: Window::at(now, DAY),
            owner: Bucket {
                key: format!("tokens|owner|{}", spender.owner),
                most: limits.owner,
            },
            address: spender.address.map(|address| Bucket {
                key: format!("tokens|address|{address}"),
                most: limits.address,
            }),
            deployment: Bucket {
                key: shard(hasher.finish() % SHARDS),
                most: limits.deployment,
            },
        }
    }
}

/// The keys of the deployment's rows.
pub(crate) fn shards() -> Vec<String> {
    (0..SHARDS).map(shard).collect()
}

fn shard(n: u64) -> String {
    format!("tokens|all|{n}")
}

/// Settles the reservation `$id`, which has cost `$spent` tokens. Part of the statement that ends
/// what the reservation was made for.
macro_rules! given_back {
    ($id:literal, $spent:literal) => {
        concat!(
            "reservation AS (
    DELETE FROM reservations WHERE id = ",
            $id,
            " RETURNING tokens, day, owner_key, address_key, deployment_key
), given_back AS (
    UPDATE rate_buckets b SET n = b.n + (",
            $spent,
            ") - r.tokens FROM reservation r
    -- An array, not a list: DSQL has no bitmap scans, and would read the whole table for three alternatives.
    WHERE b.key = ANY (ARRAY[r.owner_key, r.address_key, r.deployment_key]) AND b.window_start = r.day
)"
        )
    };
}
pub(crate) use given_back;

const SETTLE: &str = concat!(
    "WITH ",
    given_back!("$1", "$2"),
    "
SELECT FROM reservation"
);

/// Settles what was reserved for the reply or title `id`, if that is open still, at `spent` tokens.
///
/// # Errors
/// Any [`Error`].
pub async fn settle(db: &Db, id: &str, spent: i64) -> Result<(), Error> {
    db.execute_idempotent(SETTLE, &[(&id, Type::TEXT), (&spent, Type::INT8)])
        .await
        .map(|_| ())
}

// A title is promised with a turn that its owner was allowed: only the deployment's budget can be
// short of it.
const RESERVE: &str = "\
WITH verdict AS (
    SELECT EXISTS (SELECT FROM reservations WHERE id = $1) AS is_again, COALESCE(
        (SELECT sum(n) FROM rate_buckets WHERE key = ANY($7) AND window_start = $3), 0
    ) + $2 <= $8 AS has_room
), reserved AS (
    INSERT INTO reservations (id, tokens, day, owner_key, deployment_key, expires_at)
    SELECT $1, $2, $3, $5, $6, $4 FROM verdict WHERE has_room AND NOT is_again RETURNING id
), counted AS (
    INSERT INTO rate_buckets (key, window_start, n, expires_at)
    SELECT bucket.key, $3, $2, $4 FROM (VALUES ($5), ($6)) AS bucket (key), reserved
    ON CONFLICT (key, window_start) DO UPDATE SET n = rate_buckets.n + excluded.n
)
SELECT is_again OR has_room AS is_reserved FROM verdict";

/// Reserves `tokens` for the title `id` and tells whether the deployment's budget suffices. The
/// same id again is reserved once.
///
/// # Errors
/// Any [`Error`].
pub async fn reserve_title(
    db: &Db,
    id: &str,
    budgets: &Budgets,
    tokens: i64,
) -> Result<bool, Error> {
    let row = db
        .query_opt_idempotent(
            RESERVE,
            &[
                (&id, Type::TEXT),
                (&tokens, Type::INT8),
                (&budgets.day.start, Type::TIMESTAMPTZ),
                (&budgets.day.end, Type::TIMESTAMPTZ),
                (&budgets.owner.key.as_str(), Type::TEXT),
                (&budgets.deployment.key.as_str(), Type::TEXT),
                (&shards(), Type::TEXT_ARRAY),
                (&budgets.deployment.most, Type::INT8),
            ],
        )
        .await?;
    Ok(row.is_some_and(|row| row.get("is_reserved")))
}

/// What a request costs in tokens, before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Likely {
    /// Likely: by this it is admitted.
    pub likely: i64,
    /// At most: this is reserved.
    pub most: i64,
}

// Its owner was allowed the turn, and has spent of the same budgets since.
const RESERVE_STEP: &str = concat!(
    "\
WITH spent AS (
    SELECT key, n FROM rate_buckets WHERE key = ANY($8::text[] || ARRAY[$6, $7]) AND window_start = $4
), verdict AS (
    SELECT EXISTS (SELECT FROM reservations WHERE id = $1) AS is_again, CASE
        ",
    beyond_budgets!("$3", ("$6", "$9"), ("$7", "$10"), ("$8", "$11")),
    "ELSE 'room' END = 'room' AS has_room
), reserved AS (
    INSERT INTO reservations (id, tokens, day, owner_key, address_key, deployment_key, expires_at)
    SELECT $1, $2, $4, $6, $7, $12, $5 FROM verdict WHERE has_room AND NOT is_again RETURNING id
), counted AS (
    INSERT INTO rate_buckets (key, window_start, n, expires_at)
    SELECT bucket.key, $4, $2, $5 FROM (VALUES ($6), ($7), ($12)) AS bucket (key), reserved WHERE bucket.key IS NOT NULL
    ON CONFLICT (key, window_start) DO UPDATE SET n = rate_buckets.n + excluded.n
)
SELECT is_again OR has_room AS is_reserved FROM verdict"
);

/// Reserves what a further step of a reply may cost, under an id of its own, and tells whether the
/// budgets suffice. The same id again is reserved once.
///
/// # Errors
/// Any [`Error`].
pub async fn reserve_step(
    db: &Db,
    id: &str,
    budgets: &Budgets,
    cost: Likely,
) -> Result<bool, Error> {
    let address = budgets.address.as_ref();
    let row = db
        .query_opt_idempotent(
            RESERVE_STEP,
            &[
                (&id, Type::TEXT),
                (&cost.most, Type::INT8),
                (&cost.likely, Type::INT8),
                (&budgets.day.start, Type::TIMESTAMPTZ),
                (&budgets.day.end, Type::TIMESTAMPTZ),
                (&budgets.owner.key.as_str(), Type::TEXT),
                (&address.map(|bucket| bucket.key.as_str()), Type::TEXT),
                (&shards(), Type::TEXT_ARRAY),
                (&budgets.owner.most, Type::INT8),
                (&address.map_or(i64::MAX, |bucket| bucket.most), Type::INT8),
                (&budgets.deployment.most, Type::INT8),
                (&budgets.deployment.key.as_str(), Type::TEXT),
            ],
        )
        .await?;
    Ok(row.is_some_and(|row| row.get("is_reserved")))
}

/// What a title has cost.
#[derive(Debug, Clone, Copy)]
pub struct TitleUsage<'a> {
    /// The chat that it is for.
    pub chat: &'a ChatId,
    /// Whose chat that is.
    pub owner: &'a OwnerId,
    /// The model that was asked.
    pub model: &'a str,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Tokens that are counted: never less than were used.
    pub spent: i64,
    /// Now.
    pub now: Timestamp,
}

// The usage of an owner who is being erased, or whose chat is gone, would outlive the erasure: it
// is not noted.
const SETTLE_TITLE: &str = concat!(
    "WITH ",
    key!("$2", "$3"),
    ", ",
    given_back!("$1", "$9"),
    "
INSERT INTO usage_daily AS u (owner_id, day, model, requests, input_tokens, output_tokens)
SELECT $3, $7, $4, 0, $5, $6 FROM reservation
WHERE EXISTS (SELECT FROM chats WHERE id = (SELECT id FROM key) AND owner_id = $3 AND (expires_at IS NULL OR expires_at > $8))
ON CONFLICT (owner_id, day, model) DO UPDATE SET
    input_tokens = u.input_tokens + excluded.input_tokens, output_tokens = u.output_tokens + excluded.output_tokens"
);

/// Settles what was reserved for the title `id`, and notes it as the owner's usage.
///
/// # Errors
/// Any [`Error`].
pub async fn settle_title(db: &Db, id: &str, usage: &TitleUsage<'_>) -> Result<(), Error> {
    db.execute_idempotent(
        SETTLE_TITLE,
        &[
            (&id, Type::TEXT),
            (&usage.chat.as_str(), Type::TEXT),
            (&usage.owner.as_str(), Type::TEXT),
            (&usage.model, Type::TEXT),
            (&usage.input_tokens, Type::INT8),
            (&usage.output_tokens, Type::INT8),
            (&day_of(usage.now), Type::DATE),
            (&usage.now, Type::TIMESTAMPTZ),
            (&usage.spent, Type::INT8),
        ],
    )
    .await
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(chat: &str, at: &str) -> Budgets {
        let limits = TokenLimits {
            owner: 1,
            address: 2,
            deployment: 3,
        };
        let spender = Spender {
            owner: "pseudonym",
            address: Some("hash"),
            chat: &ChatId::parse(chat).unwrap(),
        };
        Budgets::new(spender, limits, at.parse().unwrap())
    }

    #[test]
    fn a_day_ends_at_midnight_utc() {
        let wait = |at: &str| {
            let now: Timestamp = at.parse().unwrap();
            budgets("c", at).day.wait(now).as_secs()
        };
        assert_eq!(wait("2026-11-25T00:00:00Z"), 86_400);
        assert_eq!(wait("2026-11-25T23:59:59Z"), 1);
    }

    #[test]
    fn chats_are_spread_over_all_rows_of_the_deployments_counter() {
        let of = |n: u32| budgets(&format!("chat{n}"), "2026-11-25T00:00:00Z").deployment;
        let found: std::collections::BTreeSet<String> = (0..500).map(|n| of(n).key).collect();
        let mut all = shards();
        all.sort();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), all);
        assert_eq!(of(1), of(1));
    }

    #[test]
    fn a_budget_is_known_by_its_verdict() {
        for budget in [Budget::Owner, Budget::Address, Budget::Deployment] {
            assert_eq!(Budget::of_verdict(budget.as_str()), Some(budget));
        }
        assert_eq!(Budget::of_verdict("open"), None);
    }
}
