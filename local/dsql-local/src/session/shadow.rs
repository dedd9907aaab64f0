//! A conflict that PostgreSQL reports at a statement, and DSQL at COMMIT: the transaction goes on until then.
//!
//! 1. Two statements that ran and waited for each other: the one that PostgreSQL gave up is done again.
//! 2. A row that was changed since the transaction's snapshot: the transaction has lost. What it did, and what it still does, is done
//!    on copies of its tables as its snapshot shows them, which hide the tables themselves from it.
//!
//! Where that is not possible, the statement fails as PostgreSQL said.

use std::collections::BTreeSet;

use super::block::text_of;
use super::usage::TransactionUsage;
use super::{Flow, Session};
use crate::wire::{Message, TransactionStatus, error_field, take_cstr};

/// Copies those of the named tables that a name without a schema means.
const SHADOW: &str = "SELECT dsql_internal.shadow(c.oid) FROM pg_catalog.pg_class c \
     WHERE c.relname::text = ANY (pg_catalog.string_to_array($1, ' ')) AND c.relkind = 'r' AND c.relpersistence = 'p' \
     AND pg_catalog.pg_table_is_visible(c.oid) AND c.relnamespace <> 'pg_catalog'::pg_catalog.regnamespace";

/// What a statement in a block met.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    Changed,
    Deadlock,
}

impl Conflict {
    pub(super) fn of(error: &Message) -> Option<Self> {
        match error_field(error, b'C')? {
            b"40001" => Some(Self::Changed),
            b"40P01" => Some(Self::Deadlock),
            _ => None,
        }
    }
}

/// Where a session stood before a flight.
pub(super) struct Mark {
    is_in_block: bool,
    kept: usize,
    usage: TransactionUsage,
    out_bytes: usize,
    flushed_bytes: u64,
}

impl Session<'_> {
    pub(super) fn mark(&self) -> Mark {
        Mark {
            is_in_block: self.status == TransactionStatus::InBlock,
            kept: self.block.kept(),
            usage: self.block.usage.clone(),
            out_bytes: self.out.len(),
            flushed_bytes: self.flushed_bytes,
        }
    }

    /// After a flight that met a conflict: executes it again, with another answer, if the client has read none of it.
    pub(super) async fn go_on(
        &mut self,
        conflict: Conflict,
        mark: &Mark,
        messages: &[Message],
    ) -> Flow {
        let is_whole = matches!(
            messages.last(),
            Some(Message {
                tag: b'Q' | b'S',
                ..
            })
        );
        if !mark.is_in_block
            || !is_whole
            || self.flushed_bytes != mark.flushed_bytes
            || self.status != TransactionStatus::Failed
            || !self.block.can_repeat()
        {
            return Ok(());
        }
        self.block.truncate(mark.kept);
        self.block.usage = mark.usage.clone();
        let goes_on = match conflict {
            Conflict::Changed => self.shadow(messages).await?,
            Conflict::Deadlock => {
                if let Some(backend) = &mut self.backend {
                    backend.step_aside().await?;
                }
                self.repeat().await? || self.shadow(messages).await?
            }
        };
        if goes_on {
            self.out.truncate(mark.out_bytes);
            self.execute_all(messages).await?;
            self.conflict = None;
        } else if let Some(backend) = &mut self.backend {
            self.status = backend.fail_block().await?;
        }
        Ok(())
    }

    /// Takes back what the block did and does it again on copies of its tables; whether that worked.
    pub(super) async fn shadow(&mut self, messages: &[Message]) -> Flow<bool> {
        let names = self.names(messages);
        let Some(backend) = &mut self.backend else {
            return Ok(false);
        };
        if !self.block.can_repeat() {
            return Ok(false);
        }
        backend.step_aside().await?;
        let waiting = self.server.lock_waits.wait();
        let status = backend.run_with(SHADOW, Some(&names)).await?;
        drop(waiting);
        if status != TransactionStatus::InBlock {
            return Ok(false);
        }
        self.block.is_shadowed = self.repeat().await?;
        Ok(self.block.is_shadowed)
    }

    /// All words, among them the names of tables, in what the block did and is about to do.
    fn names(&self, messages: &[Message]) -> String {
        let bound = messages.iter().filter(|message| message.tag == b'B');
        let bound = bound.filter_map(|message| {
            let mut body = message.body.clone();
            take_cstr(&mut body);
            let prepared = self.statements.get(&take_cstr(&mut body)?)?;
            Some(&prepared.parse)
        });
        let mut names = BTreeSet::new();
        for text in self
            .block
            .texts()
            .chain(messages)
            .chain(bound)
            .filter_map(text_of)
        {
            let words = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$')));
            for word in words.filter(|word| !word.is_empty()) {
                names.insert(word.to_owned());
                names.insert(word.to_lowercase());
            }
        }
        names.into_iter().collect::<Vec<_>>().join(" ")
    }
}
