//! Holding a chat's lock, from the open turn to the end of its reply. The lock is a lease, and
//! every checkpoint renews it: a beat of one statement, which also stores what is new of the reply
//! and tells whether the lock is still held. Beats go on while the model is silent, so that a lock
//! without them is that of a writer which is gone.
//!
//! Lifecycle: waiting → due → a checkpoint under way → waiting, until the lock is lost or the reply
//! ends.

use std::pin::Pin;
use std::time::Duration;

use chat_store::{Held, LEASE, Reply, SoFar, microseconds};
use dsql::Dsql;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::context::estimate_bytes;
use crate::draft::Draft;

/// Longest time between two beats: a lease survives two that fail.
const BEAT: Duration = Duration::from_secs(2);
/// A checkpoint that takes longer is given up; the next one stores as much.
const LIMIT: Duration = Duration::from_secs(3);
/// After one that failed.
const RETRY: Duration = Duration::from_millis(500);
/// As many new bytes are stored before the interval is over.
const MIN_UNSAVED_BYTES: usize = 2 * 1024;
/// Every checkpoint stores the whole reply again: the interval doubles with as many bytes.
const STRETCH_BYTES: usize = 32 * 1024;

const _: () = assert!(
    BEAT.as_secs() + LIMIT.as_secs() < LEASE.as_secs(),
    "one lost beat does not cost the lock"
);

type Checkpoint = Pin<Box<dyn Future<Output = Result<Held, dsql::Error>> + Send>>;

/// The lock of a reply that is being written here.
pub(crate) struct Lock {
    dsql: Dsql,
    reply: Reply,
    /// Between two checkpoints of a short reply.
    interval: Duration,
    /// Tokens of the conversation, roughly.
    input_tokens: u64,
    under_way: Option<Checkpoint>,
    next: Pin<Box<Sleep>>,
    /// From then on a beat stores what is new.
    store_at: Instant,
    /// Bytes of the reply that the checkpoint under way stores, and that were stored. The first one
    /// stores a reply without a word too: it notes what was read.
    storing: Option<usize>,
    stored: Option<usize>,
}

/// What a lock's owner has to attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// A checkpoint is due.
    Due,
    /// One has ended, and the lock is held, as far as is known.
    Done,
    /// The lock is lost.
    Lost(Held),
}

impl Lock {
    /// A lock that was just taken.
    pub(crate) fn new(dsql: Dsql, reply: Reply, interval: Duration, input_tokens: u64) -> Self {
        Self {
            dsql,
            reply,
            interval,
            input_tokens,
            under_way: None,
            next: Box::pin(sleep(interval.min(BEAT))),
            store_at: Instant::now() + interval,
            storing: None,
            stored: None,
        }
    }

    /// Waits for the next thing to attend to.
    ///
    /// # Cancel safety
    /// A wait that is dropped loses nothing: the checkpoint under way goes on with the next one.
    pub(crate) async fn beat(&mut self) -> Beat {
        let Some(checkpoint) = &mut self.under_way else {
            self.next.as_mut().await;
            return Beat::Due;
        };
        let held = checkpoint.await;
        self.under_way = None;
        let mut pause = BEAT;
        match held {
            Ok(Held::Yes) => self.stored = self.storing.or(self.stored),
            Ok(lost) => return Beat::Lost(lost),
            Err(error) => {
                pause = RETRY;
                tracing::warn!(
                    error.cause = error.report(),
                    "a checkpoint failed, the next one stores as much"
                );
            }
        }
        let now = Instant::now();
        if self.store_at <= now {
            let bytes = self.stored.unwrap_or_default();
            let stretch = u32::try_from(bytes / STRETCH_BYTES).unwrap_or(u32::MAX);
            self.store_at = now + self.interval.saturating_mul(stretch.saturating_add(1));
        }
        self.next.as_mut().reset(self.store_at.min(now + pause));
        Beat::Done
    }

    /// Begins a checkpoint: of what is new in `draft`, if its time has come, and of the lease.
    pub(crate) fn store(&mut self, draft: &Draft) {
        let bytes = draft.bytes();
        let is_new = self.stored.is_none_or(|stored| bytes > stored);
        self.storing = (is_new && self.store_at <= Instant::now()).then_some(bytes);
        let so_far = self.storing.map(|_| {
            let tokens = |n| i64::try_from(n).unwrap_or(i64::MAX);
            let (read, written) = (tokens(self.input_tokens), tokens(estimate_bytes(bytes)));
            (draft.parts().to_string(), read, written)
        });
        let now = self.dsql.clock().now();
        let db = self.dsql.until(now + LIMIT);
        let reply = self.reply.clone();
        self.under_way = Some(Box::pin(async move {
            let so_far = so_far.as_ref().map(|(parts, read, written)| SoFar {
                parts,
                input_tokens: *read,
                output_tokens: *written,
            });
            chat_store::replies::checkpoint(&db, &reply, so_far, microseconds(now)).await
        }));
    }

    /// Takes note of a reply that has grown: many new bytes do not wait for the interval.
    pub(crate) fn grown_to(&mut self, bytes: usize) {
        let stored = self.stored.unwrap_or_default();
        if self.under_way.is_none() && bytes - stored > MIN_UNSAVED_BYTES.max(stored / 4) {
            self.store_at = Instant::now();
            self.next.as_mut().reset(self.store_at);
        }
    }

    /// Takes note of what a further step of the reply reads.
    pub(crate) fn reads(&mut self, input_tokens: u64) {
        self.input_tokens += input_tokens;
    }

    /// Waits for the checkpoint under way, so long: the statement that ends the reply had better
    /// not meet it as a conflict.
    pub(crate) async fn settle(&mut self, at_most: Duration) {
        if let Some(checkpoint) = self.under_way.take() {
            let _ = timeout(at_most, checkpoint).await;
        }
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lock")
            .field("reply", &self.reply)
            .finish_non_exhaustive()
    }
}
