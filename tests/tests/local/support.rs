//! What these tests share: a pool of probes, an API before it, and requests as clients send them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lambda_local::application::{GatewayResponse, RestApi, Route};
use lambda_local::clock::Clock;
use lambda_local::container::Launch;
use lambda_local::gateway::{Gateway, NoFront};
use lambda_local::lambda::Lambda;
use lambda_local::pool::{Limits, Pool};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn probe() -> Launch {
    Launch::program(Path::new(env!("CARGO_BIN_EXE_probe-function")))
}

pub(crate) fn limits(containers: usize) -> Limits {
    Limits {
        containers,
        is_frozen_when_idle: true,
        timeout: LIMIT,
    }
}

pub(crate) fn lambda(pool: Pool) -> Arc<Lambda> {
    let arn = "arn:aws:lambda:us-east-1:111122223333:function:local-Probe";
    let mut lambda = Lambda::default();
    lambda.add(
        "Probe",
        "local-Probe",
        [arn.to_owned(), "probe-function".to_owned()],
        pool,
    );
    Arc::new(lambda)
}

fn route(method: &str, path: &str, is_streamed: bool, timeout: Duration) -> Route {
    Route {
        method: method.to_owned(),
        path: path.to_owned(),
        function: "Probe".to_owned(),
        is_streamed,
        timeout,
    }
}

/// An API with `/buffered`, `/buffered/{id}`, `/hasty` (an integration that waits 200 ms) and
/// `/streamed`.
pub(crate) fn api() -> RestApi {
    let headers = BTreeMap::from([("Access-Control-Allow-Origin".to_owned(), "*".to_owned())]);
    let response = GatewayResponse {
        headers,
        ..GatewayResponse::default()
    };
    RestApi {
        logical_id: "Api".to_owned(),
        name: "Api".to_owned(),
        stage: "v1".to_owned(),
        routes: vec![
            route("ANY", "/buffered", false, LIMIT),
            route("GET", "/buffered/{id}", false, LIMIT),
            route("GET", "/hasty", false, Duration::from_millis(200)),
            route("GET", "/streamed", true, LIMIT),
            route("POST", "/streamed", true, LIMIT),
        ],
        binary_media_types: vec!["application/octet-stream".to_owned()],
        gateway_responses: BTreeMap::from([("DEFAULT_4XX".to_owned(), response)]),
        cors: None,
        throttle: None,
        method_throttles: BTreeMap::new(),
    }
}

pub(crate) async fn gateway(api: RestApi, pool: Pool) -> Gateway {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let clock = Clock::wall();
    Gateway::serve(listener, api, "111122223333", lambda(pool), clock, NoFront).unwrap()
}

/// The path with an order for the probe.
pub(crate) fn ordering(path: &str, order: &Value) -> String {
    let order = order.to_string();
    format!(
        "{path}?order={}",
        utf8_percent_encode(&order, NON_ALPHANUMERIC)
    )
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A request on a connection of its own, its body still to be read.
pub(crate) async fn begin(
    url: &str,
    request: Request<Full<Bytes>>,
) -> Response<hyper::body::Incoming> {
    let stream = TcpStream::connect(url.trim_start_matches("http://"))
        .await
        .unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the connection, or with the test's runtime"
    )]
    let spawn = tokio::spawn;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    spawn(connection);
    sender.send_request(request).await.unwrap()
}

pub(crate) async fn send(url: &str, request: Request<Full<Bytes>>) -> Answer {
    let (head, body) = begin(url, request).await.into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

pub(crate) fn get(target: &str) -> Request<Full<Bytes>> {
    request("GET", target, "")
}

pub(crate) fn request(method: &str, target: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost")
        .body(Full::new(body.into()))
        .unwrap()
}
