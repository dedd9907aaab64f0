//! The text sessions of one container: a bounded number, kept by role. They are checked on use like all sessions of this
//! crate: open, young enough, alive if idle.
//!
//! Lifecycle: connected → leased, alone → returned clean, any number of times → closed when it is retired, found closed,
//! not returned clean, or the one unused for longest when another role needs its place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use super::session::TextSession;
use super::{AnswerLimits, TextRole, flight};
use crate::Dsql;
use crate::clock::{elapsed, remaining};
use crate::error::Error;
use crate::stats::count;
use crate::warm::{IDLE_BEFORE_PROBE, PROBE_LIMIT, Warm};

/// Text sessions by role. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct TextSessions {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) warm: Arc<Warm>,
    max_open: usize,
    slots: Mutex<Slots>,
    /// Signalled whenever a place or a session becomes free.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Slots {
    idle: Vec<Idle>,
    /// Idle, leased and being connected.
    open: usize,
    proof: Option<Proof>,
}

#[derive(Debug)]
struct Idle {
    role: TextRole,
    session: TextSession,
    since: SystemTime,
}

/// A session that had been idle since then answered at that time: so did the network path survive, and with it the sessions
/// that were idle for no longer.
#[derive(Debug, Clone, Copy)]
struct Proof {
    idle_since: SystemTime,
    answered_at: SystemTime,
}

enum Choice {
    Ready(Idle),
    Connect,
    Wait,
}

/// A place for one open session, given back when dropped.
#[derive(Debug)]
struct Place(Arc<Inner>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().open -= 1;
        self.0.changed.notify_waiters();
    }
}

/// A session, alone. It is closed on drop unless it was [returned](Lease::give_back).
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) session: TextSession,
    role: TextRole,
    /// Since when it was idle before this lease, if nothing has proved it alive since.
    unproved_since: Option<SystemTime>,
    place: Place,
}

impl Lease {
    /// Whether it was idle for long and not probed.
    pub(super) fn is_unproved(&self) -> bool {
        self.unproved_since.is_some()
    }

    /// It has answered.
    pub(super) fn answered(&mut self) {
        let inner = &self.place.0;
        if let Some(idle_since) = self.unproved_since.take() {
            let answered_at = inner.warm.config.clock.now();
            inner.lock().proof = Some(Proof {
                idle_since,
                answered_at,
            });
        }
    }

    /// The session carries nothing of this request: the next one may have it.
    pub(super) fn give_back(self) {
        let inner = Arc::clone(&self.place.0);
        let idle = Idle {
            since: inner.warm.config.clock.now(),
            role: self.role,
            session: self.session,
        };
        let mut slots = inner.lock();
        slots.open += 1; // the lease's own place is given back below
        slots.idle.push(idle);
        drop(slots);
        drop(self.place);
    }
}

impl TextSessions {
    /// At most `max_open` sessions, over all roles, with the configuration of `dsql`. Without I/O.
    pub fn new(dsql: &Dsql, max_open: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                warm: Arc::clone(&dsql.warm),
                max_open: max_open.max(1),
                slots: Mutex::default(),
                changed: Notify::new(),
            }),
        }
    }

    /// The role that `dsql` was configured with.
    pub fn own_role(&self) -> TextRole {
        TextRole {
            name: self.inner.warm.config.role.clone(),
            search_path: self.inner.warm.config.search_path.clone(),
            generation: String::new(),
        }
    }

    /// Opens a session of the configuration's own role, unless one is open. Returns whether one is; a failure is logged.
    pub async fn connect(&self, deadline: SystemTime) -> bool {
        match self.lease(&self.own_role(), true, deadline).await {
            Ok(lease) => {
                lease.give_back();
                true
            }
            Err(error) => {
                tracing::error!(
                    "the eager database connect failed, the first request tries again: {}",
                    error.report()
                );
                false
            }
        }
    }

    pub(super) fn warm(&self) -> &Warm {
        &self.inner.warm
    }

    /// A checked session of `role`; `unprobed`: idle ones too.
    pub(super) async fn lease(
        &self,
        role: &TextRole,
        unprobed: bool,
        deadline: SystemTime,
    ) -> Result<Lease, Error> {
        let inner = &self.inner;
        let clock = &*inner.warm.config.clock;
        loop {
            let changed = inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable(); // before looking, so that no change is missed
            match inner.choose(role) {
                Choice::Ready(idle) => {
                    let mut lease = Lease {
                        session: idle.session,
                        role: idle.role,
                        unproved_since: inner.needs_proof(idle.since).then_some(idle.since),
                        place: Place(Arc::clone(inner)),
                    };
                    if unprobed || !lease.is_unproved() || probe(&mut lease, deadline).await {
                        return Ok(lease);
                    }
                }
                Choice::Connect => {
                    let place = Place(Arc::clone(inner));
                    let session = inner.connect(role, deadline).await?;
                    return Ok(Lease {
                        session,
                        role: role.clone(),
                        unproved_since: None,
                        place,
                    });
                }
                Choice::Wait => {
                    let limit = remaining(clock.now(), deadline);
                    if tokio::time::timeout(limit, changed).await.is_err() {
                        return Err(Error::Deadline {
                            during: "waiting for a free session",
                        });
                    }
                }
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session or a place, both already counted as taken.
    fn choose(&self, role: &TextRole) -> Choice {
        let now = self.warm.config.clock.now();
        let mut slots = self.lock();
        let before = slots.idle.len();
        slots.idle.retain_mut(|idle| {
            let is_retired = now >= idle.session.retire_at || now < idle.session.opened_at;
            let is_past = idle.role.name == role.name && idle.role.generation != role.generation;
            if is_past {
                return false;
            }
            if is_retired {
                count(&self.warm.counters.retired_by_age);
            } else if idle.session.is_closed() {
                count(&self.warm.counters.lost);
            } else {
                return true;
            }
            false
        });
        slots.open -= before - slots.idle.len();
        if let Some(at) = slots.idle.iter().rposition(|idle| idle.role == *role) {
            return Choice::Ready(slots.idle.remove(at));
        }
        if slots.open < self.max_open {
            slots.open += 1;
            return Choice::Connect;
        }
        // Returned ones are pushed at the end: the first is unused for longest. Its place passes to the new one.
        if slots.idle.is_empty() {
            return Choice::Wait;
        }
        drop(slots.idle.remove(0));
        Choice::Connect
    }

    fn needs_proof(&self, since: SystemTime) -> bool {
        let now = self.warm.config.clock.now();
        let is_recent = |time| elapsed(now, time).is_some_and(|passed| passed <= IDLE_BEFORE_PROBE);
        let is_proved = |proof: Proof| is_recent(proof.answered_at) && proof.idle_since <= since;
        !is_recent(since) && !self.lock().proof.is_some_and(is_proved)
    }

    async fn connect(&self, role: &TextRole, deadline: SystemTime) -> Result<TextSession, Error> {
        let warm = &*self.warm;
        let role = Arc::new(role.clone());
        warm.connect_by(deadline, &|token, limit| {
            let role = Arc::clone(&role);
            Box::pin(async move {
                TextSession::connect(&warm.connector, &warm.config, &role, &token, limit).await
            })
        })
        .await
    }
}

/// One bare flight; without an answer in time the session is given up.
async fn probe(lease: &mut Lease, deadline: SystemTime) -> bool {
    const NO_ROWS: AnswerLimits = AnswerLimits { rows: 0, bytes: 0 };
    let warm = Arc::clone(&lease.place.0.warm);
    count(&warm.counters.probes);
    let limit = PROBE_LIMIT.min(remaining(warm.config.clock.now(), deadline) / 3);
    let probe = flight::probe();
    let answer = tokio::time::timeout(limit, lease.session.exchange(&probe, NO_ROWS)).await;
    let is_alive = matches!(answer, Ok(Ok(reply)) if reply.is_idle && reply.error.is_none());
    if is_alive {
        lease.answered();
    } else {
        tracing::info!("an idle database connection did not answer a probe and is replaced");
        count(&warm.counters.lost);
    }
    is_alive
}
