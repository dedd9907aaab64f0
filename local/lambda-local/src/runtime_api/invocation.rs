//! Owns one invocation: what was asked, how far it got, and how it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

/// How an invocation ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A buffered answer, as posted.
    Response(Bytes),
    /// A streamed answer, complete or cut.
    Streamed(Streamed),
    /// The function reported an error, or died: then the type is `Runtime.ExitError`, as on Lambda.
    FunctionError {
        /// `errorType` of the report.
        error_type: String,
        /// `errorMessage` of the report.
        message: String,
    },
    /// The deadline passed before an answer.
    TimedOut,
}

#[expect(
    clippy::panic,
    reason = "for tests, as `unwrap` is: another end is the test's failure"
)]
impl Outcome {
    /// The buffered answer.
    ///
    /// # Panics
    /// When it ended any other way.
    pub fn response(self) -> Bytes {
        match self {
            Self::Response(body) => body,
            other => panic!("expected a buffered answer, got {other:?}"),
        }
    }

    /// The streamed answer.
    ///
    /// # Panics
    /// When it ended any other way.
    pub fn streamed(self) -> Streamed {
        match self {
            Self::Streamed(streamed) => streamed,
            other => panic!("expected a streamed answer, got {other:?}"),
        }
    }
}

/// A streamed answer.
#[derive(Debug, Clone, Default)]
pub struct Streamed {
    /// `{statusCode, headers, cookies}`; null when the stream had none or was cut inside it.
    pub prelude: Value,
    /// The body in the pieces in which it arrived.
    pub chunks: Vec<Chunk>,
    /// Whether the function ended the body; false when its connection broke.
    pub is_complete: bool,
    /// `Lambda-Runtime-Function-Error-Type`, when the function sent it after the body.
    pub error_type: Option<String>,
}

impl Streamed {
    /// The whole body.
    pub fn body(&self) -> Bytes {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.data.iter().copied())
            .collect()
    }

    /// HTTP status of the prelude.
    pub fn status(&self) -> Option<u64> {
        self.prelude.get("statusCode")?.as_u64()
    }
}

/// A piece of a streamed body.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// When it arrived, counted from the moment the function got the event.
    pub at: Duration,
    /// The bytes.
    pub data: Bytes,
}

/// How far an invocation got.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) dispatched: Option<Instant>,
    pub(super) is_streaming: bool,
    pub(super) streamed: Streamed,
    pub(super) outcome: Option<Outcome>,
}

/// The server's side of an invocation.
#[derive(Debug)]
pub(super) struct Invoked {
    pub(super) id: String,
    pub(super) event: Bytes,
    pub(super) timeout: Duration,
    pub(super) progress: watch::Sender<Progress>,
}

impl Invoked {
    pub(super) fn new(id: String, event: Bytes, timeout: Duration) -> Self {
        Self {
            id,
            event,
            timeout,
            progress: watch::Sender::default(),
        }
    }

    /// A worker has it.
    #[expect(
        clippy::disallowed_methods,
        reason = "measures a real process by the machine's clock"
    )]
    pub(super) fn dispatch(&self) {
        self.progress
            .send_modify(|progress| progress.dispatched = Some(Instant::now()));
    }

    /// The first end counts.
    pub(super) fn finish(&self, outcome: Outcome) {
        self.progress.send_modify(|progress| {
            progress.outcome.get_or_insert(outcome);
        });
    }

    /// Ends a streamed answer with what has arrived.
    pub(super) fn finish_stream(&self, is_complete: bool, error_type: Option<String>) {
        self.progress.send_modify(|progress| {
            progress.streamed.is_complete = is_complete;
            progress.streamed.error_type = error_type;
            let streamed = progress.streamed.clone();
            progress.outcome.get_or_insert(Outcome::Streamed(streamed));
        });
    }

    pub(super) fn set_prelude(&self, prelude: Value) {
        self.progress
            .send_modify(|progress| progress.streamed.prelude = prelude);
    }

    pub(super) fn push_chunk(&self, data: Bytes) {
        self.progress.send_modify(|progress| {
            let start = progress.dispatched;
            let at = start.map(|start| start.elapsed()).unwrap_or_default();
            progress.streamed.chunks.push(Chunk { at, data });
        });
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.progress.borrow().is_streaming
    }
}

/// An invocation on its way. Dropping it is a caller that left: the function is not told and runs
/// on.
#[derive(Debug)]
pub struct Invocation {
    invoked: Arc<Invoked>,
    progress: watch::Receiver<Progress>,
    chunks_seen: usize,
}

impl Invocation {
    pub(super) fn new(invoked: Arc<Invoked>) -> Self {
        let progress = invoked.progress.subscribe();
        Self {
            invoked,
            progress,
            chunks_seen: 0,
        }
    }

    /// The request id the function was given.
    pub fn request_id(&self) -> &str {
        &self.invoked.id
    }

    /// Waits until a worker of the function has the event.
    pub async fn dispatched(&mut self) {
        self.wait_for(|progress| progress.dispatched.is_some() || progress.outcome.is_some())
            .await;
    }

    /// Waits for the prelude of a streamed answer. `None`: the invocation ended without one.
    pub async fn prelude(&mut self) -> Option<Value> {
        self.wait_for(|progress| {
            !progress.streamed.prelude.is_null() || progress.outcome.is_some()
        })
        .await;
        Some(self.progress.borrow().streamed.prelude.clone()).filter(|prelude| !prelude.is_null())
    }

    /// Waits for the next piece of a streamed body. `None`: the invocation ended.
    pub async fn chunk(&mut self) -> Option<Chunk> {
        let seen = self.chunks_seen;
        self.wait_for(|progress| {
            progress.streamed.chunks.len() > seen || progress.outcome.is_some()
        })
        .await;
        let chunk = self.progress.borrow().streamed.chunks.get(seen).cloned();
        self.chunks_seen += usize::from(chunk.is_some());
        chunk
    }

    /// Waits for the end.
    pub async fn outcome(mut self) -> Outcome {
        self.wait_for(|progress| progress.outcome.is_some()).await;
        let progress = self.progress.borrow();
        progress.outcome.clone().unwrap_or(Outcome::TimedOut)
    }

    async fn wait_for(&mut self, condition: impl FnMut(&Progress) -> bool) {
        // The sender lives in `invoked`, so waiting cannot fail.
        let _ = self.progress.wait_for(condition).await;
    }
}

/// A second look at an invocation, for the watchdog of its deadline.
#[derive(Debug)]
pub(crate) struct Watched {
    request_id: String,
    progress: watch::Receiver<Progress>,
}

impl Invocation {
    pub(crate) fn watch(&self) -> Watched {
        Watched {
            request_id: self.invoked.id.clone(),
            progress: self.progress.clone(),
        }
    }
}

impl Watched {
    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(crate) async fn dispatched(&mut self) {
        let _ = self
            .progress
            .wait_for(|progress| progress.dispatched.is_some())
            .await;
    }

    pub(crate) async fn ended(&mut self) {
        let _ = self
            .progress
            .wait_for(|progress| progress.outcome.is_some())
            .await;
    }
}
