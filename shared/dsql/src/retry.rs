//! How often and how soon to try again: full jitter, in microseconds, so that it is real at small
//! bases too. (The official connectors' jitter is truncated away at their defaults, and colliding
//! clients retry in step.)

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use crate::clock::{Clock, remaining};
use crate::error::ConflictKind;

/// Attempts and pauses for conflicts and refused connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included. Default 20.
    pub attempts: u32,
    /// The first pause is between zero and this. Default 16 ms, what a transaction of a few round
    /// trips takes: a shorter pause meets the same rival again.
    pub base: Duration,
    /// No pause is longer than this. Default 2 s, enough for a hundred containers to take turns on
    /// one row.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 20,
            base: Duration::from_millis(16),
            cap: Duration::from_secs(2),
        }
    }
}

/// For refused connections the pauses are longer: the rate limit refills 100 connections a second
/// for all containers.
pub(crate) const CONNECT: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    base: Duration::from_millis(50),
    cap: Duration::from_secs(2),
};

/// How crowded the rows are that a container writes, in doublings of the first pause: what it
/// learned from its last transactions. Without it each one would begin with pauses that have just
/// proved too short, and take the turns of others.
#[derive(Debug, Default)]
pub(crate) struct Crowding(AtomicU32);

/// The cap is reached before.
const MOST_DOUBLINGS: u32 = 10;

impl Crowding {
    pub(crate) fn doublings(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// A transaction got through with this many attempts.
    pub(crate) fn learn(&self, attempts: u32) {
        let known = self.doublings();
        let learned = match attempts {
            0 | 1 => known / 2,
            // The last pause was long enough; the one before it was not.
            more => known.saturating_add(more - 2).min(MOST_DOUBLINGS),
        };
        if learned != known {
            self.0.store(learned, Ordering::Relaxed);
        }
    }
}

impl RetryPolicy {
    /// The pause after failed attempt number `attempt` (from 1): uniform between zero and
    /// min(`cap`, `base` × 2^(attempt − 1)).
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        let ceiling = self.ceiling(attempt);
        Duration::from_micros(fastrand::u64(
            0..=u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX),
        ))
    }

    fn ceiling(&self, attempt: u32) -> Duration {
        let factor = 1_u32
            .checked_shl(attempt.saturating_sub(1))
            .unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// Pauses after failed attempt `attempt`. False, at once: no attempt or no time is left.
    pub(crate) async fn wait(&self, attempt: u32, clock: &dyn Clock, deadline: SystemTime) -> bool {
        self.wait_for(self.pause(attempt), attempt, clock, deadline)
            .await
    }

    /// As [`wait`](Self::wait), after a conflict, with pauses that begin this many `doublings`
    /// later. After one with the catalog they do not grow: the failure itself brought the session
    /// up to date, and the longer it waits the likelier is the next change.
    pub(crate) async fn wait_after(
        &self,
        conflict: ConflictKind,
        attempt: u32,
        doublings: u32,
        clock: &dyn Clock,
        deadline: SystemTime,
    ) -> bool {
        let pause = self.pause(match conflict {
            ConflictKind::Data => attempt.saturating_add(doublings),
            ConflictKind::Schema => 1,
        });
        self.wait_for(pause, attempt, clock, deadline).await
    }

    async fn wait_for(
        &self,
        pause: Duration,
        attempt: u32,
        clock: &dyn Clock,
        deadline: SystemTime,
    ) -> bool {
        if attempt >= self.attempts || pause >= remaining(clock.now(), deadline) {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_real_at_the_defaults_from_the_first_retry_on() {
        let policy = RetryPolicy::default();
        for attempt in 1..policy.attempts {
            let ceiling = policy.ceiling(attempt).as_secs_f64();
            let pauses: Vec<f64> = (0..2_000)
                .map(|_| policy.pause(attempt).as_secs_f64())
                .collect();
            let mean = pauses.iter().sum::<f64>() / 2_000.0;
            assert!(pauses.iter().all(|p| *p <= ceiling));
            assert!(
                (0.45..0.55).contains(&(mean / ceiling)),
                "attempt {attempt}: mean {mean}, ceiling {ceiling}"
            );
            let distinct: std::collections::HashSet<u64> =
                pauses.iter().map(|p| p.to_bits()).collect();
            assert!(
                distinct.len() > 1_000,
                "attempt {attempt}: {} distinct pauses",
                distinct.len()
            );
        }
    }

    #[test]
    fn a_transaction_begins_with_the_pauses_that_the_last_ones_needed() {
        let crowding = Crowding::default();
        crowding.learn(2);
        assert_eq!(crowding.doublings(), 0, "the first pause was enough");
        crowding.learn(5);
        assert_eq!(crowding.doublings(), 3);
        crowding.learn(2);
        assert_eq!(crowding.doublings(), 3, "they are enough still");
        crowding.learn(1);
        crowding.learn(1);
        assert_eq!(crowding.doublings(), 0, "nobody is in the way any more");
        crowding.learn(u32::MAX);
        assert_eq!(crowding.doublings(), MOST_DOUBLINGS);
        let policy = RetryPolicy::default();
        assert_eq!(policy.ceiling(1 + MOST_DOUBLINGS), policy.cap);
    }

    #[test]
    fn pauses_grow_and_stay_under_the_cap() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.ceiling(1), policy.base);
        assert_eq!(policy.ceiling(2), policy.base * 2);
        assert_eq!(policy.ceiling(40), policy.cap);
        assert_eq!(policy.ceiling(u32::MAX), policy.cap);
    }
}
