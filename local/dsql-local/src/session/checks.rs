//! DSQL's rules on the way of a statement, before it runs.

use std::sync::Arc;

use dsql_dialect::{Effect, StateRule};

use super::transaction::{AfterFailure, Check, Failure};
use super::usage::Cargo;
use super::wiring::{Flow, Session};
use crate::cluster::Cluster;
use crate::conflict;
use crate::internal_query::Reply;
use crate::statement::{DialectFacts, Kind, Statement, Verdict};
use crate::wire::{ErrorAnswer, ErrorResponse};
use crate::writers::Names;

const COMPLETED_JOB: &str =
    "SELECT pg_catalog.postgresql_set_config('dsql_local.completed_job', $1, false)";
const SYNTAX_ERROR: Option<&[u8]> = Some(b"42601");

/// Whether a statement's rows count. What changes the catalog has none, and need not wait until
/// what it changed is read again for the next one.
fn is_judged(facts: &DialectFacts) -> bool {
    matches!(facts.effect, Effect::Read | Effect::Write)
}

impl Session<'_> {
    /// Asks PostgreSQL something between the client's messages; no reply if they have failed by
    /// then.
    pub(super) async fn ask(&mut self, sql: &str, parameters: Option<&[&str]>) -> Flow<Reply> {
        self.catch_up().await?;
        if self.pipeline.skips() {
            return Ok(Reply::default());
        }
        let place = self.pipeline.place();
        let attached = self.attach().await?;
        let _waiting = attached.registration.wait();
        Ok(attached.backend.ask(sql, parameters, place).await?)
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
        let Ok(counted_before) = self.find_start(&cargo, hides_writes).await? else {
            return Ok(true);
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
