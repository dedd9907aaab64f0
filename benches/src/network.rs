//! Owns a network of known slowness in front of the database: every round trip of a connection
//! takes a given time longer, those of the connect too, and is counted and timed. Threads instead
//! of tasks, because their sleep is finer than a runtime's timer.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Round trips by which a network finds what it takes by itself, after a few that are not counted.
const ROUND_TRIPS: usize = 40;
const WARM_UP: usize = 10;

/// Forwards loopback connections to one address for as long as the program runs.
#[derive(Debug)]
pub(crate) struct Network {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What went through.
#[derive(Debug, Default)]
struct Seen {
    flights: AtomicU64,
    connections: Mutex<Vec<Arc<Mutex<Timing>>>>,
}

/// The round trips of a connection, behind the network: from the client's last bytes to the
/// answer's last.
#[derive(Debug, Default)]
struct Timing {
    asked: Option<Instant>,
    answered: Option<Instant>,
    taken: Vec<Duration>,
}

impl Timing {
    /// Whether this begins a round trip.
    fn ask(&mut self, now: Instant) -> bool {
        self.settle();
        self.asked.replace(now).is_none()
    }

    fn answer(&mut self, now: Instant) {
        self.answered = Some(now);
    }

    fn settle(&mut self) {
        if let (Some(asked), Some(answered)) = (self.asked, self.answered) {
            self.taken.push(answered.saturating_duration_since(asked));
            (self.asked, self.answered) = (None, None);
        }
    }
}

/// How long bytes from a client are kept.
#[derive(Debug, Clone, Copy)]
struct Delay {
    /// Of a connect, which the kernel answers at once: its round trip is made up for with the first
    /// bytes.
    connect: Duration,
    flight: Duration,
}

impl Network {
    /// A round trip through it takes `delay` longer than one without it, as measured at its start:
    /// what forwarding takes by itself, and waking up, is not added.
    pub(crate) fn to(target: SocketAddr, delay: Duration) -> Self {
        let echo = echo();
        let without = round_trip(echo);
        let through = round_trip(
            Self::with(
                echo,
                Delay {
                    connect: delay,
                    flight: delay,
                },
            )
            .address,
        );
        let surplus = through.saturating_sub(without + delay);
        let flight = delay.saturating_sub(surplus);
        Self::with(
            target,
            Delay {
                connect: delay,
                flight,
            },
        )
    }

    fn with(target: SocketAddr, delay: Delay) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let counted = Arc::clone(&seen);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                counted.flights.fetch_add(1, Ordering::Relaxed); // TCP's own
                let server = TcpStream::connect(target).unwrap();
                forward(client, server, delay, Arc::clone(&counted));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Round trips so far: TCP's of every connection, and whatever a client sent after it was
    /// answered.
    pub(crate) fn flights(&self) -> u64 {
        self.seen.flights.load(Ordering::Relaxed)
    }

    /// How long each answered round trip took behind the network, since the last call.
    pub(crate) fn take_times(&self) -> Vec<Duration> {
        let connections = self.seen.connections.lock().unwrap();
        let of = |timing: &Arc<Mutex<Timing>>| {
            let mut timing = timing.lock().unwrap();
            timing.settle();
            std::mem::take(&mut timing.taken)
        };
        connections.iter().flat_map(of).collect()
    }
}

fn forward(client: TcpStream, server: TcpStream, delay: Delay, seen: Arc<Seen>) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let timing = Arc::<Mutex<Timing>>::default();
    seen.connections.lock().unwrap().push(Arc::clone(&timing));
    let (from_client, to_client) = (client.try_clone().unwrap(), client);
    let (to_server, from_server) = (server.try_clone().unwrap(), server);
    let (queue, queued) = mpsc::channel::<(Instant, Vec<u8>)>();
    let asked = Arc::clone(&timing);
    thread::spawn(move || {
        let mut extra = delay.connect;
        each_chunk(from_client, |bytes| {
            let now = Instant::now();
            if asked.lock().unwrap().ask(now) {
                seen.flights.fetch_add(1, Ordering::Relaxed);
            }
            let due = now + delay.flight + std::mem::take(&mut extra);
            queue.send((due, bytes.to_vec())).is_ok()
        });
    });
    thread::spawn(move || {
        let mut to_server = to_server;
        for (due, bytes) in queued {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to_server.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = to_server.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let mut writer = to_client;
        each_chunk(from_server, |bytes| {
            timing.lock().unwrap().answer(Instant::now());
            writer.write_all(bytes).is_ok()
        });
        let _ = writer.shutdown(Shutdown::Both);
    });
}

/// A server that answers with what it was sent.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            client.set_nodelay(true).unwrap();
            let mut writer = client.try_clone().unwrap();
            thread::spawn(move || each_chunk(client, |bytes| writer.write_all(bytes).is_ok()));
        }
    });
    address
}

/// The median of a few bytes' way there and back.
fn round_trip(address: SocketAddr) -> Duration {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut bytes = [7; 64];
    let mut times = Vec::new();
    for _ in 0..WARM_UP + ROUND_TRIPS {
        let begun = Instant::now();
        socket.write_all(&bytes).unwrap();
        socket.read_exact(&mut bytes).unwrap();
        times.push(begun.elapsed());
    }
    let mut counted = times.split_off(WARM_UP);
    counted.sort_unstable();
    counted[counted.len() / 2]
}

fn each_chunk(mut from: TcpStream, mut take: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || !take(&buffer[..read]) {
            return;
        }
    }
}
