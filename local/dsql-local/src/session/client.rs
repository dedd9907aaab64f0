//! The client's stream: its messages one by one, and the answers to it until they are written,
//! taken back or withheld.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};

use crate::lock_waits::Registration;
use crate::transport::{self, Transport};
use crate::wire::{Backend, Frontend, MAX_CLIENT_MESSAGE_BYTES, MessageReader};

/// Answers are passed on when this much has gathered, and at the end of a flight.
const FLUSH_BYTES: usize = 16 * 1024;
/// How long a client that others wait for may read nothing of a large answer; real time.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);

/// What becomes of answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Sent,
    /// The connection is to be dropped after this flight, unanswered.
    Withheld,
}

/// How far the answers had come at a moment.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    gathered_bytes: usize,
    flushed_bytes: u64,
}

/// Both directions of a client's connection.
pub(super) struct ClientStream {
    reader: MessageReader<ReadHalf<Box<dyn Transport>>>,
    writer: WriteHalf<Box<dyn Transport>>,
    /// Answers that are not written yet.
    gathered: BytesMut,
    flushed_bytes: u64,
    delivery: Delivery,
    /// Messages executed since the login.
    executed: u64,
}

impl ClientStream {
    pub(super) fn new(stream: Box<dyn Transport>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader: MessageReader::new(reader, MAX_CLIENT_MESSAGE_BYTES),
            writer,
            gathered: BytesMut::new(),
            flushed_bytes: 0,
            delivery: Delivery::Sent,
            executed: 0,
        }
    }

    /// The client's next message; `None` when it closed. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frontend>> {
        Ok(self.reader.next().await?.map(Frontend::from))
    }

    /// The answer to a flight is about to leave: whatever has arrived behind that one did not wait
    /// for it.
    pub(super) fn note_what_came_along(&mut self) {
        self.reader.mark();
    }

    /// Whether what is read next belongs to the round trip of that flight.
    pub(super) fn came_along(&self) -> bool {
        self.reader.is_before_mark()
    }

    /// Counts a message that is about to be executed; how many that makes since the login.
    pub(super) fn count(&mut self) -> u64 {
        self.executed += 1;
        self.executed
    }

    /// Answers what a client is told once it is logged in.
    pub(super) fn welcome(&mut self, welcome: BytesMut) {
        self.gathered = welcome;
    }

    /// Answers a message, some time before the end of the flight.
    pub(super) fn emit(&mut self, message: &Backend) {
        if self.delivery == Delivery::Sent {
            message.write_to(&mut self.gathered);
        }
    }

    /// From here on nothing is answered.
    pub(super) fn withhold(&mut self) {
        self.delivery = Delivery::Withheld;
    }

    pub(super) fn is_withheld(&self) -> bool {
        self.delivery == Delivery::Withheld
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            gathered_bytes: self.gathered.len(),
            flushed_bytes: self.flushed_bytes,
        }
    }

    /// Whether all answers since then can be taken back.
    pub(super) fn can_take_back(&self, mark: Mark) -> bool {
        self.flushed_bytes == mark.flushed_bytes
    }

    /// Takes back the answers since then, if none of them has left.
    pub(super) fn take_back(&mut self, mark: Mark) {
        if self.can_take_back(mark) {
            self.gathered.truncate(mark.gathered_bytes);
        }
    }

    /// Whether enough has gathered to be passed on.
    pub(super) fn is_full(&self) -> bool {
        self.gathered.len() > FLUSH_BYTES
    }

    /// Writes what has gathered. `registration` tells whether others wait for this client.
    pub(super) async fn flush(&mut self, registration: Option<&Registration>) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        while !self.gathered.is_empty() {
            let written = self.writer.write_buf(&mut self.gathered);
            if let Some(written) = patiently(written, registration).await? {
                self.flushed_bytes += u64::try_from(written).unwrap_or_default();
            }
        }
        while patiently(self.writer.flush(), registration)
            .await?
            .is_none()
        {}
        // A large answer's buffer is not kept for an idle session.
        self.gathered = BytesMut::new();
        Ok(())
    }
    /// Ends the connection.
    pub(super) async fn end(&mut self) {
        transport::end(&mut self.writer).await;
    }
}

/// What is written to a client, or `None` if that takes long. A client that does not read keeps
/// nobody waiting.
async fn patiently<T>(
    written: impl Future<Output = io::Result<T>>,
    registration: Option<&Registration>,
) -> io::Result<Option<T>> {
    match tokio::time::timeout(CLIENT_PATIENCE, written).await {
        Ok(written) => written.map(Some),
        Err(late) if registration.is_some_and(Registration::is_requested) => Err(late.into()),
        Err(_) => Ok(None),
    }
}
