//! How a request's time is divided. At the start there is a limit until the first byte, so that
//! nobody waits for minutes before a refusal. At the end there is a reserve, in which a stream
//! stores what there is and says so; every step has a share of it.

use std::time::{Duration, SystemTime};

/// Time to write where the platform does not say.
pub(crate) const USUAL: Duration = Duration::from_secs(300);
/// The database has answered by then, or the request is refused: within the 30 s that a gateway
/// waits elsewhere.
const FIRST_BYTE: Duration = Duration::from_secs(28);
/// The model has accepted by then, or the turn is refused.
const ACCEPTANCE: Duration = Duration::from_secs(60);
/// Kept back from the end of a stream.
const RESERVE: Duration = Duration::from_millis(5_000);
/// The reserve's shares: the checkpoint under way, the statement that ends the reply, and the last
/// chunks.
const SETTLE: Duration = Duration::from_millis(1_500);
const CLOSE: Duration = Duration::from_millis(3_000);
const SAY: Duration = Duration::from_millis(500);

const _: () =
    assert!(SETTLE.as_millis() + CLOSE.as_millis() + SAY.as_millis() <= RESERVE.as_millis());

/// The time of one request, by the wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    begun: SystemTime,
    /// The end of the invocation, less a margin.
    end: SystemTime,
}

impl Budget {
    pub(crate) fn new(begun: SystemTime, end: SystemTime) -> Self {
        Self { begun, end }
    }

    /// Until when statements before the first byte may take.
    pub(crate) fn first_byte(&self) -> SystemTime {
        (self.begun + FIRST_BYTE).min(self.last_event())
    }

    /// Until when a model that is asked at `now` may take to accept.
    pub(crate) fn acceptance(&self, now: SystemTime) -> SystemTime {
        (now + ACCEPTANCE).min(self.last_event())
    }

    /// When a stream takes nothing more and begins to end.
    pub(crate) fn last_event(&self) -> SystemTime {
        self.before_end(RESERVE)
    }

    /// How long the checkpoint under way is waited for at `now`: not longer than leaves the rest
    /// its time.
    pub(crate) fn settling(&self, now: SystemTime) -> Duration {
        let left = self.before_end(CLOSE + SAY).duration_since(now);
        left.unwrap_or_default().min(SETTLE)
    }

    /// Until when the statement that ends a reply may take.
    pub(crate) fn close(&self) -> SystemTime {
        self.before_end(SAY)
    }

    fn before_end(&self, reserve: Duration) -> SystemTime {
        self.end.checked_sub(reserve).unwrap_or(self.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(1) + Duration::from_millis(ms)
    }

    #[test]
    fn a_refusal_comes_within_30_seconds_however_long_the_invocation_may_take() {
        let long = Budget::new(at(0), at(300_000));
        assert_eq!(long.first_byte(), at(28_000));
        assert_eq!(long.acceptance(at(2_000)), at(62_000));
        assert_eq!(long.last_event(), at(295_000));
        let short = Budget::new(at(0), at(20_000));
        assert_eq!(short.first_byte(), at(15_000));
        assert_eq!(short.acceptance(at(2_000)), at(15_000));
    }

    #[test]
    fn a_stream_that_ends_late_still_has_time_to_store_and_to_speak() {
        let budget = Budget::new(at(0), at(300_000));
        assert_eq!(budget.settling(at(295_000)), SETTLE);
        assert_eq!(budget.settling(at(296_000)), Duration::from_millis(500));
        assert_eq!(budget.settling(at(299_000)), Duration::ZERO);
        assert_eq!(budget.close(), at(299_500));
    }
}
