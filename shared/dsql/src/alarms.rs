//! Time limits for operations that are repeated on one session. tokio's own `timeout` sets a timer
//! for each use, and one that is the next to go off makes the runtime look again: two system calls
//! more for every statement, which itself needs four. Here a timer stays set when it was not
//! needed, and the next use takes it as it is: should it go off too early then, it is set to its
//! time.

use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// As many are kept as statements are sent on one session at once, or these.
const MOST_KEPT: usize = 16;
/// Longer than any deadline.
const FAR: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The timers of one session that nobody waits for. They belong to the runtime that its driver runs
/// on.
#[derive(Debug, Default)]
pub(crate) struct Alarms(Mutex<Vec<Pin<Box<Sleep>>>>);

/// A timer that goes back when its user is done, or is dropped.
struct Alarm<'a> {
    of: &'a Alarms,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarms {
    /// Does `work` for `limit` at most. `None`: the time was up before it ended.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let due = Instant::now() + limit.min(FAR);
        let mut work = pin!(work);
        let mut alarm = Alarm {
            of: self,
            timer: self.take(),
        };
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            let timer = alarm
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() > due || timer.is_elapsed() {
                timer.as_mut().reset(due);
            }
            loop {
                ready!(timer.as_mut().poll(cx));
                if Instant::now() >= due {
                    return Poll::Ready(None);
                }
                timer.as_mut().reset(due);
            }
        })
        .await
    }

    fn take(&self) -> Option<Pin<Box<Sleep>>> {
        self.kept().pop()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Pin<Box<Sleep>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        let Some(timer) = self.timer.take() else {
            return;
        };
        let mut kept = self.of.kept();
        if kept.len() < MOST_KEPT {
            kept.push(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{advance, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn spent<T>(work: impl Future<Output = T>) -> (T, Duration) {
        let begun = Instant::now();
        let done = work.await;
        (done, begun.elapsed())
    }

    /// How many timers are kept, and when the first of them goes off.
    fn kept(alarms: &Alarms) -> (usize, Option<Instant>) {
        let kept = alarms.kept();
        (kept.len(), kept.first().map(|timer| timer.deadline()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_its_limit_is_ended_then() {
        let alarms = Alarms::default();
        let (done, time) = spent(alarms.within(5 * SECOND, pending::<()>())).await;
        assert_eq!(done, None);
        assert!((5 * SECOND..6 * SECOND).contains(&time), "{time:?}");
        let (done, time) = spent(alarms.within(2 * SECOND, pending::<()>())).await;
        assert_eq!(done, None, "a timer that went off is set again");
        assert!((2 * SECOND..3 * SECOND).contains(&time), "{time:?}");
        assert_eq!(alarms.within(Duration::ZERO, pending::<()>()).await, None);
        assert_eq!(alarms.within(Duration::MAX, async { 7 }).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_of_before_is_used_as_it_is_set_and_ends_nothing_early() {
        let alarms = Alarms::default();
        let short = alarms.within(5 * SECOND, sleep(SECOND)).await;
        assert_eq!(short, Some(()));
        let first = kept(&alarms);
        assert_eq!(first.0, 1);
        for _ in 0..3 {
            alarms.within(5 * SECOND, sleep(SECOND)).await.unwrap();
            assert_eq!(kept(&alarms), first, "nothing was set");
        }
        // It goes off a second into this one, which has five.
        let (done, time) = spent(alarms.within(5 * SECOND, sleep(4 * SECOND))).await;
        assert_eq!((done, time), (Some(()), 4 * SECOND));
        let (done, time) = spent(alarms.within(3 * SECOND, pending::<()>())).await;
        assert_eq!(done, None, "one that would be late is set anew");
        assert!((3 * SECOND..4 * SECOND).contains(&time), "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_at_once_has_a_timer_each_and_so_many_are_kept() {
        let alarms = Alarms::default();
        let all = (0..40).map(|n| alarms.within((n + 1) * SECOND, pending::<()>()));
        let (_, time) = spent(futures_util::future::join_all(all)).await;
        assert!((40 * SECOND..41 * SECOND).contains(&time), "{time:?}");
        assert_eq!(kept(&alarms).0, MOST_KEPT);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_gives_its_timer_back() {
        let alarms = Alarms::default();
        let mut work = Box::pin(alarms.within(5 * SECOND, pending::<()>()));
        assert!(futures_util::poll!(work.as_mut()).is_pending());
        assert_eq!(kept(&alarms).0, 0);
        drop(work);
        assert_eq!(kept(&alarms).0, 1);
        advance(10 * SECOND).await;
        assert_eq!(alarms.within(SECOND, sleep(SECOND / 2)).await, Some(()));
    }
}
