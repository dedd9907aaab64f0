//! Owns waiting: for a condition, against a deadline, never for a fixed time.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

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
