//! One connection that speaks text: its startup, and the exchange of one round trip. No task reads
//! it between requests, so nothing of it runs while a container is frozen; a close by the server is
//! noticed when it is looked at.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use futures_util::FutureExt as _;
use postgres_protocol::message::backend::{Header, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::answer::{TextAnswer, TextField, TextRow};
use super::error::{Excess, ServerError};
use super::prepared::Prepared;
use super::{AnswerLimits, TextRole, flight};
use crate::alarms::Alarms;
use crate::config::Config;
use crate::error::{self, Error};
use crate::session::{Connector, place, within};
use crate::token::Token;

/// Room made for each read.
const READ_BYTES: usize = 16 * 1024;
/// An answer over its limit is read to its end, to learn the outcome, but no further than this.
const DRAIN_BYTES: usize = 64 * 1024 * 1024;
/// A message of this many bytes is read whatever the limits are: an error may have that.
const MESSAGE_BYTES: usize = 1024 * 1024;

/// What a session needs before its first statement. The service refuses other names than those it
/// lists, in SET as here (User Guide, supported settings); these give every client the same text
/// for the same value.
const SETTINGS: [(&str, &str); 4] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
];

/// For answers without rows.
pub(super) const NO_ROWS: AnswerLimits = AnswerLimits { rows: 0, bytes: 0 };

/// An open connection, between round trips.
#[derive(Debug)]
pub(super) struct TextSession {
    stream: Box<TlsStream<TcpStream>>,
    input: BytesMut,
    /// What the server reported of its settings at startup.
    reported: Vec<(String, String)>,
    pub(super) prepared: Box<Prepared>,
    /// For what is done on it.
    pub(super) alarms: Arc<Alarms>,
    pub(super) opened_at: SystemTime,
    pub(super) retire_at: SystemTime,
}

/// The answers of one round trip.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// One for each statement that ran to its end.
    pub(super) answers: Vec<TextAnswer>,
    /// Statements whose values were bound.
    pub(super) bound: usize,
    pub(super) error: Option<ServerError>,
    /// Set when rows were thrown away.
    pub(super) excess: Option<Excess>,
    /// A reported setting is not what it was at startup.
    pub(super) settings_changed: bool,
    /// The server is ready, outside any transaction block.
    pub(super) is_idle: bool,
}

/// Why an exchange did not reach its end. The session is of no use any more.
#[derive(Debug)]
pub(super) enum Broken {
    Io(io::Error),
    /// It was idle, and did not say in time that it is alive.
    Silent,
    /// It waits for the data of a COPY, or sends such.
    Copy,
    /// The answer went on and on beyond its limit.
    Flood(Excess),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl TextSession {
    /// One attempt to connect as `role`, over `spare` if there is one.
    pub(super) async fn connect(
        connector: &Connector,
        config: &Config,
        role: &TextRole,
        token: &Token,
        spare: Option<TlsStream<TcpStream>>,
        limit: Duration,
    ) -> Result<Self, Error> {
        within(config, limit, async {
            let stream = match spare {
                Some(stream) => stream,
                None => connector.open(config).await?,
            };
            let stream = Box::new(stream);
            let opened_at = config.clock.now();
            let mut session = Self {
                stream,
                input: BytesMut::new(),
                reported: Vec::new(),
                prepared: Box::new(Prepared::new()),
                alarms: Arc::default(),
                opened_at,
                retire_at: connector.retire_at(config, token, opened_at),
            };
            match session.start(config, role, token).await {
                Ok(None) => Ok(session),
                Ok(Some(refused)) => {
                    Err(
                        error::refusal(&refused.code, &refused.message, refused.hint.as_deref())
                            .unwrap_or_else(|| failed(config, Box::new(refused))),
                    )
                }
                Err(error) => Err(failed(config, Box::new(error))),
            }
        })
        .await
    }

    async fn start(
        &mut self,
        config: &Config,
        role: &TextRole,
        token: &Token,
    ) -> io::Result<Option<ServerError>> {
        let name = config.application_name.as_str();
        let whom = [
            ("user", role.name.as_str()),
            ("database", "postgres"),
            ("application_name", name),
        ];
        let mut out = BytesMut::new();
        let path = role.search_path.as_deref();
        let path = path.map(|path| ("search_path", path));
        frontend::startup_message(whom.into_iter().chain(SETTINGS).chain(path), &mut out)?;
        let mut password = BytesMut::new();
        frontend::password_message(token.expose().as_bytes(), &mut password)?;
        if config.pipeline_connect {
            out.unsplit(password.split());
        }
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        loop {
            match next(&mut self.stream, &mut self.input).await? {
                Message::AuthenticationCleartextPassword => {
                    self.stream.write_all(&password).await?;
                    self.stream.flush().await?;
                }
                Message::ParameterStatus(status) => {
                    let setting = (status.name()?.to_owned(), status.value()?.to_owned());
                    self.reported.push(setting);
                }
                Message::ReadyForQuery(_) => return Ok(None),
                Message::ErrorResponse(body) => return ServerError::read(&body).map(Some),
                Message::AuthenticationOk
                | Message::BackendKeyData(_)
                | Message::NoticeResponse(_) => {}
                _ => return Err(unexpected()),
            }
        }
    }

    /// Whether the connection has ended, as far as this side knows. A server speaks between round
    /// trips only to say goodbye.
    pub(super) fn is_closed(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        self.stream.read(&mut byte).now_or_never().is_some()
    }

    /// Sends a batch of messages and reads its answers to the end. Reads while it writes: a server
    /// whose answers nobody takes stops taking statements. With a `probe_limit` a bare question
    /// goes in front, at once, and has to be answered within that time.
    pub(super) async fn exchange(
        &mut self,
        probe_limit: Option<Duration>,
        flight: &[u8],
        limits: AnswerLimits,
    ) -> Result<Reply, Broken> {
        // In one write with what follows: the server's answer to it shows that the connection
        // lives.
        let mut out = probe_limit.map(|_| flight::probe()).unwrap_or_default();
        let out: &[u8] = if out.is_empty() {
            flight
        } else {
            out.extend_from_slice(flight);
            &out
        };
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let write = async {
            let written = async {
                writer.write_all(out).await?;
                writer.flush().await
            };
            // Of a connection that breaks, the reader learns it too, and may learn why.
            let _read_as_well = written.await;
            std::future::pending::<Infallible>().await
        };
        let input = &mut self.input;
        let reported = &self.reported;
        let read = async {
            let mut reply = Reply::default();
            if let Some(limit) = probe_limit {
                let proof = read_reply(&mut reader, input, reported, NO_ROWS);
                reply = match tokio::time::timeout(limit, proof).await {
                    Ok(Ok(proof)) if proof.is_idle && proof.error.is_none() => proof,
                    _ => return Err(Broken::Silent),
                };
            }
            if !flight.is_empty() {
                reply = read_reply(&mut reader, input, reported, limits).await?;
            }
            Ok(reply)
        };
        let reply = tokio::select! {
            biased;
            reply = read => reply,
            never = write => match never {},
        };
        if let Err(Broken::Copy) = reply {
            let _ = self.stream.write_all(&flight::copy_fail()).await;
        }
        reply
    }
}

async fn read_reply(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
    reported: &[(String, String)],
    limits: AnswerLimits,
) -> Result<Reply, Broken> {
    let mut reply = Reply::default();
    let mut current = TextAnswer::default();
    let mut size = Size::default();
    loop {
        match next_within(stream, input, limits).await? {
            Message::RowDescription(description) => {
                let fields = TextField::all(&description)?;
                size.bytes += fields.iter().map(TextField::bytes).sum::<usize>();
                reply.excess = reply.excess.or(size.beyond(limits));
                if size.admits_more(reply.excess, limits)? {
                    current.fields = fields;
                }
            }
            Message::DataRow(body) => {
                let row = TextRow::new(body);
                size.rows += 1;
                size.bytes += row.bytes();
                reply.excess = reply.excess.or(size.beyond(limits));
                if size.admits_more(reply.excess, limits)? {
                    current.rows.push(row);
                } else {
                    current.rows.clear();
                }
            }
            Message::CommandComplete(body) => {
                current.tag = Some(body.tag()?.to_owned());
                reply.answers.push(std::mem::take(&mut current));
            }
            Message::EmptyQueryResponse => reply.answers.push(std::mem::take(&mut current)),
            Message::ErrorResponse(body) => {
                let error = ServerError::read(&body)?;
                reply.error.get_or_insert(error);
            }
            Message::ReadyForQuery(body) => {
                reply.is_idle = body.status() == b'I';
                return Ok(reply);
            }
            Message::ParameterStatus(status) => {
                let (name, value) = (status.name()?, status.value()?);
                let known = reported.iter().find(|(known, _)| known == name);
                reply.settings_changed |= known.is_none_or(|(_, at_startup)| at_startup != value);
            }
            Message::CopyInResponse(_) | Message::CopyOutResponse(_) => return Err(Broken::Copy),
            Message::BindComplete => reply.bound += 1,
            Message::ParseComplete
            | Message::CloseComplete
            | Message::NoData
            | Message::NoticeResponse(_)
            | Message::NotificationResponse(_) => {}
            _ => return Err(unexpected().into()),
        }
    }
}

/// How much of an answer was read.
#[derive(Debug, Default)]
struct Size {
    rows: usize,
    bytes: usize,
}

impl Size {
    /// The limit that is broken.
    fn beyond(&self, limits: AnswerLimits) -> Option<Excess> {
        if self.rows > limits.rows {
            Some(Excess::Rows(limits.rows))
        } else if self.bytes > limits.bytes {
            Some(Excess::Bytes(limits.bytes))
        } else {
            None
        }
    }

    /// Whether what was read is kept. What comes after an excess is read to its end, so that the
    /// session can be used again, unless it is too much for that.
    fn admits_more(&self, excess: Option<Excess>, limits: AnswerLimits) -> Result<bool, Broken> {
        match excess {
            Some(excess) if self.bytes > limits.bytes + DRAIN_BYTES => Err(Broken::Flood(excess)),
            excess => Ok(excess.is_none()),
        }
    }
}

/// The next message, unless it alone is larger than a whole answer may be: it would have to be in
/// memory.
async fn next_within(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
    limits: AnswerLimits,
) -> Result<Message, Broken> {
    loop {
        if let Some(message) = Message::parse(input)? {
            return Ok(message);
        }
        let announced = Header::parse(input)?.map_or(0, Header::len);
        if usize::try_from(announced).is_ok_and(|bytes| bytes > limits.bytes.max(MESSAGE_BYTES)) {
            return Err(Broken::Flood(Excess::Bytes(limits.bytes)));
        }
        read_more(stream, input).await?;
    }
}

async fn next(stream: &mut (impl AsyncRead + Unpin), input: &mut BytesMut) -> io::Result<Message> {
    loop {
        if let Some(message) = Message::parse(input)? {
            return Ok(message);
        }
        read_more(stream, input).await?;
    }
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), input: &mut BytesMut) -> io::Result<()> {
    input.reserve(READ_BYTES);
    if stream.read_buf(input).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an unexpected message")
}

fn failed(config: &Config, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Connect {
        endpoint: place(config),
        step: "startup",
        source,
    }
}
