//! Owns waiting: for a condition, against a deadline, never for a fixed time.

use std::time::Duration;

use dsql::Db;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Polls `condition` until it yields a value.
///
/// # Panics
/// When `limit` has passed; the message names `what` was awaited.
pub async fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let poll = async {
        let mut ticks = interval(Duration::from_millis(2));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(value) = condition() {
                return value;
            }
        }
    };
    timeout(limit, poll)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen within {limit:?}"))
}

/// Asks the database until it says `true`.
///
/// # Panics
/// As [`until`], and when it does not answer.
pub async fn until_true(db: &Db, what: &str, limit: Duration, sql: &'static str) {
    let deadline = Instant::now() + limit;
    loop {
        let row = db.query_opt_idempotent(sql, &[]).await;
        let row = row.expect("the database answers");
        if row.is_some_and(|row| row.get::<_, Option<bool>>(0) == Some(true)) {
            return;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        until(what, limit, || Some(())).await;
    }
}
