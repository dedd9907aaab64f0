//! Running a request: its attempts, the outcome of each, and whether another one is safe.

use std::sync::Arc;
use std::time::SystemTime;

use super::error::{ServerError, TextError};
use super::pool::{Lease, TextSessions, note_probe};
use super::prepared::{Form, Plan};
use super::session::{Broken, NO_ROWS, Reply};
use super::words::mentions;
use super::{TextAnswer, TextRequest, TextRole, TextStatement, flight, read};
use crate::clock::remaining;
use crate::error::{ConflictKind, is_unavailable};
use crate::lead::leading_words;
use crate::stats::count;

/// Replays after lost connections.
const REPLAYS: u32 = 3;

/// What one attempt came to. The lease is returned or closed by then.
enum Attempt {
    Done(Vec<TextAnswer>),
    /// The server refused, with this of its statements under way.
    Refused(Box<ServerError>, Option<usize>),
    /// A prepared statement was refused before its values were bound: sent whole it may run.
    Stale,
    /// It had been idle, and did not say that it is alive.
    Silent,
    /// The connection is gone.
    Lost {
        may_be_committed: bool,
        timed_out: bool,
    },
    Failed(TextError),
}

impl TextSessions {
    /// Runs a request as `role`. The caller has made sure that it may.
    ///
    /// # Errors
    /// Any [`TextError`].
    ///
    /// # Cancel safety
    /// A dropped future closes its session; the request may still run to its end.
    ///
    /// # Examples
    /// ```no_run
    /// use dsql::text::{AnswerLimits, TextRequest, TextRole, TextStatement};
    ///
    /// # use dsql::text::{TextError, TextSessions};
    /// # async fn example(sessions: TextSessions, deadline: std::time::SystemTime)
    /// # -> Result<(), TextError> {
    /// let role = TextRole { name: "blog".to_owned(), ..TextRole::default() };
    /// let limits = AnswerLimits { rows: 1_000, bytes: 1 << 20 };
    /// let statement = TextStatement::new("SELECT title FROM posts WHERE id = $1", &["7"]);
    /// let request = TextRequest::one(&statement, limits);
    /// let answers = sessions.run(&role, request, deadline).await?;
    /// # Ok(()) }
    /// ```
    pub async fn run(
        &self,
        role: &TextRole,
        request: TextRequest<'_>,
        deadline: SystemTime,
    ) -> Result<Vec<TextAnswer>, TextError> {
        let writers = self.writers();
        if let Some(read) = read::as_read_only(&request)
            && !writers.contains(role, &request)
        {
            match self.run_as_it_is(role, read, deadline).await {
                Err(TextError::Server { error, .. }) if error.code == read::REFUSED => {
                    writers.add(role, &request);
                }
                result => return result,
            }
        }
        self.run_as_it_is(role, request, deadline).await
    }

    async fn run_as_it_is(
        &self,
        role: &TextRole,
        request: TextRequest<'_>,
        deadline: SystemTime,
    ) -> Result<Vec<TextAnswer>, TextError> {
        for (at, statement) in request.statements.iter().enumerate() {
            flight::check(statement, at)?;
        }
        let counters = &self.warm().counters;
        let (clock, policy) = (&*self.warm().config.clock, self.warm().config.retry);
        let (mut attempts, mut replays) = (0, 0);
        // An attempt was lost that may have been committed: what stops the ones after it says
        // nothing about that.
        let mut is_open = false;
        let mut all_whole = false;
        loop {
            let lease = match self.lease(role, request.harmless, deadline).await {
                Ok(lease) => lease,
                Err(_) if is_open => return Err(TextError::OutcomeUnknown),
                Err(error) => return Err(error.into()),
            };
            count(&counters.attempts);
            attempts += 1;
            match self.attempt(lease, request, all_whole, deadline).await {
                Attempt::Done(answers) => return Ok(answers),
                Attempt::Failed(_) if is_open => return Err(TextError::OutcomeUnknown),
                Attempt::Failed(error) => return Err(error),
                Attempt::Stale => {
                    count(&counters.stale_statements);
                    (all_whole, attempts) = (true, attempts - 1);
                }
                Attempt::Silent => {} // the next one is another, or finds the time up
                Attempt::Refused(error, statement) => {
                    let conflict = ConflictKind::of(&error.code, &error.message);
                    let is_turned_away =
                        conflict.is_some() || is_unavailable(&error.code, &error.message);
                    let may_repeat = match conflict {
                        Some(conflict) => {
                            count(&counters.conflicts);
                            policy
                                .wait_after(conflict, attempts, 0, clock, deadline)
                                .await
                        }
                        None if is_unavailable(&error.code, &error.message) => {
                            policy.wait(attempts, clock, deadline).await
                        }
                        None => false,
                    };
                    if !may_repeat {
                        if conflict.is_some() {
                            count(&counters.conflicts_given_up);
                        }
                        if is_open && is_turned_away {
                            return Err(TextError::OutcomeUnknown);
                        }
                        return Err(TextError::Server {
                            error,
                            statement,
                            attempts,
                        });
                    }
                }
                Attempt::Lost {
                    may_be_committed,
                    timed_out,
                } => {
                    count(&counters.lost);
                    is_open |= may_be_committed && !request.only_reads;
                    let may_repeat = !may_be_committed || request.harmless;
                    let is_time_left = !remaining(clock.now(), deadline).is_zero();
                    if !(may_repeat && is_time_left && replays < REPLAYS) {
                        return Err(match timed_out {
                            _ if is_open => TextError::OutcomeUnknown,
                            true => TextError::Deadline,
                            false => TextError::Lost,
                        });
                    }
                    replays += 1;
                    count(&counters.replays);
                    tracing::warn!("a database connection was lost; its request is sent again");
                }
            }
        }
    }

    async fn attempt(
        &self,
        mut lease: Lease,
        request: TextRequest<'_>,
        all_whole: bool,
        deadline: SystemTime,
    ) -> Attempt {
        let clock = &*self.warm().config.clock;
        let is_batch = request.begin.is_some();
        let sent = request.statements.len();
        let limit = remaining(clock.now(), deadline);
        let commits = !is_batch || flight::commits(request);
        let plan = lease.session.prepared.plan(request, all_whole);
        let first = match flight::first(request, &plan) {
            Ok(flight) => flight,
            Err(error) => return Attempt::Failed(error),
        };
        let probe_limit = lease.probe_limit(deadline);
        let alarms = Arc::clone(&lease.session.alarms);
        let exchange = lease.session.exchange(probe_limit, &first, request.limits);
        let answer = alarms.within(limit, exchange).await;
        if probe_limit.is_some() {
            note_probe(self.warm(), !matches!(answer, Some(Err(Broken::Silent))));
        }
        let mut reply = match answer {
            Some(Ok(reply)) => reply,
            Some(Err(Broken::Silent)) => return Attempt::Silent,
            Some(Err(broken)) => return broken_off(broken, request, commits),
            None => {
                return Attempt::Lost {
                    may_be_committed: commits,
                    timed_out: true,
                };
            }
        };
        let done = reply.answers.len();
        if let Some(error) = reply.error.take() {
            lease.session.prepared.give_up(&plan);
            if let Some(at) = stale_statement(request, &plan, &reply, &error) {
                lease.session.prepared.forget(&at.sql);
                self.return_clean(lease, &reply, request, deadline).await;
                return Attempt::Stale;
            }
            let statement = done
                .checked_sub(usize::from(is_batch))
                .filter(|at| *at < sent)
                .or((!is_batch).then_some(0));
            let before_commit = is_batch && done <= sent;
            return self
                .refused(
                    lease,
                    request,
                    &reply,
                    error,
                    (statement, before_commit),
                    deadline,
                )
                .await;
        }
        lease.session.prepared.keep(request, &plan);
        if let Some(excess) = reply.excess {
            let is_committed = reply.is_idle;
            self.return_clean(lease, &reply, request, deadline).await;
            return Attempt::Failed(TextError::TooLarge {
                excess,
                is_committed,
            });
        }
        let mut answers = std::mem::take(&mut reply.answers);
        if is_batch {
            answers.drain(..answers.len().min(1)); // BEGIN
        }
        if let Some(last) = request.last {
            return self.finish(lease, request, answers, &last, deadline).await;
        }
        if is_batch && !answers.pop().is_some_and(|end| is_commit(&end)) {
            return Attempt::Failed(TextError::OutcomeUnknown); // the server answers ROLLBACK only in a failed block
        }
        self.return_clean(lease, &reply, request, deadline).await;
        Attempt::Done(answers)
    }

    /// The second round trip of a batch whose last statement depends on the answers of the others.
    async fn finish(
        &self,
        mut lease: Lease,
        request: TextRequest<'_>,
        answers: Vec<TextAnswer>,
        last: super::Last<'_>,
        deadline: SystemTime,
    ) -> Attempt {
        let statement = last(&answers);
        let position = request.statements.len();
        let flight = match flight::last(&statement, position) {
            Ok(flight) => flight,
            Err(error) => return Attempt::Failed(error), // the lease closes its session, which rolls back
        };
        let limit = remaining(self.warm().config.clock.now(), deadline);
        let alarms = Arc::clone(&lease.session.alarms);
        let exchange = lease.session.exchange(None, &flight, request.limits);
        let mut reply = match alarms.within(limit, exchange).await {
            Some(Ok(reply)) => reply,
            Some(Err(broken)) => return broken_off(broken, request, true),
            None => {
                return Attempt::Lost {
                    may_be_committed: true,
                    timed_out: true,
                };
            }
        };
        if let Some(error) = reply.error.take() {
            let before_commit = reply.answers.is_empty();
            let statement = before_commit.then_some(position);
            return self
                .refused(
                    lease,
                    request,
                    &reply,
                    error,
                    (statement, before_commit),
                    deadline,
                )
                .await;
        }
        if !reply.answers.last().is_some_and(is_commit) {
            return Attempt::Failed(TextError::OutcomeUnknown);
        }
        self.return_clean(lease, &reply, request, deadline).await;
        Attempt::Done(answers)
    }

    /// The server said no, with `statement` under way; `before_commit`: certainly before anything
    /// was committed.
    async fn refused(
        &self,
        mut lease: Lease,
        request: TextRequest<'_>,
        reply: &Reply,
        error: ServerError,
        (statement, before_commit): (Option<usize>, bool),
        deadline: SystemTime,
    ) -> Attempt {
        let is_ambiguous =
            !before_commit && (error.is_fatal() || is_unavailable(&error.code, &error.message));
        let is_lost = error.is_fatal();
        if ConflictKind::of(&error.code, &error.message) == Some(ConflictKind::Schema) {
            lease.session.prepared.forget_all();
        }
        if !is_lost {
            self.return_clean(lease, reply, request, deadline).await;
        }
        if is_lost || is_ambiguous {
            return Attempt::Lost {
                may_be_committed: is_ambiguous,
                timed_out: false,
            };
        }
        Attempt::Refused(Box::new(error), statement)
    }

    /// Returns a session, its block rolled back, unless it may carry something of the request: then
    /// it is closed.
    async fn return_clean(
        &self,
        mut lease: Lease,
        reply: &Reply,
        request: TextRequest<'_>,
        deadline: SystemTime,
    ) {
        let mut statements = request.statements.iter();
        if reply.settings_changed || statements.any(|one| leaves_state(&one.sql)) {
            return;
        }
        if !reply.is_idle {
            // Awaited, so that a freeze cannot come before it is sent.
            let limit = remaining(self.warm().config.clock.now(), deadline);
            let flight = flight::roll_back();
            let alarms = Arc::clone(&lease.session.alarms);
            let exchange = lease.session.exchange(None, &flight, NO_ROWS);
            let end = alarms.within(limit, exchange).await;
            if !matches!(end, Some(Ok(end)) if end.is_idle && end.error.is_none()) {
                return;
            }
        }
        lease.give_back();
    }
}

/// The prepared statement that was refused before its values were bound, if that is what happened.
fn stale_statement<'a>(
    request: TextRequest<'a>,
    plan: &Plan,
    reply: &Reply,
    error: &ServerError,
) -> Option<&'a TextStatement<'a>> {
    let is_of_the_service = error.is_fatal()
        || is_unavailable(&error.code, &error.message)
        || ConflictKind::of(&error.code, &error.message).is_some();
    if is_of_the_service || reply.answers.len() < reply.bound {
        return None;
    }
    let at = reply
        .bound
        .checked_sub(usize::from(request.begin.is_some()))?;
    let is_by_name = matches!(plan.form(at), Form::ByName(_));
    request.statements.get(at).filter(|_| is_by_name)
}

fn broken_off(broken: Broken, request: TextRequest<'_>, commits: bool) -> Attempt {
    match broken {
        Broken::Copy => Attempt::Failed(TextError::Copy),
        Broken::Flood(excess) if request.only_reads || !commits => {
            Attempt::Failed(TextError::TooLarge {
                excess,
                is_committed: false,
            })
        }
        Broken::Flood(_) => Attempt::Failed(TextError::OutcomeUnknown),
        Broken::Io(error) => {
            tracing::debug!("a database connection broke: {error}");
            lost(commits)
        }
        Broken::Silent => lost(commits),
    }
}

fn lost(may_be_committed: bool) -> Attempt {
    Attempt::Lost {
        may_be_committed,
        timed_out: false,
    }
}

fn is_commit(answer: &TextAnswer) -> bool {
    answer.command() == Some("COMMIT")
}

/// Names by which a plain query changes its session. `U&"…"` can spell any of them in escapes.
const STATEFUL_NAMES: [&str; 4] = ["set_config", "advisory_", "pg_temp", "u&\""];

/// Whether a statement may leave something in its session for the next request: a setting, a
/// prepared statement, a cursor, a lock, a temporary object, an open block. Told by its first
/// words, and by the few names that do it from inside a query.
fn leaves_state(sql: &str) -> bool {
    let [first, second] = leading_words(sql);
    let is_plain = match first.as_str() {
        "" | "select" | "insert" | "update" | "delete" | "merge" | "with" | "values" | "table"
        | "explain" | "show" | "alter" | "drop" | "grant" | "revoke" | "comment" | "analyze"
        | "truncate" | "aws" => true,
        "create" => !matches!(second.as_str(), "temp" | "temporary" | "local" | "global"),
        "set" => matches!(second.as_str(), "local" | "constraints"),
        _ => false,
    };
    !is_plain || mentions(sql, &STATEFUL_NAMES)
}

#[cfg(test)]
mod tests {
    use super::leaves_state;

    #[test]
    fn what_a_session_would_remember_is_seen() {
        for sql in [
            "SET IntervalStyle = 'iso_8601'",
            "RESET ALL",
            "BEGIN",
            "/**/prepare a as select 1",
            "declare c cursor with hold for select 1",
            "CREATE TEMP TABLE t (a int)",
            "CREATE TABLE pg_temp.t (a int)",
            "SELECT Set_Config('TimeZone', 'Asia/Tokyo', false)",
            "select pg_advisory_lock(1)",
            "select U&\"set\\005fconfig\"('a', 'b', false)",
            "DO $$ BEGIN END $$",
            "LISTEN a",
        ] {
            assert!(leaves_state(sql), "{sql}");
        }
        for sql in [
            "SELECT 1",
            "(select 1)",
            "SET LOCAL TimeZone = 'Asia/Tokyo'",
            "set constraints all deferred",
            "CREATE TABLE t (a int)",
            "insert into t values ($1)",
            "",
        ] {
            assert!(!leaves_state(sql), "{sql}");
        }
    }
}
