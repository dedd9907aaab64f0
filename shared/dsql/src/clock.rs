//! The wall clock, injectable. A frozen Lambda container may stop the monotonic clock, so every age
//! and every expiry in this crate is judged by [`Clock::now`], when it is needed, never by a timer.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Where the time comes from.
pub trait Clock: Debug + Send + Sync {
    /// The wall-clock time.
    fn now(&self) -> SystemTime;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the machine for the time"
    )]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still until it is moved, for tests. Clones share one time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<Mutex<SystemTime>>,
}

impl ManualClock {
    /// A clock that shows `now`.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use dsql::{Clock, ManualClock};
    ///
    /// let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    /// assert_eq!(clock.now(), SystemTime::UNIX_EPOCH);
    /// ```
    pub fn new(now: SystemTime) -> Self {
        Self {
            now: Arc::new(Mutex::new(now)),
        }
    }

    /// Moves the clock forward.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use dsql::{Clock, ManualClock};
    ///
    /// let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    /// clock.advance(Duration::from_mins(16)); // a token has expired
    /// assert_eq!(clock.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(960));
    /// ```
    pub fn advance(&self, by: Duration) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    /// Sets the clock, backwards too.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use dsql::{Clock, ManualClock};
    ///
    /// let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(60));
    /// clock.set(SystemTime::UNIX_EPOCH);
    /// assert_eq!(clock.now(), SystemTime::UNIX_EPOCH);
    /// ```
    pub fn set(&self, to: SystemTime) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time since `earlier`; `None` if the clock has stepped back past it.
pub(crate) fn elapsed(now: SystemTime, earlier: SystemTime) -> Option<Duration> {
    now.duration_since(earlier).ok()
}

/// Time until `later`; zero when it has passed.
pub(crate) fn remaining(now: SystemTime, later: SystemTime) -> Duration {
    later.duration_since(now).unwrap_or(Duration::ZERO)
}
