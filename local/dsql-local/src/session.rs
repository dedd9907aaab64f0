//! A logged-in session: reads the client's messages in flights, has every statement judged, and answers in order.
//!
//! 1. A flight is what a client sends before it waits: up to a Sync, a Flush or a simple query. It is read whole, then
//!    executed; answers are passed on as they come.
//! 2. Every message sent to the backend leaves an entry in `expected`, so every answer is known to belong to a message,
//!    and an answer of our own finds its place between those of PostgreSQL.
//! 3. Where the front answers instead of PostgreSQL, the transaction ends up as if PostgreSQL had answered.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::backend::{AttachError, Backend};
use crate::faults::Drop;
use crate::login::{Client, welcome};
use crate::server::Server;
use crate::startup::Startup;
use crate::statement::{Kind, Statement, Verdict};
use crate::wire::{
    ErrorAnswer, MAX_CLIENT_MESSAGE_BYTES, Message, MessageReader, TransactionStatus, strings,
    take_cstr, take_text,
};

/// Answers are passed on when so much has gathered, and at the end of a flight.
const FLUSH_BYTES: usize = 16 * 1024;
/// A flight longer than this is executed in parts.
const MAX_FLIGHT_BYTES: usize = 16 * 1024 * 1024;

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
    Execute {
        statement: Option<Arc<Statement>>,
    },
    Close,
    /// `rolls_back`: the client shall find the transaction rolled back, not failed.
    Sync {
        rolls_back: bool,
    },
    Query {
        statement: Arc<Statement>,
    },
}

impl Expected {
    /// Whether the transaction's state is unknown until this is answered.
    fn changes_block(&self) -> bool {
        match self {
            Self::Execute {
                statement: Some(statement),
            } => statement
                .kinds
                .iter()
                .any(|kind| matches!(kind, Kind::Begin | Kind::Commit | Kind::Rollback)),
            _ => false,
        }
    }
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

/// A session and its connection.
pub(crate) struct Session<'a> {
    server: &'a Server,
    startup: Startup,
    client: MessageReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    /// Answers that are not written yet.
    out: BytesMut,
    backend: Option<Backend>,
    status: TransactionStatus,
    expected: VecDeque<Expected>,
    /// After an error in the extended protocol nothing is executed until Sync.
    skips_to_sync: bool,
    rolls_back_at_sync: bool,
    statements: HashMap<Bytes, Arc<Statement>>,
    portals: HashMap<Bytes, Arc<Statement>>,
    /// Messages since the login.
    messages: u64,
    /// The connection is to be dropped after this flight, unanswered.
    withholds: bool,
    /// The CopyData of a COPY came with the flight that started it.
    has_copy_end: bool,
}

impl<'a> Session<'a> {
    /// Greets the client and serves it until one of the two goes.
    pub(crate) async fn serve(server: &'a Server, client: Client) -> End {
        let (reader, writer) = tokio::io::split(client.stream);
        let mut session = Self {
            server,
            startup: client.startup,
            client: MessageReader::new(reader, MAX_CLIENT_MESSAGE_BYTES),
            writer,
            out: BytesMut::new(),
            backend: None,
            status: TransactionStatus::Idle,
            expected: VecDeque::new(),
            skips_to_sync: false,
            rolls_back_at_sync: false,
            statements: HashMap::new(),
            portals: HashMap::new(),
            messages: 0,
            withholds: false,
            has_copy_end: false,
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
            let message = match &mut self.backend {
                // Between flights PostgreSQL speaks only to say that it goes, or that a setting changed.
                Some(backend) if flight.messages.is_empty() => tokio::select! {
                    message = self.client.next() => message?,
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
            bytes += message.body.len();
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
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            faults.thawed().await;
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
        for message in flight.messages {
            self.execute(message).await?;
        }
        self.drain().await?;
        if self.withholds {
            return self.dropped();
        }
        self.flush().await
    }

    fn dropped(&self) -> Flow {
        self.server.counters.drops_injected.add_one();
        Err(End::Dropped)
    }

    async fn execute(&mut self, message: Message) -> Flow {
        if message.tag == b'X' {
            self.drain().await?;
            self.flush().await?;
            return Err(End::Client);
        }
        if self.skips_to_sync && message.tag != b'S' {
            return Ok(());
        }
        match message.tag {
            b'Q' => self.query(message).await,
            b'P' => self.parse(message).await,
            b'B' => {
                let mut body = message.body.clone();
                let (portal, name) = (take_cstr(&mut body), take_cstr(&mut body));
                if let (Some(portal), Some(name)) = (portal, name)
                    && let Some(statement) = self.statements.get(&name)
                {
                    self.portals.insert(portal, statement.clone());
                }
                self.forward(&message, Expected::Bind).await
            }
            b'D' => self.forward(&message, Expected::Describe).await,
            b'E' => self.execute_portal(message).await,
            b'C' => {
                let mut body = message.body.slice(1.min(message.body.len())..);
                if let Some(name) = take_cstr(&mut body) {
                    let named = if message.body.first() == Some(&b'S') {
                        &mut self.statements
                    } else {
                        &mut self.portals
                    };
                    named.remove(&name);
                }
                self.forward(&message, Expected::Close).await
            }
            b'H' => self.drain().await,
            b'S' => self.sync(&message).await,
            b'F' => {
                self.refuse_query(ErrorAnswer::error(
                    "0A000",
                    "function calls are not supported",
                ))
                .await
            }
            b'd' | b'c' | b'f' => {
                // Part of a COPY that started in this flight, or the rest of one that failed: PostgreSQL knows.
                if let Some(backend) = &mut self.backend {
                    backend.queue(&message);
                }
                Ok(())
            }
            tag => {
                let text = format!("invalid frontend message type {tag}");
                self.emit(&ErrorAnswer::fatal("08P01", text).message());
                self.flush().await?;
                Err(End::Client)
            }
        }
    }

    async fn query(&mut self, message: Message) -> Flow {
        let Some(sql) = take_text(&mut message.body.clone()) else {
            return self
                .refuse_query(ErrorAnswer::error("08P01", "invalid string in message"))
                .await;
        };
        self.drain().await?;
        self.server.counters.statements.add_one();
        let statement = Arc::new(Statement::judge(&sql));
        if let Some(failure) = self.failure(&statement) {
            return self.fail_query(failure).await;
        }
        let message = match &statement.verdict {
            Verdict::Forward => message,
            Verdict::Rewrite { sql, .. } => Message::new(b'Q', strings([sql.as_str()])),
            Verdict::Refuse(answer) => return self.refuse_query(answer.clone()).await,
        };
        self.forward(&message, Expected::Query { statement }).await
    }

    async fn parse(&mut self, message: Message) -> Flow {
        let mut body = message.body.clone();
        let (Some(name), Some(sql)) = (take_cstr(&mut body), take_text(&mut body)) else {
            return self
                .fail_sequence(
                    ErrorAnswer::error("08P01", "invalid string in message"),
                    false,
                )
                .await;
        };
        let statement = Arc::new(Statement::judge(&sql));
        let message = match &statement.verdict {
            Verdict::Forward => message,
            Verdict::Rewrite { sql, .. } => {
                let mut rewritten = BytesMut::from(&name[..]);
                rewritten.extend_from_slice(&[0]);
                rewritten.extend_from_slice(sql.as_bytes());
                rewritten.extend_from_slice(&[0]);
                rewritten.extend_from_slice(&body);
                Message::new(b'P', rewritten)
            }
            Verdict::Refuse(answer) => return self.fail_sequence(answer.clone(), false).await,
        };
        self.statements.insert(name, statement);
        self.forward(&message, Expected::Parse).await
    }

    async fn execute_portal(&mut self, message: Message) -> Flow {
        self.server.counters.statements.add_one();
        let portal = take_cstr(&mut message.body.clone()).unwrap_or_default();
        let statement = self.portals.get(&portal).cloned();
        if let Some(statement) = &statement {
            if self.expected.iter().any(Expected::changes_block) {
                self.catch_up().await?;
                if self.skips_to_sync {
                    return Ok(());
                }
            }
            if let Some(failure) = self.failure(statement) {
                return self.fail_sequence(failure.answer, failure.rolls_back).await;
            }
        }
        self.forward(&message, Expected::Execute { statement })
            .await
    }

    async fn sync(&mut self, message: &Message) -> Flow {
        let rolls_back = std::mem::take(&mut self.rolls_back_at_sync);
        self.skips_to_sync = false;
        if self.backend.is_none() {
            self.emit(&self.status.ready_for_query());
            return Ok(());
        }
        self.forward(message, Expected::Sync { rolls_back }).await
    }

    /// What goes wrong with this statement by an injected fault.
    fn failure(&mut self, statement: &Statement) -> Option<Failure> {
        let Server {
            faults, counters, ..
        } = self.server;
        if self.status == TransactionStatus::Failed || statement.is_empty() {
            return None;
        }
        let fail = |sqlstate, message, rolls_back| {
            Some(Failure {
                answer: ErrorAnswer::error(sqlstate, message),
                rolls_back,
            })
        };
        if faults.server_unavailable() {
            counters.unavailable_injected.add_one();
            return fail("XX000", "server unavailable", false);
        }
        if statement.uses_catalog() && faults.schema_conflict() {
            counters.schema_conflicts_injected.add_one();
            return fail(
                "40001",
                "schema has been updated by another transaction (OC001)",
                false,
            );
        }
        let commits = match self.status {
            TransactionStatus::InBlock => statement.commits_block(),
            _ if statement.begins_block() => statement.commits_block(),
            _ => statement.writes(),
        };
        if commits && faults.conflict() {
            counters.conflicts_injected.add_one();
            return fail(
                "40001",
                "change conflicts with another transaction (OC000)",
                true,
            );
        }
        if commits && faults.drop_at_commit() {
            self.withholds = true;
        }
        None
    }

    /// Answers a simple query with an error, as PostgreSQL would.
    async fn refuse_query(&mut self, answer: ErrorAnswer) -> Flow {
        self.fail_query(Failure {
            answer,
            rolls_back: false,
        })
        .await
    }

    async fn fail_query(&mut self, failure: Failure) -> Flow {
        self.drain().await?;
        if self.status != TransactionStatus::Idle
            && let Some(backend) = &mut self.backend
        {
            self.status = if failure.rolls_back {
                backend.roll_back().await?
            } else {
                backend.fail_block().await?
            };
        }
        self.emit(&failure.answer.message());
        self.emit(&self.status.ready_for_query());
        Ok(())
    }

    /// Answers a message of the extended protocol with an error, as PostgreSQL would.
    async fn fail_sequence(&mut self, answer: ErrorAnswer, rolls_back: bool) -> Flow {
        self.catch_up().await?;
        if self.skips_to_sync {
            return Ok(());
        }
        if let Some(backend) = &mut self.backend {
            backend.fail_sequence().await?;
        }
        self.rolls_back_at_sync = rolls_back && self.status == TransactionStatus::InBlock;
        self.skips_to_sync = true;
        self.emit(&answer.message());
        Ok(())
    }

    async fn forward(&mut self, message: &Message, expected: Expected) -> Flow {
        let backend = self.attach().await?;
        backend.queue(message);
        self.expected.push_back(expected);
        Ok(())
    }

    async fn attach(&mut self) -> Flow<&mut Backend> {
        if self.backend.is_none() {
            match Backend::attach(&self.server.postgres, &self.startup).await {
                Ok(backend) => {
                    self.server.counters.backends_attached.add_one();
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

    /// Receives the answers to all that was forwarded, also in the middle of a sequence.
    async fn catch_up(&mut self) -> Flow {
        if !self.expected.is_empty()
            && let Some(backend) = &mut self.backend
        {
            backend.queue(&Message::new(b'H', Bytes::new()));
        }
        self.receive().await
    }

    /// Receives the answers to all that was forwarded, at the end of a flight.
    async fn drain(&mut self) -> Flow {
        match self.expected.back() {
            None => Ok(()),
            Some(Expected::Sync { .. } | Expected::Query { .. }) => self.receive().await,
            Some(_) => self.catch_up().await,
        }
    }

    async fn receive(&mut self) -> Flow {
        while !self.expected.is_empty() {
            if self.out.len() > FLUSH_BYTES {
                self.flush().await?;
            }
            let Some(backend) = &mut self.backend else {
                return Ok(());
            };
            let message = backend.next().await?;
            self.receive_one(message).await?;
        }
        Ok(())
    }

    async fn receive_one(&mut self, mut message: Message) -> Flow {
        let Some(first) = self.expected.front() else {
            return Ok(());
        };
        let is_answered = match (message.tag, first) {
            (b'1', Expected::Parse)
            | (b'2', Expected::Bind)
            | (b'3', Expected::Close)
            | (b'T' | b'n', Expected::Describe)
            | (b'I' | b's', Expected::Execute { .. }) => true,
            (
                b'C',
                Expected::Execute {
                    statement: Some(statement),
                },
            ) => {
                message = retag(message, statement);
                self.status = status_after(self.status, &message);
                true
            }
            (b'C', Expected::Execute { statement: None }) => true,
            (b'C', Expected::Query { statement }) => {
                message = retag(message, statement);
                false
            }
            (b'G', _) => {
                self.emit(&message);
                return self.copy_in().await;
            }
            (b'E', Expected::Query { .. } | Expected::Sync { .. }) => false,
            (b'E', _) => {
                self.fail_expected();
                false
            }
            (b'Z', _) => return self.ready(message).await,
            _ => false,
        };
        if is_answered {
            self.expected.pop_front();
        }
        self.emit(&message);
        Ok(())
    }

    /// PostgreSQL skips what follows an error until Sync.
    fn fail_expected(&mut self) {
        while let Some(expected) = self.expected.front() {
            if matches!(expected, Expected::Sync { .. }) {
                return;
            }
            self.expected.pop_front();
        }
        self.skips_to_sync = true;
    }

    async fn ready(&mut self, message: Message) -> Flow {
        self.status = TransactionStatus::parse(message.body.first().copied().unwrap_or_default());
        if let Some(Expected::Sync { rolls_back: true }) = self.expected.pop_front()
            && let Some(backend) = &mut self.backend
        {
            self.status = backend.roll_back().await?;
        }
        self.emit(&self.status.ready_for_query());
        Ok(())
    }

    /// Passes a COPY's data on until it ends or PostgreSQL objects.
    async fn copy_in(&mut self) -> Flow {
        self.flush().await?;
        if self.has_copy_end {
            return Ok(());
        }
        // PostgreSQL ignores the Sync that came before the data; another follows after it.
        if matches!(self.expected.get(1), Some(Expected::Sync { .. })) {
            self.expected.remove(1);
        }
        let Some(backend) = &mut self.backend else {
            return Ok(());
        };
        loop {
            tokio::select! {
                message = self.client.next() => {
                    let Some(message) = message? else { return Err(End::Client) };
                    self.messages += 1;
                    self.server.counters.client_messages.add_one();
                    match message.tag {
                        b'd' => {
                            backend.queue(&message);
                            backend.send().await?;
                        }
                        b'S' | b'H' => {}
                        b'X' => return Err(End::Client),
                        _ => {
                            backend.queue(&message);
                            // In the extended protocol the outcome waits for a Sync that the client may send later.
                            backend.queue(&Message::new(b'H', Bytes::new()));
                            return Ok(());
                        }
                    }
                }
                answer = backend.next() => {
                    backend.give_back(answer?);
                    return Ok(());
                }
            }
        }
    }

    fn emit(&mut self, message: &Message) {
        if !self.withholds {
            message.write_to(&mut self.out);
        }
    }

    async fn flush(&mut self) -> Flow {
        if !self.out.is_empty() {
            self.writer.write_all(&self.out).await?;
            self.writer.flush().await?;
            // A large answer's buffer is not kept for an idle session.
            self.out = BytesMut::new();
        }
        Ok(())
    }
}

/// The command tag of a rewritten statement is that of the original.
fn retag(message: Message, statement: &Statement) -> Message {
    match &statement.verdict {
        Verdict::Rewrite { tag, .. } => Message::new(b'C', strings([*tag])),
        _ => message,
    }
}

/// Where a command leaves the transaction, before the next ReadyForQuery says so.
fn status_after(status: TransactionStatus, complete: &Message) -> TransactionStatus {
    match complete.body.strip_suffix(b"\0") {
        Some(b"BEGIN" | b"START TRANSACTION") => TransactionStatus::InBlock,
        Some(b"COMMIT" | b"ROLLBACK") => TransactionStatus::Idle,
        _ => status,
    }
}
