//! The answers of PostgreSQL: matched with what was sent, and passed on.

use super::pipeline::{Expected, GuardAnswer, QueryPart};
use super::transaction::{AfterFailure, Ended};
use super::usage::Completion;
use super::wiring::{End, Flow, Session};
use crate::conflict;
use crate::statement::Statement;
use crate::wire::{Backend, CommandTag, Frontend, TransactionStatus, strings};

impl Session<'_> {
    /// Receives the answers to all that was forwarded, also in the middle of a sequence.
    pub(super) async fn catch_up(&mut self) -> Flow {
        if !self.pipeline.is_settled()
            && let Some(attached) = self.attachment.get()
        {
            attached.backend.queue(&Frontend::Flush);
        }
        self.receive().await
    }

    /// Receives the answers to all that was forwarded, at the end of a flight.
    pub(super) async fn drain(&mut self) -> Flow {
        if self.pipeline.ends_by_itself() {
            self.receive().await
        } else {
            self.catch_up().await
        }
    }

    async fn receive(&mut self) -> Flow {
        while !self.pipeline.is_settled() {
            if self.client.is_full() {
                self.flush().await?;
            }
            let Some(attached) = self.attachment.get() else {
                return Ok(());
            };
            let message = attached.answer().await?;
            self.receive_one(message).await?;
        }
        Ok(())
    }

    async fn receive_one(&mut self, mut message: Backend) -> Flow {
        match self.pipeline.guard_answer(&message) {
            GuardAnswer::None => {}
            GuardAnswer::More => return Ok(()),
            GuardAnswer::Stands => {
                self.transaction.block.guard();
                return Ok(());
            }
        }
        let Some(first) = self.pipeline.first() else {
            return Ok(());
        };
        let (statement, kept) = (first.statement().cloned(), first.kept());
        let mut completion = Completion::Answered;
        if let Some(statement) = &statement {
            completion = self.look_at(statement, &message);
            if completion == Completion::Refused {
                // The front answers an error in its place.
                if matches!(self.pipeline.first(), Some(Expected::Execute { .. })) {
                    self.pipeline.take_first();
                }
                return Ok(());
            }
            if is_no_job(statement, &message) {
                return Ok(());
            }
        }
        self.transaction.block.history.feed(kept, &message);
        match &mut message {
            Backend::ErrorResponse(error) => {
                self.pipeline.note_error();
                if kept.is_some() {
                    self.transaction.note_error(error, self.cluster);
                }
                *error = conflict::translate(error.clone());
            }
            Backend::CommandComplete(tag) => {
                if let Some(own) = statement.as_deref().and_then(Statement::own_tag) {
                    *tag = CommandTag::new(own);
                }
            }
            _ => {}
        }
        if let Backend::ReadyForQuery(status) = message {
            return self.receive_ready(status).await;
        }
        if let Backend::CopyInResponse(_) = message {
            self.transaction.block.history.cut();
            self.client.emit(&message);
            return self.copy_in().await;
        }
        self.settle_first(&message);
        if completion == Completion::HeldBack {
            self.pipeline.hold_back(message);
        } else {
            self.client.emit(&message);
        }
        Ok(())
    }

    /// What the end of a command that changes rows means for the limits.
    fn look_at(&mut self, statement: &Statement, message: &Backend) -> Completion {
        match message {
            Backend::CommandComplete(tag)
                if statement.changes_rows() || self.transaction.usage().is_counted() =>
            {
                self.transaction.usage().complete(tag)
            }
            // The client takes it for the end.
            Backend::CopyDone if self.transaction.usage().is_counted() => Completion::HeldBack,
            _ => Completion::Answered,
        }
    }

    /// What an answer settles of what is expected, and what it means for the transaction.
    fn settle_first(&mut self, message: &Backend) {
        let Some(first) = self.pipeline.first() else {
            return;
        };
        match (message, first) {
            (Backend::ParseComplete, Expected::Parse)
            | (Backend::BindComplete, Expected::Bind)
            | (Backend::CloseComplete, Expected::Close)
            | (Backend::RowDescription(_) | Backend::NoData, Expected::Describe)
            | (Backend::EmptyQueryResponse | Backend::PortalSuspended, Expected::Execute { .. }) => {
                self.pipeline.take_first();
            }
            (Backend::CommandComplete(tag), Expected::Execute { statement, .. }) => {
                if statement.is_some() {
                    self.transaction.follow(tag);
                    self.complete(tag);
                }
                self.pipeline.take_first();
            }
            (Backend::CommandComplete(tag), Expected::Query { .. }) => self.complete(tag),
            // ReadyForQuery comes after these.
            (Backend::ErrorResponse(_), Expected::Query { .. } | Expected::Sync(_)) => {}
            (Backend::ErrorResponse(_), _) => self.pipeline.skip_expected(),
            _ => {}
        }
    }

    /// What a command's end means for the transaction.
    fn complete(&mut self, tag: &CommandTag) {
        if let Some(ended) = self.transaction.complete(tag, self.cluster) {
            self.end_transaction(ended);
        }
    }

    async fn receive_ready(&mut self, status: TransactionStatus) -> Flow {
        let expected = self.pipeline.take_first();
        if self.pipeline.is_wrapped() {
            return Ok(());
        }
        self.transaction.status = status;
        if let Some(Expected::Sync(AfterFailure::RolledBack)) = expected
            && let Some(attached) = self.attachment.get()
        {
            self.transaction.status = attached.backend.roll_back().await?;
            self.end_transaction(Ended::RolledBack);
        }
        let has_failed = self.pipeline.ready();
        if self.transaction.is_idle() {
            self.end_transaction(if has_failed {
                Ended::RolledBack
            } else {
                Ended::Committed
            });
        }
        let is_head = matches!(
            expected,
            Some(Expected::Query {
                part: QueryPart::Head,
                ..
            })
        );
        if (is_head && !has_failed) || self.pipeline.is_in_parts() {
            return Ok(());
        }
        self.emit_ready();
        Ok(())
    }

    /// Passes a COPY's data on until it ends or PostgreSQL objects.
    async fn copy_in(&mut self) -> Flow {
        self.flush().await?;
        if self.pipeline.has_rows() {
            return Ok(());
        }
        self.pipeline.expect_rows_first();
        let Some(attached) = self.attachment.get() else {
            return Ok(());
        };
        let (backend, registration) = (&mut attached.backend, &attached.registration);
        loop {
            tokio::select! {
                _ = registration.requested() => {
                    // Others do not wait for a client that takes its time; PostgreSQL answers an
                    // error.
                    backend.queue(&Frontend::CopyFail(strings([conflict::GIVES_WAY])));
                    backend.queue(&Frontend::Flush);
                    return Ok(());
                }
                message = self.client.next() => {
                    let Some(message) = message? else { return Err(End::Client) };
                    self.client.count();
                    self.cluster.counters.client_messages.add_one();
                    match message {
                        Frontend::CopyData(_) => {
                            backend.queue(&message);
                            backend.send().await?;
                        }
                        Frontend::Sync | Frontend::Flush => {}
                        Frontend::Terminate => return Err(End::Client),
                        _ => {
                            backend.queue(&message);
                            // In the extended protocol the outcome waits for a Sync that the client
                            // may send later.
                            backend.queue(&Frontend::Flush);
                            return Ok(());
                        }
                    }
                }
                answer = backend.next() => {
                    backend.give_back(answer?);
                    return Ok(());
                }
            }
        }
    }
}

/// A row of a started job without an id: there was nothing to do, and no row is answered.
fn is_no_job(statement: &Statement, message: &Backend) -> bool {
    matches!(message, Backend::DataRow(row) if statement.starts_job() && row.is_one_null())
}
