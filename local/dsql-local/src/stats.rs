//! Counters for tests to check.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// What happened since the start, as `GET /stats` reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Logins that succeeded.
    pub connections_opened: u64,
    /// Logged-in connections that are open now.
    pub connections_open: u64,
    /// Logins refused before their token was looked at, by reason.
    pub connections_refused: BTreeMap<&'static str, u64>,
    /// Tokens accepted.
    pub tokens_accepted: u64,
    /// Tokens refused, by reason.
    pub tokens_refused: BTreeMap<&'static str, u64>,
    /// Simple queries and executions of a portal.
    pub statements: u64,
    /// Groups of messages that a client sent and waits to have answered: up to a Sync, a Flush or a
    /// simple query. What arrived before the answer to one left counts with that one: round trips.
    pub client_flights: u64,
    /// Messages that clients sent after their login.
    pub client_messages: u64,
    /// PostgreSQL backends that sessions attached; a session attaches one at its first statement.
    pub backends_attached: u64,
    /// How often an idle transaction yielded its locks to a session that waited for them.
    pub steps_aside: u64,
    /// How often a transaction that had yielded was replayed, before its next statement or at its
    /// COMMIT.
    pub repeats: u64,
    /// Injected 40001 OC000.
    pub conflicts_injected: u64,
    /// Injected 40001 OC001.
    pub schema_conflicts_injected: u64,
    /// Injected XX000.
    pub unavailable_injected: u64,
    /// Connections that a fault dropped.
    pub drops_injected: u64,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take_one(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts by name.
#[derive(Debug, Default)]
pub(crate) struct Reasons(Mutex<BTreeMap<&'static str, u64>>);

impl Reasons {
    pub(crate) fn add_one(&self, reason: &'static str) {
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(reason)
            .or_default() += 1;
    }

    fn get(&self) -> BTreeMap<&'static str, u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The live counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    connections_opened: Counter,
    connections_open: Counter,
    pub(crate) connections_refused: Reasons,
    pub(crate) tokens_accepted: Counter,
    pub(crate) tokens_refused: Reasons,
    pub(crate) statements: Counter,
    pub(crate) client_flights: Counter,
    pub(crate) client_messages: Counter,
    pub(crate) backends_attached: Counter,
    pub(crate) steps_aside: Counter,
    pub(crate) repeats: Counter,
    pub(crate) conflicts_injected: Counter,
    pub(crate) schema_conflicts_injected: Counter,
    pub(crate) unavailable_injected: Counter,
    pub(crate) drops_injected: Counter,
}

/// Counts a connection as open for as long as it lives.
pub(crate) struct OpenConnection<'a>(&'a Counters);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.connections_open.take_one();
    }
}

impl Counters {
    pub(crate) fn open_connection(&self) -> OpenConnection<'_> {
        self.connections_opened.add_one();
        self.connections_open.add_one();
        OpenConnection(self)
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            connections_opened: self.connections_opened.get(),
            connections_open: self.connections_open.get(),
            connections_refused: self.connections_refused.get(),
            tokens_accepted: self.tokens_accepted.get(),
            tokens_refused: self.tokens_refused.get(),
            statements: self.statements.get(),
            client_flights: self.client_flights.get(),
            client_messages: self.client_messages.get(),
            backends_attached: self.backends_attached.get(),
            steps_aside: self.steps_aside.get(),
            repeats: self.repeats.get(),
            conflicts_injected: self.conflicts_injected.get(),
            schema_conflicts_injected: self.schema_conflicts_injected.get(),
            unavailable_injected: self.unavailable_injected.get(),
            drops_injected: self.drops_injected.get(),
        }
    }
}
