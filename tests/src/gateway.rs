//! Owns the front that clients we did not write talk to: a loopback HTTP server that turns each request into an
//! invocation, as API Gateway does, and starts a container for every request that finds none idle, as Lambda does. A
//! streamed function's answer is passed on piece by piece; one that breaks off ends cleanly, which is the worst case.
//!
//! A client steers it with headers that the function does not see, [`NAME`] and [`LIMIT_MS`], and with requests to
//! `/control/…`: `token/SUBJECT` and `guest/SUBJECT` mint as a site's server does, `kill/NAME` kills the container that
//! serves the request of that name, `advance/SECONDS` moves the functions' wall clock, `upkeep/TASK` runs a task of
//! `maintenance` as its schedule does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode, http};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::background::{self, Task};
use crate::clock::WallClock;
use crate::function::{Function, Launch};
use crate::http::{Request, Response as Answer};
use crate::jwt::SigningKey;
use crate::runtime_api::Outcome;

/// A request's name, for `/control/kill/NAME`.
pub const NAME: &str = "x-test-name";
/// The invocation's time limit in milliseconds; otherwise 30 s.
pub const LIMIT_MS: &str = "x-test-limit-ms";

const LIMIT: Duration = Duration::from_secs(30);

type Body = Either<Full<Bytes>, Channel<Bytes, std::io::Error>>;

/// What the front starts.
#[derive(Debug)]
pub struct Functions {
    /// Gets the routes of a reply and what belongs to it, streamed.
    pub chat: Launch,
    /// Gets the other routes.
    pub chats: Launch,
    /// Gets the tasks of schedules.
    pub maintenance: Launch,
}

impl Functions {
    /// One function for all routes.
    pub fn same(function: Launch) -> Self {
        Self {
            chat: function.clone(),
            chats: function.clone(),
            maintenance: function,
        }
    }
}

/// The front. Requests are answered until it is dropped.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serve: Task,
}

#[derive(Debug)]
struct Shared {
    streamed: Containers,
    buffered: Containers,
    upkeep: Containers,
    key: Arc<SigningKey>,
    clock: WallClock,
    named: Mutex<HashMap<String, Arc<Function>>>,
    tasks: Mutex<Vec<Task>>,
}

/// The containers of one function.
#[derive(Debug)]
struct Containers {
    launch: Launch,
    idle: Mutex<Vec<Arc<Function>>>,
    written: Mutex<Vec<Arc<Function>>>,
}

impl Containers {
    fn new(launch: Launch) -> Self {
        Self {
            launch,
            idle: Mutex::default(),
            written: Mutex::default(),
        }
    }

    async fn take(&self) -> Arc<Function> {
        let idle = self.idle.lock().expect("no holder panics").pop();
        if let Some(function) = idle {
            return function;
        }
        let function = Arc::new(self.launch.clone().start().await);
        let mut all = self.written.lock().expect("no holder panics");
        all.push(Arc::clone(&function));
        function
    }

    async fn give_back(&self, function: Arc<Function>) {
        if function.exit_status().is_none() {
            function.idle().await;
            self.idle.lock().expect("no holder panics").push(function);
        }
    }

    fn output(&self) -> Vec<String> {
        let all = self.written.lock().expect("no holder panics");
        all.iter().flat_map(|function| function.output()).collect()
    }
}

impl Gateway {
    /// Listens on a free loopback port. All functions run under `clock`.
    pub async fn start(functions: Functions, key: Arc<SigningKey>, clock: WallClock) -> Self {
        let shared = Arc::new(Shared {
            streamed: Containers::new(functions.chat.clock(&clock)),
            buffered: Containers::new(functions.chats.clock(&clock)),
            upkeep: Containers::new(functions.maintenance.clock(&clock)),
            key,
            clock,
            named: Mutex::default(),
            tasks: Mutex::default(),
        });
        background::run(async move {
            let listener = TcpListener::bind(("127.0.0.1", 0))
                .await
                .expect("a free port");
            let address = listener
                .local_addr()
                .expect("a bound socket has an address");
            let serve = background::spawn(serve(listener, Arc::clone(&shared)));
            Self {
                address,
                shared,
                _serve: serve,
            }
        })
        .await
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every line that any container wrote.
    pub fn output(&self) -> Vec<String> {
        let mut lines = self.shared.streamed.output();
        lines.extend(self.shared.buffered.output());
        lines.extend(self.shared.upkeep.output());
        lines
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                // On a task of its own: a client that leaves does not stop what it asked for.
                async move {
                    tokio::spawn(answer(shared, request))
                        .await
                        .map_err(std::io::Error::other)
                }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

async fn answer(shared: Arc<Shared>, request: http::Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if let Some(order) = path.strip_prefix("/control/") {
        return control(&shared, order).await;
    }
    let Ok(body) = body.collect().await else {
        return plain(StatusCode::BAD_REQUEST, "the body broke off");
    };
    let body = body.to_bytes();
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let mut request = Request::new(head.method.as_str(), target);
    for (name, value) in &head.headers {
        if name.as_str() != NAME && name.as_str() != LIMIT_MS {
            request = request.header(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
        }
    }
    if !body.is_empty() {
        request = request.body(body);
    }
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let limit = header(LIMIT_MS)
        .and_then(|text| text.parse().ok())
        .map_or(LIMIT, Duration::from_millis);
    let event = request.rest_event().to_string();
    if is_streamed(&head.method, &path) {
        streamed(&shared, event, limit, header(NAME)).await
    } else {
        buffered(&shared, event, limit).await
    }
}

/// The routes with a streaming integration.
fn is_streamed(method: &Method, path: &str) -> bool {
    let segments: Vec<_> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["api", "chat", ..] | ["api", "me", "export"] | ["api", "chats", _, _, "stream"] => true,
        ["api", "chats", _] => method == Method::POST,
        _ => false,
    }
}

async fn streamed(
    shared: &Arc<Shared>,
    event: String,
    limit: Duration,
    name: Option<&str>,
) -> Response<Body> {
    let function = shared.streamed.take().await;
    let mut invocation = function.begin(event, limit);
    if let Some(name) = name {
        let mut named = shared.named.lock().expect("no holder panics");
        named.insert(name.to_owned(), Arc::clone(&function));
    }
    let Some(prelude) = invocation.prelude().await else {
        let outcome = invocation.outcome().await;
        shared.streamed.give_back(function).await;
        return plain(StatusCode::BAD_GATEWAY, &format!("{outcome:?}"));
    };
    let (mut sender, body) = Channel::new(1024);
    let later = Arc::clone(shared);
    let task = background::spawn(async move {
        let mut is_gone = false;
        while let Some(chunk) = invocation.chunk().await {
            is_gone = is_gone || sender.send_data(chunk.data).await.is_err();
        }
        drop(sender);
        later.streamed.give_back(function).await;
    });
    shared.tasks.lock().expect("no holder panics").push(task);
    let status = prelude["statusCode"].as_u64().unwrap_or_default();
    let mut response = Response::new(Either::Right(body));
    *response.status_mut() = u16::try_from(status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in prelude["headers"].as_object().into_iter().flatten() {
        put(&mut response, name, value.as_str().unwrap_or_default());
    }
    response
}

async fn buffered(shared: &Arc<Shared>, event: String, limit: Duration) -> Response<Body> {
    let function = shared.buffered.take().await;
    let outcome = function.invoke(event, limit).await;
    shared.buffered.give_back(function).await;
    let Outcome::Response(bytes) = outcome else {
        return plain(StatusCode::BAD_GATEWAY, &format!("{outcome:?}"));
    };
    let answer = Answer::from_answer(&bytes);
    let mut response = Response::new(Either::Left(Full::new(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, values) in &answer.headers {
        for value in values {
            put(&mut response, name, value);
        }
    }
    response
}

async fn control(shared: &Shared, order: &str) -> Response<Body> {
    let (verb, object) = order.split_once('/').unwrap_or((order, ""));
    match verb {
        "token" => plain(
            StatusCode::OK,
            &shared.key.token(object, shared.clock.now()),
        ),
        "guest" => plain(
            StatusCode::OK,
            &shared.key.guest_token(object, shared.clock.now()),
        ),
        "kill" => {
            let named = shared
                .named
                .lock()
                .expect("no holder panics")
                .remove(object);
            match named {
                Some(function) => plain(StatusCode::OK, &function.kill().await.to_string()),
                None => plain(StatusCode::NOT_FOUND, "no request has that name"),
            }
        }
        "advance" => {
            let seconds = object.parse().unwrap_or_default();
            shared.clock.advance(Duration::from_secs(seconds));
            plain(StatusCode::OK, "")
        }
        "upkeep" => {
            let event = serde_json::json!({ "task": object }).to_string();
            let function = shared.upkeep.take().await;
            let outcome = function.invoke(event, LIMIT).await;
            shared.upkeep.give_back(function).await;
            match outcome {
                Outcome::Response(report) => {
                    plain(StatusCode::OK, &String::from_utf8_lossy(&report))
                }
                other => plain(StatusCode::BAD_GATEWAY, &format!("{other:?}")),
            }
        }
        _ => plain(StatusCode::NOT_FOUND, "no such order"),
    }
}

fn put(response: &mut Response<Body>, name: &str, value: &str) {
    let name: http::HeaderName = name.parse().expect("a function sends valid header names");
    let value = value.parse().expect("a function sends valid header values");
    response.headers_mut().append(name, value);
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::copy_from_slice(
        text.as_bytes(),
    ))));
    *response.status_mut() = status;
    response
}
