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
    let window_s = i64::try_from(limit.window.as_secs())
        .unwrap_or(i64::MAX)
        .max(1);
    let begun = now.as_second() - now.as_second().rem_euclid(window_s);
    let start = Timestamp::from_second(begun).unwrap_or(now);
    let end = start
        .checked_add(SignedDuration::from_secs(window_s))
        .unwrap_or(Timestamp::MAX);
    let mut buckets = vec![(
        format!("{}|owner|{}", limit.name, visitor.owner.as_str()),
        if visitor.is_guest {
            limit.per_guest
        } else {
            limit.per_owner
        },
    )];
    if let Some(address) = visitor.address {
        let key = format!("{}|address|{address}", limit.name);
        buckets.push((key, limit.per_address));
    }
    let keys: Vec<&str> = buckets.iter().map(|(key, _)| key.as_str()).collect();
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
            .any(|(bucket, most)| bucket == key && n > *most)
    });
    if beyond {
        let wait = u64::try_from((end.as_second() - now.as_second()).max(1)).unwrap_or(1);
        return Ok(Admission::Refused {
            retry_after: Duration::from_secs(wait),
        });
    }
    Ok(Admission::Admitted)
}
