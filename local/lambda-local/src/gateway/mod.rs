//! Owns the API: an HTTP server on loopback that answers as the template's REST API does. A request
//! finds its route, becomes an event, waits for a container if none is idle, and its answer comes
//! back whole or piece by piece. What API Gateway itself would answer (no such route, too large, no
//! answer in time, a malformed one) it answers too, with the headers of the template's gateway
//! responses.
//!
//! Served without the stage in the path, as under a custom domain. Throttles are not applied.

mod answer;
mod body;
mod event;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

use crate::application::{RestApi, Route};
use crate::clock::Clock;
use crate::container::Container;
use crate::lambda::Lambda;
use crate::listen;
use crate::pool::{AcquireError, Lease};
use crate::runtime_api::{Invocation, Outcome};
use crate::task::Task;

pub use body::Body;
pub use event::ApiRequest;

/// The largest request body that API Gateway takes (its quotas).
const MAX_REQUEST_BYTES: usize = 10 * 1024 * 1024;
/// The largest event that Lambda takes in a synchronous invocation: 6 MB (Lambda quotas).
const MAX_EVENT_BYTES: usize = 6 * 1024 * 1024;
/// Pieces of a stream that may wait for the client.
const STREAM_BUFFER: usize = 64;
/// How long a streaming integration may stay silent (API Gateway Developer Guide, *Stream the
/// integration response*: Regional endpoints).
const STREAM_IDLE_LIMIT: Duration = Duration::from_secs(300);
/// Headers of one hop, which end here.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What stands before the API, for a page or a test's controls. All methods have a default that
/// changes nothing.
pub trait Front: Send + Sync + 'static {
    /// Answers a request itself; `None` passes it on to the API.
    fn answer(
        &self,
        head: &Parts,
        body: &Bytes,
    ) -> impl Future<Output = Option<Response<Body>>> + Send {
        let _ = (head, body);
        std::future::ready(None)
    }

    /// Another time limit for the invocation than the function's.
    fn time_limit(&self, head: &Parts) -> Option<Duration> {
        let _ = head;
        None
    }

    /// An invocation has begun in a container.
    fn began(&self, head: &Parts, container: &Arc<Container>) {
        let _ = (head, container);
    }

    /// Whether a header is for the front alone, so that functions do not see it.
    fn hides(&self, header: &HeaderName) -> bool {
        let _ = header;
        false
    }
}

/// No front.
#[derive(Debug, Clone, Copy)]
pub struct NoFront;

impl Front for NoFront {}

/// A served API. Requests are answered until it is dropped.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    _serve: Task,
}

struct Shared<F> {
    api: RestApi,
    account_id: String,
    lambda: Arc<Lambda>,
    clock: Clock,
    front: F,
    runtime: Handle,
}

impl Gateway {
    /// Serves `api` on `listener`.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn serve(
        listener: TcpListener,
        api: RestApi,
        account_id: &str,
        lambda: Arc<Lambda>,
        clock: Clock,
        front: impl Front,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            api,
            account_id: account_id.to_owned(),
            lambda,
            clock,
            front,
            runtime: Handle::current(),
        });
        let answer = move |request, peer| {
            let shared = Arc::clone(&shared);
            async move { shared.answer(request, peer).await }
        };
        Ok(Self {
            address,
            _serve: Task::spawn(listen::serve(listener, answer)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients find it, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Why the API answers by itself: the type of its gateway response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    NoRoute,
    TooLarge,
    Timeout,
    Function,
    Busy,
    BrokenBody,
}

impl Fault {
    /// Response type, status and message, as API Gateway documents them.
    fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::NoRoute => (
                "MISSING_AUTHENTICATION_TOKEN",
                StatusCode::FORBIDDEN,
                "Missing Authentication Token",
            ),
            Self::TooLarge => (
                "REQUEST_TOO_LARGE",
                StatusCode::PAYLOAD_TOO_LARGE,
                "Request Too Long",
            ),
            Self::Timeout => (
                "INTEGRATION_TIMEOUT",
                StatusCode::GATEWAY_TIMEOUT,
                "Endpoint request timed out",
            ),
            Self::Function => (
                "INTEGRATION_FAILURE",
                StatusCode::BAD_GATEWAY,
                "Internal server error",
            ),
            // What a throttled function looks like through a proxy integration.
            Self::Busy => (
                "API_CONFIGURATION_ERROR",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal server error",
            ),
            Self::BrokenBody => (
                "BAD_REQUEST_BODY",
                StatusCode::BAD_REQUEST,
                "Invalid request body",
            ),
        }
    }
}

impl<F: Front> Shared<F> {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, MAX_REQUEST_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return self.fault(Fault::TooLarge),
            Err(_) => return self.fault(Fault::BrokenBody),
        };
        if let Some(response) = self.front.answer(&head, &body).await {
            return response;
        }
        let route = match routes::find(&self.api.routes, head.method.as_str(), head.uri.path()) {
            routes::Found::Route(route, parameters) => (route.clone(), parameters),
            routes::Found::NoMethod
                if head.method == Method::OPTIONS && self.api.cors.is_some() =>
            {
                return self.preflight();
            }
            routes::Found::NoMethod | routes::Found::NoResource => {
                return self.fault(Fault::NoRoute);
            }
        };
        let (route, parameters) = route;
        let event = self
            .event(&head, &body, &route, &parameters, peer)
            .to_string();
        if event.len() > MAX_EVENT_BYTES {
            return self.fault(Fault::TooLarge);
        }
        // On a task of its own: a client that leaves does not stop what it asked for.
        let shared = Arc::clone(&self);
        let running = self
            .runtime
            .spawn(async move { shared.integrate(&head, &route, event).await });
        match running.await {
            Ok(Ok(response)) => response,
            Ok(Err(fault)) => self.fault(fault),
            Err(_) => self.fault(Fault::Function),
        }
    }

    async fn integrate(
        &self,
        head: &Parts,
        route: &Route,
        event: String,
    ) -> Result<Response<Body>, Fault> {
        let pool = self.lambda.pool(&route.function).ok_or(Fault::Function)?;
        let answered = async {
            let lease = pool
                .acquire(route.timeout)
                .await
                .map_err(|error| match error {
                    AcquireError::Busy => Fault::Busy,
                    AcquireError::Start(error) => {
                        tracing::error!("{}: {error}", route.function);
                        Fault::Function
                    }
                })?;
            let limit = self.front.time_limit(head).unwrap_or(pool.timeout());
            let invocation = lease.container().begin(event, limit);
            self.front.began(head, lease.container());
            if route.is_streamed {
                self.stream(invocation, lease).await
            } else {
                let outcome = invocation.outcome().await;
                drop(lease);
                self.buffered(head, &route.function, outcome)
            }
        };
        timeout(route.timeout, answered)
            .await
            .unwrap_or(Err(Fault::Timeout))
    }

    fn buffered(
        &self,
        head: &Parts,
        function: &str,
        outcome: Outcome,
    ) -> Result<Response<Body>, Fault> {
        let Outcome::Response(bytes) = outcome else {
            tracing::warn!("{function} gave no answer: {outcome:?}");
            return Err(Fault::Function);
        };
        let accepts = head
            .headers
            .get(hyper::header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .and_then(|accept| accept.split([',', ';']).next())
            .unwrap_or_default();
        let response = answer::buffered(&bytes, self.is_binary(accepts.trim()));
        let response = response.ok_or_else(|| {
            tracing::warn!(
                "{function} answered something that is no response of a proxy integration"
            );
            Fault::Function
        })?;
        Ok(response.map(|body| Either::Left(Full::new(body))))
    }

    async fn stream(
        &self,
        mut invocation: Invocation,
        lease: Lease,
    ) -> Result<Response<Body>, Fault> {
        let Some(prelude) = invocation.prelude().await else {
            let outcome = invocation.outcome().await;
            tracing::warn!("no stream: {outcome:?}");
            return Err(Fault::Function);
        };
        // The container comes back when the function is done, however slowly the client reads.
        let mut watched = invocation.watch();
        self.runtime.spawn(async move {
            watched.ended().await;
            drop(lease);
        });
        let (sender, body) = body::streamed(STREAM_BUFFER);
        self.runtime.spawn(pass_on(invocation, sender));
        answer::streamed(&prelude, body).ok_or(Fault::Function)
    }

    fn event(
        &self,
        head: &Parts,
        body: &Bytes,
        route: &Route,
        parameters: &std::collections::BTreeMap<String, String>,
        peer: SocketAddr,
    ) -> Value {
        let request_id = uuid::Uuid::new_v4().to_string();
        let content_type = head
            .headers
            .get(hyper::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("application/json");
        let mut headers = self.headers(head);
        forward(&mut headers, peer, &request_id);
        ApiRequest {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &headers,
            body: (!body.is_empty()).then_some(body),
            is_binary: self.is_binary(content_type.split(';').next().unwrap_or_default().trim()),
            resource: &route.path,
            path_parameters: parameters,
            stage: &self.api.stage,
            account_id: &self.account_id,
            api_id: "local",
            source_ip: peer.ip(),
            request_id: &request_id,
            time: self.clock.now(),
        }
        .event()
    }

    fn headers(&self, head: &Parts) -> Vec<(String, String)> {
        head.headers
            .iter()
            .filter(|(name, _)| !HOP_BY_HOP.contains(&name.as_str()) && !self.front.hides(name))
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect()
    }

    fn is_binary(&self, media_type: &str) -> bool {
        self.api
            .binary_media_types
            .iter()
            .any(|known| covers(known, media_type))
    }

    /// The answer of an API with `Cors` to a method that no function takes.
    fn preflight(&self) -> Response<Body> {
        let mut response = Response::new(Either::Left(Full::from("{}")));
        let Some(cors) = &self.api.cors else {
            return response;
        };
        let credentials = cors.allow_credentials.then(|| "true".to_owned());
        let headers = [
            (
                "access-control-allow-origin",
                Some(cors.allow_origin.clone()),
            ),
            ("access-control-allow-methods", cors.allow_methods.clone()),
            ("access-control-allow-headers", cors.allow_headers.clone()),
            ("access-control-max-age", cors.max_age.clone()),
            ("access-control-allow-credentials", credentials),
        ];
        for (name, value) in headers {
            let value = value.and_then(|value| HeaderValue::from_str(&value).ok());
            if let Some(value) = value {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn fault(&self, fault: Fault) -> Response<Body> {
        let (kind, status, message) = fault.parts();
        let group = if status.is_client_error() {
            "DEFAULT_4XX"
        } else {
            "DEFAULT_5XX"
        };
        let responses = &self.api.gateway_responses;
        let own = responses.get(kind).or_else(|| responses.get(group));
        let message = json!({ "message": message }).to_string();
        let body = own
            .and_then(|own| own.templates.get("application/json"))
            .map_or(message.clone(), |template| {
                let quoted = message
                    .strip_prefix("{\"message\":")
                    .and_then(|rest| rest.strip_suffix('}'));
                template.replace("$context.error.messageString", quoted.unwrap_or_default())
            });
        let mut response = Response::new(Either::Left(Full::from(body)));
        *response.status_mut() = own
            .and_then(|own| StatusCode::from_u16(own.status?).ok())
            .unwrap_or(status);
        let headers = response.headers_mut();
        headers.insert(
            hyper::header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        for (name, value) in own.into_iter().flat_map(|own| &own.headers) {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_str(value),
            ) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// Passes a stream on. A client that leaves is no reason for the function to stop; a stream that
/// breaks off ends.
async fn pass_on(mut invocation: Invocation, sender: Sender<Bytes>) {
    while let Ok(Some(chunk)) = timeout(STREAM_IDLE_LIMIT, invocation.chunk()).await {
        if sender.send(chunk.data).await.is_err() {
            return;
        }
    }
}

/// What the API adds to a request's headers.
fn forward(headers: &mut Vec<(String, String)>, peer: SocketAddr, request_id: &str) {
    let position = |headers: &[(String, String)], wanted: &str| {
        headers.iter().position(|(name, _)| name == wanted)
    };
    let address = peer.ip().to_string();
    let forwarded = match position(headers, "x-forwarded-for") {
        Some(at) => format!("{}, {address}", headers.swap_remove(at).1),
        None => address,
    };
    let hexadecimal: String = request_id.chars().filter(|&c| c != '-').collect();
    let (root, rest) = hexadecimal.split_at_checked(8).unwrap_or_default();
    let trace = format!("Root=1-{root}-{rest}");
    for (name, value) in [
        ("x-forwarded-for", forwarded),
        ("x-forwarded-port", peer.port().to_string()),
        ("x-forwarded-proto", "http".to_owned()),
        ("x-amzn-trace-id", trace),
    ] {
        if let Some(at) = position(headers, name) {
            headers.swap_remove(at);
        }
        headers.push((name.to_owned(), value));
    }
}

/// Whether a binary media type, which may have stars, covers another.
fn covers(known: &str, media_type: &str) -> bool {
    let Some((known_type, known_subtype)) = known.split_once('/') else {
        return false;
    };
    let (kind, subtype) = media_type.split_once('/').unwrap_or((media_type, ""));
    (known_type == "*" || known_type.eq_ignore_ascii_case(kind))
        && (known_subtype == "*" || known_subtype.eq_ignore_ascii_case(subtype))
}
