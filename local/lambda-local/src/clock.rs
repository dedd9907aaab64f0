//! Owns the clock of a stack: the machine's wall clock, another that is asked, or one that stands
//! still until a test moves it. A wait ends when the clock says so, so it also ends after the
//! machine slept through it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::sync::watch;

/// Longest single sleep. Timers stop while the machine is suspended and the wall clock does not, so
/// it is asked again.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// A clock to ask and to wait on. Clones are one clock.
#[derive(Clone)]
pub struct Clock(Kind);

#[derive(Clone)]
enum Kind {
    Wall,
    Asked(Arc<dyn Fn() -> SystemTime + Send + Sync>),
    Stopped(Arc<watch::Sender<Timestamp>>),
}

impl Clock {
    /// The machine's wall clock.
    pub fn wall() -> Self {
        Self(Kind::Wall)
    }

    /// A clock that asks `now`, for tests that move the clock of the functions.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Kind::Asked(Arc::new(now)))
    }

    /// The moment it shows.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::Wall => Timestamp::now(),
            Kind::Asked(now) => Timestamp::try_from(now()).unwrap_or_default(),
            Kind::Stopped(now) => *now.borrow(),
        }
    }

    /// Waits until it shows `moment` or later.
    pub async fn sleep_until(&self, moment: Timestamp) {
        match &self.0 {
            Kind::Wall | Kind::Asked(_) => {
                while let Ok(left) = Duration::try_from(moment.duration_since(self.now()))
                    && !left.is_zero()
                {
                    tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
                }
            }
            Kind::Stopped(now) => {
                // Ends with an error only without a sender, and this is one.
                let _ = now.subscribe().wait_for(|now| *now >= moment).await;
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Wall => f.write_str("Clock::Wall"),
            Kind::Asked(_) => f.write_str("Clock::Asked"),
            Kind::Stopped(now) => write!(f, "Clock::Stopped({})", *now.borrow()),
        }
    }
}

/// The hand of a clock that stands still until it is moved: for tests.
#[derive(Debug)]
pub struct StoppedClock(Arc<watch::Sender<Timestamp>>);

impl StoppedClock {
    /// A clock that shows `moment`.
    pub fn at(moment: Timestamp) -> Self {
        Self(Arc::new(watch::Sender::new(moment)))
    }

    /// The clock to hand out.
    pub fn clock(&self) -> Clock {
        Clock(Kind::Stopped(Arc::clone(&self.0)))
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = after(*now, by));
    }
}

/// `moment` and a time more, or the end of time.
pub(crate) fn after(moment: Timestamp, by: Duration) -> Timestamp {
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}
