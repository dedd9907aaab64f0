//! The connect-rate bucket: so many connections at once, refilled at a steady rate by the movable clock.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// A token bucket.
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
    use std::time::{Duration, UNIX_EPOCH};

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
