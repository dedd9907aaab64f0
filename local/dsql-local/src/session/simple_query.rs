//! The simple query protocol: one text of any number of statements, run as one transaction.

use std::sync::Arc;

use super::pipeline::{Expected, QueryPart};
use super::transaction::{AfterFailure, Ended, Failure};
use super::usage::TransactionUsage;
use super::wiring::{Flow, Session};
use crate::conflict;
use crate::dialect::{self, Rules};
use crate::internal_query::Place;
use crate::statement::{Kind, Statement, Verdict};
use crate::wire::{Backend, CommandTag, Frontend, Text, TransactionStatus};

impl Session<'_> {
    pub(super) async fn query(&mut self, sql: &Text) -> Flow {
        self.drain().await?;
        self.cluster.counters.statements.add_one();
        match self.cluster.rules {
            Rules::On => self.query_in_parts(sql).await,
            Rules::Off => self.query_whole(sql).await,
        }
    }

    /// Sends the whole text, without DSQL's rules.
    async fn query_whole(&mut self, sql: &Text) -> Flow {
        let statement = dialect::read_without_rules(sql.as_str());
        if let Some(failure) = self.failure(&statement) {
            return self.fail_query(failure).await;
        }
        let sql = match &statement.verdict {
            Verdict::Forward => sql.clone(),
            Verdict::Rewrite { sql, .. } => sql.clone().into(),
            Verdict::Refuse(answer) => {
                return self.fail_query(Failure::of_block(answer.clone())).await;
            }
        };
        let Some(sql) = self.send_head(&statement, sql).await? else {
            return Ok(());
        };
        self.send_query(&Arc::new(statement), sql).await
    }

    /// A query that begins a transaction block and goes on in it is sent in two parts, so that the
    /// block has a guard. The second part; none if the first one failed.
    async fn send_head(&mut self, statement: &Statement, sql: Text) -> Flow<Option<Text>> {
        let goes_on = matches!(statement.kinds.as_slice(), [Kind::Begin, .., last]
            if !matches!(last, Kind::Commit | Kind::Rollback));
        if !goes_on || !self.transaction.is_idle() {
            return Ok(Some(sql));
        }
        let Some((head, rest)) = split_head(sql.as_str()) else {
            return Ok(Some(sql));
        };
        let expected = Expected::Query {
            statement: Arc::new(dialect::read_without_rules(head)),
            kept: None,
            part: QueryPart::Head,
        };
        let head = Frontend::Query(head.to_owned().into());
        self.forward(&head, expected).await?;
        self.drain().await?;
        let has_begun = self.transaction.is_in_block();
        Ok(has_begun.then(|| rest.to_owned().into()))
    }

    /// Sends a query, and keeps it if it stands in a block.
    async fn send_query(&mut self, statement: &Arc<Statement>, sql: Text) -> Flow {
        let message = Frontend::Query(sql);
        let kept = self.guard(statement, &message).await?;
        let expected = Expected::Query {
            statement: statement.clone(),
            kept,
            part: QueryPart::Last,
        };
        self.forward(&message, expected).await
    }

    /// Runs the statements one by one, several of them or one that writes in a transaction of our
    /// own where there is none, so that each is judged and the whole is one transaction.
    async fn query_in_parts(&mut self, sql: &Text) -> Flow {
        let pieces = dsql_dialect::split(sql.as_str());
        let texts: Vec<&str> = pieces
            .iter()
            .filter(|piece| !piece.is_empty())
            .map(|piece| piece.text(sql.as_str()))
            .collect();
        if texts.is_empty() {
            let expected = Expected::Query {
                statement: self.cluster.judgements.read(sql.as_str(), &self.reading),
                kept: None,
                part: QueryPart::Last,
            };
            return self.forward(&Frontend::Query(sql.clone()), expected).await;
        }
        self.pipeline.begin_parts();
        self.run_parts(&texts, sql).await?;
        let is_wrapped = self.pipeline.end_parts();
        let has_failed = self.pipeline.forget_errors();
        if is_wrapped {
            self.end_own_transaction(has_failed).await?;
        } else if self.transaction.is_idle() {
            *self.transaction.usage() = TransactionUsage::default();
        }
        self.pipeline.forget_errors();
        self.emit_ready();
        Ok(())
    }

    async fn run_parts(&mut self, texts: &[&str], sql: &Text) -> Flow {
        let statements: Vec<Arc<Statement>> = texts
            .iter()
            .map(|text| self.cluster.judgements.read(text, &self.reading))
            .collect();
        if let ([statement], [text]) = (statements.as_slice(), texts) {
            return self.run_part(statement, text, Some(sql)).await;
        }
        for (statement, text) in statements.iter().zip(texts) {
            if statement.may_be_no_sql() && self.refuses_syntax(text).await? {
                return Ok(());
            }
        }
        for (statement, text) in statements.iter().zip(texts) {
            self.run_part(statement, text, None).await?;
            if self.pipeline.has_failed() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Runs one statement. `alone`: the whole query, if it has no other.
    async fn run_part(
        &mut self,
        statement: &Arc<Statement>,
        text: &str,
        alone: Option<&Text>,
    ) -> Flow {
        let first = statement.kinds.first();
        let controls = matches!(first, Some(Kind::Begin | Kind::Commit | Kind::Rollback));
        let is_refused = matches!(statement.verdict, Verdict::Refuse(_));
        if controls && self.pipeline.is_wrapped() && !is_refused {
            // The transaction of our own becomes the client's.
            self.pipeline.unwrap_parts();
            self.transaction.status = TransactionStatus::InBlock;
            if first == Some(&Kind::Begin) {
                self.transaction.begin(self.cluster);
                let complete = CommandTag::new("BEGIN");
                self.client.emit(&Backend::CommandComplete(complete));
                return Ok(());
            }
        }
        if let Some(failure) = self.failure(statement) {
            return self.fail(failure).await;
        }
        if self.refuses_text(statement).await? {
            return Ok(());
        }
        let bytes = alone.map_or(text.len(), |sql| sql.as_bytes().len());
        let writes = statement.changes_rows() || self.may_hide_writes(statement).await;
        let wraps = alone.is_none() || (writes && !self.may_commit_at_once(statement, bytes).await);
        if wraps && !controls && !self.pipeline.is_wrapped() && self.transaction.is_idle() {
            self.attach().await?.backend.run("BEGIN").await?;
            self.pipeline.wrap_parts();
        }
        if self.refuses_to_run(statement, bytes).await? {
            return Ok(());
        }
        if let Some(job_id) = statement.awaited_job(None) {
            self.wait_for_job(&job_id).await?;
        }
        let sql = match (&statement.verdict, alone) {
            (Verdict::Rewrite { sql, .. }, _) => sql.clone().into(),
            (_, Some(sql)) => sql.clone(),
            (_, None) => text.to_owned().into(),
        };
        self.send_query(statement, sql).await?;
        self.drain().await?;
        if !self.fails_by_limits().await? && !self.pipeline.has_failed() {
            self.note_settings(statement);
        }
        Ok(())
    }

    /// Ends the transaction of our own around a query.
    async fn end_own_transaction(&mut self, has_failed: bool) -> Flow {
        let has_failed = has_failed || self.refuses_to_commit(AfterFailure::BlockFailed).await?;
        let end = if has_failed { "ROLLBACK" } else { "COMMIT" };
        let error = {
            let attached = self.attach().await?;
            let _waiting = attached.registration.wait();
            let ended = attached
                .backend
                .ask(end, Some(&[]), Place::BetweenStatements);
            ended.await?.error
        };
        self.end_transaction(if has_failed || error.is_some() {
            Ended::RolledBack
        } else {
            Ended::Committed
        });
        if let Some(error) = error {
            let error = conflict::translate(error);
            self.client.emit(&Backend::ErrorResponse(error));
        }
        Ok(())
    }
}

/// A text, cut after its first statement. None if nothing follows.
fn split_head(sql: &str) -> Option<(&str, &str)> {
    let pieces = dsql_dialect::split(sql);
    let mut statements = pieces.iter().filter(|piece| !piece.is_empty());
    let head = statements.next()?.range.end;
    statements.next()?;
    sql.split_at_checked(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_cut_after_its_begin() {
        assert_eq!(
            split_head("BEGIN; UPDATE t SET a = ';'"),
            Some(("BEGIN;", " UPDATE t SET a = ';'"))
        );
        assert_eq!(
            split_head("-- ;\n/* ; /* */ ; */ start /* ; */ transaction;SELECT 1; SELECT 2"),
            Some((
                "-- ;\n/* ; /* */ ; */ start /* ; */ transaction;",
                "SELECT 1; SELECT 2"
            ))
        );
        for whole in ["BEGIN", "BEGIN;", "BEGIN; ", "BEGIN -- ;", "BEGIN /* ;", ""] {
            assert_eq!(split_head(whole), None, "{whole}");
        }
    }
}
