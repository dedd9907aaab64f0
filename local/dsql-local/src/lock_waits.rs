//! Which session waits for a lock of which, and who has to yield. Aurora DSQL has no locks;
//! PostgreSQL has, so a session whose statement waits for another one's transaction asks that one
//! to yield its locks.
//!
//! 1. A session says when it begins to wait for PostgreSQL, which costs it no timer of its own. While
//!    one has waited for longer than a statement takes, PostgreSQL is asked who waits for whom.
//! 2. Whoever is waited for is asked, by a request in its mailbox, to yield. It does so as soon as
//!    it is idle.
//! 3. A request names the transaction as it was *before* PostgreSQL was asked, so that a later one
//!    never pays for it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_postgres::{Client, Error};

use crate::postgres::connect;

/// Between two looks at the sessions, while there are statements.
const TICK: Duration = Duration::from_millis(2);
/// A session that waits for so many ticks, 2 to 4 ms, may be waiting for another session.
const TICKS: u64 = 2;
/// So many looks at which no session waited end them, until one does.
const IDLE_TICKS: u32 = 150;
/// A session that waits for nothing.
const NOT_WAITING: u64 = 0;
/// Pause between two questions while somebody waits for somebody.
const BUSY_PAUSE: Duration = Duration::from_millis(4);
/// The longest pause, while statements take their time without waiting for a lock.
const IDLE_PAUSE: Duration = Duration::from_millis(32);
const WAITS: &str = "SELECT pid, locktype IN ('transactionid', 'tuple'), pg_blocking_pids(pid) \
     FROM pg_locks WHERE NOT granted";

/// Whether a transaction was committed.
#[derive(Debug, Default)]
pub(crate) struct CommitState(AtomicBool);

impl CommitState {
    fn commit(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_committed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A row that was changed or locked, or a key that was inserted.
    Row,
    /// Anything else: a table, an entry of the catalog.
    Catalog,
}

/// Asks a transaction to yield its locks.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) obstacle: Obstacle,
    /// The transactions that wait.
    pub(crate) by: Vec<Arc<CommitState>>,
}

/// One transaction of a session; the epoch is equal as long as it neither ended nor yielded.
#[derive(Clone, Debug)]
struct TransactionEpoch {
    commit: Arc<CommitState>,
    epoch: u64,
}

#[derive(Debug)]
struct State {
    transaction: TransactionEpoch,
    request: Option<Request>,
}

/// A session with a backend, which may hold locks and wait for those of others.
#[derive(Debug)]
struct Participant {
    state: Mutex<State>,
    requested: Notify,
    /// The tick since which it has waited for PostgreSQL, or [`NOT_WAITING`].
    waits_since: AtomicU64,
}

impl Participant {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's entry; it ends with it.
pub(crate) struct Registration {
    pid: i32,
    participant: Arc<Participant>,
    lock_waits: Arc<LockWaits>,
}

impl Registration {
    /// Waits for a request. Cancel-safe.
    pub(crate) async fn requested(&self) -> Request {
        loop {
            let requested = self.participant.requested.notified();
            if let Some(request) = self.take_request() {
                return request;
            }
            requested.await;
        }
    }

    /// The request, if there is one.
    pub(crate) fn take_request(&self) -> Option<Request> {
        self.participant.state().request.take()
    }

    /// Whether there is a request.
    pub(crate) fn is_requested(&self) -> bool {
        self.participant.state().request.is_some()
    }

    /// The session waits for PostgreSQL, as long as what is returned lives.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        let LockWaits { ticks, .. } = &*self.lock_waits;
        let waits_since = &self.participant.waits_since;
        // Before the look at whether somebody ticks, whose last look comes after it stopped.
        waits_since.store(ticks.now.load(Ordering::SeqCst), Ordering::SeqCst);
        if !ticks.are_counted.load(Ordering::SeqCst) {
            ticks.wanted.notify_one();
        }
        Waiting(waits_since)
    }

    /// The transaction yielded its locks: requests made until now are fulfilled.
    pub(crate) fn yielded(&self) {
        let mut state = self.participant.state();
        state.transaction.epoch += 1;
        state.request = None;
    }

    /// The transaction ended, and the next one begins.
    pub(crate) fn ended(&self, is_committed: bool) {
        let mut state = self.participant.state();
        if is_committed {
            state.transaction.commit.commit();
        }
        state.transaction.commit = Arc::default();
        state.transaction.epoch += 1;
        state.request = None;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.lock_waits.participants().remove(&self.pid);
    }
}

/// Says that a session waits for PostgreSQL, for as long as it lives.
pub(crate) struct Waiting<'a>(&'a AtomicU64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.store(NOT_WAITING, Ordering::SeqCst);
    }
}

/// A clock that runs while sessions wait.
#[derive(Debug)]
struct Ticks {
    now: AtomicU64,
    are_counted: AtomicBool,
    wanted: Notify,
}

/// Knows all sessions that have a backend.
pub(crate) struct LockWaits {
    socket: PathBuf,
    participants: Mutex<HashMap<i32, Arc<Participant>>>,
    ticks: Ticks,
    /// Whether a session has waited for longer than a statement takes.
    is_late: watch::Sender<bool>,
}

impl LockWaits {
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            participants: Mutex::default(),
            ticks: Ticks {
                now: AtomicU64::new(NOT_WAITING + 1),
                are_counted: AtomicBool::new(false),
                wanted: Notify::new(),
            },
            is_late: watch::Sender::new(false),
        }
    }

    fn participants(&self) -> MutexGuard<'_, HashMap<i32, Arc<Participant>>> {
        self.participants
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the session of a backend.
    pub(crate) fn register(self: &Arc<Self>, pid: i32) -> Registration {
        let participant = Arc::new(Participant {
            state: Mutex::new(State {
                transaction: TransactionEpoch {
                    commit: Arc::default(),
                    epoch: 0,
                },
                request: None,
            }),
            requested: Notify::new(),
            waits_since: AtomicU64::new(NOT_WAITING),
        });
        self.participants().insert(pid, participant.clone());
        Registration {
            pid,
            participant,
            lock_waits: self.clone(),
        }
    }

    /// Settles waits until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        tokio::join!(self.count_ticks(), self.settle_waits());
    }

    /// Looks at the sessions while they have statements.
    async fn count_ticks(&self) {
        let Ticks {
            now,
            are_counted,
            wanted,
        } = &self.ticks;
        loop {
            wanted.notified().await;
            are_counted.store(true, Ordering::SeqCst);
            let mut idle = 0;
            while idle < IDLE_TICKS {
                tokio::time::sleep(TICK).await;
                let tick = now.fetch_add(1, Ordering::SeqCst) + 1;
                let longest = self.longest_wait();
                idle = if longest.is_some() { 0 } else { idle + 1 };
                let is_late = longest.is_some_and(|since| tick - since >= TICKS);
                self.is_late
                    .send_if_modified(|was_late| std::mem::replace(was_late, is_late) != is_late);
            }
            are_counted.store(false, Ordering::SeqCst);
            if self.longest_wait().is_some() {
                wanted.notify_one();
            }
        }
    }

    /// The tick since which a session has waited the longest, if any waits.
    fn longest_wait(&self) -> Option<u64> {
        let participants = self.participants();
        let waits = participants
            .values()
            .map(|participant| participant.waits_since.load(Ordering::SeqCst));
        waits.filter(|since| *since != NOT_WAITING).min()
    }

    async fn settle_waits(&self) {
        let mut is_late = self.is_late.subscribe();
        let mut connected = None;
        let mut pause = BUSY_PAUSE;
        // The sender lives in `self`.
        while is_late.wait_for(|is_late| *is_late).await.is_ok() {
            let (client, driver) = match connected.take() {
                Some(connected) => connected,
                None => match connect(&self.socket).await {
                    Ok(connected) => connected,
                    Err(error) => {
                        tracing::warn!(error = %error, "cannot ask PostgreSQL who waits for whom");
                        tokio::time::sleep(IDLE_PAUSE).await;
                        continue;
                    }
                },
            };
            match self.settle(&client).await {
                Ok(true) => pause = BUSY_PAUSE,
                Ok(false) => pause = (pause * 2).min(IDLE_PAUSE),
                Err(error) => {
                    tracing::warn!(error = %error, "cannot ask PostgreSQL who waits for whom");
                    tokio::time::sleep(IDLE_PAUSE).await;
                    continue;
                }
            }
            connected = Some((client, driver));
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks once, and whether anybody waits.
    async fn settle(&self, client: &Client) -> Result<bool, Error> {
        let before: HashMap<i32, (Arc<Participant>, TransactionEpoch)> = self
            .participants()
            .iter()
            .map(|(pid, participant)| {
                (
                    *pid,
                    (participant.clone(), participant.state().transaction.clone()),
                )
            })
            .collect();
        let waits = client.query_typed(WAITS, &[]).await?;
        for wait in &waits {
            let waiter = before.get(&wait.get::<_, i32>(0));
            let obstacle = if wait.get(1) {
                Obstacle::Row
            } else {
                Obstacle::Catalog
            };
            for blocker in wait.get::<_, Vec<i32>>(2) {
                if let Some((participant, transaction)) = before.get(&blocker) {
                    ask(
                        participant,
                        transaction,
                        obstacle,
                        waiter.map(|(_, transaction)| &transaction.commit),
                    );
                }
            }
        }
        Ok(!waits.is_empty())
    }
}

fn ask(
    participant: &Participant,
    transaction: &TransactionEpoch,
    obstacle: Obstacle,
    by: Option<&Arc<CommitState>>,
) {
    let mut state = participant.state();
    if state.transaction.epoch != transaction.epoch {
        return;
    }
    let request = state.request.get_or_insert(Request {
        obstacle,
        by: Vec::new(),
    });
    if obstacle == Obstacle::Catalog {
        request.obstacle = obstacle;
    }
    if obstacle == Obstacle::Row
        && let Some(by) = by
        && !request.by.iter().any(|known| Arc::ptr_eq(known, by))
    {
        request.by.push(by.clone());
    }
    drop(state);
    participant.requested.notify_one();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_waits() -> Arc<LockWaits> {
        Arc::new(LockWaits::new(Path::new("/nowhere")))
    }

    #[test]
    fn a_request_reaches_the_transaction_it_was_made_for_and_no_later_one() {
        let lock_waits = lock_waits();
        let registration = lock_waits.register(7);
        let participant = registration.participant.clone();
        let transaction = participant.state().transaction.clone();
        let other = Arc::new(CommitState::default());
        ask(&participant, &transaction, Obstacle::Row, Some(&other));
        ask(&participant, &transaction, Obstacle::Row, Some(&other));
        assert_eq!(registration.take_request().unwrap().by.len(), 1);
        registration.ended(true);
        ask(&participant, &transaction, Obstacle::Row, Some(&other));
        assert!(registration.take_request().is_none());
        assert!(transaction.commit.is_committed() && !other.is_committed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_late_while_it_waits_for_longer_than_a_statement_takes() {
        let lock_waits = lock_waits();
        let registration = lock_waits.register(7);
        let is_late = || *lock_waits.is_late.borrow();
        let story = async {
            for pause in [TICK, TICK * (IDLE_TICKS + 10)] {
                let waiting = registration.wait();
                tokio::time::sleep(TICK * 4).await;
                assert!(is_late());
                drop(waiting);
                tokio::time::sleep(TICK * 2).await;
                assert!(!is_late());
                tokio::time::sleep(pause).await;
            }
            assert!(!lock_waits.ticks.are_counted.load(Ordering::SeqCst));
        };
        tokio::select! {
            () = lock_waits.count_ticks() => {}
            () = story => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_short_waits_make_no_session_late() {
        let lock_waits = lock_waits();
        let registration = lock_waits.register(7);
        let story = async {
            for _ in 0..100 {
                let _waiting = registration.wait();
                tokio::time::sleep(TICK / 2).await;
                assert!(!*lock_waits.is_late.borrow());
            }
        };
        tokio::select! {
            () = lock_waits.count_ticks() => {}
            () = story => {}
        }
    }

    #[test]
    fn a_session_that_ends_is_forgotten() {
        let lock_waits = lock_waits();
        drop(lock_waits.register(7));
        assert!(lock_waits.participants().is_empty());
    }
}
