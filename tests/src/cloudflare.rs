//! Owns Cloudflare's API as far as Hyperdrive's configurations go, by its published description: a
//! server on loopback that checks paths, the API's token and the origin it is given, keeps
//! configurations, and can fail as the API may.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::background::Task;
use crate::server::serve;

/// The account that the configurations belong to.
pub const ACCOUNT: &str = "0a0b0c0d0e0f000102030405060708ff";
/// What opens the API.
pub const TOKEN: &str = "v1-0-a-token-of-the-api";

/// What becomes of one request.
#[derive(Debug, Clone, Copy)]
pub enum Failure {
    /// An answer of this status that is no JSON, as a proxy in between gives it.
    Status(u16),
    /// 429, with the seconds to wait.
    Throttled(u64),
    /// A refusal with this code of Hyperdrive: 2010 to 2016 are about the origin's connection.
    Refused(u32),
    /// No answer, ever.
    Silence,
}

/// The server.
#[derive(Debug)]
pub struct Cloudflare {
    address: SocketAddr,
    state: Arc<State>,
    _server: Task,
}

#[derive(Debug, Default)]
struct State {
    /// By id: the origin, once there is one.
    configurations: Mutex<BTreeMap<String, Option<Value>>>,
    failures: Mutex<VecDeque<Failure>>,
    requests: Mutex<u32>,
}

impl State {
    fn origins(&self) -> MutexGuard<'_, BTreeMap<String, Option<Value>>> {
        self.configurations.lock().expect("no holder panics")
    }

    fn next_failure(&self) -> Option<Failure> {
        *self.requests.lock().expect("no holder panics") += 1;
        let mut failures = self.failures.lock().expect("no holder panics");
        failures.pop_front()
    }
}

impl Cloudflare {
    /// Starts it, with configurations of these ids.
    pub async fn start(ids: &[&str]) -> Self {
        let state = Arc::new(State::default());
        let ids = ids.iter().map(|id| ((*id).to_owned(), None));
        state.origins().extend(ids);
        let shared = Arc::clone(&state);
        let (address, server) = serve(move |request| {
            let shared = Arc::clone(&shared);
            async move { answer(&shared, request).await }
        })
        .await;
        Self {
            address,
            state,
            _server: server,
        }
    }

    /// Where the API begins.
    pub fn url(&self) -> String {
        format!("http://{}/client/v4", self.address)
    }

    /// Fails the next requests, one after the other.
    pub fn fail(&self, failures: &[Failure]) {
        let mut left = self.state.failures.lock().expect("no holder panics");
        left.extend(failures);
    }

    /// Failures that no request has met.
    pub fn failures_left(&self) -> usize {
        self.state.failures.lock().expect("no holder panics").len()
    }

    /// Requests so far.
    pub fn requests(&self) -> u32 {
        *self.state.requests.lock().expect("no holder panics")
    }

    /// The origin of a configuration, once it was given one.
    pub fn origin(&self, id: &str) -> Option<Value> {
        self.state.origins().get(id).cloned().flatten()
    }
}

async fn answer(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match state.next_failure() {
        None => {}
        Some(Failure::Status(status)) => {
            let status = StatusCode::from_u16(status).expect("a status");
            return response(status, "<html>error</html>".to_owned());
        }
        Some(Failure::Throttled(seconds)) => {
            let error = refusal(10429, "Rate limited.");
            let mut response = response(StatusCode::TOO_MANY_REQUESTS, error);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            return response;
        }
        Some(Failure::Refused(code)) => {
            return response(StatusCode::BAD_REQUEST, refusal(code, "The origin fails."));
        }
        Some(Failure::Silence) => std::future::pending().await,
    }
    let (status, body) = match change(state, request).await {
        Ok(result) => (
            StatusCode::OK,
            json!({"success": true, "errors": [], "messages": [], "result": result}).to_string(),
        ),
        Err((status, code, message)) => (status, refusal(code, message)),
    };
    response(status, body)
}

type Refused = (StatusCode, u32, &'static str);

/// `PATCH /accounts/{account_id}/hyperdrive/configs/{hyperdrive_id}`.
async fn change(state: &State, request: Request<Incoming>) -> Result<Value, Refused> {
    let authorization = request.headers().get(AUTHORIZATION);
    let is_known = authorization.is_some_and(|given| given == &format!("Bearer {TOKEN}"));
    if !is_known {
        return Err((StatusCode::FORBIDDEN, 10000, "Authentication error"));
    }
    let path = request.uri().path().to_owned();
    let id = path
        .strip_prefix(&format!(
            "/client/v4/accounts/{ACCOUNT}/hyperdrive/configs/"
        ))
        .filter(|_| request.method() == Method::PATCH)
        .ok_or((StatusCode::NOT_FOUND, 7003, "Could not route to that path"))?;
    let invalid = |message| (StatusCode::BAD_REQUEST, 10001, message);
    let content_type = request.headers().get(CONTENT_TYPE);
    if content_type.is_none_or(|given| given != "application/json") {
        return Err(invalid("The content type is not JSON."));
    }
    let body = request.into_body().collect().await;
    let body = body.map_err(|_| invalid("The body broke off."))?;
    let body: Value =
        serde_json::from_slice(&body.to_bytes()).map_err(|_| invalid("The body is not JSON."))?;
    let members = body.as_object().filter(|members| members.len() == 1);
    let origin = members.and_then(|members| members.get("origin")?.as_object());
    let origin = origin.ok_or(invalid("The body has more than an origin."))?;
    check(origin).map_err(invalid)?;
    let mut configurations = state.origins();
    let kept = configurations.get_mut(id).ok_or((
        StatusCode::NOT_FOUND,
        2001,
        "The configuration does not exist.",
    ))?;
    *kept = Some(Value::Object(origin.clone()));
    // The password is write-only.
    let mut shown = origin.clone();
    shown.remove("password");
    Ok(json!({"id": id, "name": "blog", "origin": shown}))
}

/// An origin in the public Internet.
fn check(origin: &Map<String, Value>) -> Result<(), &'static str> {
    for name in ["host", "database", "user", "password"] {
        let text = origin.get(name).and_then(Value::as_str);
        if text.is_none_or(str::is_empty) {
            return Err("A text of the origin is missing.");
        }
    }
    let scheme = origin.get("scheme").and_then(Value::as_str);
    if !scheme.is_some_and(|scheme| ["postgres", "postgresql", "mysql"].contains(&scheme)) {
        return Err("The scheme is unknown.");
    }
    let port = origin.get("port").and_then(Value::as_u64);
    if !port.is_some_and(|port| (1..=65_535).contains(&port)) || origin.len() != 6 {
        return Err("The origin is malformed.");
    }
    Ok(())
}

fn refusal(code: u32, message: &str) -> String {
    let errors = json!([{"code": code, "message": message}]);
    json!({"success": false, "errors": errors, "messages": [], "result": null}).to_string()
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
