//! Owns a network of known slowness in front of the database: every flight of a connection takes a given time longer, those
//! of the connect too, and is counted. Threads instead of tasks, because their sleep is finer than a runtime's timer.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Forwards loopback connections to one address for as long as the program runs.
#[derive(Debug)]
pub(crate) struct Network {
    address: SocketAddr,
    flights: Arc<AtomicU64>,
}

impl Network {
    pub(crate) fn to(target: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let flights = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&flights);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                counted.fetch_add(1, Ordering::Relaxed); // TCP's own
                let server = TcpStream::connect(target).unwrap();
                forward(client, server, delay, Arc::clone(&counted));
            }
        });
        Self { address, flights }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Flights so far: TCP's of every connection, and whatever a client sent after it was answered.
    pub(crate) fn flights(&self) -> u64 {
        self.flights.load(Ordering::Relaxed)
    }
}

fn forward(client: TcpStream, server: TcpStream, delay: Duration, flights: Arc<AtomicU64>) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let answered = Arc::new(AtomicBool::new(true));
    let (from_client, to_client) = (client.try_clone().unwrap(), client);
    let (to_server, from_server) = (server.try_clone().unwrap(), server);
    let (queue, queued) = mpsc::channel::<(Instant, Vec<u8>)>();
    let was_answered = Arc::clone(&answered);
    thread::spawn(move || {
        // The kernel answered the connect at once: its flight is made up for here.
        let mut extra = delay;
        each_chunk(from_client, |bytes| {
            if was_answered.swap(false, Ordering::SeqCst) {
                flights.fetch_add(1, Ordering::Relaxed);
            }
            let due = Instant::now() + delay + std::mem::take(&mut extra);
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
            answered.store(true, Ordering::SeqCst);
            writer.write_all(bytes).is_ok()
        });
        let _ = writer.shutdown(Shutdown::Both);
    });
}

fn each_chunk(mut from: TcpStream, mut take: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || !take(&buffer[..read]) {
            return;
        }
    }
}
