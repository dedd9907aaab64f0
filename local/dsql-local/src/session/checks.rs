//! DSQL's rules on the way of a statement: before it runs, after it ran, and before its transaction
//! commits.

use std::sync::Arc;

use dsql_dialect::{Effect, StateRule};

use super::transaction::{AfterFailure, Check, Failure};
use super::usage::{Cargo, TransactionUsage};
use super::wiring::{Flow, Session};
use crate::cluster::Cluster;
use crate::conflict;
use crate::internal_query::Reply;
use crate::statement::{DialectFacts, Kind, Statement, Verdict};
use crate::wire::{ErrorAnswer, ErrorResponse};
use crate::writers::Names;

const LOG_POSITION: &str =
    "SELECT (pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_catalog.pg_lsn)::bigint::text";
const COMPLETED_JOB: &str =
    "SELECT pg_catalog.postgresql_set_config('dsql_local.completed_job', $1, false)";
const CHANGED_ROWS: &str = "SELECT pg_catalog.dsql_changed_rows()::text";
const WRITTEN_BYTES: &str = "SELECT pg_catalog.dsql_written_bytes($1, $2)";
const OVERSIZED: &str = "SELECT coalesce(oversized, pg_catalog.dsql_long_key(computed, $1, $2))
    FROM pg_catalog.dsql_oversized($3, $1, $2)";
/// What these two find if they need to know where PostgreSQL's log ends, written out up to there.
const UNFLUSHED: &str = "unflushed";
const SYNTAX_ERROR: Option<&[u8]> = Some(b"42601");

/// An internal query failed, and the client has been told.
struct Failed;

/// Whether a statement's rows count. What changes the catalog has none, and need not wait until
/// what it changed is read again for the next one.
fn is_judged(facts: &DialectFacts) -> bool {
    matches!(facts.effect, Effect::Read | Effect::Write)
}

impl Session<'_> {
    /// Asks PostgreSQL something between the client's messages; no reply if they have failed by
    /// then.
    async fn ask(&mut self, sql: &str, parameters: Option<&[&str]>) -> Flow<Reply> {
        self.catch_up().await?;
        if self.pipeline.skips() {
            return Ok(Reply::default());
        }
        let place = self.pipeline.place();
        let attached = self.attach().await?;
        let _waiting = attached.registration.wait();
        Ok(attached.backend.ask(sql, parameters, place).await?)
    }

    /// What an internal query finds. Its failure is the statement's: PostgreSQL has failed the
    /// transaction, and whoever asked must not go on as if nothing was found.
    async fn find(
        &mut self,
        sql: &str,
        parameters: &[&str],
    ) -> Flow<Result<Option<String>, Failed>> {
        let reply = self.ask(sql, Some(parameters)).await?;
        if let Some(error) = reply.error {
            self.fail_asked(conflict::translate(error)).await?;
            return Ok(Err(Failed));
        }
        Ok(Ok(reply.first))
    }

    /// What an internal query finds in the rows that the transaction wrote since PostgreSQL's log
    /// stood at `start`, or in all. It gets the places in the log between which they are; of tables
    /// that are small it needs no last one.
    async fn find_written(
        &mut self,
        sql: &str,
        start: Option<u64>,
        further: &[&str],
    ) -> Flow<Result<Option<String>, Failed>> {
        let start = start.map(|start| start.to_string()).unwrap_or_default();
        let found = self.find(sql, &[&[&start, ""], further].concat()).await?;
        if !matches!(&found, Ok(Some(text)) if text == UNFLUSHED) {
            return Ok(found);
        }
        let flushed = self.cluster.postgres.catalog.flush_log().await;
        let (start, end) = match flushed {
            Ok(Some(end)) => (start, end),
            // The whole of each table is read then.
            _ => Default::default(),
        };
        self.find(sql, &[&[start.as_str(), &end], further].concat())
            .await
    }

    async fn find_number(&mut self, sql: &str) -> Flow<Result<Option<u64>, Failed>> {
        let found = self.find(sql, &[]).await?;
        Ok(found.map(|found| found.and_then(|text| text.parse().ok())))
    }

    /// What goes wrong with this statement by what its transaction and the cluster have become, if
    /// anything does.
    pub(super) fn failure(&mut self, statement: &Statement) -> Option<Failure> {
        match self.transaction.check(statement, self.cluster) {
            Check::Run => None,
            Check::RunUnanswered => {
                self.client.withhold();
                None
            }
            Check::Fail(failure) => Some(failure),
        }
    }

    /// Refuses what the text of a statement forbids. Whether it did.
    pub(super) async fn refuses_text(&mut self, statement: &Statement) -> Flow<bool> {
        let Verdict::Refuse(answer) = &statement.verdict else {
            return Ok(false);
        };
        self.catch_up().await?;
        if self.pipeline.skips() {
            return Ok(true);
        }
        if self.transaction.has_failed() {
            self.fail_with(StateRule::Failed.refusal()).await?;
            return Ok(true);
        }
        let facts = statement.facts.as_ref();
        if let Some(sql) = facts.and_then(|facts| facts.ask_first.as_deref())
            && let Some(error) = self.ask(sql, None).await?.error
        {
            let is_syntax = error.sqlstate() == SYNTAX_ERROR;
            let error = if is_syntax { error } else { answer.into() };
            self.fail_asked(error).await?;
            return Ok(true);
        }
        self.fail_with(answer.clone()).await?;
        Ok(true)
    }

    /// Refuses what is no SQL to PostgreSQL, before anything of a query runs. Whether it did.
    pub(super) async fn refuses_syntax(&mut self, sql: &str) -> Flow<bool> {
        match self.ask(sql, None).await?.error {
            Some(error) if error.sqlstate() == SYNTAX_ERROR => {
                self.fail_asked(conflict::translate(error)).await?;
                Ok(true)
            }
            // Whatever else is wrong shows when it runs; a failed block stays as it is.
            Some(_) if self.transaction.is_in_block() => {
                let answer = ErrorAnswer::from(StateRule::Failed.refusal());
                self.fail_asked(ErrorResponse::from(&answer)).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Refuses what the transaction, the catalog or the limits forbid, before a statement is
    /// executed. Whether it did. `bytes`: of its text and values.
    pub(super) async fn refuses_to_run(
        &mut self,
        statement: &Statement,
        bytes: usize,
    ) -> Flow<bool> {
        let Some(facts) = &statement.facts else {
            return Ok(false);
        };
        if self.transaction.has_failed() {
            return Ok(false);
        }
        if statement.kinds.first() == Some(&Kind::Commit) {
            return self.refuses_to_commit(AfterFailure::RolledBack).await;
        }
        if let Err(answer) = self.transaction.usage().admit(facts) {
            self.fail_with(answer).await?;
            return Ok(true);
        }
        for check in &facts.needs {
            let parameters: Vec<&str> = check.parameters.iter().map(String::as_str).collect();
            let reply = self.ask(check.rule.query, Some(&parameters)).await?;
            if let Some(error) = reply.error {
                self.fail_asked(conflict::translate(error)).await?;
                return Ok(true);
            }
            if let Some(found) = reply.first {
                self.fail_with(check.refusal(&found)).await?;
                return Ok(true);
            }
        }
        if !is_judged(facts) {
            return Ok(false);
        }
        let names = self.writers().await;
        let hides_writes = self.hides_writes(facts, &names);
        if facts.targets.is_empty() && !hides_writes {
            return Ok(false);
        }
        let cargo = Cargo::of(facts, bytes, hides_writes, &names);
        if cargo.is_looked_at() && !self.transaction.usage().has_log_start() {
            let Ok(position) = self.find_number(LOG_POSITION).await? else {
                return Ok(true);
            };
            self.transaction.usage().start_log(position);
        }
        let counted_before = if hides_writes {
            let Ok(counted) = self.find_number(CHANGED_ROWS).await? else {
                return Ok(true);
            };
            counted
        } else {
            None
        };
        self.transaction.usage().carries(cargo, counted_before);
        Ok(false)
    }

    /// What the catalogue says of functions, cascades and keys.
    async fn writers(&mut self) -> Arc<Names> {
        let Cluster {
            writers,
            schema,
            postgres,
            ..
        } = self.cluster;
        writers.names(schema, &postgres.catalog).await
    }

    /// Whether a statement may change rows that its command tag does not count.
    pub(super) async fn may_hide_writes(&mut self, statement: &Statement) -> bool {
        let Some(facts) = statement.facts.as_ref().filter(|facts| is_judged(facts)) else {
            return false;
        };
        let names = self.writers().await;
        self.hides_writes(facts, &names)
    }

    /// Whether a statement may run in a transaction that PostgreSQL commits at once, since nothing
    /// that it may do has to be looked at. `bytes`: of its text.
    pub(super) async fn may_commit_at_once(&mut self, statement: &Statement, bytes: usize) -> bool {
        let Some(facts) = statement.facts.as_ref().filter(|facts| is_judged(facts)) else {
            return false;
        };
        let names = self.writers().await;
        let hides_writes = self.hides_writes(facts, &names);
        !hides_writes
            && self.transaction.usage().has_no_writes()
            && Cargo::of(facts, bytes, hides_writes, &names).is_harmless()
    }

    fn hides_writes(&self, facts: &DialectFacts, names: &Names) -> bool {
        // What this transaction itself has created is not in the names.
        names.hide_writes_of(facts) || self.transaction.block.changes_catalog()
    }

    /// Refuses the commit of a transaction that wrote too much. Whether it did.
    pub(super) async fn refuses_to_commit(&mut self, after: AfterFailure) -> Flow<bool> {
        if !self.transaction.usage().may_be_over_limits() {
            return Ok(false);
        }
        let log_end = match self.find_number(LOG_POSITION).await? {
            Ok(Some(log_end)) => log_end,
            Ok(None) => return Ok(false),
            Err(Failed) => return Ok(true),
        };
        if self.transaction.usage().may_hold_large_value(log_end) {
            match self.oversized().await? {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    self.fail(Failure::new(answer, after)).await?;
                    return Ok(true);
                }
                Err(Failed) => return Ok(true),
            }
        }
        if !self.transaction.usage().may_be_too_large(log_end) {
            return Ok(false);
        }
        let start = self.transaction.usage().whole_log_start();
        let Ok(bytes) = self.find_written(WRITTEN_BYTES, start, &[]).await? else {
            return Ok(true);
        };
        let bytes = bytes.and_then(|text| text.parse().ok()).unwrap_or(0);
        match TransactionUsage::size_failure(bytes) {
            Some(answer) => {
                self.fail(Failure::new(answer, after)).await?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// The refusal of a value, row or key above its limit, if the transaction wrote one.
    async fn oversized(&mut self) -> Flow<Result<Option<ErrorAnswer>, Failed>> {
        let version = if self.transaction.block.changes_catalog() {
            String::new()
        } else {
            self.cluster.schema.current().to_string()
        };
        let start = self.transaction.usage().log_start();
        let found = self.find_written(OVERSIZED, start, &[&version]).await?;
        Ok(found.map(|what| what.as_deref().and_then(TransactionUsage::oversize_failure)))
    }

    /// Answers that a command changed too many rows or wrote too large a value, if it did; else
    /// that it completed, if that was held back. Whether it failed.
    pub(super) async fn fails_by_limits(&mut self) -> Flow<bool> {
        let held_back = self.pipeline.take_held_back();
        if let Some(answer) = self.transaction.usage().take_row_failure() {
            self.fail_with(answer).await?;
            return Ok(true);
        }
        if let Some(before) = self.transaction.usage().take_counted_before() {
            let Ok(counted) = self.find_number(CHANGED_ROWS).await? else {
                return Ok(true);
            };
            let rows = counted.unwrap_or(before).saturating_sub(before);
            if let Some(answer) = self.transaction.usage().add_counted(rows) {
                self.fail_with(answer).await?;
                return Ok(true);
            }
        }
        let may_be_large = self.transaction.usage().take_may_be_large();
        if held_back.is_empty() {
            return Ok(false);
        }
        if may_be_large {
            match self.oversized().await? {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    self.fail_with(answer).await?;
                    return Ok(true);
                }
                Err(Failed) => return Ok(true),
            }
        }
        for message in &held_back {
            self.client.emit(message);
        }
        Ok(false)
    }

    /// Waits for a job, and yields meanwhile.
    pub(super) async fn wait_for_job(&mut self, job_id: &str) -> Flow {
        self.catch_up().await?;
        let (jobs, catalog) = (&self.cluster.jobs, &self.cluster.postgres.catalog);
        let mut is_completed = false;
        self.pause(async { is_completed = jobs.ended(catalog, job_id).await })
            .await?;
        if is_completed && !self.transaction.has_failed() {
            self.ask(COMPLETED_JOB, Some(&[job_id])).await?;
        }
        Ok(())
    }

    /// What a statement that has run means for how later ones are read.
    pub(super) fn note_settings(&mut self, statement: &Statement) {
        let facts = statement.facts.as_ref();
        if let Some(is_on) = facts.and_then(|facts| facts.sync_create_index) {
            self.reading.sync_create_index = is_on;
        }
    }
}
