//! Owns the small HTTP servers on loopback: one handler each, closed to web pages, ended by
//! dropping the handle.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::{Request, Response, StatusCode};
use tokio::net::TcpListener;

use crate::listen;
use crate::task::Task;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    _serve: Task,
}

impl Server {
    /// Binds 127.0.0.1 and serves. Port 0 takes a free one.
    pub(crate) async fn start<H, A>(port: u16, handler: H) -> io::Result<Self>
    where
        H: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let answer = move |request: Request<Incoming>, _| {
            let handler = handler.clone();
            async move {
                if is_from_a_page(&request) {
                    return forbidden();
                }
                handler(request).await
            }
        };
        Ok(Self {
            address,
            _serve: Task::spawn(listen::serve(listener, answer)),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Reads a body of at most `limit_bytes`; `None` when it is larger or breaks off.
pub(crate) async fn read_body(body: Incoming, limit_bytes: usize) -> Option<Bytes> {
    let body = Limited::new(body, limit_bytes).collect().await.ok()?;
    Some(body.to_bytes())
}

/// Whether a web page that a developer has open sent it, directly or by a rebound name.
pub(crate) fn is_from_a_page<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(ORIGIN) || !names_loopback(request.headers())
}

/// Whether the request was sent to this machine by its own name. A page whose name was rebound to
/// it says another.
pub fn names_loopback(headers: &HeaderMap) -> bool {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    ["127.0.0.1", "localhost", "[::1]"].contains(&host)
}

fn forbidden() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from("this server does not talk to web pages\n"));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}
