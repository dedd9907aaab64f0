//! What becomes of each message of a client: judged, forwarded, or answered by the front.

use std::sync::Arc;

use bytes::BytesMut;

use super::{End, Expected, Failure, Flow, Prepared, Sequence, Session};
use crate::backend::OWN_ANSWERS;
use crate::conflict;
use crate::dialect;
use crate::server::Server;
use crate::statement::{Kind, Statement, Verdict};
use crate::wire::{ErrorAnswer, Message, TransactionStatus, strings, take_cstr, take_text};

impl Session<'_> {
    pub(super) async fn execute(&mut self, message: Message) -> Flow {
        if message.tag == b'X' {
            self.drain().await?;
            self.flush().await?;
            return Err(End::Client);
        }
        if self.sequence != Sequence::Runs && message.tag != b'S' {
            return Ok(());
        }
        match message.tag {
            b'P' | b'B' | b'D' | b'E' | b'C' => self.is_mid_sequence = true,
            b'Q' | b'S' => self.is_mid_sequence = false,
            _ => {}
        }
        match message.tag {
            b'Q' => self.query(message).await,
            b'P' => self.parse(message).await,
            b'B' => {
                let mut body = message.body.clone();
                let (portal, name) = (take_cstr(&mut body), take_cstr(&mut body));
                if let (Some(portal), Some(name)) = (portal, name)
                    && let Some(prepared) = self.statements.get(&name)
                {
                    self.block.keep_bind(prepared, &message);
                    let facts = prepared.statement.facts.as_ref();
                    self.awaited = facts.and_then(|facts| Self::awaited_job(facts, Some(&message)));
                    let bytes = prepared.parse.body.len() + message.body.len();
                    self.portal_bytes.insert(portal.clone(), bytes);
                    self.portals.insert(portal, prepared.clone());
                }
                self.forward(&message, Expected::Bind).await
            }
            b'D' => self.forward(&message, Expected::Describe).await,
            b'E' => self.execute_portal(message).await,
            b'C' => {
                let mut body = message.body.slice(1.min(message.body.len())..);
                if let Some(name) = take_cstr(&mut body) {
                    let named = if message.body.first() == Some(&b'S') {
                        &mut self.statements
                    } else {
                        self.block.keep_plain(&message);
                        self.portal_bytes.remove(&name);
                        &mut self.portals
                    };
                    named.remove(&name);
                }
                self.forward(&message, Expected::Close).await
            }
            b'H' => self.drain().await,
            b'S' => self.sync(&message).await,
            b'F' => {
                self.refuse_query(ErrorAnswer::error(
                    "0A000",
                    "function calls are not supported",
                ))
                .await
            }
            b'd' | b'c' | b'f' => {
                // Part of a COPY that started in this flight, or the rest of one that failed: PostgreSQL knows.
                if let Some(backend) = &mut self.backend {
                    backend.queue(&message);
                }
                Ok(())
            }
            tag => {
                let text = format!("invalid frontend message type {tag}");
                self.emit(&ErrorAnswer::fatal("08P01", text).message());
                self.flush().await?;
                Err(End::Client)
            }
        }
    }

    async fn query(&mut self, message: Message) -> Flow {
        let Some(sql) = take_text(&mut message.body.clone()) else {
            return self
                .refuse_query(ErrorAnswer::error("08P01", "invalid string in message"))
                .await;
        };
        self.drain().await?;
        self.server.counters.statements.add_one();
        if self.server.has_dialect {
            return self.query_by_rules(&sql, &message).await;
        }
        let statement = Arc::new(Statement::judge(&sql));
        if let Some(failure) = self.failure(&statement) {
            return self.fail_query(failure).await;
        }
        let message = match &statement.verdict {
            Verdict::Forward => message,
            Verdict::Rewrite { sql, .. } => Message::new(b'Q', strings([sql.as_str()])),
            Verdict::Refuse(answer) => return self.refuse_query(answer.clone()).await,
        };
        let message = self.send_head(&statement, message).await?;
        let Some(message) = message else {
            return Ok(());
        };
        let kept = self.guard(&statement, &message).await?;
        let expected = Expected::Query {
            statement,
            kept,
            is_head: false,
        };
        self.forward(&message, expected).await
    }

    /// A query that begins a transaction block and goes on in it is sent in two parts, so that the block has a guard. The
    /// second part; none if the first one failed.
    async fn send_head(
        &mut self,
        statement: &Statement,
        message: Message,
    ) -> Flow<Option<Message>> {
        let goes_on = matches!(statement.kinds.as_slice(), [Kind::Begin, .., last]
            if !matches!(last, Kind::Commit | Kind::Rollback));
        if !goes_on || self.status != TransactionStatus::Idle {
            return Ok(Some(message));
        }
        let sql = take_text(&mut message.body.clone()).unwrap_or_default();
        let Some((head, rest)) = split_begin(&sql) else {
            return Ok(Some(message));
        };
        let expected = Expected::Query {
            statement: Arc::new(Statement::judge("BEGIN")),
            kept: None,
            is_head: true,
        };
        self.forward(&Message::new(b'Q', strings([head])), expected)
            .await?;
        self.drain().await?;
        let has_begun = self.status == TransactionStatus::InBlock;
        Ok(has_begun.then(|| Message::new(b'Q', strings([rest]))))
    }

    /// Before a statement of an open block is sent: sees that the block has a guard, and keeps the message. Where.
    pub(super) async fn guard(
        &mut self,
        statement: &Statement,
        message: &Message,
    ) -> Flow<Option<usize>> {
        let ends = matches!(statement.kinds.first(), Some(Kind::Commit | Kind::Rollback));
        if ends || self.status != TransactionStatus::InBlock || self.block.lost.is_some() {
            return Ok(None);
        }
        self.block.has_run |= statement.uses_catalog();
        let is_guarding = self
            .expected
            .iter()
            .any(|expected| matches!(expected, Expected::Guard(_)));
        if !self.block.is_guarded && !is_guarding {
            self.attach().await?.queue_guard();
            self.expected.push_back(Expected::Guard(OWN_ANSWERS));
        }
        Ok(self.block.keep_plain(message))
    }

    async fn parse(&mut self, message: Message) -> Flow {
        let mut body = message.body.clone();
        let (Some(name), Some(sql)) = (take_cstr(&mut body), take_text(&mut body)) else {
            return self
                .fail_sequence(
                    ErrorAnswer::error("08P01", "invalid string in message"),
                    false,
                )
                .await;
        };
        let statement = Arc::new(if self.server.has_dialect {
            dialect::read(&sql, &self.dialect)
        } else {
            Statement::judge(&sql)
        });
        if self.refuses_text(&statement).await? {
            return Ok(());
        }
        let message = match &statement.verdict {
            Verdict::Forward | Verdict::Refuse(_) => message,
            Verdict::Rewrite { sql, .. } => {
                let mut rewritten = BytesMut::from(&name[..]);
                rewritten.extend_from_slice(&[0]);
                rewritten.extend_from_slice(sql.as_bytes());
                rewritten.extend_from_slice(&[0]);
                rewritten.extend_from_slice(&body);
                Message::new(b'P', rewritten)
            }
        };
        let prepared = Prepared {
            statement,
            parse: message.clone(),
        };
        self.statements.insert(name, Arc::new(prepared));
        self.forward(&message, Expected::Parse).await
    }

    async fn execute_portal(&mut self, message: Message) -> Flow {
        self.server.counters.statements.add_one();
        let portal = take_cstr(&mut message.body.clone()).unwrap_or_default();
        let prepared = self.portals.get(&portal).cloned();
        let statement = prepared.map(|prepared| prepared.statement.clone());
        let mut kept = None;
        if let Some(statement) = &statement {
            if self.expected.iter().any(Expected::changes_block) {
                self.catch_up().await?;
                if self.sequence != Sequence::Runs {
                    return Ok(());
                }
            }
            if let Some(failure) = self.failure(statement) {
                return self.fail_sequence(failure.answer, failure.rolls_back).await;
            }
            let bytes = self.portal_bytes.get(&portal).copied().unwrap_or(0);
            if self.refuses_to_run(statement, bytes).await? || self.sequence != Sequence::Runs {
                return Ok(());
            }
            if let Some(job_id) = self.awaited.take() {
                self.wait_for_job(&job_id).await?;
            }
            kept = self.guard(statement, &message).await?;
        }
        let facts = statement
            .as_ref()
            .and_then(|statement| statement.facts.clone());
        self.forward(&message, Expected::Execute { statement, kept })
            .await?;
        let Some(facts) = facts else {
            return Ok(());
        };
        if let Some(is_on) = facts.sync_create_index {
            self.dialect.sync_create_index = is_on;
        }
        // The rows of a COPY come with later messages.
        if !facts.targets.is_empty() && !facts.is_copy_in {
            self.catch_up().await?;
            self.fails_by_limits().await?;
        }
        Ok(())
    }

    async fn sync(&mut self, message: &Message) -> Flow {
        if self.sequence == Sequence::Runs && !self.block.usage.tables.is_empty() {
            // As long as this lasts, the sequence is not over.
            self.is_mid_sequence = true;
            self.catch_up().await?;
            if std::mem::take(&mut self.has_copied) {
                // The client sent it with the COPY, and PostgreSQL would have ignored it; another follows the data.
                return Ok(());
            }
            let is_refused = self.fails_by_limits().await?;
            if !is_refused && self.status == TransactionStatus::Idle {
                self.refuses_to_commit(false).await?;
            }
            self.is_mid_sequence = false;
        }
        let rolls_back = self.sequence == (Sequence::Skips { rolls_back: true });
        self.sequence = Sequence::Runs;
        if self.backend.is_none() {
            self.emit(&self.status.ready_for_query());
            return Ok(());
        }
        self.forward(message, Expected::Sync { rolls_back }).await
    }

    /// What goes wrong with this statement by an injected fault, a changed catalog, or a conflict that was lost before.
    pub(super) fn failure(&mut self, statement: &Statement) -> Option<Failure> {
        let Server {
            faults, counters, ..
        } = self.server;
        if self.status == TransactionStatus::Failed || statement.is_empty() {
            return None;
        }
        let fail = |answer, rolls_back| Some(Failure { answer, rolls_back });
        if faults.server_unavailable() {
            counters.unavailable_injected.add_one();
            return fail(ErrorAnswer::error("XX000", "server unavailable"), false);
        }
        if statement.uses_catalog() && faults.schema_conflict() {
            counters.schema_conflicts_injected.add_one();
            return fail(conflict::schema(), false);
        }
        let ends_block = self.status == TransactionStatus::InBlock && statement.commits_block();
        let is_rollback = statement.kinds.first() == Some(&Kind::Rollback);
        if self.status == TransactionStatus::InBlock
            && !is_rollback
            && let Some(answer) = self.block.usage.age_failure(self.server.clock.now())
        {
            return fail(answer, ends_block);
        }
        if let Some(lost) = &self.block.lost
            && !is_rollback
        {
            // Whoever steps aside for a change of the catalog need not hear of it twice.
            self.schema = self.server.schema.current();
            return fail(lost.clone(), ends_block);
        }
        if (statement.uses_catalog() || (ends_block && self.block.has_run))
            && self.server.schema.is_stale(&mut self.schema)
        {
            return fail(conflict::schema(), ends_block);
        }
        if ends_block && self.block.is_shadowed {
            return fail(conflict::data(), true);
        }
        let commits = match self.status {
            TransactionStatus::InBlock => statement.commits_block(),
            _ if statement.begins_block() => statement.commits_block(),
            _ => statement.writes(),
        };
        if commits && faults.conflict() {
            counters.conflicts_injected.add_one();
            return fail(conflict::data(), true);
        }
        if commits && faults.drop_at_commit() {
            self.withholds = true;
        }
        None
    }

    /// Answers a simple query with an error, as PostgreSQL would.
    async fn refuse_query(&mut self, answer: ErrorAnswer) -> Flow {
        self.fail_query(Failure {
            answer,
            rolls_back: false,
        })
        .await
    }

    async fn fail_query(&mut self, failure: Failure) -> Flow {
        self.fail_statement(&failure).await?;
        self.emit(&self.status.ready_for_query());
        Ok(())
    }

    /// Answers a statement with an error, and fails the block it stands in or rolls it back.
    pub(super) async fn fail_statement(&mut self, failure: &Failure) -> Flow {
        self.drain().await?;
        if self.status != TransactionStatus::Idle
            && let Some(backend) = &mut self.backend
        {
            self.status = if failure.rolls_back {
                backend.roll_back().await?
            } else {
                backend.fail_block().await?
            };
            if self.status == TransactionStatus::Idle {
                self.end_transaction(false);
            }
        }
        self.emit(&failure.answer.message());
        Ok(())
    }

    /// Answers a message of the extended protocol with an error, as PostgreSQL would.
    pub(super) async fn fail_sequence(&mut self, answer: ErrorAnswer, rolls_back: bool) -> Flow {
        self.catch_up().await?;
        if self.sequence != Sequence::Runs {
            return Ok(());
        }
        if let Some(backend) = &mut self.backend {
            backend.fail_sequence().await?;
        }
        self.has_failed = true;
        let rolls_back = rolls_back && self.status == TransactionStatus::InBlock;
        self.sequence = Sequence::Skips { rolls_back };
        self.emit(&answer.message());
        Ok(())
    }
}

/// A text that begins with BEGIN, cut after its first statement. None if nothing follows.
pub(crate) fn split_begin(sql: &str) -> Option<(&str, &str)> {
    let mut at = 0;
    // Before the first semicolon there are only words, blanks and comments.
    while let Some(rest) = sql.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(comment) = rest.strip_prefix("--") {
            at += 2 + comment.find('\n').unwrap_or(comment.len());
        } else if rest.starts_with("/*") {
            at += block_comment_bytes(rest);
        } else if let Some(rest) = rest.strip_prefix(';') {
            return Some((sql.get(..=at)?, rest)).filter(|(_, rest)| !rest.trim().is_empty());
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    None
}

/// The length of a comment, in which others may be nested.
fn block_comment_bytes(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => {
                depth += 1;
                at += 1;
            }
            Some(b"*/") => {
                depth -= 1;
                at += 1;
            }
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_cut_after_its_begin() {
        assert_eq!(
            split_begin("BEGIN; UPDATE t SET a = ';'"),
            Some(("BEGIN;", " UPDATE t SET a = ';'"))
        );
        assert_eq!(
            split_begin("-- ;\n/* ; /* */ ; */ start /* ; */ transaction;SELECT 1; SELECT 2"),
            Some((
                "-- ;\n/* ; /* */ ; */ start /* ; */ transaction;",
                "SELECT 1; SELECT 2"
            ))
        );
        for whole in ["BEGIN", "BEGIN;", "BEGIN; ", "BEGIN -- ;", "BEGIN /* ;", ""] {
            assert_eq!(split_begin(whole), None, "{whole}");
        }
    }
}
