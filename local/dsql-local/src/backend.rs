//! The connection to one PostgreSQL backend process on behalf of a session: attach, send, receive.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::sync::OwnedSemaphorePermit;

use crate::postgres::Access;
use crate::socket;
use crate::startup::Startup;
use crate::wire::{
    Backend, ErrorAnswer, ErrorResponse, Frontend, MAX_SERVER_MESSAGE_BYTES, MessageReader, strings,
};

/// How long a session waits for another one to give its backend back; real time.
const SLOT_PATIENCE: Duration = Duration::from_secs(30);
/// An attached backend.
pub(crate) struct BackendConnection {
    reader: MessageReader<socket::Reader>,
    writer: socket::Writer,
    /// Queued and not yet written.
    unsent: BytesMut,
    /// Read, and given back.
    returned: Option<Backend>,
    /// The settings that it reported when it was attached.
    pub(crate) reported: Vec<(String, String)>,
    /// Its process.
    pub(crate) pid: i32,
    _slot: OwnedSemaphorePermit,
}

/// Why no backend is attached.
pub(crate) enum AttachError {
    /// PostgreSQL's own ErrorResponse, or ours.
    Refused(ErrorResponse),
    Io(io::Error),
}

impl From<io::Error> for AttachError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl BackendConnection {
    /// Starts a backend in which the startup user is the session's role.
    pub(crate) async fn attach(access: &Access, startup: &Startup) -> Result<Self, AttachError> {
        let slot = tokio::time::timeout(SLOT_PATIENCE, access.slots.clone().acquire_owned()).await;
        let Ok(Ok(slot)) = slot else {
            let error = ErrorAnswer::fatal(
                "53300",
                "too many sessions of dsql-local run statements at once",
            );
            return Err(AttachError::Refused((&error).into()));
        };
        let (reader, writer) = socket::connect(&access.socket).await?;
        let mut backend = Self {
            reader: MessageReader::new(reader, MAX_SERVER_MESSAGE_BYTES),
            writer,
            unsent: startup_message(startup),
            returned: None,
            reported: Vec::new(),
            pid: 0,
            _slot: slot,
        };
        loop {
            match backend.next().await? {
                Backend::ParameterStatus(status) => backend.reported.extend(status.read()),
                Backend::KeyData(mut key) => {
                    backend.pid = key.try_get_i32().unwrap_or_default();
                }
                Backend::ReadyForQuery(_) => return Ok(backend),
                Backend::ErrorResponse(error) => return Err(AttachError::Refused(error)),
                _ => {}
            }
        }
    }

    /// Queues a message; it leaves with the next call of [`next`](Self::next) or
    /// [`send`](Self::send).
    pub(crate) fn queue(&mut self, message: &Frontend) {
        message.write_to(&mut self.unsent);
    }

    /// Writes what is queued.
    pub(crate) async fn send(&mut self) -> io::Result<()> {
        self.writer.write_all_buf(&mut self.unsent).await
    }

    /// The next answer. Writes at the same time, since a backend that waits to be read does not
    /// read. Cancel-safe.
    pub(crate) async fn next(&mut self) -> io::Result<Backend> {
        if let Some(message) = self.returned.take() {
            return Ok(message);
        }
        loop {
            tokio::select! {
                written = self.writer.write_buf(&mut self.unsent), if !self.unsent.is_empty() => {
                    written?;
                }
                message = self.reader.next() => {
                    let message = message?.ok_or(io::ErrorKind::UnexpectedEof)?;
                    return Ok(message.into());
                }
            }
        }
    }

    /// Gives an answer back, to be the next one.
    pub(crate) fn give_back(&mut self, message: Backend) {
        self.returned = Some(message);
    }
}

fn startup_message(startup: &Startup) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_u32(3 << 16);
    body.put_slice(&strings([
        "user",
        startup.user.as_str(),
        "database",
        "postgres",
    ]));
    for (name, value) in startup.for_postgres() {
        body.put_slice(&strings([name, value]));
    }
    body.put_u8(0);
    let mut message = BytesMut::new();
    message.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
    message.put_slice(&body);
    message
}
