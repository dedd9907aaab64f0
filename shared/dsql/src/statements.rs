//! The prepared statements of one session. A statement's first use goes whole, in one flight. So does its second, which takes
//! a Parse along, behind it in the same flight: from then on the statement is bound and executed alone. A container that uses
//! every statement once pays nothing for the others.
//!
//! # Promises
//! 1. No flight is added. What prepares or closes statements leaves in one write with a statement or a COMMIT, and nobody
//!    waits for its answer: the session's driver takes it.
//! 2. Nothing is prepared inside a transaction block, which a refused Parse would fail.
//! 3. At most [`MAX_STATEMENTS`] are known; the one unused for longest is closed to make room.
//! 4. When the catalog has changed, all are forgotten.
//! 5. What may mean the moment at which it is parsed (`'now'`) is never prepared.

use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lru::LruCache;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use crate::lead::may_hold_a_moment;
use crate::param::Param;

/// As many as `SQLx` keeps on a connection unless told otherwise: what clusters meet from AWS's own connector for Rust.
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

/// A part of the program, known by its place: nothing of it is read to look it up.
#[derive(Debug, Clone, Copy)]
struct Fixed(&'static str);

impl PartialEq for Fixed {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Fixed {}

impl Hash for Fixed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::hash(self.0, state);
    }
}

/// The statements of one session.
#[derive(Debug)]
pub(crate) struct Statements {
    /// Held by the driver while it writes, and by whoever queues more than one message, which so leave in one write.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    known: LruCache<Fixed, Known>,
    /// Used twice by now. They are prepared with the next flight outside a transaction block.
    wanted: Vec<Fixed>,
    /// For the driver to prepare now.
    asked: Vec<Fixed>,
    /// Of no use any more. They are closed with the next flight outside a transaction block.
    closing: Vec<Statement>,
    next_request: u64,
}

#[derive(Debug)]
struct Known {
    types: Vec<Type>,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    /// Goes whole always.
    Unprepared,
    Used,
    Wanted,
    /// By this request.
    Asked(u64),
    Prepared(Statement),
}

impl Known {
    fn has_types_of(&self, params: &[Param<'_>]) -> bool {
        self.types.iter().eq(params.iter().map(|(_, type_)| type_))
    }
}

/// What the driver is to prepare.
struct Request {
    number: u64,
    sql: Fixed,
    types: Vec<Type>,
}

/// What came of it.
struct Outcome {
    number: u64,
    sql: Fixed,
    result: Result<Statement, tokio_postgres::Error>,
}

impl Request {
    async fn send(self, client: Arc<Client>) -> Outcome {
        Outcome {
            number: self.number,
            sql: self.sql,
            result: client.prepare_typed(self.sql.0, &self.types).await,
        }
    }
}

impl Statements {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                known: LruCache::new(MAX_STATEMENTS),
                wanted: Vec::new(),
                asked: Vec::new(),
                closing: Vec::new(),
                next_request: 0,
            }),
        }
    }

    /// Takes note of a use of `sql`. The prepared statement, if there is one.
    pub(crate) fn note_use(&self, sql: &'static str, params: &[Param<'_>]) -> Option<Statement> {
        self.lock().note_use(Fixed(sql), params)
    }

    /// The catalog has changed, or the server has forgotten a statement: all are prepared anew with their next use.
    pub(crate) fn forget_all(&self) {
        self.lock().forget_all();
    }

    /// Does an exchange outside a transaction block, and has prepared and closed what there is, in the same flight.
    pub(crate) async fn along<T>(&self, exchange: impl Future<Output = T>) -> T {
        let mut exchange = pin!(exchange);
        let begun = std::future::poll_fn(|cx| {
            let mut state = self.lock();
            let begun = exchange.as_mut().poll(cx); // queues its messages, which wakes the driver
            state.ask();
            Poll::Ready(begun)
        });
        match begun.await {
            Poll::Ready(done) => done,
            Poll::Pending => exchange.await,
        }
    }

    /// Moves bytes between socket and client until the connection ends, and prepares what is asked for.
    pub(crate) async fn drive<T>(
        &self,
        client: Arc<Client>,
        connection: impl Future<Output = T>,
    ) -> T {
        let mut connection = pin!(connection);
        let mut requests = FuturesUnordered::new();
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            for request in state.take_asked() {
                requests.push(request.send(Arc::clone(&client)));
            }
            while let Poll::Ready(Some(outcome)) = requests.poll_next_unpin(cx) {
                state.learn(outcome);
            }
            connection.as_mut().poll(cx)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note_use(&mut self, sql: Fixed, params: &[Param<'_>]) -> Option<Statement> {
        match self.known.get_mut(&sql) {
            Some(known) if known.has_types_of(params) => {
                match &known.progress {
                    Progress::Prepared(statement) => return Some(statement.clone()),
                    Progress::Used => {
                        known.progress = Progress::Wanted;
                        self.wanted.push(sql);
                    }
                    Progress::Unprepared | Progress::Wanted | Progress::Asked(_) => {}
                }
                return None;
            }
            _ => {}
        }
        let known = Known {
            types: params.iter().map(|(_, type_)| type_.clone()).collect(),
            progress: if may_hold_a_moment(sql.0) {
                Progress::Unprepared
            } else {
                Progress::Used
            },
        };
        if let Some((_, replaced)) = self.known.push(sql, known) {
            self.close(replaced.progress);
        }
        None
    }

    fn close(&mut self, progress: Progress) {
        if let Progress::Prepared(statement) = progress {
            self.closing.push(statement);
        }
    }

    fn forget_all(&mut self) {
        self.wanted.clear();
        self.asked.clear();
        for (_, known) in &mut self.known {
            if matches!(known.progress, Progress::Unprepared) {
                continue;
            }
            let progress = std::mem::replace(&mut known.progress, Progress::Used);
            if let Progress::Prepared(statement) = progress {
                self.closing.push(statement);
            }
        }
    }

    /// A flight is queued: what is wanted and what is of no use go with it.
    fn ask(&mut self) {
        self.asked.append(&mut self.wanted);
        self.closing.clear(); // a statement is closed when it is dropped
    }

    fn take_asked(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        for sql in std::mem::take(&mut self.asked) {
            let known = self.known.peek_mut(&sql);
            let Some(known) = known.filter(|known| matches!(known.progress, Progress::Wanted))
            else {
                continue; // another one needed its place
            };
            self.next_request += 1;
            known.progress = Progress::Asked(self.next_request);
            requests.push(Request {
                number: self.next_request,
                sql,
                types: known.types.clone(),
            });
        }
        requests
    }

    fn learn(&mut self, outcome: Outcome) {
        let known = self.known.peek_mut(&outcome.sql);
        let is_awaited = |known: &&mut Known| matches!(known.progress, Progress::Asked(number) if number == outcome.number);
        match (known.filter(is_awaited), outcome.result) {
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
