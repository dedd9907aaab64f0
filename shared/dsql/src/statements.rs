//! The prepared statements of one session. A statement's first use goes whole, in one round trip.
//! So does its second, which takes a Parse along, after it in the same round trip: from then on the
//! statement is bound and executed alone. A container that uses every statement once pays nothing
//! for the others.
//!
//! # Promises
//! 1. No round trip is added. What prepares or closes statements leaves in one write with a
//!    statement or a COMMIT, and nobody waits for its answer: the session's driver takes it.
//! 2. Nothing is prepared inside a transaction block, which a refused Parse would fail.
//! 3. At most [`MAX_STATEMENTS`] are known; the one unused for longest is closed to make room.
//! 4. When the catalog has changed, all are forgotten.
//! 5. What may mean the moment at which it is parsed (`'now'`) is never prepared.

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use crate::lead::may_hold_a_moment;
use crate::param::Param;

/// As many as `SQLx` keeps on a connection by default, which AWS's own connector for Rust uses.
pub(crate) const MAX_STATEMENTS: NonZeroUsize = NonZeroUsize::new(100).expect("it is not zero");

/// A statement's text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sql<'a> {
    /// A part of the program, worth being prepared.
    Fixed(&'static str),
    /// Made at run time, for one use.
    Made(&'a str),
}

impl<'a> Sql<'a> {
    pub(crate) fn text(self) -> &'a str {
        #[expect(clippy::match_same_arms, reason = "their lifetimes differ")]
        match self {
            Self::Fixed(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// Where a statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a transaction of its own.
    Alone,
    /// In a transaction block.
    Block,
}

/// The statements of one session.
#[derive(Debug)]
pub(crate) struct Statements {
    /// Held by the driver while it writes, and by whoever queues more than one message, which so
    /// leave in one write.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: Vec<Known>,
    /// Used twice by now. They are prepared with the next round trip outside a transaction block.
    wanted: Vec<Id>,
    /// For the driver to prepare now.
    asked: Vec<Id>,
    /// Of no use any more. They are closed with the next round trip outside a transaction block.
    closing: Vec<Statement>,
    uses: u64,
    last: Id,
}

/// A statement from its first use to when it is forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Id(u64);

/// A statement by its place in the program: nothing of its text is read to look it up.
#[derive(Debug)]
struct Known {
    id: Id,
    sql: &'static str,
    types: Vec<Type>,
    last_use: u64,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    /// Goes whole always.
    Unprepared,
    Used,
    Wanted,
    Asked,
    Prepared(Statement),
}

impl Known {
    fn is(&self, sql: &'static str, params: &[Param<'_>]) -> bool {
        let types = params.iter().map(|(_, type_)| type_);
        std::ptr::eq(self.sql, sql) && self.types.iter().eq(types)
    }
}

/// What the driver is to prepare.
struct Request {
    id: Id,
    sql: &'static str,
    types: Vec<Type>,
}

/// What came of it.
struct Outcome {
    id: Id,
    result: Result<Statement, tokio_postgres::Error>,
}

impl Request {
    async fn send(self, client: Arc<Client>) -> Outcome {
        Outcome {
            id: self.id,
            result: client.prepare_typed(self.sql, &self.types).await,
        }
    }
}

impl Statements {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
        }
    }

    /// Takes note of a use of `sql`. The prepared statement, if there is one.
    pub(crate) fn note_use(&self, sql: &'static str, params: &[Param<'_>]) -> Option<Statement> {
        self.lock().note_use(sql, params)
    }

    /// The catalog has changed, or the server has forgotten a statement: all are prepared again
    /// with their next use.
    pub(crate) fn forget_all(&self) {
        self.lock().forget_all();
    }

    /// Does an exchange. Outside a transaction block, what there is to prepare and to close goes
    /// along in the same round trip.
    pub(crate) async fn along<T>(&self, place: Place, exchange: impl Future<Output = T>) -> T {
        let mut exchange = pin!(exchange);
        let mut takes_along = place == Place::Alone;
        std::future::poll_fn(|cx| {
            let state = std::mem::take(&mut takes_along).then(|| self.lock());
            let polled = exchange.as_mut().poll(cx); // at first it queues its messages, which wakes the driver
            if let Some(mut state) = state {
                state.ask();
            }
            polled
        })
        .await
    }

    /// Moves bytes between socket and client until the connection ends, and prepares what is asked
    /// for.
    pub(crate) async fn drive<T>(
        &self,
        client: Arc<Client>,
        connection: impl Future<Output = T>,
    ) -> T {
        let mut connection = pin!(connection);
        let mut requests = Vec::new();
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            for request in state.take_asked() {
                requests.push(Box::pin(request.send(Arc::clone(&client))));
            }
            requests.retain_mut(|request| match request.as_mut().poll(cx) {
                Poll::Ready(outcome) => {
                    state.learn(outcome);
                    false
                }
                Poll::Pending => true,
            });
            connection.as_mut().poll(cx)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note_use(&mut self, sql: &'static str, params: &[Param<'_>]) -> Option<Statement> {
        self.uses += 1;
        let Some(known) = self.known.iter_mut().find(|known| known.is(sql, params)) else {
            self.make_room();
            let known = Known {
                id: self.next_id(),
                sql,
                types: params.iter().map(|(_, type_)| type_.clone()).collect(),
                last_use: self.uses,
                progress: if may_hold_a_moment(sql) {
                    Progress::Unprepared
                } else {
                    Progress::Used
                },
            };
            self.known.push(known);
            return None;
        };
        known.last_use = self.uses;
        match &known.progress {
            Progress::Prepared(statement) => return Some(statement.clone()),
            Progress::Used => {
                known.progress = Progress::Wanted;
                self.wanted.push(known.id);
            }
            Progress::Unprepared | Progress::Wanted | Progress::Asked => {}
        }
        None
    }

    fn next_id(&mut self) -> Id {
        self.last.0 += 1;
        self.last
    }

    /// Closes the statement that is unused for longest, if there are as many as may be.
    fn make_room(&mut self) {
        if self.known.len() < MAX_STATEMENTS.get() {
            return;
        }
        let all = self.known.iter().enumerate();
        if let Some((at, _)) = all.min_by_key(|(_, known)| known.last_use)
            && let Progress::Prepared(statement) = self.known.swap_remove(at).progress
        {
            self.closing.push(statement);
        }
    }

    fn forget_all(&mut self) {
        self.wanted.clear();
        self.asked.clear();
        for known in &mut self.known {
            if matches!(known.progress, Progress::Unprepared) {
                continue;
            }
            let progress = std::mem::replace(&mut known.progress, Progress::Used);
            if let Progress::Prepared(statement) = progress {
                self.closing.push(statement);
            }
            self.last.0 += 1;
            known.id = self.last; // what was asked for before is not awaited any more
        }
    }

    /// A round trip is queued: what is wanted and what is of no use go with it.
    fn ask(&mut self) {
        self.asked.append(&mut self.wanted);
        self.closing.clear(); // a statement is closed when it is dropped
    }

    fn take_asked(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        for id in std::mem::take(&mut self.asked) {
            // Another one may have needed its place.
            if let Some(known) = self.known.iter_mut().find(|known| known.id == id) {
                known.progress = Progress::Asked;
                requests.push(Request {
                    id,
                    sql: known.sql,
                    types: known.types.clone(),
                });
            }
        }
        requests
    }

    fn learn(&mut self, outcome: Outcome) {
        let known = self.known.iter_mut().find(|known| known.id == outcome.id);
        match (known, outcome.result) {
            (Some(known), Ok(statement)) => known.progress = Progress::Prepared(statement),
            (Some(known), Err(error)) => {
                known.progress = Progress::Used;
                tracing::debug!(
                    "a statement was not prepared: {}",
                    crate::chain::chain(&error)
                );
            }
            (None, Ok(statement)) => self.closing.push(statement),
            (None, Err(_)) => {}
        }
    }
}
