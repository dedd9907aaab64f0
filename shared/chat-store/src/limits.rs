//! Rate limits: fixed windows, counted per owner and per hash of an address in one statement. Where
//! the count cannot be made because the database is not available, guests are refused and owners
//! let through; where it cannot because too many count at once, everyone is refused.

use std::time::Duration;

use dsql::{Db, Error, ErrorKind, Type};
use jiff::{SignedDuration, Timestamp};

use crate::ids::OwnerId;

/// The branches of a verdict that refuse a turn: too many replies of the owner at once, or too many
/// turns of the owner or of the address in the running window. Each of the last two is the key of a
/// counter, and what it may reach.
macro_rules! beyond_turns {
    (($owner:literal, $concurrent:literal), $now:literal, $window:literal, ($first:literal, $first_most:literal),
        ($second:literal, $second_most:literal)) => {
        concat!(
            "WHEN (SELECT count(*) FROM generations WHERE owner_id = ",
            $owner,
            " AND lease_until > ",
            $now,
            ") >= ",
            $concurrent,
            " THEN 'crowded'
        WHEN EXISTS (SELECT FROM rate_buckets WHERE key = ",
            $first,
            " AND window_start = ",
            $window,
            " AND n >= ",
            $first_most,
            ")
            OR EXISTS (SELECT FROM rate_buckets WHERE key = ",
            $second,
            " AND window_start = ",
            $window,
            " AND n >= ",
            $second_most,
            ") THEN 'limited'
        "
        )
    };
}
pub(crate) use beyond_turns;

/// How long a caller waits whose counter too many others write at once.
const CONTENDED_WAIT: Duration = Duration::from_secs(1);

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
    /// The window of this length, at least a second, that `now` lies in. Windows are counted from
    /// 1970, in UTC.
    pub(crate) fn at(now: Timestamp, length: Duration) -> Self {
        let length_s = i64::try_from(length.as_secs()).unwrap_or(i64::MAX).max(1);
        let begun = now.as_second() - now.as_second().rem_euclid(length_s);
        let start = Timestamp::from_second(begun).unwrap_or(now);
        let end = start
            .checked_add(SignedDuration::from_secs(length_s))
            .unwrap_or(Timestamp::MAX);
        Self { start, end }
    }

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
        Window::at(now, self.window)
    }

    /// The buckets that a request of `visitor` is counted in: the owner's, then the address's if it
    /// is known.
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

/// Counts one request and tells whether it is within `limit`: one round trip. A refused request
/// counts too, so a client that does not wait stays refused.
///
/// # Errors
/// Any [`Error`] but a conflict, which is a refusal. One that says that the database is not
/// available is for guests alone: owners are let through.
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
        Err(error) => return uncounted(error, visitor.is_guest),
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

/// What becomes of a request that could not be counted. Conflicts without end are a sign of many
/// requests, not of a fault: whoever causes them must not be let through by them.
fn uncounted(error: Error, is_guest: bool) -> Result<Admission, Error> {
    match error.kind() {
        ErrorKind::Conflict => Ok(Admission::Refused {
            retry_after: CONTENDED_WAIT,
        }),
        ErrorKind::Unavailable if !is_guest => Ok(Admission::Admitted),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_owner_is_let_through_uncounted_and_only_while_the_database_is_away() {
        let away = || Error::Deadline {
            during: "waiting for the answer",
        };
        let contended = || Error::Conflict {
            conflict: dsql::ConflictKind::Data,
            message: "change conflicts with another transaction".to_owned(),
            attempts: 20,
        };
        let denied = || Error::AccessDenied {
            message: "access denied".to_owned(),
            hint: None,
        };
        let refused = Admission::Refused {
            retry_after: CONTENDED_WAIT,
        };
        assert_eq!(uncounted(away(), false).unwrap(), Admission::Admitted);
        assert!(uncounted(away(), true).is_err());
        for is_guest in [false, true] {
            assert_eq!(uncounted(contended(), is_guest).unwrap(), refused);
            assert!(uncounted(denied(), is_guest).is_err());
        }
    }
}
