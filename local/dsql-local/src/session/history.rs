//! What the open block did, kept so that it can be replayed: every message with a digest of its
//! answer.

use std::hash::{DefaultHasher, Hasher};
use std::io;

use super::attachment::Attached;
use crate::backend::BackendConnection;
use crate::wire::{Backend, Bind, Close, Frontend, Parse, Target};

/// What is kept at most; a longer block cannot be done again.
const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;
/// Name of the prepared statement that the front binds a kept portal to.
const AGAIN: &str = "dsql_local_again";

/// One message to send again.
enum Kept {
    /// A simple query, an execution, or the close of a portal.
    Plain(Frontend),
    /// A portal with the statement that it was bound to, which may be another by now.
    Bind { parse: Parse, bind: Bind },
}

impl Kept {
    fn queue(&self, backend: &mut BackendConnection) {
        match self {
            Self::Plain(message) => {
                backend.queue(message);
                if matches!(message, Frontend::Query(_)) {
                    return;
                }
            }
            Self::Bind { parse, bind } => {
                backend.queue(&Frontend::Parse(parse.named(AGAIN)));
                backend.queue(&Frontend::Bind(bind.to(AGAIN)));
                let close = Close::new(Target::Statement, AGAIN);
                backend.queue(&Frontend::Close(close));
            }
        }
        backend.queue(&Frontend::Sync);
    }
}

pub(super) struct Entry {
    kept: Kept,
    digest: DefaultHasher,
}

/// Feeds a digest with what a client may compare: rows, and how a command ended.
fn feed(digest: &mut DefaultHasher, message: &Backend) {
    if let Some((tag, body)) = message.result() {
        digest.write_u8(tag);
        digest.write(body);
    }
}

/// How sending everything again ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    Same,
    Differs,
    /// It and another one waited for each other.
    Deadlock,
}

/// The messages of a block.
pub(super) enum History {
    Complete {
        entries: Vec<Entry>,
        bytes: usize,
    },
    /// Something of it cannot be sent again.
    Cut,
}

impl Default for History {
    fn default() -> Self {
        Self::Complete {
            entries: Vec::new(),
            bytes: 0,
        }
    }
}

impl History {
    /// Keeps a message and says where.
    fn keep(&mut self, kept: Kept, kept_bytes: usize) -> Option<usize> {
        let Self::Complete { entries, bytes } = self else {
            return None;
        };
        *bytes += kept_bytes + size_of::<Entry>();
        if *bytes > MAX_KEPT_BYTES {
            self.cut();
            return None;
        }
        entries.push(Entry {
            kept,
            digest: DefaultHasher::new(),
        });
        Some(entries.len() - 1)
    }

    pub(super) fn keep_plain(&mut self, message: &Frontend) -> Option<usize> {
        self.keep(Kept::Plain(message.clone()), message.held_bytes())
    }

    pub(super) fn keep_bind(&mut self, parse: &Parse, bind: &Bind) {
        let bytes = parse.sql.as_bytes().len() + bind.value_bytes();
        let kept = Kept::Bind {
            parse: parse.clone(),
            bind: bind.clone(),
        };
        self.keep(kept, bytes);
    }

    fn entries(&self) -> &[Entry] {
        match self {
            Self::Complete { entries, .. } => entries,
            Self::Cut => &[],
        }
    }

    /// How many messages are kept.
    pub(super) fn len(&self) -> usize {
        self.entries().len()
    }

    /// Forgets what was kept after that.
    pub(super) fn truncate(&mut self, len: usize) {
        if let Self::Complete { entries, .. } = self {
            entries.truncate(len);
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self, Self::Complete { .. })
    }

    /// What was done cannot be sent again.
    pub(super) fn cut(&mut self) {
        *self = Self::Cut;
    }

    /// The SQL of what is kept.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.entries().iter().filter_map(|entry| match &entry.kept {
            Kept::Plain(message) => message.sql(),
            Kept::Bind { parse, .. } => Some(parse.sql.as_str()),
        })
    }

    /// Takes note of an answer to the message that is kept there.
    pub(super) fn feed(&mut self, at: Option<usize>, message: &Backend) {
        if let Self::Complete { entries, .. } = self
            && let Some(entry) = at.and_then(|at| entries.get_mut(at))
        {
            feed(&mut entry.digest, message);
        }
    }

    /// Sends everything again and compares the answers.
    pub(super) async fn replay(&self, attached: &mut Attached) -> io::Result<Replay> {
        for entry in self.entries() {
            entry.kept.queue(&mut attached.backend);
            let mut digest = DefaultHasher::new();
            let mut failure = None;
            loop {
                let message = attached.answer().await?;
                feed(&mut digest, &message);
                match message {
                    Backend::ErrorResponse(error) if error.sqlstate() == Some(b"40P01") => {
                        failure = Some(Replay::Deadlock);
                    }
                    Backend::ErrorResponse(_) => failure = Some(Replay::Differs),
                    Backend::ReadyForQuery(_) => break,
                    _ => {}
                }
            }
            if let Some(failure) = failure {
                return Ok(failure);
            }
            if digest.finish() != entry.digest.finish() {
                return Ok(Replay::Differs);
            }
        }
        Ok(Replay::Same)
    }
}
