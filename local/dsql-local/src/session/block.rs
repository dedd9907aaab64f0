//! The open transaction block, and how it steps aside for another session and tries again.
//!
//! 1. What a block does is done behind a guard (a savepoint), and every statement of it is kept with a digest of its answer.
//! 2. Whoever is waited for while its client is idle takes back what it did: its locks are gone, its snapshot stays.
//! 3. Before its next statement, or COMMIT, the kept statements run again on the same snapshot. If an answer differs from the
//!    one the client had, or a transaction that it stepped aside for was committed, it has lost: 40001 OC000.

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::usage::TransactionUsage;
use super::{Flow, Prepared, Sequence, Session, answer};
use crate::backend::Backend;
use crate::conflict;
use crate::lock_waits::{CommitState, Obstacle, Registration, Request};
use crate::server::Server;
use crate::statement::{Kind, Statement};
use crate::wire::{
    ErrorAnswer, Message, TransactionStatus, error_field, strings, take_cstr, take_text,
};

/// What is kept of a block at most; a longer one loses when it has to step aside.
const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;
/// How often a block is tried again when it and another one wait for each other.
const MAX_ATTEMPTS: usize = 20;
/// Name of the prepared statement that the front binds a kept portal to.
const AGAIN: &str = "dsql_local_again";

/// One message to send again.
enum Kept {
    /// A simple query, an execution, or the close of a portal.
    Plain(Message),
    /// A portal with the statement that it was bound to, which may be another by now.
    Bind { parse: Message, bind: Message },
}

impl Kept {
    fn queue(&self, backend: &mut Backend) {
        match self {
            Self::Plain(message) => {
                backend.queue(message);
                if message.tag == b'Q' {
                    return;
                }
            }
            Self::Bind { parse, bind } => {
                let mut body = parse.body.clone();
                take_cstr(&mut body);
                let mut again = BytesMut::from(&strings([AGAIN])[..]);
                again.put_slice(&body);
                backend.queue(&Message::new(b'P', again));
                let mut body = bind.body.clone();
                let mut again = BytesMut::from(&take_cstr(&mut body).unwrap_or_default()[..]);
                again.put_u8(0);
                take_cstr(&mut body);
                again.put_slice(&strings([AGAIN]));
                again.put_slice(&body);
                backend.queue(&Message::new(b'B', again));
                let mut close = BytesMut::from(&b"S"[..]);
                close.put_slice(&strings([AGAIN]));
                backend.queue(&Message::new(b'C', close));
            }
        }
        backend.queue(&Message::new(b'S', Bytes::new()));
    }
}

struct Entry {
    kept: Kept,
    digest: DefaultHasher,
}

/// Feeds a digest with what a client may compare: rows, and how a command ended.
fn feed(digest: &mut DefaultHasher, message: &Message) {
    if matches!(message.tag, b'D' | b'C' | b'I' | b's') {
        digest.write_u8(message.tag);
        digest.write(&message.body);
    }
}

/// What is known of the open transaction.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
pub(super) struct Block {
    entries: Vec<Entry>,
    kept_bytes: usize,
    /// Something of it cannot be sent again.
    is_cut: bool,
    pub(super) is_guarded: bool,
    /// A statement of it read or wrote.
    pub(super) has_run: bool,
    pub(super) changes_catalog: bool,
    /// It stepped aside, for these.
    aside: Option<Vec<Arc<CommitState>>>,
    /// It has lost, and goes on until its COMMIT on copies of its tables (`shadow`).
    pub(super) is_shadowed: bool,
    /// It has lost; the answer to whatever comes.
    pub(super) lost: Option<ErrorAnswer>,
    /// What it has done, by which the rules for transactions are kept.
    pub(super) usage: TransactionUsage,
}

impl Block {
    /// Keeps a message and says where.
    fn keep(&mut self, kept: Kept, bytes: usize) -> Option<usize> {
        self.kept_bytes += bytes + size_of::<Entry>();
        if self.kept_bytes > MAX_KEPT_BYTES {
            self.cut();
        }
        if self.is_cut {
            return None;
        }
        self.entries.push(Entry {
            kept,
            digest: DefaultHasher::new(),
        });
        Some(self.entries.len() - 1)
    }

    pub(super) fn keep_plain(&mut self, message: &Message) -> Option<usize> {
        self.keep(Kept::Plain(message.clone()), message.body.len())
    }

    pub(super) fn keep_bind(&mut self, prepared: &Prepared, bind: &Message) {
        let kept = Kept::Bind {
            parse: prepared.parse.clone(),
            bind: bind.clone(),
        };
        self.keep(kept, bind.body.len() + prepared.parse.body.len());
    }

    /// How much is kept.
    pub(super) fn kept(&self) -> usize {
        self.entries.len()
    }

    /// Forgets what was kept after that.
    pub(super) fn truncate(&mut self, kept: usize) {
        self.entries.truncate(kept);
    }

    /// Whether what was done since the guard can be done again.
    pub(super) fn can_repeat(&self) -> bool {
        self.is_guarded && !self.is_cut && self.lost.is_none() && !self.is_shadowed
    }

    /// The texts of what is kept.
    pub(super) fn texts(&self) -> impl Iterator<Item = &Message> {
        self.entries.iter().map(|entry| match &entry.kept {
            Kept::Plain(message) => message,
            Kept::Bind { parse, .. } => parse,
        })
    }

    /// What was done cannot be sent again.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
        self.entries = Vec::new();
    }

    pub(super) fn feed(&mut self, at: Option<usize>, message: &Message) {
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            feed(&mut entry.digest, message);
        }
    }

    fn conflict(&self, obstacle: Obstacle) -> ErrorAnswer {
        if obstacle == Obstacle::Catalog || self.changes_catalog {
            conflict::schema()
        } else {
            conflict::data()
        }
    }

    fn lose(&mut self, obstacle: Obstacle) {
        if self.lost.is_none() {
            self.lost = Some(self.conflict(obstacle));
        }
        self.aside = None;
        self.cut();
    }
}

/// How sending everything again ended.
enum Again {
    Same,
    Differs,
    /// It and another one waited for each other.
    Deadlock,
}

impl Session<'_> {
    /// The transaction is over.
    pub(super) fn end_transaction(&mut self, is_committed: bool) {
        if let Some(party) = &self.party {
            party.ended(is_committed);
        }
        if is_committed && self.block.changes_catalog {
            self.schema = self.server.schema.change(self.schema);
        }
        if is_committed && self.block.usage.has_job {
            self.server.jobs.wake();
        }
        self.block = Block::default();
    }

    /// Steps aside for a session that waits, while nothing of the client's is under way.
    pub(super) async fn step_aside(&mut self, request: Request) -> Flow {
        if self.is_mid_sequence && self.sequence == Sequence::Runs {
            let answer = self.block.conflict(request.obstacle);
            self.server.counters.steps_aside.add_one();
            self.fail_sequence(answer, false).await?;
            if let Some(party) = &self.party {
                party.yielded();
            }
            return self.flush().await;
        }
        let Some(backend) = &mut self.backend else {
            return Ok(());
        };
        match self.status {
            // Until the Sync that PostgreSQL waits for, nothing can be done.
            _ if self.is_mid_sequence => return Ok(()),
            TransactionStatus::Idle => return Ok(()),
            // What was parsed before the error still holds its tables.
            TransactionStatus::Failed => {
                backend.begin_anew().await?;
                self.status = backend.fail_block().await?;
            }
            TransactionStatus::InBlock => {
                // Who reads or writes a table that is about to change can only start again.
                let is_stale = request.obstacle == Obstacle::Catalog && !self.block.changes_catalog;
                let can_repeat = self.block.can_repeat() && self.block.aside.is_none();
                if can_repeat && !is_stale {
                    self.status = backend.step_aside().await?;
                    self.block.aside = Some(request.by);
                } else {
                    self.status = backend.begin_anew().await?;
                    self.block.lose(request.obstacle);
                }
            }
        }
        self.server.counters.steps_aside.add_one();
        if let Some(party) = &self.party {
            party.yielded();
        }
        Ok(())
    }

    /// Waits for `pause` to end, and steps aside meanwhile.
    pub(super) async fn pause(&mut self, pause: impl Future<Output = ()>) -> Flow {
        let mut pause = pin!(pause);
        loop {
            let Some(party) = &self.party else {
                pause.await;
                return Ok(());
            };
            let request = tokio::select! {
                () = &mut pause => return Ok(()),
                request = party.requested() => request,
            };
            self.step_aside(request).await?;
        }
    }

    /// Before a flight of messages is executed: does again what was taken back.
    pub(super) async fn come_back(&mut self, messages: &[Message]) -> Flow {
        if let Some(request) = self.party.as_ref().and_then(Registration::take_request) {
            self.step_aside(request).await?;
        }
        let kind = first_kind(messages);
        if self.block.aside.is_none() || kind == Some(Kind::Rollback) {
            return Ok(());
        }
        self.server.counters.repeats.add_one();
        let others = self.block.aside.take().unwrap_or_default();
        let may_win = !others.iter().any(|other| other.is_committed());
        if (may_win && self.repeat().await?)
            || (kind != Some(Kind::Commit) && self.shadow(messages).await?)
        {
            return Ok(());
        }
        if let Some(backend) = &mut self.backend {
            self.status = backend.begin_anew().await?;
        }
        self.block.lose(Obstacle::Row);
        self.prepare_unnamed_again().await
    }

    /// Does again, after it was taken back, what the block did. Whether the answers are the same.
    pub(super) async fn repeat(&mut self) -> Flow<bool> {
        let Some(backend) = &mut self.backend else {
            return Ok(false);
        };
        for _ in 0..MAX_ATTEMPTS {
            match again(self.server, backend, &mut self.block.entries).await? {
                Again::Same => {
                    self.status = TransactionStatus::InBlock;
                    self.prepare_unnamed_again().await?;
                    return Ok(true);
                }
                Again::Differs => return Ok(false),
                Again::Deadlock => {
                    backend.step_aside().await?;
                }
            }
        }
        Ok(false)
    }

    /// A simple query that was sent again took the client's unnamed statement away.
    async fn prepare_unnamed_again(&mut self) -> Flow {
        if let Some(prepared) = self.statements.get(&b""[..])
            && let Some(backend) = &mut self.backend
        {
            backend.queue(&prepared.parse);
            backend.queue(&Message::new(b'S', Bytes::new()));
            while answer(self.server, backend).await?.tag != b'Z' {}
        }
        Ok(())
    }
}

/// What a flight begins with, as far as its first message tells.
fn first_kind(messages: &[Message]) -> Option<Kind> {
    let message = messages.first()?;
    if message.tag == b'X' {
        return Some(Kind::Rollback);
    }
    Statement::judge(&text_of(message)?).kinds.first().copied()
}

/// The SQL of a simple query or a Parse.
pub(super) fn text_of(message: &Message) -> Option<String> {
    let mut body = message.body.clone();
    match message.tag {
        b'Q' => {}
        b'P' => drop(take_cstr(&mut body)?),
        _ => return None,
    }
    take_text(&mut body)
}

/// Sends everything again and compares the answers.
async fn again(server: &Server, backend: &mut Backend, entries: &mut [Entry]) -> io::Result<Again> {
    for entry in entries {
        entry.kept.queue(backend);
        let mut digest = DefaultHasher::new();
        let mut failure = None;
        loop {
            let message = answer(server, backend).await?;
            feed(&mut digest, &message);
            match message.tag {
                b'E' if error_field(&message, b'C') == Some(b"40P01") => {
                    failure = Some(Again::Deadlock);
                }
                b'E' => failure = Some(Again::Differs),
                b'Z' => break,
                _ => {}
            }
        }
        if let Some(failure) = failure {
            return Ok(failure);
        }
        if digest.finish() != entry.digest.finish() {
            return Ok(Again::Differs);
        }
    }
    Ok(Again::Same)
}
