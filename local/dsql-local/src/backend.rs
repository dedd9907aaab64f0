//! One PostgreSQL backend process on behalf of a session: attach, send, receive, roll back.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::OwnedSemaphorePermit;

use crate::login::parameter_status;
use crate::postgres::Access;
use crate::startup::Startup;
use crate::wire::{
    ErrorAnswer, MAX_SERVER_MESSAGE_BYTES, Message, MessageReader, TransactionStatus, strings,
};

/// How long a session waits for another one to give its backend back; real time.
const SLOT_PATIENCE: Duration = Duration::from_secs(30);
/// Text that no PostgreSQL can parse: it fails the transaction it is sent in.
const POISON: &str = "!";
/// Name of the prepared statement and the portal of what the front runs itself; the client's unnamed ones live on.
const OURS: &str = "dsql_local";
/// What is done since the start of a transaction block can be undone without ending the block, and with it its locks.
const GUARD: &str = "SAVEPOINT dsql_local";

/// How many messages answer a statement of our own: `ParseComplete`, `BindComplete`, CommandComplete, `CloseComplete` twice.
pub(crate) const OWN_ANSWERS: u8 = 5;

/// An attached backend.
pub(crate) struct Backend {
    reader: MessageReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// Queued and not yet written.
    unsent: BytesMut,
    /// Read, and given back.
    returned: Option<Message>,
    /// The settings that it reported when it was attached.
    pub(crate) reported: Vec<(String, String)>,
    /// Its process.
    pub(crate) pid: i32,
    _slot: OwnedSemaphorePermit,
}

/// Why no backend is attached.
pub(crate) enum AttachError {
    /// PostgreSQL's own ErrorResponse, or ours.
    Refused(Message),
    Io(io::Error),
}

impl From<io::Error> for AttachError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Backend {
    /// Starts a backend in which the startup user is the session's role.
    pub(crate) async fn attach(access: &Access, startup: &Startup) -> Result<Self, AttachError> {
        let slot = tokio::time::timeout(SLOT_PATIENCE, access.slots.clone().acquire_owned()).await;
        let Ok(Ok(slot)) = slot else {
            let error = ErrorAnswer::fatal(
                "53300",
                "too many sessions of dsql-local run statements at once",
            );
            return Err(AttachError::Refused(error.message()));
        };
        let (reader, writer) = UnixStream::connect(&access.socket).await?.into_split();
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
            let message = backend.next().await?;
            match message.tag {
                b'S' => backend.reported.extend(parameter_status(&message)),
                b'K' => backend.pid = message.body.clone().try_get_i32().unwrap_or_default(),
                b'Z' => return Ok(backend),
                b'E' => return Err(AttachError::Refused(message)),
                _ => {}
            }
        }
    }

    /// Queues a message; it leaves with the next call of [`next`](Self::next) or [`send`](Self::send).
    pub(crate) fn queue(&mut self, message: &Message) {
        message.write_to(&mut self.unsent);
    }

    /// Writes what is queued.
    pub(crate) async fn send(&mut self) -> io::Result<()> {
        self.writer.write_all_buf(&mut self.unsent).await
    }

    /// The next answer. Writes at the same time, since a backend that waits to be read does not read. Cancel-safe.
    pub(crate) async fn next(&mut self) -> io::Result<Message> {
        if let Some(message) = self.returned.take() {
            return Ok(message);
        }
        loop {
            tokio::select! {
                written = self.writer.write_buf(&mut self.unsent), if !self.unsent.is_empty() => {
                    written?;
                }
                message = self.reader.next() => {
                    return message?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }

    /// Gives an answer back, to be the next one.
    pub(crate) fn give_back(&mut self, message: Message) {
        self.returned = Some(message);
    }

    /// Runs a statement of our own between two of the client's.
    pub(crate) async fn run(&mut self, sql: &str) -> io::Result<TransactionStatus> {
        self.run_with(sql, None).await
    }

    /// The same with one parameter, a text.
    pub(crate) async fn run_with(
        &mut self,
        sql: &str,
        parameter: Option<&str>,
    ) -> io::Result<TransactionStatus> {
        self.queue_own(sql, parameter);
        self.queue(&Message::new(b'S', Bytes::new()));
        loop {
            let message = self.next().await?;
            if message.tag == b'Z' {
                return Ok(TransactionStatus::parse(
                    message.body.first().copied().unwrap_or_default(),
                ));
            }
        }
    }

    /// Queues a statement of our own, which answers [`OWN_ANSWERS`] messages.
    fn queue_own(&mut self, sql: &str, parameter: Option<&str>) {
        let mut parse = BytesMut::from(&strings([OURS, sql])[..]);
        parse.put_u16(0);
        let mut bind = BytesMut::from(&strings([OURS, OURS])[..]);
        bind.put_u16(0);
        bind.put_u16(u16::from(parameter.is_some()));
        if let Some(text) = parameter {
            bind.put_u32(u32::try_from(text.len()).unwrap_or_default());
            bind.put_slice(text.as_bytes());
        }
        bind.put_u16(0);
        let mut execute = BytesMut::from(&strings([OURS])[..]);
        execute.put_u32(0);
        for (tag, body) in [(b'P', parse), (b'B', bind), (b'E', execute)] {
            self.queue(&Message::new(tag, body));
        }
        for kind in [b'P', b'S'] {
            let mut close = BytesMut::from(&[kind][..]);
            close.put_slice(&strings([OURS]));
            self.queue(&Message::new(b'C', close));
        }
    }

    /// Queues the guard of a transaction block, whose effects and locks [`step_aside`](Self::step_aside) takes back. It
    /// answers [`OWN_ANSWERS`] messages.
    pub(crate) fn queue_guard(&mut self) {
        self.queue_own(GUARD, None);
    }

    /// Takes back what the open transaction block did since its guard, and releases its locks; its snapshot stays.
    pub(crate) async fn step_aside(&mut self) -> io::Result<TransactionStatus> {
        self.run("ROLLBACK TO SAVEPOINT dsql_local").await
    }

    /// Ends the open transaction block with all it holds and opens an empty one in its place.
    pub(crate) async fn begin_anew(&mut self) -> io::Result<TransactionStatus> {
        self.run("ROLLBACK").await?;
        self.run("BEGIN").await
    }

    /// Ends the open transaction without its effects.
    pub(crate) async fn roll_back(&mut self) -> io::Result<TransactionStatus> {
        self.run("ROLLBACK").await
    }

    /// Makes the open transaction block a failed one.
    pub(crate) async fn fail_block(&mut self) -> io::Result<TransactionStatus> {
        self.run(POISON).await
    }

    /// Fails the extended-query sequence that is under way: its effects are gone at the next Sync, and PostgreSQL skips
    /// what comes until then.
    pub(crate) async fn fail_sequence(&mut self) -> io::Result<()> {
        let mut body = BytesMut::from(&strings(["dsql_local_poison", POISON])[..]);
        body.put_u16(0);
        self.queue(&Message::new(b'P', body));
        self.queue(&Message::new(b'H', Bytes::new()));
        while self.next().await?.tag != b'E' {}
        Ok(())
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
