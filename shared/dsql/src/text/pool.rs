//! The text sessions of one container: a bounded number, kept by role. They are checked on use like
//! all sessions of this crate: open, young enough, alive if idle.
//!
//! Lifecycle: connected → leased, alone → returned clean, any number of times → closed when it is
//! retired, found closed, not returned clean, or the one unused for longest when another role needs
//! its place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::TextRole;
use super::read::Writers;
use super::session::{NO_ROWS, TextSession};
use super::spare::Spare;
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
    writers: Writers,
    spare: Spare,
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
}

#[derive(Debug)]
struct Idle {
    role: TextRole,
    session: TextSession,
    since: SystemTime,
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
    /// It was idle for long, and has not answered since.
    unproved: bool,
    place: Place,
}

impl Lease {
    /// How long it may take to answer the first question, if it was idle for long and nothing has
    /// proved it alive since.
    pub(super) fn probe_limit(&self, deadline: SystemTime) -> Option<Duration> {
        let now = self.place.0.warm.config.clock.now();
        let limit = PROBE_LIMIT.min(remaining(now, deadline) / 3);
        self.unproved.then_some(limit)
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

/// A session that was opened ahead, before all was known of the role that it is to serve. It is
/// closed when dropped.
#[derive(Debug)]
pub struct OpenedSession(Lease);

impl OpenedSession {
    /// When it was opened: what changed of its role later, it does not know.
    ///
    /// # Examples
    /// ```no_run
    /// # use std::time::SystemTime;
    /// # use dsql::text::{TextRole, TextSessions};
    /// # async fn example(sessions: TextSessions, role: TextRole, changed_at: SystemTime,
    /// #     deadline: SystemTime) -> Result<(), dsql::Error> {
    /// let opened = sessions.open(&role, deadline).await?;
    /// if opened.opened_at() > changed_at {
    ///     opened.keep_for(&role);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn opened_at(&self) -> SystemTime {
        self.0.session.opened_at
    }

    /// Whether it was opened as `role` starts its sessions.
    ///
    /// # Examples
    /// ```no_run
    /// # use dsql::text::{OpenedSession, TextRole};
    /// # fn example(opened: OpenedSession) {
    /// let role = TextRole { name: "blog".to_owned(), ..TextRole::default() };
    /// if !opened.fits(&role) {
    ///     drop(opened); // closes it
    /// }
    /// # }
    /// ```
    pub fn fits(&self, role: &TextRole) -> bool {
        let own = &self.0.role;
        (&own.name, &own.search_path) == (&role.name, &role.search_path)
    }

    /// Keeps it for requests of `role`; closes it if it does not [fit](Self::fits).
    ///
    /// # Examples
    /// ```no_run
    /// # use dsql::text::{TextRole, TextSessions};
    /// # async fn example(sessions: TextSessions, role: TextRole, deadline: std::time::SystemTime)
    /// # -> Result<(), dsql::Error> {
    /// let opened = sessions.open(&role, deadline).await?;
    /// opened.keep_for(&role); // the next request finds it
    /// # Ok(()) }
    /// ```
    pub fn keep_for(mut self, role: &TextRole) {
        if self.fits(role) {
            self.0.role.clone_from(role);
            self.0.give_back();
        }
    }
}

impl TextSessions {
    /// At most `max_open` sessions, over all roles, with the configuration of `dsql`. Without I/O.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// let dsql = dsql::Dsql::new(config);
    /// let sessions = dsql::text::TextSessions::new(&dsql, 8);
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn new(dsql: &Dsql, max_open: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                warm: Arc::clone(&dsql.warm),
                writers: Writers::default(),
                spare: Spare::default(),
                max_open: max_open.max(1),
                slots: Mutex::default(),
                changed: Notify::new(),
            }),
        }
    }

    /// The role that `dsql` was configured with.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// let dsql = dsql::Dsql::new(config.with_role("blog"));
    /// let sessions = dsql::text::TextSessions::new(&dsql, 8);
    /// assert_eq!(sessions.own_role().name, "blog");
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn own_role(&self) -> TextRole {
        TextRole {
            name: self.inner.warm.config.role.clone(),
            search_path: self.inner.warm.config.search_path.clone(),
            generation: String::new(),
        }
    }

    /// Opens a session of the configuration's own role, unless one is open. Returns whether one is;
    /// a failure is logged.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn init(dsql: dsql::Dsql) {
    /// let sessions = dsql::text::TextSessions::new(&dsql, 8);
    /// sessions.connect(dsql.clock().now() + std::time::Duration::from_secs(5)).await;
    /// # }
    /// ```
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

    /// Opens a connection, TCP and TLS, for whichever role is the next to need one, within 5 s: two
    /// of its four round trips do not depend on the role. A failure is logged.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn init(dsql: dsql::Dsql, sessions: dsql::text::TextSessions) {
    /// sessions.open_spare(dsql.clock().now() + std::time::Duration::from_secs(5)).await;
    /// # }
    /// ```
    pub async fn open_spare(&self, deadline: SystemTime) {
        let warm = &*self.inner.warm;
        let limit = remaining(warm.config.clock.now(), deadline);
        let opened = self.inner.spare.open(&warm.connector, &warm.config, limit);
        if let Err(error) = opened.await {
            tracing::info!("no connection was opened ahead: {}", error.report());
        }
    }

    /// Opens a session of `role` ahead of its first request.
    ///
    /// # Errors
    /// As when a request finds no session.
    ///
    /// # Examples
    /// ```no_run
    /// # use dsql::text::{TextRole, TextSessions};
    /// # async fn example(sessions: TextSessions, deadline: std::time::SystemTime)
    /// # -> Result<(), dsql::Error> {
    /// let role = TextRole { name: "blog".to_owned(), ..TextRole::default() };
    /// let opened = sessions.open(&role, deadline).await?; // while what it may do is looked up
    /// # Ok(()) }
    /// ```
    pub async fn open(
        &self,
        role: &TextRole,
        deadline: SystemTime,
    ) -> Result<OpenedSession, Error> {
        self.lease(role, true, deadline).await.map(OpenedSession)
    }

    pub(super) fn writers(&self) -> &Writers {
        &self.inner.writers
    }

    pub(super) fn warm(&self) -> &Warm {
        &self.inner.warm
    }

    /// A checked session of `role`. `asks_itself`: one that was idle too, since the request goes
    /// along with the question whether it is alive.
    pub(super) async fn lease(
        &self,
        role: &TextRole,
        asks_itself: bool,
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
                        unproved: inner.was_idle(idle.since),
                        place: Place(Arc::clone(inner)),
                    };
                    if asks_itself || !lease.unproved || probe(&mut lease, deadline).await {
                        return Ok(lease);
                    }
                }
                Choice::Connect => {
                    let place = Place(Arc::clone(inner));
                    let session = inner.connect(role, deadline).await?;
                    return Ok(Lease {
                        session,
                        role: role.clone(),
                        unproved: false,
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
        // Returned ones are pushed at the end: the first is unused for longest. Its place passes to
        // the new one.
        if slots.idle.is_empty() {
            return Choice::Wait;
        }
        drop(slots.idle.remove(0));
        Choice::Connect
    }

    fn was_idle(&self, since: SystemTime) -> bool {
        let now = self.warm.config.clock.now();
        elapsed(now, since).is_none_or(|passed| passed > IDLE_BEFORE_PROBE)
    }

    async fn connect(&self, role: &TextRole, deadline: SystemTime) -> Result<TextSession, Error> {
        let warm = &*self.warm;
        let role = Arc::new(role.clone());
        warm.connect_by(deadline, &|token, limit| {
            let role = Arc::clone(&role);
            let spare = self.spare.take(warm.config.clock.now());
            Box::pin(async move {
                let (connector, config) = (&warm.connector, &warm.config);
                TextSession::connect(connector, config, &role, &token, spare, limit).await
            })
        })
        .await
    }
}

/// One bare round trip; without an answer in time the session is given up.
async fn probe(lease: &mut Lease, deadline: SystemTime) -> bool {
    let warm = Arc::clone(&lease.place.0.warm);
    let limit = lease.probe_limit(deadline);
    let is_alive = lease.session.exchange(limit, &[], NO_ROWS).await.is_ok();
    lease.unproved = !is_alive;
    note_probe(&warm, is_alive);
    is_alive
}

pub(super) fn note_probe(warm: &Warm, is_alive: bool) {
    count(&warm.counters.probes);
    if !is_alive {
        tracing::info!("an idle database connection did not answer a probe and is replaced");
        count(&warm.counters.lost);
    }
}
