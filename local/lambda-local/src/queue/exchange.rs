//! The requests of senders and receivers, and their answers.

use std::time::Duration;

/// A queue of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueueId(usize);

impl QueueId {
    pub(super) fn at(place: usize) -> Self {
        Self(place)
    }

    pub(super) fn place(self) -> usize {
        self.0
    }
}

/// What a sender learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The same at every receive.
    pub message_id: String,
    /// MD5 of the body, in hex.
    pub md5_of_body: String,
    /// MD5 of the attributes, in hex; absent without any.
    pub md5_of_attributes: Option<String>,
}

/// How to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receive {
    /// Most messages.
    pub limit: usize,
    /// How long nobody else sees them; the queue's own when absent.
    pub visibility: Option<Duration>,
    /// How long to wait for the first.
    pub wait: Duration,
}
