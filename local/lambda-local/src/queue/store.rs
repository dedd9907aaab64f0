//! Owns the access to the queues: finding one, and what senders and receivers do with it, waiting
//! included.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::contents::Contents;
use super::{NewMessage, QueueError, QueueId, Receive, Received, Sent};
use crate::application::Queue;
use crate::clock::{self, Clock};

/// Longest visibility timeout.
pub(super) const MAX_VISIBILITY: Duration = Duration::from_secs(43_200);

/// The queues of an application. Clones are one store; it is lost with the process.
#[derive(Debug, Clone)]
pub struct Queues(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    contents: Mutex<Contents>,
    /// Counts what may let a waiting receiver go on.
    changes: watch::Sender<u64>,
}

impl Queues {
    /// Empty queues.
    pub fn new(queues: &[Queue], clock: Clock) -> Self {
        let contents = Mutex::new(Contents::new(queues, clock.now()));
        Self(Arc::new(Inner {
            clock,
            contents,
            changes: watch::Sender::new(0),
        }))
    }

    /// The clock it goes by.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Names in the order of the template.
    pub fn names(&self) -> Vec<String> {
        let contents = self.contents();
        let names = contents.settings().map(|queue| queue.name.clone());
        names.collect()
    }

    /// The queue of this name.
    pub fn by_name(&self, name: &str) -> Option<QueueId> {
        self.position(|queue| queue.name == name)
    }

    /// The queue of this ARN.
    pub fn by_arn(&self, arn: &str) -> Option<QueueId> {
        self.position(|queue| queue.arn == arn)
    }

    /// The queue of this URL. Only the path counts (`/<account>/<name>`), so a deployed queue's URL
    /// names it as well.
    pub fn by_url(&self, url: &str) -> Option<QueueId> {
        let (_, rest) = url.split_once("://")?;
        let (_, path) = rest.split_once('/')?;
        self.position(|queue| path == url_path(queue))
    }

    /// Path of its URL, without the leading slash.
    pub(super) fn path(&self, queue: QueueId) -> Result<String, QueueError> {
        let contents = self.contents();
        let queue = contents.settings().nth(queue.place());
        queue.map(url_path).ok_or(QueueError::QueueDoesNotExist)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The message is not one that the service takes, or the store is full.
    pub fn send(&self, queue: QueueId, message: NewMessage) -> Result<Sent, QueueError> {
        message.check()?;
        let now = self.0.clock.now();
        let sent = self.contents().send(queue, message, now)?;
        self.wake();
        Ok(sent)
    }

    /// Receives messages, waiting for the first as long as it is told to.
    ///
    /// # Errors
    /// Too many messages are in flight.
    ///
    /// # Cancel safety
    /// What was received when this is dropped becomes visible again after its visibility timeout.
    pub async fn receive(
        &self,
        queue: QueueId,
        receive: Receive,
    ) -> Result<Vec<Received>, QueueError> {
        let clock = &self.0.clock;
        let deadline = clock::after(clock.now(), receive.wait);
        loop {
            // Before the look: what comes after it is not missed.
            let mut changes = self.0.changes.subscribe();
            let now = clock.now();
            let found = self.contents().receive(queue, receive, now)?;
            if found.has_moved {
                self.wake();
            }
            if !found.received.is_empty() || now >= deadline {
                return Ok(found.received);
            }
            let until = found.next.map_or(deadline, |next| next.min(deadline));
            tokio::select! {
                _ = changes.changed() => {}
                () = clock.sleep_until(until) => {}
            }
        }
    }

    /// Deletes a message. One that is gone, or was received again meanwhile, is none of the
    /// caller's any more: no error.
    ///
    /// # Errors
    /// The handle is invalid.
    pub fn delete(&self, queue: QueueId, receipt_handle: &str) -> Result<(), QueueError> {
        self.contents().delete(queue, receipt_handle)
    }

    /// Changes how long nobody else sees a message that is in flight, from now on.
    ///
    /// # Errors
    /// The handle or the time is invalid, or the message is not in flight.
    pub fn change_visibility(
        &self,
        queue: QueueId,
        receipt_handle: &str,
        visibility: Duration,
    ) -> Result<(), QueueError> {
        if visibility > MAX_VISIBILITY {
            return Err(QueueError::InvalidParameter(format!(
                "Value {} for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200.",
                visibility.as_secs()
            )));
        }
        let now = self.0.clock.now();
        self.contents()
            .change_visibility(queue, receipt_handle, visibility, now)?;
        self.wake();
        Ok(())
    }

    /// Deletes every message of a queue.
    ///
    /// # Errors
    /// The queue is of another store.
    pub fn purge(&self, queue: QueueId) -> Result<(), QueueError> {
        self.contents().purge(queue)
    }

    /// Every attribute of a queue, by name.
    ///
    /// # Errors
    /// The queue is of another store.
    pub fn attributes(&self, queue: QueueId) -> Result<BTreeMap<&'static str, String>, QueueError> {
        let now = self.0.clock.now();
        self.contents().attributes(queue, now)
    }

    fn position(&self, is_it: impl FnMut(&Queue) -> bool) -> Option<QueueId> {
        let contents = self.contents();
        contents.settings().position(is_it).map(QueueId::at)
    }

    fn wake(&self) {
        self.0.changes.send_modify(|changes| *changes += 1);
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Nothing panics half way through a change.
        self.0
            .contents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// `<account>/<name>`.
fn url_path(queue: &Queue) -> String {
    let account = queue.arn.split(':').nth(4).unwrap_or_default();
    format!("{account}/{}", queue.name)
}
