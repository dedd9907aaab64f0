//! Transactions: a closure that is run again, as a whole, when it lost to another transaction or
//! its connection was lost before COMMIT. A lost COMMIT is never repeated: it is
//! [`Error::OutcomeUnknown`].
//!
//! BEGIN is sent with the first statement's turn, so a closure that sends nothing costs nothing;
//! else a transaction is one round trip per statement, one for BEGIN and one for COMMIT.
//!
//! # Promises
//! 1. COMMIT is sent only if every statement that was begun has been answered, without an error. A
//!    statement whose future was dropped half way, or still waits when the closure returns, fails
//!    the transaction as an error does.
//! 2. Statements go one at a time, in the order in which they were begun: none is sent after one
//!    that may fail.
//! 3. The first cause of a failure decides whether the closure is run again; nothing that comes
//!    later replaces it.
//! 4. A transaction counts as committed only if the server answered the COMMIT by `COMMIT`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio_postgres::Row;

use crate::clock::{Clock, remaining};
use crate::db::{self, Answer, Db, Form};
use crate::error::{ConflictKind, Error, Failure, Stage};
use crate::lead::is_transaction_control;
use crate::param::Param;
use crate::session::Session;
use crate::statements::{Place, Sql};
use crate::stats::count;
use crate::warm::{Lease, Use};

/// A running transaction, handed to the closure of [`Db::transaction`]. Clones are the same
/// transaction.
#[derive(Debug, Clone)]
pub struct Transaction {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    session: Arc<Session>,
    deadline: SystemTime,
    clock: Arc<dyn Clock>,
    progress: Mutex<Progress>,
    /// How its statements are sent.
    form: Form,
    /// Held by the statement that is under way.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Progress {
    state: State,
    /// Statements that were begun and have not ended.
    running: usize,
}

#[derive(Debug)]
enum State {
    /// No statement yet: BEGIN is not sent either.
    Fresh,
    Open,
    /// A statement failed; the server takes nothing more but ROLLBACK.
    Failed(Cause),
    Ended,
}

/// Why a transaction failed, as far as it decides about running it again.
#[derive(Debug, Clone)]
enum Cause {
    Conflict(ConflictKind, String),
    Unavailable(String),
    Lost,
    /// A prepared statement is of no use any more.
    Stale,
    /// A statement's answer was not waited for: what the session is doing is not known.
    Abandoned,
    Other,
}

impl Transaction {
    /// Runs one statement and returns its rows. Of several at once, each waits until the one before
    /// it was answered.
    ///
    /// # Errors
    /// Any [`Error`]. After one, the transaction takes no further statement; return the error from
    /// the closure.
    ///
    /// # Cancel safety
    /// Dropping the future after its first poll fails the transaction: nothing of it is committed.
    ///
    /// # Examples
    /// ```no_run
    /// # use dsql::{Error, Transaction, Type};
    /// # async fn f(tx: Transaction, id: &str, title: &str) -> Result<(), Error> {
    /// let sql = "SELECT title FROM chats WHERE owner_id = $1";
    /// let rows = tx.query(sql, &[(&id, Type::TEXT)]).await?;
    /// # Ok(()) }
    /// ```
    pub async fn query(&self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        Ok(self.run(Sql::Fixed(sql), params).await?.rows)
    }

    /// Runs one statement, as [`query`](Self::query) does, and returns its first row, if it has any.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    ///
    /// # Examples
    /// ```no_run
    /// # use dsql::{Error, Transaction, Type};
    /// # async fn f(tx: Transaction, id: &str, title: &str) -> Result<(), Error> {
    /// let sql = "SELECT title FROM chats WHERE id = $1 FOR UPDATE";
    /// let found = tx.query_opt(sql, &[(&id, Type::TEXT)]).await?;
    /// # Ok(()) }
    /// ```
    pub async fn query_opt(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Runs one statement, as [`query`](Self::query) does, and returns the number of rows it
    /// changed.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    ///
    /// # Examples
    /// ```no_run
    /// # use dsql::{Error, Transaction, Type};
    /// # async fn f(tx: Transaction, id: &str, title: &str) -> Result<(), Error> {
    /// let sql = "UPDATE chats SET title = $1 WHERE id = $2";
    /// let changed = tx.execute(sql, &[(&title, Type::TEXT), (&id, Type::TEXT)]).await?;
    /// # Ok(()) }
    /// ```
    pub async fn execute(&self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, Error> {
        Ok(self.run(Sql::Fixed(sql), params).await?.affected)
    }

    /// Runs a statement whose text was made at run time; see [`Db::execute_sql`].
    ///
    /// # Errors
    /// As [`query`](Self::query).
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(tx: dsql::Transaction, table: &str) -> Result<(), dsql::Error> {
    /// let table = dsql::quote_identifier(table);
    /// tx.execute_sql(&format!("DELETE FROM {table}")).await?;
    /// # Ok(()) }
    /// ```
    pub async fn execute_sql(&self, sql: &str) -> Result<u64, Error> {
        Ok(self.run(Sql::Made(sql), &[]).await?.affected)
    }

    async fn run(&self, sql: Sql<'_>, params: &[Param<'_>]) -> Result<Answer, Error> {
        let inner = &*self.inner;
        let mut statement = Running::begin(inner);
        let limit = remaining(inner.clock.now(), inner.deadline);
        let alarms = inner.session.alarms();
        let Some(answer) = alarms.within(limit, statement.send(sql, params)).await else {
            return Err(Error::Deadline {
                during: "waiting for an answer",
            });
        };
        let (cause, result) = match answer {
            Ok(answer) => (None, Ok(answer)),
            Err(failure) => {
                let (cause, error) = told(failure);
                (Some(cause), Err(error))
            }
        };
        statement.cause = cause;
        result
    }
}

/// What a failure means for the transaction, and for whoever sent the statement.
fn told(failure: Failure) -> (Cause, Error) {
    match failure {
        Failure::Conflict(conflict, message) => (
            Cause::Conflict(conflict, message.clone()),
            Error::Conflict {
                conflict,
                message,
                attempts: 1,
            },
        ),
        Failure::Unavailable(message) => (
            Cause::Unavailable(message.clone()),
            Error::Unavailable {
                message,
                attempts: 1,
            },
        ),
        Failure::Lost(error) => (
            Cause::Lost,
            Error::Lost {
                source: Some(Box::new(error)),
            },
        ),
        Failure::Stale(error) => (Cause::Stale, Error::Database(Box::new(error))),
        Failure::Final(error) => (Cause::Other, error),
    }
}

/// A statement from its first poll to its end, whichever way it ends.
struct Running<'a> {
    inner: &'a Inner,
    /// Why the transaction fails when this is dropped; `None`: it does not.
    cause: Option<Cause>,
    /// Given back after the cause is recorded.
    turn: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl<'a> Running<'a> {
    fn begin(inner: &'a Inner) -> Self {
        inner.progress().running += 1;
        Self {
            inner,
            cause: Some(Cause::Abandoned),
            turn: None,
        }
    }

    async fn send(&mut self, sql: Sql<'_>, params: &[Param<'_>]) -> Result<Answer, Failure> {
        if is_transaction_control(sql.text()) {
            return Err(Failure::Final(Error::TransactionControl));
        }
        let inner = self.inner;
        self.turn = Some(inner.turn.lock().await);
        let is_first = {
            let mut progress = inner.progress();
            match progress.state {
                State::Fresh => {
                    progress.state = State::Open;
                    true
                }
                State::Open => false,
                State::Failed(_) | State::Ended => {
                    return Err(Failure::Final(Error::TransactionOver));
                }
            }
        };
        let session = &*inner.session;
        if is_first {
            // Not pipelined with the statement: after a refused BEGIN it would run on its own and
            // commit.
            let begun = session.client().batch_execute("BEGIN").await;
            begun.map_err(|error| session.failure(error))?;
        }
        db::send(session, sql, params, (inner.form, Place::Block)).await
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut progress = self.inner.progress();
        progress.running -= 1;
        if let Some(cause) = self.cause.take() {
            progress.fail(cause);
        }
    }
}

impl Progress {
    /// Keeps the first cause.
    fn fail(&mut self, cause: Cause) {
        if matches!(self.state, State::Fresh | State::Open) {
            self.state = State::Failed(cause);
        }
    }
}

impl Inner {
    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it for every clone and tells what it was.
    fn end(&self) -> State {
        let mut progress = self.progress();
        if progress.running > 0 {
            progress.fail(Cause::Abandoned);
        }
        std::mem::replace(&mut progress.state, State::Ended)
    }
}

/// How one run of the closure ended.
enum Run<T, E> {
    Done(Result<T, E>),
    Again(Cause, Option<E>),
}

impl Db {
    /// Runs `work` in a transaction and commits it. `work` is run again from the start after a
    /// conflict, after `server unavailable`, and when the connection was lost before COMMIT: it
    /// must have no effect outside the database.
    ///
    /// # Errors
    /// What `work` returns; [`Error::Conflict`], [`Error::Unavailable`] and [`Error::Lost`] when
    /// attempts or time are used up; [`Error::OutcomeUnknown`] when the COMMIT's answer never came;
    /// [`Error::LimitExceeded`] at COMMIT; [`Error::TransactionOver`] when `work` succeeds although
    /// a statement of it failed or was not waited for. But for [`Error::OutcomeUnknown`], nothing
    /// was committed.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection, which rolls back, unless COMMIT had been sent.
    ///
    /// # Examples
    /// ```no_run
    /// # use dsql::Type;
    /// # async fn example(db: dsql::Db, from: &str, to: &str) -> Result<(), dsql::Error> {
    /// let sql = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";
    /// db.transaction(|tx| async move {
    ///     tx.execute(sql, &[(&-7_i64, Type::INT8), (&from, Type::TEXT)]).await?;
    ///     tx.execute(sql, &[(&7_i64, Type::INT8), (&to, Type::TEXT)]).await
    /// })
    /// .await?;
    /// # Ok(()) }
    /// ```
    pub async fn transaction<T, E, F, Fut>(&self, work: F) -> Result<T, E>
    where
        F: Fn(Transaction) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: From<Error> + Send,
    {
        let (warm, clock) = (&self.warm, &*self.warm.config.clock);
        let policy = warm.config.retry;
        let mut attempts = 0;
        let mut form = Form::Short;
        loop {
            let lease = self.lease(Use::Transaction).await?;
            count(&warm.counters.attempts);
            attempts += 1;
            let (cause, error) = match self.run_once(lease, form, &work).await {
                Run::Done(result) => {
                    if result.is_ok() {
                        warm.crowding.learn(attempts);
                    }
                    return result;
                }
                Run::Again(cause, error) => (cause, error),
            };
            if matches!(cause, Cause::Stale) {
                count(&warm.counters.stale_statements);
                (form, attempts) = (Form::Whole, attempts - 1);
                continue;
            }
            let may_repeat = if let Cause::Conflict(conflict, _) = cause {
                count(&warm.counters.conflicts);
                policy
                    .wait_after(
                        conflict,
                        attempts,
                        warm.crowding.doublings(),
                        clock,
                        self.deadline,
                    )
                    .await
            } else {
                count(&warm.counters.replays);
                policy.wait(attempts, clock, self.deadline).await
            };
            if !may_repeat {
                if matches!(cause, Cause::Conflict(..)) {
                    count(&warm.counters.conflicts_given_up);
                }
                return Err(match cause {
                    Cause::Conflict(conflict, message) => Error::Conflict {
                        conflict,
                        message,
                        attempts,
                    }
                    .into(),
                    Cause::Unavailable(message) => Error::Unavailable { message, attempts }.into(),
                    Cause::Lost | Cause::Stale | Cause::Abandoned | Cause::Other => {
                        error.unwrap_or_else(|| Error::Lost { source: None }.into())
                    }
                });
            }
            tracing::debug!("a transaction is run again, attempt {}", attempts + 1);
        }
    }

    async fn run_once<T, E, F, Fut>(&self, mut lease: Lease, form: Form, work: &F) -> Run<T, E>
    where
        F: Fn(Transaction) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        E: From<Error>,
    {
        let clock = &self.warm.config.clock;
        let inner = Arc::new(Inner {
            session: Arc::clone(lease.session()),
            deadline: self.deadline,
            clock: Arc::clone(clock),
            progress: Mutex::new(Progress {
                state: State::Fresh,
                running: 0,
            }),
            form,
            turn: tokio::sync::Mutex::new(()),
        });
        let transaction = Transaction {
            inner: Arc::clone(&inner),
        };
        let limit = remaining(clock.now(), self.deadline);
        let Ok(result) = tokio::time::timeout(limit, work(transaction)).await else {
            inner.end();
            return Run::Done(Err(Error::Deadline {
                during: "a transaction",
            }
            .into())); // the lease closes the session
        };
        match (inner.end(), result) {
            (State::Fresh, result) => {
                lease.mark_clean();
                Run::Done(result)
            }
            (State::Open, Ok(value)) => self.commit(lease, value).await,
            (State::Open, Err(error)) => {
                self.roll_back(lease).await;
                Run::Done(Err(error))
            }
            (State::Failed(cause), result) => {
                if matches!(cause, Cause::Lost | Cause::Abandoned) {
                    lease.discard();
                } else {
                    self.roll_back(lease).await;
                }
                match (cause, result) {
                    (Cause::Abandoned | Cause::Other, Ok(_)) => {
                        Run::Done(Err(Error::TransactionOver.into()))
                    }
                    (Cause::Abandoned | Cause::Other, Err(error)) => Run::Done(Err(error)),
                    (cause, result) => Run::Again(cause, result.err()),
                }
            }
            (State::Ended, _) => Run::Done(Err(Error::TransactionOver.into())),
        }
    }

    async fn commit<T, E: From<Error>>(&self, mut lease: Lease, value: T) -> Run<T, E> {
        let session = Arc::clone(lease.session());
        let limit = remaining(self.warm.config.clock.now(), self.deadline);
        let unknown = |source| {
            Run::Done(Err(Error::OutcomeUnknown {
                stage: Stage::Commit,
                source,
            }
            .into()))
        };
        let commit = session.client().batch_execute("COMMIT");
        let answer = session.statements().along(Place::Alone, commit);
        match session.alarms().within(limit, answer).await {
            None => unknown(None),
            Some(Ok(())) => {
                lease.mark_clean();
                if session.last_command().rolled_back() {
                    return Run::Done(Err(Error::TransactionOver.into()));
                }
                Run::Done(Ok(value))
            }
            Some(Err(error)) => match session.failure(error) {
                Failure::Lost(error) | Failure::Stale(error) => unknown(Some(Box::new(error))),
                Failure::Unavailable(_) => {
                    // Whether it committed is not known, nor whether the block is still open.
                    self.roll_back(lease).await;
                    unknown(None)
                }
                Failure::Conflict(conflict, message) => {
                    lease.mark_clean();
                    Run::Again(Cause::Conflict(conflict, message), None)
                }
                Failure::Final(error) => {
                    lease.mark_clean();
                    Run::Done(Err(error.into()))
                }
            },
        }
    }

    /// Awaited, so that a freeze cannot come before it is sent. A session whose ROLLBACK fails is
    /// closed.
    async fn roll_back(&self, mut lease: Lease) {
        let session = Arc::clone(lease.session());
        let limit = remaining(self.warm.config.clock.now(), self.deadline);
        let end = session.client().batch_execute("ROLLBACK");
        if let Some(Ok(())) = session.alarms().within(limit, end).await {
            lease.mark_clean();
        }
    }
}
