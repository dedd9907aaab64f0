//! DSQL's rules on the way of a statement: before it runs, after it ran, and before its transaction commits.

use std::sync::Arc;

use dsql_dialect::{Argument, StateRule};

use super::usage::TransactionUsage;
use super::{Expected, Failure, Flow, Sequence, Session};
use crate::conflict;
use crate::dialect::DialectFacts;
use crate::internal_query::{Reply, ask, bound_text};
use crate::jobs;
use crate::statement::{Kind, Statement, Verdict};
use crate::wire::{ErrorAnswer, Message, TransactionStatus, error_field, strings};

const LOG_POSITION: &str =
    "SELECT (pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_catalog.pg_lsn)::bigint::text";

const COMPLETED_JOB: &str = "SELECT pg_catalog.set_config('dsql_local.completed_job', $1, false)";

impl Session<'_> {
    async fn ask(&mut self, sql: &str, parameters: Option<&[&str]>) -> Flow<Reply> {
        self.catch_up().await?;
        if self.sequence != Sequence::Runs {
            return Ok(Reply::default());
        }
        let is_mid_sequence = self.is_mid_sequence;
        let _waiting = self.server.lock_waits.wait();
        let backend = self.attach().await?;
        Ok(ask(backend, sql, parameters, is_mid_sequence).await?)
    }

    /// Answers what became of a question that failed. In the middle of a sequence PostgreSQL skips the rest of it.
    async fn fail_asked(&mut self, answer: &Message) -> Flow {
        self.has_failed = true;
        self.emit(answer);
        if self.is_mid_sequence {
            self.sequence = Sequence::Skips { rolls_back: false };
            return Ok(());
        }
        self.fail_open_block().await
    }

    async fn fail_open_block(&mut self) -> Flow {
        if self.status == TransactionStatus::InBlock
            && let Some(backend) = &mut self.backend
        {
            self.status = backend.fail_block().await?;
        }
        Ok(())
    }

    /// Answers an error instead of running a statement, in whichever protocol is under way.
    async fn fail(&mut self, failure: Failure) -> Flow {
        if self.is_mid_sequence {
            return self.fail_sequence(failure.answer, failure.rolls_back).await;
        }
        self.fail_statement(&failure).await?;
        self.has_failed = true;
        Ok(())
    }

    async fn fail_with(&mut self, answer: ErrorAnswer) -> Flow {
        self.fail(Failure {
            answer,
            rolls_back: false,
        })
        .await
    }

    /// Refuses what the text of a statement forbids. Whether it did.
    pub(super) async fn refuses_text(&mut self, statement: &Statement) -> Flow<bool> {
        let Verdict::Refuse(answer) = &statement.verdict else {
            return Ok(false);
        };
        self.catch_up().await?;
        if self.sequence != Sequence::Runs {
            return Ok(true);
        }
        if self.status == TransactionStatus::Failed {
            self.fail_with(StateRule::Failed.refusal().into()).await?;
            return Ok(true);
        }
        let ask_first = statement
            .facts
            .as_ref()
            .and_then(|facts| facts.ask_first.as_deref());
        if let Some(sql) = ask_first {
            let reply = self.ask(sql, None).await?;
            if let Some(error) = reply.error {
                let is_syntax = error_field(&error, b'C') == Some(b"42601");
                let answer = if is_syntax { error } else { answer.message() };
                self.fail_asked(&answer).await?;
                return Ok(true);
            }
        }
        self.fail_with(answer.clone()).await?;
        Ok(true)
    }

    /// Refuses what is no SQL to PostgreSQL, before anything of a query runs. Whether it did.
    pub(super) async fn refuses_syntax(&mut self, sql: &str) -> Flow<bool> {
        let reply = self.ask(sql, None).await?;
        match reply.error {
            Some(error) if error_field(&error, b'C') == Some(b"42601") => {
                self.fail_asked(&conflict::translate(error)).await?;
                Ok(true)
            }
            // Whatever else is wrong shows when it runs; a failed block stays as it is.
            Some(_) if self.status == TransactionStatus::InBlock => {
                let answer = ErrorAnswer::from(StateRule::Failed.refusal());
                self.fail_asked(&answer.message()).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Refuses what the transaction, the catalog or the limits forbid, before a statement is executed. Whether it did.
    /// `bytes`: of its text and values.
    pub(super) async fn refuses_to_run(
        &mut self,
        statement: &Statement,
        bytes: usize,
    ) -> Flow<bool> {
        let Some(facts) = &statement.facts else {
            return Ok(false);
        };
        if self.status == TransactionStatus::Failed {
            return Ok(false);
        }
        if statement.kinds.first() == Some(&Kind::Commit) {
            return self.refuses_to_commit(true).await;
        }
        if let Err(answer) = self.block.usage.admit(facts) {
            self.fail_with(answer).await?;
            return Ok(true);
        }
        for check in &facts.needs {
            let parameters: Vec<&str> = check.parameters.iter().map(String::as_str).collect();
            let reply = self.ask(check.rule.query, Some(&parameters)).await?;
            if let Some(error) = reply.error {
                self.fail_asked(&conflict::translate(error)).await?;
                return Ok(true);
            }
            if let Some(found) = reply.first {
                self.fail_with(check.refusal(&found).into()).await?;
                return Ok(true);
            }
        }
        if !facts.targets.is_empty() {
            if self.block.usage.log_start.is_none() {
                self.block.usage.log_start = self.log_position().await?;
            }
            self.block.usage.carries(bytes, facts.is_copy_in);
        }
        Ok(false)
    }

    async fn log_position(&mut self) -> Flow<Option<u64>> {
        let reply = self.ask(LOG_POSITION, Some(&[])).await?;
        Ok(reply.first.and_then(|text| text.parse().ok()))
    }

    /// Refuses the commit of a transaction that wrote too much. Whether it did.
    pub(super) async fn refuses_to_commit(&mut self, rolls_back: bool) -> Flow<bool> {
        if !self.block.usage.has_rows() || self.block.usage.log_start.is_none() {
            return Ok(false);
        }
        let Some(log_end) = self.log_position().await? else {
            return Ok(false);
        };
        if self.block.usage.may_hold_large_value(log_end)
            && let Some(answer) = self.oversized().await?
        {
            self.fail(Failure { answer, rolls_back }).await?;
            return Ok(true);
        }
        if !self.block.usage.may_be_too_large(log_end) {
            return Ok(false);
        }
        let bytes = self.ask_of_written("written_bytes").await?;
        let bytes = bytes.and_then(|text| text.parse().ok()).unwrap_or(0);
        match TransactionUsage::size_failure(bytes) {
            Some(answer) => {
                self.fail(Failure { answer, rolls_back }).await?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// What a routine of ours answers about the tables whose rows were changed.
    async fn ask_of_written(&mut self, routine: &str) -> Flow<Option<String>> {
        let tables = self.block.usage.tables.clone();
        let names: Vec<&str> = tables.iter().map(String::as_str).collect();
        let oids: Vec<String> = (1..=names.len())
            .map(|number| format!("pg_catalog.to_regclass(${number})::oid"))
            .collect();
        let sql = format!(
            "SELECT dsql_internal.{routine}(ARRAY[{}]::oid[])::text",
            oids.join(", ")
        );
        Ok(self.ask(&sql, Some(&names)).await?.first)
    }

    /// The refusal of a value or row above its limit, if the transaction wrote one.
    async fn oversized(&mut self) -> Flow<Option<ErrorAnswer>> {
        let found = self.ask_of_written("oversized").await?;
        Ok(found
            .as_deref()
            .and_then(TransactionUsage::oversize_failure))
    }

    /// Whether a command that has just completed changed more rows than may be; its end is not told then.
    pub(super) fn is_over_limit(&mut self, statement: &Statement, complete: &Message) -> bool {
        let changes_rows = statement
            .facts
            .as_ref()
            .is_some_and(|facts| !facts.targets.is_empty());
        changes_rows && self.block.usage.count(complete)
    }

    /// Whether a command that has just completed may have written a value above its limit; its end is held back then.
    pub(super) fn must_look(&mut self, statement: &Statement) -> bool {
        let facts = statement.facts.as_ref();
        facts.is_some_and(|facts| !facts.targets.is_empty())
            && std::mem::take(&mut self.block.usage.carries_large)
    }

    /// Answers that a command changed too many rows or wrote too large a value, if it did; else that it completed, if that
    /// was held back. Whether it failed.
    pub(super) async fn fails_by_limits(&mut self) -> Flow<bool> {
        let held_back = self.held_back.take();
        if std::mem::take(&mut self.block.usage.is_over) {
            self.fail_with(TransactionUsage::too_many_rows()).await?;
            return Ok(true);
        }
        if let Some(complete) = held_back {
            if let Some(answer) = self.oversized().await? {
                self.fail_with(answer).await?;
                return Ok(true);
            }
            self.emit(&complete);
        }
        Ok(false)
    }

    /// The job that an execution of this statement waits for.
    pub(super) fn awaited_job(facts: &DialectFacts, bind: Option<&Message>) -> Option<String> {
        match facts.awaits.as_ref()? {
            Argument::Text(job_id) => Some(job_id.clone()),
            Argument::Parameter(number) => bound_text(bind?, *number),
            Argument::Other => None,
        }
    }

    /// Waits for a job, and steps aside meanwhile.
    pub(super) async fn wait_for_job(&mut self, job_id: &str) -> Flow {
        self.catch_up().await?;
        let server = self.server;
        let mut is_completed = false;
        self.pause(async { is_completed = jobs::ended(server, job_id).await })
            .await?;
        if is_completed && self.status != TransactionStatus::Failed {
            self.ask(COMPLETED_JOB, Some(&[job_id])).await?;
        }
        Ok(())
    }

    /// A query of several statements, or one that writes outside of a block: its statements run one by one, in a
    /// transaction of our own where there is none, so that each is judged and the whole is one transaction.
    pub(super) async fn query_by_rules(&mut self, sql: &str, message: &Message) -> Flow {
        let texts: Vec<&str> = dsql_dialect::split(sql)
            .iter()
            .filter(|piece| !piece.is_empty())
            .map(|piece| piece.text(sql))
            .collect();
        if texts.is_empty() {
            let statement = Arc::new(crate::dialect::read(sql, &self.dialect));
            let expected = Expected::Query {
                statement,
                kept: None,
                is_head: false,
            };
            return self.forward(message, expected).await;
        }
        self.holds_ready = true;
        let ran = self.run_parts(&texts, sql).await;
        self.holds_ready = false;
        ran?;
        let has_failed = std::mem::take(&mut self.has_failed);
        if std::mem::take(&mut self.is_wrapped) {
            self.end_wrapped(has_failed).await?;
        } else if self.status == TransactionStatus::Idle {
            self.block.usage = TransactionUsage::default();
        }
        self.has_failed = false;
        self.emit(&self.status.ready_for_query());
        Ok(())
    }

    async fn run_parts(&mut self, texts: &[&str], sql: &str) -> Flow {
        let is_alone = texts.len() == 1;
        let statements: Vec<Arc<Statement>> = texts
            .iter()
            .map(|text| Arc::new(crate::dialect::read(text, &self.dialect)))
            .collect();
        for (statement, text) in statements.iter().zip(texts) {
            let is_unsure = statement
                .facts
                .as_ref()
                .is_some_and(|facts| facts.is_unsure && facts.ask_first.is_none());
            if !is_alone && is_unsure && self.refuses_syntax(text).await? {
                return Ok(());
            }
        }
        for (statement, text) in statements.iter().zip(texts) {
            let text = if is_alone { sql } else { text };
            self.run_part(statement, text, is_alone).await?;
            if self.has_failed {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn run_part(&mut self, statement: &Arc<Statement>, text: &str, is_alone: bool) -> Flow {
        let first = statement.kinds.first();
        let controls = matches!(first, Some(Kind::Begin | Kind::Commit | Kind::Rollback));
        if controls && self.is_wrapped && !matches!(statement.verdict, Verdict::Refuse(_)) {
            // The transaction of our own becomes the client's.
            self.is_wrapped = false;
            self.status = TransactionStatus::InBlock;
            if first == Some(&Kind::Begin) {
                self.block.usage.began_at = Some(self.server.clock.now());
                self.emit(&Message::new(b'C', strings(["BEGIN"])));
                return Ok(());
            }
        }
        if self.status != TransactionStatus::Failed
            && let Some(failure) = self.failure(statement)
        {
            return self.fail(failure).await;
        }
        if self.refuses_text(statement).await? {
            return Ok(());
        }
        let Some(facts) = &statement.facts else {
            return Ok(());
        };
        let wraps = !facts.targets.is_empty() || !is_alone;
        if wraps && !controls && !self.is_wrapped && self.status == TransactionStatus::Idle {
            self.attach().await?.run("BEGIN").await?;
            self.is_wrapped = true;
        }
        if self.refuses_to_run(statement, text.len()).await? {
            return Ok(());
        }
        if let Some(job_id) = Self::awaited_job(facts, None) {
            self.wait_for_job(&job_id).await?;
        }
        let sql = match &statement.verdict {
            Verdict::Rewrite { sql, .. } => sql,
            _ => text,
        };
        let message = Message::new(b'Q', strings([sql]));
        let kept = self.guard(statement, &message).await?;
        let expected = Expected::Query {
            statement: statement.clone(),
            kept,
            is_head: false,
        };
        self.forward(&message, expected).await?;
        self.drain().await?;
        if self.fails_by_limits().await? {
            return Ok(());
        }
        if !self.has_failed
            && let Some(is_on) = facts.sync_create_index
        {
            self.dialect.sync_create_index = is_on;
        }
        Ok(())
    }

    /// Ends the transaction of our own around a query.
    async fn end_wrapped(&mut self, has_failed: bool) -> Flow {
        let has_failed = has_failed || self.refuses_to_commit(false).await?;
        let end = if has_failed { "ROLLBACK" } else { "COMMIT" };
        let error = {
            let _waiting = self.server.lock_waits.wait();
            let backend = self.attach().await?;
            ask(backend, end, Some(&[]), false).await?.error
        };
        self.end_transaction(!has_failed && error.is_none());
        if let Some(error) = error {
            self.emit(&conflict::translate(error));
        }
        Ok(())
    }
}

/// A row of a started job without an id: there was nothing to do, and no row is answered.
pub(super) fn is_no_job(statement: &Statement, row: &Message) -> bool {
    let has_job = statement.facts.as_ref().is_some_and(|facts| facts.has_job);
    has_job && row.body.as_ref() == b"\0\x01\xff\xff\xff\xff"
}
