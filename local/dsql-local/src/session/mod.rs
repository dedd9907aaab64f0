//! A logged-in session: reads the client's messages in flights, has every statement judged, and answers in order.
//!
//! 1. A flight is what a client sends before it waits: up to a Sync, a Flush or a simple query. It is read whole, then
//!    executed; answers are passed on as they come.
//! 2. Every message sent to the backend leaves an entry in `expected`, so every answer is known to belong to a message,
//!    and an answer of our own finds its place between those of PostgreSQL.
//! 3. A session whose client is idle in a transaction steps aside for those that wait for it (`block`).
//! 4. Where the front answers instead of PostgreSQL, the transaction ends up as if PostgreSQL had answered.

mod answers;
mod block;
mod messages;
mod rules;
mod shadow;
mod usage;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use self::messages::split_begin;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use self::block::Block;
use self::shadow::Conflict;
use crate::backend::{AttachError, Backend};
use crate::dialect::is_off;
use crate::faults::Drop;
use crate::lock_waits::Registration;
use crate::login::{Client, welcome};
use crate::prestart::Prestart;
use crate::schema::Known;
use crate::server::Server;
use crate::startup::Startup;
use crate::statement::{Kind, Statement};
use crate::wire::{
    ErrorAnswer, MAX_CLIENT_MESSAGE_BYTES, Message, MessageReader, TransactionStatus,
};

/// Answers are passed on when so much has gathered, and at the end of a flight.
const FLUSH_BYTES: usize = 16 * 1024;
/// A flight longer than this is executed in parts.
const MAX_FLIGHT_BYTES: usize = 16 * 1024 * 1024;

/// A statement that takes longer may be waiting for another session; real time.
const ANSWER_PATIENCE: Duration = Duration::from_millis(3);

/// How long a client that others wait for may read nothing of a large answer; real time.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);

/// Why a session ends; none of it is an error to anybody but the client.
pub(crate) enum End {
    /// The client said goodbye, closed, or broke the protocol.
    Client,
    /// A fault dropped the connection.
    Dropped,
    /// The connection to the client or to PostgreSQL failed.
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

type Flow<T = ()> = Result<T, End>;

/// What the backend still has to answer.
enum Expected {
    Parse,
    Bind,
    Describe,
    /// `kept`: where the open block keeps it.
    Execute {
        statement: Option<Arc<Statement>>,
        kept: Option<usize>,
    },
    /// So many answers to the guard of a block, which the client does not see.
    Guard(u8),
    Close,
    /// `rolls_back`: the client shall find the transaction rolled back, not failed.
    Sync {
        rolls_back: bool,
    },
    /// `is_head`: the rest of the query follows if this part succeeds.
    Query {
        statement: Arc<Statement>,
        kept: Option<usize>,
        is_head: bool,
    },
}

impl Expected {
    /// Where the open block keeps the statement that is answered.
    fn kept(&self) -> Option<usize> {
        match self {
            Self::Execute { kept, .. } | Self::Query { kept, .. } => *kept,
            _ => None,
        }
    }

    /// The statement that is answered.
    fn statement(&self) -> Option<&Arc<Statement>> {
        match self {
            Self::Execute { statement, .. } => statement.as_ref(),
            Self::Query { statement, .. } => Some(statement),
            _ => None,
        }
    }

    /// Whether the transaction's state is unknown until this is answered.
    fn changes_block(&self) -> bool {
        match self {
            Self::Execute {
                statement: Some(statement),
                ..
            } => statement
                .kinds
                .iter()
                .any(|kind| matches!(kind, Kind::Begin | Kind::Commit | Kind::Rollback)),
            _ => false,
        }
    }
}

/// Where the extended protocol stands between two Syncs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sequence {
    Runs,
    /// After an error nothing is executed until Sync; `rolls_back` is for that Sync.
    Skips {
        rolls_back: bool,
    },
}

struct Flight {
    messages: Vec<Message>,
    /// Whether the client waits for the answer now.
    is_whole: bool,
}

/// What is answered instead of executing a statement.
struct Failure {
    answer: ErrorAnswer,
    /// The transaction is rolled back; otherwise it is failed and waits for a ROLLBACK.
    rolls_back: bool,
}

/// A prepared statement.
struct Prepared {
    statement: Arc<Statement>,
    /// The Parse message that PostgreSQL got.
    parse: Message,
}

/// The backend's next answer. Cancel-safe.
async fn answer(server: &Server, backend: &mut Backend) -> io::Result<Message> {
    if let Ok(message) = tokio::time::timeout(ANSWER_PATIENCE, backend.next()).await {
        return message;
    }
    let _waiting = server.lock_waits.wait();
    backend.next().await
}

/// A session and its connection.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
pub(crate) struct Session<'a> {
    server: &'a Server,
    startup: Startup,
    client: MessageReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    /// Answers that are not written yet.
    out: BytesMut,
    backend: Option<Backend>,
    /// The backend that the first statement will want.
    early: Option<Prestart>,
    /// By which others find the backend.
    party: Option<Registration>,
    block: Block,
    /// The catalog that the session knows.
    schema: Known,
    status: TransactionStatus,
    expected: VecDeque<Expected>,
    sequence: Sequence,
    /// The last message of the extended protocol was no Sync.
    is_mid_sequence: bool,
    /// A statement of the flight that is executed met a conflict in its block.
    conflict: Option<Conflict>,
    /// Bytes sent to the client.
    flushed_bytes: u64,
    /// PostgreSQL answered an error since the last ReadyForQuery.
    has_failed: bool,
    /// What the session has set that changes how a statement is read.
    dialect: dsql_dialect::Session,
    /// The parts of a simple query are under way: the client learns at its end that it may go on.
    holds_ready: bool,
    /// The parts run in a transaction of our own, of which the client does not know.
    is_wrapped: bool,
    /// The job that the execution of a portal waits for.
    awaited: Option<String>,
    statements: HashMap<Bytes, Arc<Prepared>>,
    portals: HashMap<Bytes, Arc<Prepared>>,
    /// Bytes of each portal's text and values.
    portal_bytes: HashMap<Bytes, usize>,
    /// The end of a command, until what it wrote has been looked at.
    held_back: Option<Message>,
    /// Messages since the login.
    messages: u64,
    /// The connection is to be dropped after this flight, unanswered.
    withholds: bool,
    /// The data of a COPY came with the flight that started it.
    has_copy_end: bool,
    /// The data of a COPY came after the flight that started it.
    has_copied: bool,
}

impl<'a> Session<'a> {
    /// Greets the client and serves it until one of the two goes.
    pub(crate) async fn serve(server: &'a Server, client: Client) -> End {
        let (reader, writer) = tokio::io::split(client.stream);
        let dialect = dsql_dialect::Session {
            sync_create_index: client
                .startup
                .setting("disable_sync_create_index")
                .is_some_and(is_off),
            postgres_major: server.postgres.major,
        };
        let mut session = Self {
            server,
            dialect,
            holds_ready: false,
            is_wrapped: false,
            awaited: None,
            startup: client.startup,
            client: MessageReader::new(reader, MAX_CLIENT_MESSAGE_BYTES),
            writer,
            out: BytesMut::new(),
            backend: None,
            early: None,
            party: None,
            block: Block::default(),
            schema: server.schema.current(),
            status: TransactionStatus::Idle,
            expected: VecDeque::new(),
            sequence: Sequence::Runs,
            is_mid_sequence: false,
            conflict: None,
            flushed_bytes: 0,
            has_failed: false,
            statements: HashMap::new(),
            portals: HashMap::new(),
            portal_bytes: HashMap::new(),
            held_back: None,
            messages: 0,
            withholds: false,
            has_copy_end: false,
            has_copied: false,
        };
        let _open = server.counters.open_connection();
        let _slot = client.slot;
        match session.run().await {
            Ok(()) => End::Client,
            Err(end) => end,
        }
    }

    async fn run(&mut self) -> Flow {
        if self.startup.needs_backend() {
            self.attach().await?;
        } else {
            self.early = Prestart::begin(&self.server.postgres, &self.startup);
        }
        let reported = self
            .backend
            .as_ref()
            .map(|backend| backend.reported.as_slice())
            .unwrap_or_default();
        self.out = welcome(&self.startup, reported);
        self.flush().await?;
        while let Some(flight) = self.read_flight().await? {
            self.execute_flight(flight).await?;
        }
        Ok(())
    }

    /// The next flight; `None` when the client closed.
    async fn read_flight(&mut self) -> Flow<Option<Flight>> {
        let mut flight = Flight {
            messages: Vec::new(),
            is_whole: false,
        };
        let mut bytes = 0;
        loop {
            let message = match (&mut self.backend, &self.party) {
                // PostgreSQL speaks between flights only to say that it goes, or that a setting changed.
                (Some(backend), Some(party)) => tokio::select! {
                    message = self.client.next() => message?,
                    request = party.requested() => {
                        self.step_aside(request).await?;
                        continue;
                    }
                    told = backend.next() => {
                        let told = told?;
                        self.emit(&told);
                        self.flush().await?;
                        continue;
                    }
                },
                _ => self.client.next().await?,
            };
            let Some(message) = message else {
                return Ok(None);
            };
            self.server.counters.client_messages.add_one();
            bytes += message.body.len() + size_of::<Message>();
            flight.is_whole = matches!(message.tag, b'Q' | b'S' | b'H' | b'F' | b'X');
            flight.messages.push(message);
            if flight.is_whole || bytes > MAX_FLIGHT_BYTES {
                return Ok(Some(flight));
            }
        }
    }

    async fn execute_flight(&mut self, mut flight: Flight) -> Flow {
        let faults = &self.server.faults;
        let is_goodbye = flight
            .messages
            .last()
            .is_some_and(|message| message.tag == b'X');
        if flight.is_whole && !is_goodbye {
            self.server.counters.client_flights.add_one();
            let delay = faults.delay();
            self.pause(async {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                faults.thawed().await;
            })
            .await?;
            match faults.drop_flight() {
                Some(Drop::Before) => return self.dropped(),
                Some(Drop::After) => self.withholds = true,
                None => {}
            }
        }
        for at in 0..flight.messages.len() {
            self.messages += 1;
            let Some(drop) = faults.drop_at_message(self.messages) else {
                continue;
            };
            flight
                .messages
                .truncate(at + usize::from(drop == Drop::After));
            self.withholds = true;
            break;
        }
        self.has_copy_end = flight
            .messages
            .iter()
            .any(|message| matches!(message.tag, b'c' | b'f'));
        self.has_copied = false;
        self.come_back(&flight.messages).await?;
        let mark = self.mark();
        self.execute_all(&flight.messages).await?;
        if let Some(conflict) = self.conflict.take() {
            self.go_on(conflict, &mark, &flight.messages).await?;
        }
        if self.withholds {
            return self.dropped();
        }
        self.flush().await
    }

    async fn execute_all(&mut self, messages: &[Message]) -> Flow {
        for message in messages {
            self.execute(message.clone()).await?;
        }
        self.drain().await
    }

    fn dropped(&self) -> Flow {
        self.server.counters.drops_injected.add_one();
        Err(End::Dropped)
    }

    async fn forward(&mut self, message: &Message, expected: Expected) -> Flow {
        let backend = self.attach().await?;
        backend.queue(message);
        self.expected.push_back(expected);
        Ok(())
    }

    async fn attach(&mut self) -> Flow<&mut Backend> {
        if self.backend.is_none() {
            let early = match self.early.take() {
                Some(early) => early.take().await,
                None => None,
            };
            let attached = match early {
                Some(attached) => attached,
                None => Backend::attach(&self.server.postgres, &self.startup).await,
            };
            match attached {
                Ok(backend) => {
                    self.server.counters.backends_attached.add_one();
                    self.party = Some(self.server.lock_waits.register(backend.pid));
                    self.backend = Some(backend);
                }
                Err(AttachError::Refused(answer)) => {
                    self.emit(&answer);
                    self.flush().await?;
                    return Err(End::Client);
                }
                Err(AttachError::Io(error)) => return Err(End::Io(error)),
            }
        }
        self.backend.as_mut().ok_or(End::Client)
    }

    fn emit(&mut self, message: &Message) {
        if !self.withholds {
            message.write_to(&mut self.out);
        }
    }

    async fn flush(&mut self) -> Flow {
        if !self.out.is_empty() {
            while !self.out.is_empty() {
                let written = self.writer.write_buf(&mut self.out);
                match tokio::time::timeout(CLIENT_PATIENCE, written).await {
                    Ok(written) => {
                        self.flushed_bytes += u64::try_from(written?).unwrap_or_default();
                    }
                    // A client that does not read keeps nobody waiting.
                    Err(_) if self.party.as_ref().is_some_and(Registration::is_asked) => {
                        return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                    }
                    Err(_) => {}
                }
            }
            self.writer.flush().await?;
            // A large answer's buffer is not kept for an idle session.
            self.out = BytesMut::new();
        }
        Ok(())
    }
}
