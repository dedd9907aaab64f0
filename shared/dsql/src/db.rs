//! Statements: the database within one deadline. One round trip each, prepared or not, conflicts
//! retried, and a replay after a lost connection only where it is known to be harmless.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::TryStreamExt as _;
use tokio_postgres::{Client, Row, Statement};

use crate::clock::remaining;
use crate::error::{Error, Failure, Stage};
use crate::lead::{is_transaction_control, looks_like_read};
use crate::param::Param;
use crate::session::Session;
use crate::statements::{Place, Sql};
use crate::stats::count;
use crate::warm::{Lease, Pin, Use, Warm};

/// Replays of an idempotent statement after lost connections.
const REPLAYS: u32 = 3;

/// The database within one deadline. Cheap to clone; made by [`Dsql::until`](crate::Dsql::until).
#[derive(Debug, Clone)]
pub struct Db {
    pub(crate) warm: Arc<Warm>,
    pub(crate) pin: Option<Arc<Pin>>,
    pub(crate) deadline: SystemTime,
}

/// Rows, and how many a statement without rows changed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Row>,
    pub(crate) affected: u64,
}

/// Whether a statement may run twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replay {
    Never,
    Harmless,
}

impl Db {
    /// When everything here ends.
    ///
    /// # Examples
    /// ```no_run
    /// # fn example(dsql: dsql::Dsql, deadline: std::time::SystemTime) {
    /// assert_eq!(dsql.until(deadline).deadline(), deadline);
    /// # }
    /// ```
    pub fn deadline(&self) -> SystemTime {
        self.deadline
    }

    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the connection is lost after it was sent; else any [`Error`].
    ///
    /// # Cancel safety
    /// A dropped future may leave the statement running to its end; the connection stays usable.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(db: dsql::Db, me: &str, id: &str) -> Result<(), dsql::Error> {
    /// use dsql::Type;
    ///
    /// let sql = "UPDATE chats SET read = true WHERE owner_id = $1 RETURNING id";
    /// for row in db.query(sql, &[(&me, Type::TEXT)]).await? {
    ///     let id: String = row.get(0);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn query(&self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        Ok(self.run(Sql::Fixed(sql), params, Replay::Never).await?.rows)
    }

    /// As [`query`](Self::query), for at most one row; of several the first is returned.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(db: dsql::Db, me: &str, id: &str) -> Result<(), dsql::Error> {
    /// use dsql::Type;
    ///
    /// let sql = "INSERT INTO visits (name) VALUES ($1) RETURNING id";
    /// let row = db.query_opt(sql, &[(&me, Type::TEXT)]).await?;
    /// # Ok(()) }
    /// ```
    pub async fn query_opt(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Runs one statement and returns the number of rows it changed.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(db: dsql::Db, me: &str, id: &str) -> Result<(), dsql::Error> {
    /// use dsql::Type;
    ///
    /// let sql = "UPDATE chats SET visits = visits + 1 WHERE id = $1";
    /// let changed = db.execute(sql, &[(&id, Type::TEXT)]).await?;
    /// # Ok(()) }
    /// ```
    pub async fn execute(&self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, Error> {
        Ok(self
            .run(Sql::Fixed(sql), params, Replay::Never)
            .await?
            .affected)
    }

    /// As [`query`](Self::query), for a statement that may run twice with the effect of once, such
    /// as any SELECT: it is replayed when the connection is lost.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if an attempt was lost and none after it succeeded, unless the
    /// statement reads as one that only reads (functions that it calls are not examined); else any
    /// [`Error`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(db: dsql::Db, me: &str, id: &str) -> Result<(), dsql::Error> {
    /// use dsql::Type;
    ///
    /// let sql = "SELECT id, title FROM chats WHERE owner_id = $1";
    /// let rows = db.query_idempotent(sql, &[(&me, Type::TEXT)]).await?;
    /// # Ok(()) }
    /// ```
    pub async fn query_idempotent(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        Ok(self
            .run(Sql::Fixed(sql), params, Replay::Harmless)
            .await?
            .rows)
    }

    /// As [`query_idempotent`](Self::query_idempotent), for at most one row.
    ///
    /// # Errors
    /// As [`query_idempotent`](Self::query_idempotent).
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(db: dsql::Db, me: &str, id: &str) -> Result<(), dsql::Error> {
    /// use dsql::Type;
    ///
    /// let sql = "SELECT title FROM chats WHERE id = $1 AND owner_id = $2";
    /// let params = [(&id as _, Type::TEXT), (&me as _, Type::TEXT)];
    /// let found = db.query_opt_idempotent(sql, &params).await?;
    /// # Ok(()) }
    /// ```
    pub async fn query_opt_idempotent(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, Error> {
        Ok(self.query_idempotent(sql, params).await?.into_iter().next())
    }

    /// As [`execute`](Self::execute), for a statement that may run twice with the effect of once.
    /// After a replay the count is that of the last run.
    ///
    /// # Errors
    /// As [`query_idempotent`](Self::query_idempotent).
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(db: dsql::Db, me: &str, id: &str) -> Result<(), dsql::Error> {
    /// use dsql::Type;
    ///
    /// let sql = "DELETE FROM chats WHERE id = $1 AND owner_id = $2";
    /// let params = [(&id as _, Type::TEXT), (&me as _, Type::TEXT)];
    /// let deleted = db.execute_idempotent(sql, &params).await?;
    /// # Ok(()) }
    /// ```
    pub async fn execute_idempotent(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<u64, Error> {
        Ok(self
            .run(Sql::Fixed(sql), params, Replay::Harmless)
            .await?
            .affected)
    }

    /// Runs a statement whose text was made at run time: DDL, which takes no parameters. Put names
    /// in by [`quote_identifier`](crate::quote_identifier), never raw input. Not replayed.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(db: dsql::Db, schema: &str) -> Result<(), dsql::Error> {
    /// let schema = dsql::quote_identifier(schema);
    /// db.execute_sql(&format!("CREATE SCHEMA {schema}")).await?;
    /// # Ok(()) }
    /// ```
    pub async fn execute_sql(&self, sql: &str) -> Result<u64, Error> {
        Ok(self.run(Sql::Made(sql), &[], Replay::Never).await?.affected)
    }

    pub(crate) async fn lease(&self, wanted: Use) -> Result<Lease, Error> {
        let pin = self.pin.as_deref();
        self.warm.lease(wanted, pin, self.deadline).await
    }

    async fn run(
        &self,
        sql: Sql<'_>,
        params: &[Param<'_>],
        replay: Replay,
    ) -> Result<Answer, Error> {
        if is_transaction_control(sql.text()) {
            return Err(Error::TransactionControl);
        }
        let mut lost = false;
        let error = match self.attempts(sql, params, replay, &mut lost).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        // What stops a replay says nothing about the attempt before it.
        if !lost || (replay == Replay::Harmless && looks_like_read(sql.text())) {
            return Err(error);
        }
        tracing::debug!(
            error.cause = error.report(),
            "a statement was sent and not answered"
        );
        Err(Error::OutcomeUnknown {
            stage: Stage::Statement,
            source: match error {
                Error::Lost { source } => source,
                _ => None,
            },
        })
    }

    /// Sends the statement until it is answered. `lost` is set as soon as the outcome of an attempt
    /// is not known.
    async fn attempts(
        &self,
        sql: Sql<'_>,
        params: &[Param<'_>],
        replay: Replay,
        lost: &mut bool,
    ) -> Result<Answer, Error> {
        let (warm, clock) = (&self.warm, &*self.warm.config.clock);
        let policy = warm.config.retry;
        let (mut attempts, mut replays) = (0, 0);
        let mut form = Form::Short;
        loop {
            let lease = self.lease(Use::Statement).await?;
            count(&warm.counters.attempts);
            attempts += 1;
            let left = remaining(clock.now(), self.deadline);
            let may_replay = replay == Replay::Harmless && replays < REPLAYS;
            let limit = if may_replay { left / 2 } else { left };
            let session = Arc::clone(lease.session());
            let answer = send(&session, sql, params, (form, Place::Alone));
            match session.alarms().within(limit, answer).await {
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(failure)) => match failure {
                    Failure::Stale(_) => {
                        count(&warm.counters.stale_statements);
                        (form, attempts) = (Form::Whole, attempts - 1);
                        continue;
                    }
                    Failure::Conflict(conflict, message) => {
                        count(&warm.counters.conflicts);
                        drop(lease);
                        if !policy
                            .wait_after(conflict, attempts, 0, clock, self.deadline)
                            .await
                        {
                            count(&warm.counters.conflicts_given_up);
                            return Err(Error::Conflict {
                                conflict,
                                message,
                                attempts,
                            });
                        }
                        continue;
                    }
                    Failure::Unavailable(message) => {
                        drop(lease);
                        *lost = true;
                        if replay == Replay::Never
                            || !policy.wait(attempts, clock, self.deadline).await
                        {
                            return Err(Error::Unavailable { message, attempts });
                        }
                        continue;
                    }
                    Failure::Lost(error) => {
                        lease.discard();
                        *lost = true;
                        if !may_replay {
                            let source = Some(Box::new(error));
                            return Err(Error::Lost { source });
                        }
                    }
                    Failure::Final(error) => return Err(error),
                },
                None => {
                    lease.discard();
                    *lost = true;
                    if !may_replay || remaining(clock.now(), self.deadline).is_zero() {
                        return Err(Error::Deadline {
                            during: "waiting for an answer",
                        });
                    }
                }
            }
            replays += 1;
            count(&warm.counters.replays);
            tracing::warn!(
                "the database connection was lost; an idempotent statement is sent again"
            );
        }
    }
}

/// In which form a statement is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As a prepared statement, if it is one.
    Short,
    /// With its text, whatever is prepared.
    Whole,
}

/// Sends one statement in one round trip and collects its answer.
pub(crate) async fn send(
    session: &Session,
    sql: Sql<'_>,
    params: &[Param<'_>],
    (form, place): (Form, Place),
) -> Result<Answer, Failure> {
    let statements = session.statements();
    let prepared = match sql {
        Sql::Fixed(text) => statements.note_use(text, params),
        Sql::Made(_) => None,
    };
    let prepared = prepared.filter(|_| form == Form::Short);
    let exchange = exchange(session.client(), sql.text(), params, prepared);
    let answer = statements.along(place, exchange).await;
    if matches!(sql, Sql::Made(_)) {
        statements.forget_all(); // it may have changed the catalog
    }
    answer.map_err(|refusal| match refusal {
        Refusal::Bind(error) => session.bind_failure(error),
        Refusal::Other(error) => session.failure(error),
    })
}

enum Refusal {
    /// While values were bound to a prepared statement: nothing ran.
    Bind(tokio_postgres::Error),
    Other(tokio_postgres::Error),
}

async fn exchange(
    client: &Client,
    sql: &str,
    params: &[Param<'_>],
    prepared: Option<Statement>,
) -> Result<Answer, Refusal> {
    let stream = if let Some(statement) = prepared {
        let values = params.iter().map(|(value, _)| *value);
        let stream = client.query_raw(&statement, values).await;
        stream.map_err(Refusal::Bind)?
    } else {
        let typed = params.iter().map(|(value, type_)| (*value, type_.clone()));
        let stream = client.query_typed_raw(sql, typed).await;
        stream.map_err(Refusal::Other)?
    };
    let mut stream = std::pin::pin!(stream);
    let mut rows = Vec::new();
    while let Some(row) = stream.as_mut().try_next().await.map_err(Refusal::Other)? {
        rows.push(row);
    }
    Ok(Answer {
        rows,
        affected: stream.rows_affected().unwrap_or(0),
    })
}
