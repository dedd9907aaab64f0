//! A server on loopback that plays back bytes, exactly, and remembers the request.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

/// What the server does once it has read the request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Waits for [`Server::go_on`].
    Hold,
}

/// One request and its answer. The connection closes after the last step.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    request: Receiver<Request>,
    go_on: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: serde_json::Value,
}

impl Server {
    pub(crate) fn start(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, request) = mpsc::channel();
        let (go_on, held) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            seen.send(read(&mut socket)).unwrap();
            for step in steps {
                match step {
                    Step::Send(bytes) => {
                        // A client that has gone is for the client's test to see.
                        if socket.write_all(&bytes).is_err() {
                            return;
                        }
                    }
                    Step::Hold => {
                        if held.recv().is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Self {
            address,
            request,
            go_on,
            thread: Some(thread),
        }
    }

    /// An answer in one piece, its body ended by the end of the connection.
    pub(crate) fn answers(head: &str, body: impl Into<Vec<u8>>) -> Self {
        let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").into_bytes();
        Self::start(vec![Step::Send(head), Step::Send(body.into())])
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn go_on(&self) {
        self.go_on.send(()).unwrap();
    }

    /// The request, once the exchange is over.
    pub(crate) fn request(mut self) -> Request {
        self.thread.take().unwrap().join().unwrap();
        self.request.recv().unwrap()
    }
}

fn read(socket: &mut TcpStream) -> Request {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = socket.read(&mut piece).unwrap();
        assert!(read > 0, "the request ended early");
        bytes.extend_from_slice(&piece[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length: usize = head
            .lines()
            .find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse().unwrap())
            })
            .unwrap();
        let body = &bytes[end + 4..];
        if body.len() >= length {
            return Request {
                head,
                body: serde_json::from_slice(body).unwrap(),
            };
        }
    }
}
