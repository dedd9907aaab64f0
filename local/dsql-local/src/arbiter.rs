//! Who waits for whom in PostgreSQL, and who has to give way. Aurora DSQL has no locks; PostgreSQL has, so a session
//! whose statement waits for another one's transaction asks that one to step aside.
//!
//! 1. A session that is not answered at once says so. While one does, PostgreSQL is asked who waits for whom.
//! 2. Whoever is waited for is asked, by a request in its mailbox, to step aside. It does so as soon as it is idle.
//! 3. A request names the transaction as it stood *before* PostgreSQL was asked, so that a later one never pays for it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_postgres::{Client, Error};

use crate::postgres::connect;

/// Pause between two questions while somebody waits for somebody.
const BUSY_PAUSE: Duration = Duration::from_millis(4);
/// The longest pause, while statements take their time without waiting for a lock.
const IDLE_PAUSE: Duration = Duration::from_millis(32);
const WAITS: &str = "SELECT pid, locktype IN ('transactionid', 'tuple'), pg_blocking_pids(pid) \
     FROM pg_locks WHERE NOT granted";

/// What became of a transaction.
#[derive(Debug, Default)]
pub(crate) struct Outcome(AtomicU8);

impl Outcome {
    const COMMITTED: u8 = 1;

    fn commit(&self) {
        self.0.store(Self::COMMITTED, Ordering::Release);
    }

    /// Whether it was committed.
    pub(crate) fn is_committed(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::COMMITTED
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

/// Asks a transaction to step aside.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) obstacle: Obstacle,
    /// The transactions that wait.
    pub(crate) by: Vec<Arc<Outcome>>,
}

/// The stand of a session's transaction; equal as long as nothing of it ended.
#[derive(Clone, Debug)]
struct Stand {
    outcome: Arc<Outcome>,
    epoch: u64,
}

#[derive(Debug)]
struct State {
    stand: Stand,
    request: Option<Request>,
}

/// A session with a backend.
#[derive(Debug)]
struct Party {
    state: Mutex<State>,
    asked: Notify,
}

impl Party {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's entry; it ends with it.
pub(crate) struct Registration {
    pid: i32,
    party: Arc<Party>,
    arbiter: Arc<Arbiter>,
}

impl Registration {
    /// Waits for a request. Cancel-safe.
    pub(crate) async fn requested(&self) -> Request {
        loop {
            let asked = self.party.asked.notified();
            if let Some(request) = self.take_request() {
                return request;
            }
            asked.await;
        }
    }

    /// The request, if there is one.
    pub(crate) fn take_request(&self) -> Option<Request> {
        self.party.state().request.take()
    }

    /// Whether there is a request.
    pub(crate) fn is_asked(&self) -> bool {
        self.party.state().request.is_some()
    }

    /// The transaction stepped aside: requests made until now are fulfilled.
    pub(crate) fn stepped_aside(&self) {
        let mut state = self.party.state();
        state.stand.epoch += 1;
        state.request = None;
    }

    /// The transaction ended, and the next one begins.
    pub(crate) fn ended(&self, is_committed: bool) {
        let mut state = self.party.state();
        if is_committed {
            state.stand.outcome.commit();
        }
        state.stand.outcome = Arc::default();
        state.stand.epoch += 1;
        state.request = None;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.arbiter.parties().remove(&self.pid);
    }
}

/// Says that a session waits for PostgreSQL, for as long as it lives.
pub(crate) struct Waiting<'a>(&'a Arbiter);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|count| *count -= 1);
    }
}

/// Knows all sessions that have a backend.
pub(crate) struct Arbiter {
    socket: PathBuf,
    parties: Mutex<HashMap<i32, Arc<Party>>>,
    waiting: watch::Sender<usize>,
}

impl Arbiter {
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            parties: Mutex::default(),
            waiting: watch::Sender::new(0),
        }
    }

    fn parties(&self) -> MutexGuard<'_, HashMap<i32, Arc<Party>>> {
        self.parties.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the session of a backend.
    pub(crate) fn register(self: &Arc<Self>, pid: i32) -> Registration {
        let party = Arc::new(Party {
            state: Mutex::new(State {
                stand: Stand {
                    outcome: Arc::default(),
                    epoch: 0,
                },
                request: None,
            }),
            asked: Notify::new(),
        });
        self.parties().insert(pid, party.clone());
        Registration {
            pid,
            party,
            arbiter: self.clone(),
        }
    }

    /// A session waits for longer than a statement takes.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.send_modify(|count| *count += 1);
        Waiting(self)
    }

    /// Settles waits for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut waiting = self.waiting.subscribe();
        let mut connected = None;
        let mut pause = BUSY_PAUSE;
        // The sender lives in `self`.
        while waiting.wait_for(|count| *count > 0).await.is_ok() {
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
        let before: HashMap<i32, (Arc<Party>, Stand)> = self
            .parties()
            .iter()
            .map(|(pid, party)| (*pid, (party.clone(), party.state().stand.clone())))
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
                if let Some((party, stand)) = before.get(&blocker) {
                    ask(
                        party,
                        stand,
                        obstacle,
                        waiter.map(|(_, stand)| &stand.outcome),
                    );
                }
            }
        }
        Ok(!waits.is_empty())
    }
}

fn ask(party: &Party, stand: &Stand, obstacle: Obstacle, by: Option<&Arc<Outcome>>) {
    let mut state = party.state();
    if state.stand.epoch != stand.epoch {
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
    party.asked.notify_one();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arbiter() -> Arc<Arbiter> {
        Arc::new(Arbiter::new(Path::new("/nowhere")))
    }

    #[test]
    fn a_request_reaches_the_transaction_it_was_made_for_and_no_later_one() {
        let arbiter = arbiter();
        let registration = arbiter.register(7);
        let party = registration.party.clone();
        let stand = party.state().stand.clone();
        let other = Arc::new(Outcome::default());
        ask(&party, &stand, Obstacle::Row, Some(&other));
        ask(&party, &stand, Obstacle::Row, Some(&other));
        assert_eq!(registration.take_request().unwrap().by.len(), 1);
        registration.ended(true);
        ask(&party, &stand, Obstacle::Row, Some(&other));
        assert!(registration.take_request().is_none());
        assert!(stand.outcome.is_committed() && !other.is_committed());
    }

    #[test]
    fn a_session_that_ends_is_forgotten() {
        let arbiter = arbiter();
        drop(arbiter.register(7));
        assert!(arbiter.parties().is_empty());
    }
}
