//! A logged-in session: reads the client's messages in flights, has every statement judged, and
//! answers in order.
//!
//! 1. A flight is what a client sends before it waits: up to a Sync, a Flush or a simple query. It
//!    is read whole, then executed; answers are passed on as they come. What has arrived behind it
//!    before its answer leaves was sent without waiting: it belongs to the same round trip, which
//!    is counted, delayed and dropped once.
//! 2. Every message sent to the backend leaves an entry in the `pipeline`, so every answer is known
//!    to belong to a message, and an answer of our own finds its place between those of PostgreSQL.
//! 3. A session whose client is idle in a transaction yields to those that wait for it (`block`,
//!    `yielding`).
//! 4. Where the front answers instead of PostgreSQL, the transaction ends up as if PostgreSQL had
//!    answered.
//!
//! Four parts own the state: `client` the stream and what is withheld from it, `pipeline` the
//! expected answers, prepared statements and portals, `transaction` the block with its limits and
//! conflict, `attachment` the backend. `wiring` joins them to a [`Session`]; the other files are
//! what a session does with them.

mod answers;
mod attachment;
mod block;
mod checks;
mod client;
mod extended_query;
mod failures;
mod history;
mod pipeline;
mod shadow;
mod simple_query;
mod transaction;
mod usage;
mod wiring;
mod written;
mod yielding;

pub(crate) use self::wiring::{End, Session};

use self::attachment::Attachment;
use self::transaction::Failure;
use self::wiring::Flow;
use crate::cluster::Cluster;
use crate::faults::Drop;
use crate::login::{Client, welcome};
use crate::wire::{Backend, ErrorAnswer, Frontend, Protocol};

/// A flight longer than this is executed in parts.
const MAX_FLIGHT_BYTES: usize = 16 * 1024 * 1024;

/// What a client sends at once.
struct Flight {
    messages: Vec<Frontend>,
    end: FlightEnd,
    /// It was sent before the one before it was answered.
    came_along: bool,
}

/// How a flight ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FlightEnd {
    /// The client waits for the answer now.
    Whole,
    /// The client says goodbye.
    Goodbye,
    /// More of it follows.
    Part,
}

impl<'a> Session<'a> {
    /// Greets the client and serves it until one of the two goes.
    pub(crate) async fn serve(cluster: &'a Cluster, client: Client) -> End {
        let _slot = client.slot;
        let _open = cluster.counters.open_connection();
        let attachment = Attachment::new(cluster, client.startup, client.prestart);
        let mut session = Self::new(cluster, client.stream, attachment);
        let end = session.run().await.err().unwrap_or(End::Client);
        if !matches!(end, End::Dropped) {
            session.client.end().await;
        }
        end
    }

    async fn run(&mut self) -> Flow {
        if self.attachment.startup().needs_backend() {
            self.attach().await?;
        }
        let welcome = welcome(self.attachment.startup(), self.attachment.reported());
        self.client.welcome(welcome);
        self.flush().await?;
        while let Some(flight) = self.read_flight().await? {
            self.execute_flight(flight).await?;
        }
        Ok(())
    }

    /// The next flight; `None` when the client closed.
    async fn read_flight(&mut self) -> Flow<Option<Flight>> {
        let mut messages = Vec::new();
        let mut bytes = 0;
        let came_along = self.client.came_along();
        loop {
            let message = match self.attachment.get() {
                // PostgreSQL speaks between flights only to say that it goes, or that a setting
                // changed.
                Some(attached) => tokio::select! {
                    message = self.client.next() => message?,
                    request = attached.registration.requested() => {
                        self.yield_locks(request).await?;
                        continue;
                    }
                    told = attached.backend.next() => {
                        self.client.emit(&told?);
                        self.flush().await?;
                        continue;
                    }
                },
                None => self.client.next().await?,
            };
            let Some(message) = message else {
                return Ok(None);
            };
            self.cluster.counters.client_messages.add_one();
            bytes += message.held_bytes();
            let end = match &message {
                Frontend::Terminate => FlightEnd::Goodbye,
                message if message.ends_flight() => FlightEnd::Whole,
                _ => FlightEnd::Part,
            };
            messages.push(message);
            if end != FlightEnd::Part || bytes > MAX_FLIGHT_BYTES {
                return Ok(Some(Flight {
                    messages,
                    end,
                    came_along,
                }));
            }
        }
    }

    async fn execute_flight(&mut self, flight: Flight) -> Flow {
        let faults = &self.cluster.faults;
        let is_round_trip = flight.end == FlightEnd::Whole && !flight.came_along;
        if is_round_trip {
            self.cluster.counters.client_flights.add_one();
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
                Some(Drop::After) => self.client.withhold(),
                None => {}
            }
        }
        let mut messages = flight.messages;
        for at in 0..messages.len() {
            let Some(drop) = faults.drop_at_message(self.client.count()) else {
                continue;
            };
            messages.truncate(at + usize::from(drop == Drop::After));
            self.client.withhold();
            break;
        }
        let has_copy_end = messages
            .iter()
            .any(|message| matches!(message, Frontend::CopyDone | Frontend::CopyFail(_)));
        self.pipeline.begin_flight(has_copy_end);
        self.resume(&messages).await?;
        let mark = self.mark();
        self.execute_all(&messages).await?;
        if let Some(conflict) = self.transaction.take_conflict() {
            self.go_on(conflict, mark, &messages).await?;
        }
        if self.client.is_withheld() {
            return self.dropped();
        }
        if is_round_trip {
            self.client.note_what_came_along();
        }
        self.flush().await
    }

    async fn execute_all(&mut self, messages: &[Frontend]) -> Flow {
        for message in messages {
            self.execute(message).await?;
        }
        self.drain().await
    }

    /// What becomes of each message of a client.
    async fn execute(&mut self, message: &Frontend) -> Flow {
        if self.pipeline.skips() && !matches!(message, Frontend::Sync | Frontend::Terminate) {
            return Ok(());
        }
        match message {
            Frontend::Parse(_)
            | Frontend::Bind(_)
            | Frontend::Describe(_)
            | Frontend::Execute(_)
            | Frontend::Close(_)
            | Frontend::Malformed(Protocol::Extended) => self.pipeline.open_sequence(),
            Frontend::Query(_) | Frontend::Malformed(Protocol::Simple) => {
                self.pipeline.end_sequence();
            }
            _ => {}
        }
        match message {
            Frontend::Query(sql) => self.query(sql).await,
            Frontend::Parse(parse) => self.parse(parse).await,
            Frontend::Bind(bind) => self.bind(bind).await,
            Frontend::Describe(_) => self.describe(message).await,
            Frontend::Execute(execute) => self.execute_portal(execute).await,
            Frontend::Close(close) => self.close(close).await,
            Frontend::Flush => self.drain().await,
            Frontend::Sync => self.sync().await,
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => {
                // Part of a COPY that started in this flight, or the rest of one that failed:
                // PostgreSQL knows.
                if let Some(attached) = self.attachment.get() {
                    attached.backend.queue(message);
                }
                Ok(())
            }
            Frontend::FunctionCall => {
                let answer = ErrorAnswer::error("0A000", "function calls are not supported");
                self.fail_query(Failure::of_block(answer)).await
            }
            Frontend::Malformed(protocol) => self.refuse_malformed(*protocol).await,
            Frontend::Unknown(tag) => {
                let text = format!("invalid frontend message type {tag}");
                let answer = ErrorAnswer::fatal("08P01", text);
                self.client.emit(&Backend::from(&answer));
                self.flush().await?;
                Err(End::Client)
            }
            Frontend::Terminate => {
                self.drain().await?;
                self.flush().await?;
                Err(End::Client)
            }
        }
    }

    fn dropped(&self) -> Flow {
        self.cluster.counters.drops_injected.add_one();
        Err(End::Dropped)
    }
}
