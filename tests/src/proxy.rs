//! Owns a TCP proxy between a function and its database that can lose connections in two ways:
//! closed, or silently dead. Both touch the connections that are open at that moment; later ones
//! work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::background::{self, Task};

/// Forwards loopback connections to one address.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    accepted: Arc<AtomicU64>,
    losses: watch::Sender<Losses>,
    _accept: Task,
}

/// Connections are numbered from 1; each field holds the last one it applies to.
#[derive(Debug, Default, Clone, Copy)]
struct Losses {
    dead: u64,
    closed: u64,
    /// Connections beyond this one were dead when they were opened.
    alive: Option<u64>,
}

impl Proxy {
    /// Listens on a free loopback port.
    pub async fn to(target: SocketAddr) -> Self {
        background::run(async move {
            let listener = TcpListener::bind(("127.0.0.1", 0))
                .await
                .expect("a free port");
            let address = listener
                .local_addr()
                .expect("a bound socket has an address");
            let accepted = Arc::new(AtomicU64::new(0));
            let (losses, receiver) = watch::channel(Losses::default());
            let accept =
                background::spawn(accept(listener, target, Arc::clone(&accepted), receiver));
            Self {
                address,
                accepted,
                losses,
                _accept: accept,
            }
        })
        .await
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted since the start.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// From now on the open connections forward nothing, yet both their sockets stay open: what a
    /// freeze leaves when the network forgot the connection. Bytes sent are still acknowledged by
    /// this machine's TCP.
    pub fn blackhole(&self) {
        let last = self.accepted();
        self.losses.send_modify(|losses| losses.dead = last);
    }

    /// Of all connections, past and future, only the first `count` forward anything.
    pub fn blackhole_after(&self, count: u64) {
        self.losses.send_modify(|losses| losses.alive = Some(count));
    }

    /// Closes the open connections on both sides.
    pub fn close(&self) {
        let last = self.accepted();
        self.losses.send_modify(|losses| losses.closed = last);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    accepted: Arc<AtomicU64>,
    losses: watch::Receiver<Losses>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let number = accepted.fetch_add(1, Ordering::SeqCst) + 1;
        connections.spawn(forward(client, target, number, losses.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(
    mut client: TcpStream,
    target: SocketAddr,
    number: u64,
    mut losses: watch::Receiver<Losses>,
) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let mut seen = losses.clone();
    let lost = seen.wait_for(|losses| {
        let is_dead = losses.alive.is_some_and(|alive| number > alive);
        is_dead || losses.dead >= number || losses.closed >= number
    });
    tokio::select! {
        biased;
        _ = lost => (),
        // A connection ends by itself, or either loss ends the copying; the sockets are still held
        // here.
        _ = copy_bidirectional(&mut client, &mut server) => return,
    }
    // Dead until closed: by `close`, or with the proxy.
    let _ = losses.wait_for(|losses| losses.closed >= number).await;
}
