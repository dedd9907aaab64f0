//! The extended query protocol: Parse, Bind, Describe, Execute, Close, Sync.

use std::sync::Arc;

use super::pipeline::Expected;
use super::transaction::{AfterFailure, Failure};
use super::wiring::{Flow, Session};
use crate::dialect::{self, Rules};
use crate::statement::Verdict;
use crate::wire::{Bind, Close, ErrorAnswer, Execute, Frontend, Parse, Protocol, Target};

impl Session<'_> {
    pub(super) async fn parse(&mut self, parse: &Parse) -> Flow {
        let statement = match self.cluster.rules {
            Rules::On => self
                .cluster
                .judgements
                .read(parse.sql.as_str(), &self.reading),
            Rules::Off => Arc::new(dialect::read_without_rules(parse.sql.as_str())),
        };
        if self.refuses_text(&statement).await? {
            return Ok(());
        }
        let parse = match &statement.verdict {
            Verdict::Forward | Verdict::Refuse(_) => parse.clone(),
            Verdict::Rewrite { sql, .. } => parse.with_sql(sql.clone()),
        };
        self.pipeline.prepare(statement, &parse);
        self.forward(&Frontend::Parse(parse), Expected::Parse).await
    }

    pub(super) async fn bind(&mut self, bind: &Bind) -> Flow {
        if let Some(parse) = self.pipeline.bind(bind) {
            self.transaction.block.history.keep_bind(parse, bind);
        }
        let message = Frontend::Bind(bind.clone());
        self.forward(&message, Expected::Bind).await
    }

    /// What is described, a statement or a portal, is PostgreSQL's to know.
    pub(super) async fn describe(&mut self, message: &Frontend) -> Flow {
        self.forward(message, Expected::Describe).await
    }

    pub(super) async fn execute_portal(&mut self, execute: &Execute) -> Flow {
        self.cluster.counters.statements.add_one();
        let message = Frontend::Execute(execute.clone());
        let Some(execution) = self.pipeline.execution(&execute.portal) else {
            // PostgreSQL knows no such portal, or one of a statement that it refused.
            let expected = Expected::Execute {
                statement: None,
                kept: None,
            };
            return self.forward(&message, expected).await;
        };
        let statement = execution.statement;
        if self.pipeline.changes_block() {
            self.catch_up().await?;
            if self.pipeline.skips() {
                return Ok(());
            }
        }
        if let Some(failure) = self.failure(&statement) {
            return self.fail_sequence(failure).await;
        }
        if self.transaction.usage().is_harmless() {
            // The one before this was not waited for.
            self.catch_up().await?;
        }
        if self.refuses_to_run(&statement, execution.bytes).await? || self.pipeline.skips() {
            return Ok(());
        }
        if let Some(job_id) = execution.awaited_job {
            self.wait_for_job(&job_id).await?;
        }
        let kept = self.guard(&statement, &message).await?;
        let expected = Expected::Execute {
            statement: Some(statement.clone()),
            kept,
        };
        self.forward(&message, expected).await?;
        self.note_settings(&statement);
        // The rows of a COPY come with later messages.
        let is_watched = statement.changes_rows() || self.transaction.usage().is_counted();
        if is_watched && !statement.is_copy_in() && !self.transaction.usage().is_harmless() {
            self.catch_up().await?;
            self.fails_by_limits().await?;
        }
        Ok(())
    }

    pub(super) async fn close(&mut self, close: &Close) -> Flow {
        let message = Frontend::Close(close.clone());
        self.pipeline.close(close);
        if close.target == Target::Portal {
            self.transaction.block.history.keep_plain(&message);
        }
        self.forward(&message, Expected::Close).await
    }

    pub(super) async fn sync(&mut self) -> Flow {
        if !self.pipeline.skips() && self.transaction.usage().has_written() {
            // As long as this lasts, the sequence is not over.
            self.pipeline.open_sequence();
            self.catch_up().await?;
            if self.pipeline.take_later_rows() {
                // The client sent it with the COPY, and PostgreSQL would have ignored it; another
                // follows the data.
                return Ok(());
            }
            let is_refused = self.fails_by_limits().await?;
            if !is_refused && self.transaction.is_idle() {
                self.refuses_to_commit(AfterFailure::BlockFailed).await?;
            }
        }
        let after = self.pipeline.end_sequence();
        if !self.attachment.is_attached() {
            self.emit_ready();
            return Ok(());
        }
        self.forward(&Frontend::Sync, Expected::Sync(after)).await
    }

    /// Answers a message whose strings cannot be read.
    pub(super) async fn refuse_malformed(&mut self, protocol: Protocol) -> Flow {
        let answer = ErrorAnswer::error("08P01", "invalid string in message");
        let failure = Failure::of_block(answer);
        match protocol {
            Protocol::Simple => self.fail_query(failure).await,
            Protocol::Extended => self.fail_sequence(failure).await,
        }
    }
}
