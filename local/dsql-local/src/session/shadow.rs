//! A conflict that PostgreSQL reports at a statement, and DSQL at COMMIT: the transaction goes on
//! until then.
//!
//! 1. Two statements that ran and waited for each other: the one that PostgreSQL gave up is done
//!    again.
//! 2. A row that was changed since the transaction's snapshot, or a key that was added since: the
//!    transaction has lost. What it did, and what it still does, is done on copies of its tables as
//!    its snapshot shows them, which hide the tables themselves from it. A key that the snapshot
//!    has fails there as well.
//!
//! Where that is not possible, the statement fails as PostgreSQL said.

use std::collections::BTreeSet;

use super::client;
use super::transaction::Conflict;
use super::usage::TransactionUsage;
use super::wiring::{Flow, Session};
use crate::wire::{Frontend, TransactionStatus};

/// Copies those of the named tables, and of those in the bodies of named functions, that a name
/// without a schema means.
const SHADOW: &str = "SELECT pg_catalog.dsql_shadow(c.oid) FROM pg_catalog.pg_class c \
     WHERE c.relname::text IN (SELECT pg_catalog.dsql_words($1)) AND c.relkind = 'r' AND c.relpersistence = 'p' \
     AND pg_catalog.pg_table_is_visible(c.oid) AND c.relnamespace <> 'pg_catalog'::pg_catalog.regnamespace";

/// Where a session stood before a flight.
pub(super) struct Mark {
    status: TransactionStatus,
    kept: usize,
    usage: TransactionUsage,
    answers: client::Mark,
}

impl Session<'_> {
    pub(super) fn mark(&self) -> Mark {
        Mark {
            status: self.transaction.status,
            kept: self.transaction.block.history.len(),
            usage: self.transaction.block.usage.clone(),
            answers: self.client.mark(),
        }
    }

    /// After a flight that met a conflict: executes it again, with another answer, if the client
    /// has read none of it.
    pub(super) async fn go_on(
        &mut self,
        conflict: Conflict,
        mark: Mark,
        messages: &[Frontend],
    ) -> Flow {
        let is_whole = matches!(messages.last(), Some(Frontend::Query(_) | Frontend::Sync));
        if mark.status != TransactionStatus::InBlock
            || !is_whole
            || !self.client.can_take_back(mark.answers)
            || !self.transaction.has_failed()
            || !self.transaction.block.can_replay()
        {
            return Ok(());
        }
        self.transaction.block.history.truncate(mark.kept);
        *self.transaction.usage() = mark.usage;
        let goes_on = match conflict {
            Conflict::Changed | Conflict::Key => self.shadow(messages).await?,
            Conflict::Deadlock => {
                if let Some(attached) = self.attachment.get() {
                    attached.backend.take_back().await?;
                }
                self.replay().await? || self.shadow(messages).await?
            }
        };
        if goes_on {
            self.client.take_back(mark.answers);
            self.execute_all(messages).await?;
            self.transaction.take_conflict();
        } else if let Some(attached) = self.attachment.get() {
            self.transaction.status = attached.backend.fail_block().await?;
        }
        Ok(())
    }

    /// Takes back what the block did and does it again on copies of its tables; whether that
    /// worked.
    pub(super) async fn shadow(&mut self, messages: &[Frontend]) -> Flow<bool> {
        if !self.transaction.block.can_replay() {
            return Ok(false);
        }
        let names = self.names(messages);
        let Some(attached) = self.attachment.get() else {
            return Ok(false);
        };
        attached.backend.take_back().await?;
        let waiting = attached.registration.wait();
        let status = attached.backend.run_with(SHADOW, &names).await?;
        drop(waiting);
        if status != TransactionStatus::InBlock || !self.replay().await? {
            return Ok(false);
        }
        self.transaction.block.shadow();
        Ok(true)
    }

    /// All words, among them the names of tables, in what the block did and is about to do.
    fn names(&self, messages: &[Frontend]) -> String {
        let bound = messages.iter().filter_map(|message| match message {
            Frontend::Bind(bind) => {
                let prepared = self.pipeline.prepared(&bind.statement)?;
                Some(prepared.parse.sql.as_str())
            }
            _ => None,
        });
        let sent = messages.iter().filter_map(Frontend::sql);
        let kept = self.transaction.block.history.texts();
        let mut names = BTreeSet::new();
        for text in kept.chain(sent).chain(bound) {
            let words = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$')));
            for word in words.filter(|word| !word.is_empty()) {
                names.insert(word.to_owned());
                names.insert(word.to_lowercase());
            }
        }
        names.into_iter().collect::<Vec<_>>().join(" ")
    }
}
