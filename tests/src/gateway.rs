//! Owns the way from a client's socket to a function: an HTTP server that does what API Gateway's REST API does, so that
//! clients not written by us reach the real binary.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::background::{self, Task};
use crate::function::Function;
use crate::http;
use crate::runtime_api::Outcome;

/// The gateway's own limit.
const LIMIT: Duration = Duration::from_secs(29);

/// An HTTP server in front of one function.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    function: Arc<Function>,
    _serve: Task,
}

impl Gateway {
    /// Starts to listen on the loopback address.
    pub async fn in_front_of(function: Function) -> Self {
        let function = Arc::new(function);
        let listener = background::run(TcpListener::bind(("127.0.0.1", 0)))
            .await
            .expect("a loopback port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let serve = background::spawn(serve(listener, Arc::clone(&function)));
        Self {
            address,
            function,
            _serve: serve,
        }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What stands behind it.
    pub fn function(&self) -> &Function {
        &self.function
    }
}

async fn serve(listener: TcpListener, function: Arc<Function>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve_connection(stream, Arc::clone(&function)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(stream: TcpStream, function: Arc<Function>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request| {
        let function = Arc::clone(&function);
        async move { Ok::<_, Infallible>(answer(request, &function).await) }
    });
    // A client that hangs up in the middle of its request is no news.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, function: &Function) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let mut event = http::Request::received(parts.method.as_str(), target);
    for (name, value) in &parts.headers {
        event = event.header(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    match body.collect().await {
        Ok(body) => event = event.body(body.to_bytes()),
        Err(_) => return failure(StatusCode::BAD_REQUEST, "Bad Request"),
    }
    match function.invoke(event.rest_event().to_string(), LIMIT).await {
        Outcome::Response(answer) => {
            let answer = http::Response::from_answer(&answer);
            let mut response = Response::builder().status(answer.status);
            for (name, value) in answer
                .headers
                .iter()
                .flat_map(|(name, values)| values.iter().map(move |value| (name, value)))
            {
                response = response.header(name, value);
            }
            response
                .body(Full::new(answer.body))
                .expect("a function's headers are headers")
        }
        Outcome::TimedOut => failure(StatusCode::GATEWAY_TIMEOUT, "Endpoint request timed out"),
        other => {
            eprintln!("the function failed: {other:?}");
            failure(StatusCode::BAD_GATEWAY, "Internal server error")
        }
    }
}

/// The gateway's own words.
fn failure(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "message": message }).to_string();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
