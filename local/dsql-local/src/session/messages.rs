//! What becomes of each message of a client: judged, forwarded, or answered by the front.

use std::sync::Arc;

use bytes::BytesMut;

use super::{End, Expected, Failure, Flow, Sequence, Session};
use crate::conflict;
use crate::server::Server;
use crate::statement::{Statement, Verdict};
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
            b'Q' => self.query(message).await,
            b'P' => self.parse(message).await,
            b'B' => {
                let mut body = message.body.clone();
                let (portal, name) = (take_cstr(&mut body), take_cstr(&mut body));
                if let (Some(portal), Some(name)) = (portal, name)
                    && let Some(statement) = self.statements.get(&name)
                {
                    self.portals.insert(portal, statement.clone());
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
        let statement = Arc::new(Statement::judge(&sql));
        if let Some(failure) = self.failure(&statement) {
            return self.fail_query(failure).await;
        }
        let message = match &statement.verdict {
            Verdict::Forward => message,
            Verdict::Rewrite { sql, .. } => Message::new(b'Q', strings([sql.as_str()])),
            Verdict::Refuse(answer) => return self.refuse_query(answer.clone()).await,
        };
        self.forward(&message, Expected::Query { statement }).await
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
        let statement = Arc::new(Statement::judge(&sql));
        let message = match &statement.verdict {
            Verdict::Forward => message,
            Verdict::Rewrite { sql, .. } => {
                let mut rewritten = BytesMut::from(&name[..]);
                rewritten.extend_from_slice(&[0]);
                rewritten.extend_from_slice(sql.as_bytes());
                rewritten.extend_from_slice(&[0]);
                rewritten.extend_from_slice(&body);
                Message::new(b'P', rewritten)
            }
            Verdict::Refuse(answer) => return self.fail_sequence(answer.clone(), false).await,
        };
        self.statements.insert(name, statement);
        self.forward(&message, Expected::Parse).await
    }

    async fn execute_portal(&mut self, message: Message) -> Flow {
        self.server.counters.statements.add_one();
        let portal = take_cstr(&mut message.body.clone()).unwrap_or_default();
        let statement = self.portals.get(&portal).cloned();
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
        }
        self.forward(&message, Expected::Execute { statement })
            .await
    }

    async fn sync(&mut self, message: &Message) -> Flow {
        let rolls_back = self.sequence == (Sequence::Skips { rolls_back: true });
        self.sequence = Sequence::Runs;
        if self.backend.is_none() {
            self.emit(&self.status.ready_for_query());
            return Ok(());
        }
        self.forward(message, Expected::Sync { rolls_back }).await
    }

    /// What goes wrong with this statement by an injected fault.
    fn failure(&mut self, statement: &Statement) -> Option<Failure> {
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
        self.drain().await?;
        if self.status != TransactionStatus::Idle
            && let Some(backend) = &mut self.backend
        {
            self.status = if failure.rolls_back {
                backend.roll_back().await?
            } else {
                backend.fail_block().await?
            };
        }
        self.emit(&failure.answer.message());
        self.emit(&self.status.ready_for_query());
        Ok(())
    }

    /// Answers a message of the extended protocol with an error, as PostgreSQL would.
    async fn fail_sequence(&mut self, answer: ErrorAnswer, rolls_back: bool) -> Flow {
        self.catch_up().await?;
        if self.sequence != Sequence::Runs {
            return Ok(());
        }
        if let Some(backend) = &mut self.backend {
            backend.fail_sequence().await?;
        }
        let rolls_back = rolls_back && self.status == TransactionStatus::InBlock;
        self.sequence = Sequence::Skips { rolls_back };
        self.emit(&answer.message());
        Ok(())
    }
}
