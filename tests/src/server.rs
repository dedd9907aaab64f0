//! Owns HTTP servers on loopback that stand in for somebody else's: accepting, and connections that
//! end with their server.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::background::{self, Task};

/// Answers every request by `answer`, at the address that is returned, until the task is dropped.
///
/// # Panics
/// When no port is free.
pub async fn serve<F, A>(answer: F) -> (SocketAddr, Task)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = background::run(TcpListener::bind(("127.0.0.1", 0))).await;
    let listener = listener.expect("a loopback port is free");
    let address = listener.local_addr().expect("it is bound");
    let server = background::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            connections.spawn(async move {
                let _ended = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, server)
}
