//! Owns HTTP servers on loopback: accepting, connections that end with their server, and nothing
//! about routes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Most connections of one server; further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 4096;
/// How long to wait when a connection cannot be accepted, for want of descriptors.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How long the head of a request may take.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// Answers every request by `answer`, each connection in a task of its own, until it is dropped.
pub(crate) async fn serve<F, A, B>(listener: TcpListener, answer: F)
where
    F: Fn(Request<Incoming>, SocketAddr) -> A + Clone + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let answer = answer.clone();
                connections.spawn(async move {
                    serve_connection(stream, peer, answer).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection<F, A, B>(stream: TcpStream, peer: SocketAddr, answer: F)
where
    F: Fn(Request<Incoming>, SocketAddr) -> A + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Otherwise delayed acknowledgements add 40 ms to every answer.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| {
        let answer = answer(request, peer);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    // It ends with an error when the other side goes; what that means is seen where bodies are
    // read.
    let _gone = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
