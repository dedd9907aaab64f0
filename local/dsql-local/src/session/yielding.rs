//! How a block yields its locks to a session that waits for them, and is replayed before its
//! client's next messages.

use std::pin::pin;

use super::history::Replay;
use super::pipeline::Expected;
use super::transaction::Failure;
use super::wiring::{Flow, Session};
use crate::dialect;
use crate::internal_query::GUARD_ANSWERS;
use crate::lock_waits::{Obstacle, Registration, Request};
use crate::statement::{Kind, Statement};
use crate::wire::{Backend, Frontend, TransactionStatus};

/// How often a block is tried again when it and another one wait for each other.
const MAX_ATTEMPTS: usize = 20;

impl Session<'_> {
    /// Before a statement of an open block is sent: sees that the block has a guard, and keeps the
    /// message. Where.
    pub(super) async fn guard(
        &mut self,
        statement: &Statement,
        message: &Frontend,
    ) -> Flow<Option<usize>> {
        let ends = matches!(statement.kinds.first(), Some(Kind::Commit | Kind::Rollback));
        let block = &mut self.transaction.block;
        if ends || self.transaction.status != TransactionStatus::InBlock || block.doomed().is_some()
        {
            return Ok(None);
        }
        block.runs(statement);
        if !block.is_guarded() && !self.pipeline.has_guard() {
            self.attach().await?.backend.queue_guard();
            self.pipeline.expect(Expected::Guard(GUARD_ANSWERS));
        }
        Ok(self.transaction.block.history.keep_plain(message))
    }

    /// Yields to a session that waits, while nothing of the client's is under way.
    pub(super) async fn yield_locks(&mut self, request: Request) -> Flow {
        if self.pipeline.is_mid_sequence() && !self.pipeline.skips() {
            let answer = self.transaction.block.conflict(request.obstacle);
            self.cluster.counters.steps_aside.add_one();
            self.fail_sequence(Failure::of_block(answer)).await?;
            self.note_yielded();
            return self.flush().await;
        }
        let Some(attached) = self.attachment.get() else {
            return Ok(());
        };
        let backend = &mut attached.backend;
        let transaction = &mut self.transaction;
        match transaction.status {
            // Until the Sync that PostgreSQL waits for, nothing can be done.
            _ if self.pipeline.is_mid_sequence() => return Ok(()),
            TransactionStatus::Idle => return Ok(()),
            // What was parsed before the error still holds its tables.
            TransactionStatus::Failed => {
                backend.begin_anew().await?;
                transaction.status = backend.fail_block().await?;
            }
            TransactionStatus::InBlock => {
                let block = &mut transaction.block;
                // A transaction that reads or writes a table about to change can only start again.
                let is_stale = request.obstacle == Obstacle::Catalog && !block.changes_catalog();
                if block.can_replay() && !is_stale {
                    transaction.status = backend.take_back().await?;
                    block.yield_to(request.by);
                } else {
                    transaction.status = backend.begin_anew().await?;
                    block.doom(request.obstacle);
                }
            }
        }
        self.cluster.counters.steps_aside.add_one();
        self.note_yielded();
        Ok(())
    }

    fn note_yielded(&self) {
        if let Some(registration) = self.attachment.registration() {
            registration.yielded();
        }
    }

    /// Waits for `pause` to end, and yields meanwhile.
    pub(super) async fn pause(&mut self, pause: impl Future<Output = ()>) -> Flow {
        let mut pause = pin!(pause);
        loop {
            let Some(registration) = self.attachment.registration() else {
                pause.await;
                return Ok(());
            };
            let request = tokio::select! {
                () = &mut pause => return Ok(()),
                request = registration.requested() => request,
            };
            self.yield_locks(request).await?;
        }
    }

    /// Before a flight of messages is executed: replays what was taken back.
    pub(super) async fn resume(&mut self, messages: &[Frontend]) -> Flow {
        let registration = self.attachment.registration();
        if let Some(request) = registration.and_then(Registration::take_request) {
            self.yield_locks(request).await?;
        }
        if !self.transaction.block.has_yielded() {
            return Ok(());
        }
        let kind = first_kind(messages);
        if kind == Some(Kind::Rollback) {
            return Ok(());
        }
        let Some(others) = self.transaction.block.take_yielded() else {
            return Ok(());
        };
        self.cluster.counters.repeats.add_one();
        let may_win = !others.iter().any(|other| other.is_committed());
        if (may_win && self.replay().await?)
            || (kind != Some(Kind::Commit) && self.shadow(messages).await?)
        {
            return Ok(());
        }
        if let Some(attached) = self.attachment.get() {
            self.transaction.status = attached.backend.begin_anew().await?;
        }
        self.transaction.block.doom(Obstacle::Row);
        self.prepare_unnamed_again().await
    }

    /// Does again, after it was taken back, what the block did. Whether the answers are the same.
    pub(super) async fn replay(&mut self) -> Flow<bool> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(attached) = self.attachment.get() else {
                return Ok(false);
            };
            match self.transaction.block.history.replay(attached).await? {
                Replay::Same => {
                    self.transaction.status = TransactionStatus::InBlock;
                    self.prepare_unnamed_again().await?;
                    return Ok(true);
                }
                Replay::Differs => return Ok(false),
                Replay::Deadlock => {
                    attached.backend.take_back().await?;
                }
            }
        }
        Ok(false)
    }

    /// A simple query that was sent again took the client's unnamed statement away.
    async fn prepare_unnamed_again(&mut self) -> Flow {
        if let Some(prepared) = self.pipeline.prepared(b"")
            && let Some(attached) = self.attachment.get()
        {
            let parse = Frontend::Parse(prepared.parse.clone());
            attached.backend.queue(&parse);
            attached.backend.queue(&Frontend::Sync);
            while !matches!(attached.answer().await?, Backend::ReadyForQuery(_)) {}
        }
        Ok(())
    }
}

/// What a flight begins with, as far as its first message tells.
fn first_kind(messages: &[Frontend]) -> Option<Kind> {
    let message = messages.first()?;
    if matches!(message, Frontend::Terminate) {
        return Some(Kind::Rollback);
    }
    let statement = dialect::read_without_rules(message.sql()?);
    statement.kinds.first().copied()
}
