//! The guard: hands out the container's sessions after checking, on use, that they are open, young
//! enough, not in another caller's transaction, and alive if they have been idle. One session
//! serves requests that come one at a time; more are opened, up to a small bound, only while others
//! are busy.
//!
//! A [`Pin`] has a session of its own, beyond that bound, which nobody else uses: statements on a
//! shared session wait for each other's answers. It is an idle one of the shared, or a new one, and
//! is shared again when the pin is dropped.
//!
//! Lifecycle of a slot: connected → leased and returned, any number of times → dropped when it is
//! retired (age), found closed, or was left in an unknown state by its last user. A transaction's
//! lease that is not returned clean (its future was dropped half way) closes its session, so the
//! next request never inherits an open transaction.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::clock::{elapsed, remaining};
use crate::config::Config;
use crate::error::Error;
use crate::retry::{self, Crowding};
use crate::session::{Connector, Session};
use crate::stats::{Counters, count};
use crate::token::{Token, TokenSource};

/// A session idle for longer is probed before it is used: a freeze may have cost it its connection
/// silently.
pub(crate) const IDLE_BEFORE_PROBE: Duration = Duration::from_secs(5);
/// A probe is one bare round trip; without an answer by then the connection counts as dead.
pub(crate) const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// Attempts after a failure of TCP, TLS or an end of the stream while connecting.
const NETWORK_ATTEMPTS: u32 = 4;

/// The sessions of one container.
#[derive(Debug)]
pub(crate) struct Warm {
    pub(crate) config: Config,
    tokens: TokenSource,
    pub(crate) connector: Connector,
    slots: Mutex<Slots>,
    /// Signalled whenever a lease is returned, a slot is freed, or a connect ends.
    changed: Notify,
    pub(crate) counters: Counters,
    pub(crate) crowding: Crowding,
}

#[derive(Debug, Default)]
struct Slots {
    open: Vec<Slot>,
    /// Connects under way that count against the bound: those without a pin.
    connecting: usize,
    next_id: u64,
    next_pin: u64,
}

/// A holder of a session of its own, from its first use on until it is dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    warm: Arc<Warm>,
    id: u64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut slots = self.warm.lock();
        for slot in slots
            .open
            .iter_mut()
            .filter(|slot| slot.pin == Some(self.id))
        {
            slot.pin = None;
        }
        let beyond = slots.take_beyond(self.warm.config.max_sessions);
        drop(slots);
        drop(beyond);
        self.warm.changed.notify_waiters();
    }
}

impl Slot {
    /// Open and young enough.
    fn is_usable(&self, now: SystemTime) -> bool {
        !self.session.is_closed() && !is_retired(&self.session, now)
    }

    /// Usable, in nobody's hands, and no pin's.
    fn is_free(&self, now: SystemTime) -> bool {
        self.users == 0 && self.pin.is_none() && self.is_usable(now)
    }
}

impl Slots {
    fn shared(&self) -> usize {
        self.open.iter().filter(|slot| slot.pin.is_none()).count()
    }

    /// Takes out idle sessions that pins left behind, down to the bound.
    fn take_beyond(&mut self, max: usize) -> Vec<Slot> {
        let mut beyond = Vec::new();
        let is_idle = |slot: &Slot| slot.pin.is_none() && slot.users == 0;
        while self.shared() > max
            && let Some(at) = self.open.iter().position(is_idle)
        {
            beyond.push(self.open.swap_remove(at));
        }
        beyond
    }
}

#[derive(Debug)]
struct Slot {
    id: u64,
    session: Arc<Session>,
    /// The pin it belongs to.
    pin: Option<u64>,
    users: usize,
    /// Leased to a transaction: nobody else may use it.
    exclusive: bool,
    last_used: SystemTime,
}

/// What a session is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A statement on its own; several may be pipelined on one session.
    Statement,
    /// A transaction, alone on its session.
    Transaction,
}

enum Choice {
    Ready(Lease),
    Probe(Lease),
    Connect(Connecting),
    Wait,
}

/// A place among the connects under way, given back when the connect ends, also by cancellation.
struct Connecting {
    warm: Arc<Warm>,
    pin: Option<u64>,
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.warm.lock().connecting -= usize::from(self.pin.is_none());
        self.warm.changed.notify_waiters();
    }
}

/// The right to use one session until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    warm: Arc<Warm>,
    session: Arc<Session>,
    id: u64,
    wanted: Use,
    /// False: the session is in an unknown state, and is closed instead of returned.
    clean: bool,
}

impl Lease {
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The transaction has ended: the session may serve others.
    pub(crate) fn mark_clean(&mut self) {
        self.clean = true;
    }

    /// Closes the session instead of returning it.
    pub(crate) fn discard(mut self) {
        self.clean = false;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let keep = self.clean && !self.session.is_closed();
        let now = self.warm.config.clock.now();
        let mut slots = self.warm.lock();
        if let Some(at) = slots.open.iter().position(|slot| slot.id == self.id) {
            if keep {
                if let Some(slot) = slots.open.get_mut(at) {
                    slot.users -= 1;
                    slot.exclusive = false;
                    slot.last_used = now;
                }
            } else {
                slots.open.swap_remove(at);
                count(&self.warm.counters.lost);
            }
        }
        let beyond = slots.take_beyond(self.warm.config.max_sessions);
        drop(slots);
        drop(beyond);
        if !keep && self.wanted == Use::Transaction {
            self.session.close(); // clones of the transaction hold it too, and its block must not stay open
        }
        self.warm.changed.notify_waiters();
    }
}

impl Warm {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            tokens: TokenSource::new(
                config.endpoint.clone(),
                &config.role,
                config.credentials.clone(),
                Arc::clone(&config.clock),
            ),
            connector: Connector::new(&config),
            config,
            slots: Mutex::default(),
            changed: Notify::new(),
            counters: Counters::default(),
            crowding: Crowding::default(),
        }
    }

    /// A new pin. It takes a session with its first lease.
    pub(crate) fn pin(self: &Arc<Self>) -> Pin {
        let mut slots = self.lock();
        slots.next_pin += 1;
        Pin {
            warm: Arc::clone(self),
            id: slots.next_pin,
        }
    }

    /// A checked session: the pin's own, if there is a pin.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        wanted: Use,
        pin: Option<&Pin>,
        deadline: SystemTime,
    ) -> Result<Lease, Error> {
        let pin = pin.map(|pin| pin.id);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable(); // before looking, so that no change is missed
            match self.choose(wanted, pin) {
                Choice::Ready(lease) => return Ok(lease),
                Choice::Probe(lease) => {
                    if let Some(lease) = self.probe(lease, wanted, deadline).await {
                        return Ok(lease);
                    }
                }
                Choice::Connect(place) => {
                    let session = self.connect(deadline).await?;
                    return Ok(self.admit(session, wanted, place));
                }
                Choice::Wait => {
                    let limit = remaining(self.config.clock.now(), deadline);
                    if tokio::time::timeout(limit, changed).await.is_err() {
                        return Err(Error::Deadline {
                            during: "waiting for a free session",
                        });
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn choose(self: &Arc<Self>, wanted: Use, pin: Option<u64>) -> Choice {
        let now = self.config.clock.now();
        let mut slots = self.lock();
        slots.open.retain(|slot| {
            if slot.session.is_closed() {
                if slot.users == 0 {
                    count(&self.counters.lost);
                }
                return slot.users > 0;
            }
            let retired = is_retired(&slot.session, now);
            if retired && slot.users == 0 {
                count(&self.counters.retired_by_age);
            }
            !retired || slot.users > 0
        });
        let own = pin.and_then(|pin| self.choose_own(&mut slots, wanted, pin, now));
        own.unwrap_or_else(|| self.choose_shared(&mut slots, wanted, now))
    }

    /// Of a pin: its session, or one that becomes it. `None`: it has one, which is in use for
    /// something else.
    fn choose_own(
        self: &Arc<Self>,
        slots: &mut Slots,
        wanted: Use,
        pin: u64,
        now: SystemTime,
    ) -> Option<Choice> {
        let is_own = |slot: &Slot| slot.pin == Some(pin) && slot.is_usable(now);
        let Some(own) = slots.open.iter_mut().find(|slot| is_own(slot)) else {
            let Some(slot) = slots.open.iter_mut().find(|slot| slot.is_free(now)) else {
                return Some(Choice::Connect(Connecting {
                    warm: Arc::clone(self),
                    pin: Some(pin),
                }));
            };
            slot.pin = Some(pin);
            return Some(self.take(slot, wanted, now));
        };
        if own.users == 0 {
            return Some(self.take(own, wanted, now));
        }
        (wanted == Use::Statement && !own.exclusive).then(|| {
            own.users += 1;
            Choice::Ready(self.lease_of(own, wanted))
        })
    }

    fn choose_shared(self: &Arc<Self>, slots: &mut Slots, wanted: Use, now: SystemTime) -> Choice {
        if let Some(slot) = slots.open.iter_mut().find(|slot| slot.is_free(now)) {
            return self.take(slot, wanted, now);
        }
        if slots.shared() + slots.connecting < self.config.max_sessions {
            slots.connecting += 1;
            return Choice::Connect(Connecting {
                warm: Arc::clone(self),
                pin: None,
            });
        }
        let may_share =
            |slot: &&mut Slot| slot.pin.is_none() && !slot.exclusive && slot.is_usable(now);
        let shared = slots.open.iter_mut().filter(may_share);
        match shared.min_by_key(|slot| slot.users) {
            Some(slot) if wanted == Use::Statement => {
                slot.users += 1;
                Choice::Ready(self.lease_of(slot, wanted))
            }
            _ => Choice::Wait,
        }
    }

    /// Takes a free one.
    fn take(self: &Arc<Self>, slot: &mut Slot, wanted: Use, now: SystemTime) -> Choice {
        slot.users = 1;
        slot.exclusive = wanted == Use::Transaction;
        let lease = self.lease_of(slot, wanted);
        match elapsed(now, slot.last_used) {
            Some(idle) if idle <= IDLE_BEFORE_PROBE => Choice::Ready(lease),
            _ => Choice::Probe(lease),
        }
    }

    fn lease_of(self: &Arc<Self>, slot: &Slot, wanted: Use) -> Lease {
        Lease {
            warm: Arc::clone(self),
            session: Arc::clone(&slot.session),
            id: slot.id,
            wanted,
            clean: wanted == Use::Statement,
        }
    }

    fn admit(self: &Arc<Self>, session: Session, wanted: Use, place: Connecting) -> Lease {
        let mut slots = self.lock();
        let slot = Slot {
            id: slots.next_id,
            session: Arc::new(session),
            pin: place.pin,
            users: 1,
            exclusive: wanted == Use::Transaction,
            last_used: self.config.clock.now(),
        };
        slots.next_id += 1;
        let lease = self.lease_of(&slot, wanted);
        slots.open.push(slot);
        drop(slots);
        drop(place);
        lease
    }

    async fn probe(&self, mut lease: Lease, wanted: Use, deadline: SystemTime) -> Option<Lease> {
        count(&self.counters.probes);
        let limit = PROBE_LIMIT.min(remaining(self.config.clock.now(), deadline) / 3);
        let alive = tokio::time::timeout(limit, lease.session.client().check_connection()).await;
        if matches!(alive, Ok(Ok(()))) {
            lease.clean = wanted == Use::Statement;
            return Some(lease);
        }
        tracing::info!("the idle database connection did not answer a probe and is replaced");
        lease.discard();
        None
    }

    async fn connect(&self, deadline: SystemTime) -> Result<Session, Error> {
        self.connect_by(deadline, &|token, limit| {
            Box::pin(async move { self.connector.connect(&self.config, &token, limit).await })
        })
        .await
    }

    /// Connects by `attempt`, again and again where that is right, until the deadline. Where the
    /// time ends during an attempt, the error is what the server said to the one before: "rate
    /// exceeded", not "no answer".
    pub(crate) async fn connect_by<'a, S>(
        &'a self,
        deadline: SystemTime,
        attempt_once: &(dyn Fn(Token, Duration) -> BoxFuture<'a, Result<S, Error>> + Sync),
    ) -> Result<S, Error> {
        let clock = &*self.config.clock;
        let began = clock.now();
        let mut fresh_token_tried = false;
        let mut attempt = 0;
        let mut unreachable = 0;
        let mut refusal = None;
        let result = loop {
            attempt += 1;
            let token = self.tokens.token().await?;
            let limit = remaining(clock.now(), deadline);
            if limit.is_zero() {
                break Err(refusal.unwrap_or(Error::Deadline {
                    during: "connecting",
                }));
            }
            let error = match attempt_once(token, limit).await {
                Ok(session) => break Ok(session),
                Err(error) => error,
            };
            count(&self.counters.connect_failures);
            let again = match &error {
                Error::AccessDenied { hint, .. } => {
                    let expired = hint
                        .as_deref()
                        .is_some_and(|hint| hint.starts_with("Signature expired"));
                    self.tokens.forget();
                    expired && !std::mem::replace(&mut fresh_token_tried, true)
                }
                Error::RateLimited { .. }
                | Error::TooManyConnections { .. }
                | Error::WakingUp { .. } => retry::CONNECT.wait(attempt, clock, deadline).await,
                Error::Connect { .. } => {
                    unreachable += 1;
                    unreachable < NETWORK_ATTEMPTS
                        && retry::CONNECT.wait(attempt, clock, deadline).await
                }
                _ => false,
            };
            if !again {
                let is_cut_short =
                    matches!(error, Error::Connect { .. }) && unreachable < NETWORK_ATTEMPTS;
                break Err(match refusal {
                    Some(refusal) if is_cut_short => refusal,
                    _ => error,
                });
            }
            tracing::warn!(
                "connecting to the database again, after: {}",
                error.report()
            );
            refusal = match error {
                Error::Connect { .. } => refusal,
                error => Some(error),
            };
        };
        let spent = elapsed(clock.now(), began).unwrap_or_default();
        if result.is_ok() {
            count(&self.counters.connects);
            self.counters.connect_us.fetch_add(
                u64::try_from(spent.as_micros()).unwrap_or(0),
                Ordering::Relaxed,
            );
        }
        result
    }
}

/// Too old, or opened in the future: a clock that stepped back counts as expired.
fn is_retired(session: &Session, now: SystemTime) -> bool {
    now >= session.retire_at || now < session.opened_at
}
