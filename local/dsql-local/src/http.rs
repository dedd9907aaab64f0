//! HTTP of the stand-in's own interfaces: JSON over loopback.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Serves until it is dropped. Connections are closed then.
pub(crate) async fn serve<A, F>(listener: TcpListener, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((tcp, _)) = accepted else { continue };
                let answer = answer.clone();
                connections.spawn(async move {
                    let service = service_fn(|request| {
                        let answered = answer(request);
                        async move { Ok::<_, Infallible>(answered.await) }
                    });
                    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
                    if let Err(error) = served.await {
                        tracing::debug!(error = %error, "a connection over HTTP ended early");
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The whole body, or why it cannot be had.
pub(crate) async fn read_body(body: Incoming, limit_bytes: usize) -> Result<Bytes, String> {
    let body = Limited::new(body, limit_bytes).collect().await;
    body.map(Collected::to_bytes)
        .map_err(|error| error.to_string())
}

pub(crate) fn json(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
