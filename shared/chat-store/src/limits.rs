//! Rate limits: fixed windows, counted per owner and per hash of an address in one statement. Where the count cannot be
//! made, guests are refused and owners let through.

use std::time::Duration;

use dsql::{Db, Error, Type};
use jiff::{SignedDuration, Timestamp};

use crate::ids::OwnerId;

/// How many requests of one kind fit into a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The kind of request; part of the bucket's key.
    pub name: &'static str,
    /// The window's length, at least a second.
    pub window: Duration,
    /// Per owner.
    pub per_owner: i64,
    /// Per guest.
    pub per_guest: i64,
    /// Per address, whoever calls from it.
    pub per_address: i64,
}

/// One window in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
}

impl Window {
    /// How long a caller waits for its end: whole seconds, at least one.
    pub fn wait(&self, now: Timestamp) -> Duration {
        let wait_s = (self.end.as_second() - now.as_second()).max(1);
        Duration::from_secs(u64::try_from(wait_s).unwrap_or(1))
    }
}

/// What is counted, and up to where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Names the kind of request and whose it is.
    pub key: String,
    /// As many fit.
    pub most: i64,
}

impl Limit {
    /// The window that `now` lies in.
    pub fn window_at(&self, now: Timestamp) -> Window {
        let window_s = i64::try_from(self.window.as_secs())
            .unwrap_or(i64::MAX)
            .max(1);
        let begun = now.as_second() - now.as_second().rem_euclid(window_s);
        let start = Timestamp::from_second(begun).unwrap_or(now);
        let end = start
            .checked_add(SignedDuration::from_secs(window_s))
            .unwrap_or(Timestamp::MAX);
        Window { start, end }
    }

    /// The buckets that a request of `visitor` is counted in: the owner's, then the address's if it is known.
    pub fn buckets(&self, visitor: Visitor<'_>) -> Vec<Bucket> {
        let owner = Bucket {
            key: format!("{}|owner|{}", self.name, visitor.owner.as_str()),
            most: if visitor.is_guest {
                self.per_guest
            } else {
                self.per_owner
            },
        };
        let address = visitor.address.map(|address| Bucket {
            key: format!("{}|address|{address}", self.name),
            most: self.per_address,
        });
        std::iter::once(owner).chain(address).collect()
    }
}

/// Whose request is counted.
#[derive(Debug, Clone, Copy)]
pub struct Visitor<'a> {
    /// The caller.
    pub owner: &'a OwnerId,
    /// Whether the caller is a guest.
    pub is_guest: bool,
    /// The keyed hash of the address, if there is one.
    pub address: Option<&'a str>,
}

/// What the count says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Within the limits.
    Admitted,
    /// Beyond one of them, until the window ends.
    Refused {
        /// How long that is.
        retry_after: Duration,
    },
}

// In the order of their keys, so that two requests meet at the same row first.
const COUNT: &str = "\
INSERT INTO rate_buckets (key, window_start, n, expires_at)
SELECT key, $2, 1, $3 FROM unnest($1::text[]) AS bucket (key) ORDER BY key
ON CONFLICT (key, window_start) DO UPDATE SET n = rate_buckets.n + 1
RETURNING key, n";

/// Counts one request and tells whether it is within `limit`: one flight. A refused request counts too, so a client that
/// does not wait stays refused.
///
/// # Errors
/// For guests, any [`Error`] but an unknown outcome. For owners none: they are let through.
pub async fn admit(
    db: &Db,
    limit: &Limit,
    visitor: Visitor<'_>,
    now: Timestamp,
) -> Result<Admission, Error> {
    let Window { start, end } = limit.window_at(now);
    let buckets = limit.buckets(visitor);
    let keys: Vec<&str> = buckets.iter().map(|bucket| bucket.key.as_str()).collect();
    // Counted twice after a lost connection: harmless.
    let counted = db
        .query_idempotent(
            COUNT,
            &[
                (&keys, Type::TEXT_ARRAY),
                (&start, Type::TIMESTAMPTZ),
                (&end, Type::TIMESTAMPTZ),
            ],
        )
        .await;
    let rows = match counted {
        Ok(rows) => rows,
        Err(error) if visitor.is_guest => return Err(error),
        Err(_) => return Ok(Admission::Admitted),
    };
    let beyond = rows.iter().any(|row| {
        let (key, n): (&str, i64) = (row.get("key"), row.get("n"));
        buckets
            .iter()
            .any(|bucket| bucket.key == key && n > bucket.most)
    });
    if beyond {
        return Ok(Admission::Refused {
            retry_after: Window { start, end }.wait(now),
        });
    }
    Ok(Admission::Admitted)
}
