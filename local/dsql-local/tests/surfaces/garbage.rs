//! Garbage on the wire, at every stage of a connection, neither stops the stand-in nor makes it
//! grow.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::connect::{logged_in_to, message, secured, startup};
use crate::lifecycle::Served;
use crate::support::{Login, PATIENCE};
use crate::websocket::{self, Socket};

type Env = HashMap<String, String>;

/// What it may grow by, for buffers that the allocator keeps.
const MAX_GROWTH_KIB: u64 = 64 * 1024;
const HUGE: u32 = 64 * 1024 * 1024;

/// Sends bytes, says that no more will come, and waits until the other side is done with them.
async fn throw(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, bytes: &[u8]) {
    let thrown = async {
        // Either side may be the first to have enough.
        if stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() {
            let _closed = stream.shutdown().await;
        }
        let mut sink = [0; 4096];
        while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    };
    tokio::time::timeout(PATIENCE, thrown)
        .await
        .expect("a connection hangs");
}

/// The same below the frames of a WebSocket.
async fn throw_frames(socket: Socket, bytes: &[u8]) {
    throw(socket.into_inner(), bytes).await;
}

/// The same in binary messages, the last of which is the end of it.
async fn throw_messages(mut socket: Socket, bytes: &[u8]) {
    let thrown = async {
        for piece in bytes.chunks(64 * 1024) {
            if socket.send(Message::binary(piece.to_vec())).await.is_err() {
                break;
            }
        }
        let _closed = socket.close(None).await;
        while socket.next().await.is_some_and(|next| next.is_ok()) {}
    };
    tokio::time::timeout(PATIENCE, thrown)
        .await
        .expect("a WebSocket hangs");
}

async fn tcp(env: &Env) -> TcpStream {
    connect(env, "DSQL_PORT").await
}

async fn websocket_tcp(env: &Env) -> TcpStream {
    connect(env, "DSQL_WEBSOCKET_PORT").await
}

async fn connect(env: &Env, port: &str) -> TcpStream {
    TcpStream::connect(format!("{}:{}", env["DSQL_HOSTADDR"], env[port]))
        .await
        .unwrap()
}

fn random_bytes() -> Vec<u8> {
    (0..fastrand::usize(1..2000))
        .map(|_| fastrand::u8(..))
        .collect()
}

/// A header that announces more than will ever come.
fn announcing(tag: u8, length: u32) -> Vec<u8> {
    let mut header = vec![tag];
    header.extend(length.to_be_bytes());
    header
}

/// Messages of the protocol with bodies that are none of it.
fn wrong_messages() -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..fastrand::usize(1..30) {
        let tag = b"QPBDECHSFdcfpX?\0"[fastrand::usize(..16)];
        let body = random_bytes();
        bytes.extend(message(tag, &body[..fastrand::usize(..body.len())]));
    }
    bytes
}

fn resident_kib(served: &Served) -> u64 {
    let status = format!("/proc/{}/status", served.child.id().unwrap());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

async fn throw_everything(env: &Env) {
    for _ in 0..8 {
        throw(tcp(env).await, &random_bytes()).await;
        throw(secured(env).await, &random_bytes()).await;
        throw(logged_in_to(env).await, &random_bytes()).await;
        throw(logged_in_to(env).await, &wrong_messages()).await;
        throw(websocket_tcp(env).await, &random_bytes()).await;
        throw(websocket::secured(env).await, &random_bytes()).await;
        for bytes in [random_bytes(), wrong_messages()] {
            throw_messages(websocket::logged_in(env).await, &bytes).await;
            throw_frames(websocket::open(env).await, &bytes).await;
            throw_frames(websocket::logged_in(env).await, &bytes).await;
        }
    }
    for length in [0, 3, HUGE, u32::MAX] {
        throw(tcp(env).await, &length.to_be_bytes()).await;
        throw(secured(env).await, &length.to_be_bytes()).await;
        let mut login = startup(&["user", "admin", "database", "postgres"]);
        login.extend(announcing(b'p', length));
        throw(secured(env).await, &login).await;
        for tag in [b'Q', b'P', b'd', 0] {
            throw(logged_in_to(env).await, &announcing(tag, length)).await;
            let announced = announcing(tag, length);
            throw_messages(websocket::logged_in(env).await, &announced).await;
        }
        // A masked binary frame that announces as much, in 64 bits.
        let mut frame = vec![0x82, 0xff, 0, 0, 0, 0];
        frame.extend(length.to_be_bytes());
        throw_frames(websocket::logged_in(env).await, &frame).await;
    }
    // Cut off in the middle.
    let query = message(b'Q', b"SELECT 1\0");
    for end in 0..query.len() {
        throw(logged_in_to(env).await, &query[..end]).await;
    }
    // A flight that never ends, in messages without a body and in large ones.
    let flood = message(b'D', b"").repeat(200_000);
    throw(logged_in_to(env).await, &flood).await;
    throw(
        logged_in_to(env).await,
        &message(b'B', &vec![0; 1 << 20]).repeat(40),
    )
    .await;
    throw_messages(websocket::logged_in(env).await, &flood).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_wire_neither_stops_it_nor_makes_it_grow() {
    let dir = tempfile::tempdir().unwrap();
    let mut served = Served::start(dir.path(), &[]).await;
    let env = served.env.clone();
    // Slow clients: some stop after a byte, some before their password, some in the middle of a
    // message.
    let mut slow: Vec<Box<dyn std::any::Any>> = Vec::new();
    for _ in 0..50 {
        let mut stream = tcp(&env).await;
        stream.write_all(&[0]).await.unwrap();
        slow.push(Box::new(stream));
        let mut stream = secured(&env).await;
        stream
            .write_all(&startup(&["user", "admin", "database", "postgres"]))
            .await
            .unwrap();
        slow.push(Box::new(stream));
    }
    for _ in 0..10 {
        let mut stream = websocket_tcp(&env).await;
        stream.write_all(&[0x16]).await.unwrap();
        slow.push(Box::new(stream));
        slow.push(Box::new(websocket::secured(&env).await));
        slow.push(Box::new(websocket::open(&env).await));
        let mut stream = logged_in_to(&env).await;
        stream
            .write_all(&announcing(b'Q', 9 * 1024 * 1024))
            .await
            .unwrap();
        slow.push(Box::new(stream));
    }
    throw_everything(&env).await;
    let before = resident_kib(&served);
    throw_everything(&env).await;
    let after = resident_kib(&served);
    assert!(
        after < before + MAX_GROWTH_KIB,
        "grew from {before} KiB to {after} KiB"
    );
    let client = Login::from_env(&env).connect_to(&env).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), client.query_one("SELECT 1", &[]))
        .await
        .unwrap()
        .unwrap();
    drop(slow);
    served.signal(Signal::TERM);
    assert!(served.child.wait().await.unwrap().success());
}
