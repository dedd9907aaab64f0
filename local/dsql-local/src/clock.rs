//! The movable clock: real time plus an offset that tests change.
//!
//! Everything that Aurora DSQL measures (token expiry, connection life, the connect-rate bucket)
//! asks this clock, so an hour passes in one call. Whoever waits for a moment is woken by a change
//! of the offset as well as by real time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Longest single sleep; a wait for a far moment is cut into such pieces, since a timer takes no
/// arbitrary length.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Real time plus an offset in milliseconds.
#[derive(Debug)]
pub(crate) struct Clock {
    offset_ms: watch::Sender<i64>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            offset_ms: watch::Sender::new(0),
        }
    }

    /// The moved time.
    pub(crate) fn now(&self) -> SystemTime {
        let offset_ms = *self.offset_ms.borrow();
        let distance = Duration::from_millis(offset_ms.unsigned_abs());
        let real = real_now();
        let moved = if offset_ms >= 0 {
            real.checked_add(distance)
        } else {
            real.checked_sub(distance)
        };
        moved.unwrap_or(real)
    }

    /// The moved time in whole seconds since 1970.
    pub(crate) fn epoch_s(&self) -> i64 {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }

    /// Moves the clock forward.
    pub(crate) fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.offset_ms
            .send_modify(|offset| *offset = offset.saturating_add(by_ms));
    }

    /// Sets the clock to a moment, which may lie in the past.
    pub(crate) fn set(&self, to: SystemTime) {
        let real = real_now();
        let offset = match to.duration_since(real) {
            Ok(ahead) => i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX),
            Err(behind) => -i64::try_from(behind.duration().as_millis()).unwrap_or(i64::MAX),
        };
        self.offset_ms.send_replace(offset);
    }

    /// Waits until the clock shows `deadline` or later.
    pub(crate) async fn sleep_until(&self, deadline: SystemTime) {
        let mut moved = self.offset_ms.subscribe();
        while let Ok(left) = deadline.duration_since(self.now())
            && !left.is_zero()
        {
            tokio::select! {
                () = tokio::time::sleep(left.min(LONGEST_SLEEP)) => {}
                _ = moved.changed() => {}
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock that everybody else asks"
)]
fn real_now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_clock_jumps_past_its_moment() {
        let clock = Clock::new();
        let deadline = clock.now() + Duration::from_secs(3600);
        let sleeper = clock.sleep_until(deadline);
        tokio::pin!(sleeper);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), &mut sleeper)
                .await
                .is_err()
        );
        clock.advance(Duration::from_secs(3601));
        tokio::time::timeout(Duration::from_secs(5), sleeper)
            .await
            .unwrap();
    }

    #[test]
    fn the_clock_can_be_set_back() {
        let clock = Clock::new();
        clock.set(UNIX_EPOCH + Duration::from_secs(1_724_716_800));
        assert!((1_724_716_800..1_724_716_810).contains(&clock.epoch_s()));
    }
}
