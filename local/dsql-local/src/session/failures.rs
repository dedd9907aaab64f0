//! Errors that the front answers: in either protocol, with what they leave of the transaction as if
//! PostgreSQL had answered.

use super::transaction::{AfterFailure, Ended, Failure};
use super::wiring::{Flow, Session};
use crate::wire::{Backend, ErrorAnswer, ErrorResponse};

impl Session<'_> {
    /// Answers a simple query with an error.
    pub(super) async fn fail_query(&mut self, failure: Failure) -> Flow {
        self.fail_statement(&failure).await?;
        self.emit_ready();
        Ok(())
    }

    /// Answers a statement with an error, and fails the block it stands in or rolls it back.
    async fn fail_statement(&mut self, failure: &Failure) -> Flow {
        self.drain().await?;
        if !self.transaction.is_idle()
            && let Some(attached) = self.attachment.get()
        {
            self.transaction.status = match failure.after {
                AfterFailure::RolledBack => attached.backend.roll_back().await?,
                AfterFailure::BlockFailed => attached.backend.fail_block().await?,
            };
            if self.transaction.is_idle() {
                self.end_transaction(Ended::RolledBack);
            }
        }
        self.client.emit(&Backend::from(&failure.answer));
        Ok(())
    }

    /// Answers a message of the extended protocol with an error.
    pub(super) async fn fail_sequence(&mut self, failure: Failure) -> Flow {
        self.catch_up().await?;
        if self.pipeline.skips() {
            return Ok(());
        }
        if let Some(attached) = self.attachment.get() {
            attached.backend.fail_sequence().await?;
        }
        self.pipeline.note_error();
        self.pipeline.skip(if self.transaction.is_in_block() {
            failure.after
        } else {
            AfterFailure::BlockFailed
        });
        self.client.emit(&Backend::from(&failure.answer));
        Ok(())
    }

    /// Answers an error instead of running a statement, in whichever protocol is under way.
    pub(super) async fn fail(&mut self, failure: Failure) -> Flow {
        if self.pipeline.is_mid_sequence() {
            return self.fail_sequence(failure).await;
        }
        self.fail_statement(&failure).await?;
        self.pipeline.note_error();
        Ok(())
    }

    /// The same, and leaves a failed block.
    pub(super) async fn fail_with(&mut self, answer: impl Into<ErrorAnswer>) -> Flow {
        self.fail(Failure::of_block(answer)).await
    }

    /// Answers what became of an internal query that failed. In the middle of a sequence PostgreSQL
    /// skips the rest of it.
    pub(super) async fn fail_asked(&mut self, error: impl Into<ErrorResponse>) -> Flow {
        self.pipeline.note_error();
        self.client.emit(&Backend::ErrorResponse(error.into()));
        if self.pipeline.is_mid_sequence() {
            self.pipeline.skip(AfterFailure::BlockFailed);
        } else if self.transaction.is_in_block()
            && let Some(attached) = self.attachment.get()
        {
            self.transaction.status = attached.backend.fail_block().await?;
        }
        Ok(())
    }
}
