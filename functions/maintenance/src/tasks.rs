//! The tasks on the database alone. Each repeats one batch until nothing is left or the time is up,
//! and reports counts and whether it came to its end.

use std::time::{Duration, SystemTime};

use chat_store::erasure::{Pace, delete_expired_chats};
use chat_store::microseconds;
use chat_store::upkeep::{self, Expiring};
use dsql::{Dsql, Error};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

/// A batch is not begun with less time than this.
const BATCH: Duration = Duration::from_secs(2);

/// Replies ended in one batch.
const REAPED: u16 = 500;
/// Chats hidden by an erasure count in its receipt: they are left to its job this long after they
/// expired.
const GRACE: SignedDuration = SignedDuration::from_hours(24);

/// Whether there is time for another batch.
pub(crate) fn has_time(dsql: &Dsql, deadline: SystemTime) -> bool {
    dsql.clock().now() + BATCH <= deadline
}

/// Deletes what has expired.
pub(crate) async fn purge(dsql: &Dsql, deadline: SystemTime) -> Result<Value, Error> {
    let db = dsql.until(deadline);
    let now = microseconds(dsql.clock().now());
    let mut deleted = Map::new();
    let mut complete = true;
    let (mut chats, pace) = (0, Pace::default());
    loop {
        if !has_time(dsql, deadline) {
            complete = false;
            break;
        }
        match delete_expired_chats(&db, &pace, now - GRACE).await? {
            Some(count) => chats += count,
            None => break,
        }
    }
    deleted.insert("chats".to_owned(), json!(chats));
    for what in Expiring::ALL {
        let mut rows = 0;
        loop {
            if !has_time(dsql, deadline) {
                complete = false;
                break;
            }
            match upkeep::delete_expired(&db, what, now).await? {
                0 => break,
                count => rows += count,
            }
        }
        deleted.insert(what.name().to_owned(), json!(rows));
    }
    Ok(json!({"task": "purge", "deleted": deleted, "complete": complete}))
}

/// Ends replies that nobody writes any more.
pub(crate) async fn reap(dsql: &Dsql, deadline: SystemTime) -> Result<Value, Error> {
    let db = dsql.until(deadline);
    let now = microseconds(dsql.clock().now());
    let mut interrupted = 0;
    let mut complete = true;
    loop {
        if !has_time(dsql, deadline) {
            complete = false;
            break;
        }
        let ended = chat_store::replies::reap(&db, now, REAPED).await?;
        interrupted += ended;
        if ended < u64::from(REAPED) {
            break;
        }
    }
    Ok(json!({"task": "reap", "interrupted": interrupted, "complete": complete}))
}

/// Folds the daily usage of the months before the last one.
pub(crate) async fn roll_up_usage(dsql: &Dsql, deadline: SystemTime) -> Result<Value, Error> {
    let db = dsql.until(deadline);
    let today = microseconds(dsql.clock().now())
        .to_zoned(TimeZone::UTC)
        .date();
    let before = today
        .first_of_month()
        .checked_sub(jiff::Span::new().months(1))
        .unwrap_or(today);
    let mut folded = 0;
    let mut complete = true;
    loop {
        if !has_time(dsql, deadline) {
            complete = false;
            break;
        }
        match upkeep::fold_usage(&db, before).await? {
            0 => break,
            count => folded += count,
        }
    }
    Ok(
        json!({"task": "roll-up-usage", "before": before.to_string(), "folded": folded, "complete": complete}),
    )
}
