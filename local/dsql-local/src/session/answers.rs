//! The answers of PostgreSQL: matched with what was sent, and passed on.

use bytes::Bytes;

use super::rules::is_no_job;
use super::shadow::Conflict;
use super::{End, Expected, FLUSH_BYTES, Flow, Sequence, Session, answer};
use crate::conflict;
use crate::schema;
use crate::statement::{Statement, Verdict};
use crate::wire::{Message, TransactionStatus, strings};

impl Session<'_> {
    /// Receives the answers to all that was forwarded, also in the middle of a sequence.
    pub(super) async fn catch_up(&mut self) -> Flow {
        if !self.expected.is_empty()
            && let Some(backend) = &mut self.backend
        {
            backend.queue(&Message::new(b'H', Bytes::new()));
        }
        self.receive().await
    }

    /// Receives the answers to all that was forwarded, at the end of a flight.
    pub(super) async fn drain(&mut self) -> Flow {
        match self.expected.back() {
            None => Ok(()),
            Some(Expected::Sync { .. } | Expected::Query { .. }) => self.receive().await,
            Some(_) => self.catch_up().await,
        }
    }

    pub(super) async fn receive(&mut self) -> Flow {
        while !self.expected.is_empty() {
            if self.out.len() > FLUSH_BYTES {
                self.flush().await?;
            }
            let Some(backend) = &mut self.backend else {
                return Ok(());
            };
            let message = answer(self.server, backend).await?;
            self.receive_one(message).await?;
        }
        Ok(())
    }

    async fn receive_one(&mut self, mut message: Message) -> Flow {
        let Some(first) = self.expected.front_mut() else {
            return Ok(());
        };
        if let Expected::Guard(left) = first
            && message.tag != b'E'
        {
            *left -= u8::from(matches!(message.tag, b'1' | b'2' | b'3' | b'C'));
            if *left == 0 {
                self.expected.pop_front();
                self.block.is_guarded = true;
            }
            return Ok(());
        }
        let mut is_held_back = false;
        if let Some(statement) = first.statement() {
            let statement = statement.clone();
            is_held_back = message.tag == b'C' && self.must_look(&statement);
            if message.tag == b'C' && self.is_over_limit(&statement, &message) {
                // The front answers an error in its place.
                if matches!(self.expected.front(), Some(Expected::Execute { .. })) {
                    self.expected.pop_front();
                }
                return Ok(());
            }
            if message.tag == b'D' && is_no_job(&statement, &message) {
                return Ok(());
            }
        }
        let Some(first) = self.expected.front_mut() else {
            return Ok(());
        };
        self.block.feed(first.kept(), &message);
        if message.tag == b'E' {
            self.has_failed = true;
            if self.status == TransactionStatus::InBlock && first.kept().is_some() {
                self.conflict = Conflict::of(&message);
            }
            message = conflict::translate(message);
        }
        let is_answered = match (message.tag, first) {
            (b'1', Expected::Parse)
            | (b'2', Expected::Bind)
            | (b'3', Expected::Close)
            | (b'T' | b'n', Expected::Describe)
            | (b'I' | b's', Expected::Execute { .. })
            | (
                b'C',
                Expected::Execute {
                    statement: None, ..
                },
            ) => true,
            (
                b'C',
                Expected::Execute {
                    statement: Some(statement),
                    ..
                },
            ) => {
                message = retag(message, statement);
                self.status = status_after(self.status, &message);
                self.completed(&message);
                true
            }
            (b'C', Expected::Query { statement, .. }) => {
                message = retag(message, statement);
                self.completed(&message);
                false
            }
            (b'G', _) => {
                self.block.cut();
                self.emit(&message);
                return self.copy_in().await;
            }
            (b'E', Expected::Query { .. } | Expected::Sync { .. }) => false,
            (b'E', _) => {
                self.fail_expected();
                false
            }
            (b'Z', _) => return self.ready(message).await,
            _ => false,
        };
        if is_answered {
            self.expected.pop_front();
        }
        if is_held_back {
            self.held_back = Some(message);
        } else {
            self.emit(&message);
        }
        Ok(())
    }

    /// What a command's end means for the transaction.
    fn completed(&mut self, complete: &Message) {
        match complete.body.strip_suffix(b"\0") {
            Some(b"COMMIT") => self.end_transaction(true),
            Some(b"ROLLBACK") => self.end_transaction(false),
            Some(b"BEGIN" | b"START TRANSACTION") => {
                self.block.usage.began_at = Some(self.server.clock.now());
            }
            _ => self.block.changes_catalog |= schema::is_change(&complete.body),
        }
    }

    /// PostgreSQL skips what follows an error until Sync.
    fn fail_expected(&mut self) {
        while let Some(expected) = self.expected.front() {
            if matches!(expected, Expected::Sync { .. }) {
                return;
            }
            self.expected.pop_front();
        }
        self.sequence = Sequence::Skips { rolls_back: false };
    }

    async fn ready(&mut self, message: Message) -> Flow {
        if self.is_wrapped {
            self.expected.pop_front();
            return Ok(());
        }
        self.status = TransactionStatus::parse(message.body.first().copied().unwrap_or_default());
        let expected = self.expected.pop_front();
        if let Some(Expected::Sync { rolls_back: true }) = expected
            && let Some(backend) = &mut self.backend
        {
            self.status = backend.roll_back().await?;
            self.end_transaction(false);
        }
        let has_failed = self.has_failed;
        self.has_failed &= self.holds_ready;
        if self.status == TransactionStatus::Idle {
            self.end_transaction(!has_failed);
        }
        if matches!(expected, Some(Expected::Query { is_head: true, .. })) && !has_failed
            || self.holds_ready
        {
            return Ok(());
        }
        self.emit(&self.status.ready_for_query());
        Ok(())
    }

    /// Passes a COPY's data on until it ends or PostgreSQL objects.
    async fn copy_in(&mut self) -> Flow {
        self.flush().await?;
        if self.has_copy_end {
            return Ok(());
        }
        self.has_copied = true;
        // PostgreSQL ignores the Sync that came before the data; another follows after it.
        if matches!(self.expected.get(1), Some(Expected::Sync { .. })) {
            self.expected.remove(1);
        }
        let (Some(backend), Some(party)) = (&mut self.backend, &self.party) else {
            return Ok(());
        };
        loop {
            tokio::select! {
                _ = party.requested() => {
                    // Others do not wait for a client that takes its time; PostgreSQL answers an error.
                    backend.queue(&Message::new(b'f', strings([conflict::GIVES_WAY])));
                    backend.queue(&Message::new(b'H', Bytes::new()));
                    return Ok(());
                }
                message = self.client.next() => {
                    let Some(message) = message? else { return Err(End::Client) };
                    self.messages += 1;
                    self.server.counters.client_messages.add_one();
                    match message.tag {
                        b'd' => {
                            backend.queue(&message);
                            backend.send().await?;
                        }
                        b'S' | b'H' => {}
                        b'X' => return Err(End::Client),
                        _ => {
                            backend.queue(&message);
                            // In the extended protocol the outcome waits for a Sync that the client may send later.
                            backend.queue(&Message::new(b'H', Bytes::new()));
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

/// The command tag of a rewritten statement is that of the original.
fn retag(message: Message, statement: &Statement) -> Message {
    match &statement.verdict {
        Verdict::Rewrite { tag: Some(tag), .. } => Message::new(b'C', strings([*tag])),
        _ => message,
    }
}

/// Where a command leaves the transaction, before the next ReadyForQuery says so.
fn status_after(status: TransactionStatus, complete: &Message) -> TransactionStatus {
    match complete.body.strip_suffix(b"\0") {
        Some(b"BEGIN" | b"START TRANSACTION") => TransactionStatus::InBlock,
        Some(b"COMMIT" | b"ROLLBACK") => TransactionStatus::Idle,
        _ => status,
    }
}
