//! The limits of connections: how many may come at once and be open, and how long one lives.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What connections of one cluster are held to.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    rate: Bucket,
    /// One for every connection that may be open.
    slots: Arc<Semaphore>,
    /// Longest life of a connection, by the movable clock.
    pub(crate) life: Duration,
}

impl ConnectionLimits {
    pub(crate) fn new(rate: Bucket, max_open: u32, life: Duration) -> Self {
        let max_open = max_open.try_into().unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            rate,
            slots: Arc::new(Semaphore::new(max_open)),
            life,
        }
    }

    /// Whether the connect rate allows one more.
    pub(crate) fn allow_one_more(&self, now: SystemTime) -> bool {
        self.rate.take(now)
    }

    /// A place among the open connections, unless all are taken.
    pub(crate) fn take_slot(&self) -> Option<OwnedSemaphorePermit> {
        self.slots.clone().try_acquire_owned().ok()
    }
}

/// The connect rate: this many connections at once, refilled at a steady rate by the movable clock.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate_per_s: f64,
    burst: f64,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    left: f64,
    at: SystemTime,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(rate_per_s: u32, burst: u32, now: SystemTime) -> Self {
        let burst = f64::from(burst);
        Self {
            rate_per_s: f64::from(rate_per_s),
            burst,
            level: Mutex::new(Level {
                left: burst,
                at: now,
            }),
        }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&self, now: SystemTime) -> bool {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that stepped back refills nothing.
        let passed = now.duration_since(level.at).unwrap_or_default();
        level.left = (level.left + passed.as_secs_f64() * self.rate_per_s).min(self.burst);
        level.at = now;
        let has_one = level.left >= 1.0;
        if has_one {
            level.left -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let bucket = Bucket::new(100, 1000, UNIX_EPOCH);
        assert!((0..1000).all(|_| bucket.take(UNIX_EPOCH)));
        assert!(!bucket.take(UNIX_EPOCH));
        let later = UNIX_EPOCH + Duration::from_secs(1);
        assert_eq!((0..200).filter(|_| bucket.take(later)).count(), 100);
        let much_later = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!((0..2000).filter(|_| bucket.take(much_later)).count(), 1000);
    }
}
