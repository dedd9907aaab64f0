//! Owns the routes of the Runtime and Extensions API.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::invocation::{Invoked, Outcome};
use super::prelude::PreludeSplitter;
use super::shared::Shared;
use crate::clock;
use crate::listen;

/// The largest buffered answer: 6 MB, as Lambda counts.
const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024;
const STREAM_WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";

type Answer = Response<Full<Bytes>>;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    listen::serve(listener, move |request, _| {
        let shared = Arc::clone(&shared);
        async move { route(request, &shared).await }
    })
    .await;
}

async fn route(request: Request<Incoming>, shared: &Shared) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => next(shared).await,
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "response"]) => {
            match shared.running(id) {
                Some(invoked) => response(request, shared, &invoked).await,
                None => unknown_request_id(),
            }
        }
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "error"]) => {
            match shared.running(id) {
                Some(invoked) => {
                    let outcome = read_error(request).await;
                    shared.end(&invoked, outcome);
                    accepted()
                }
                None => unknown_request_id(),
            }
        }
        (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => {
            let outcome = read_error(request).await;
            shared
                .state
                .send_modify(|state| state.init_error = Some(outcome));
            accepted()
        }
        (&Method::POST, ["2020-01-01", "extension", "register"]) => register(&request, shared),
        // Nothing is ever announced: a function ends by a signal.
        (&Method::GET, ["2020-01-01", "extension", "event", "next"]) => {
            std::future::pending().await
        }
        _ => answer(
            StatusCode::NOT_FOUND,
            &json!({ "errorType": "NotFound", "errorMessage": path }),
        ),
    }
}

/// The long poll: waits for an invocation. A poll whose connection closes is dropped and takes
/// nothing.
async fn next(shared: &Shared) -> Answer {
    let _waiting = shared.count_worker();
    let mut state = shared.state.subscribe();
    let invoked = loop {
        if let Some(invoked) = shared.dispatch() {
            break invoked;
        }
        let _ = state.wait_for(|state| !state.queue.is_empty()).await;
    };
    invoked.dispatch();
    let deadline = clock::after(shared.clock.now(), invoked.timeout).as_millisecond();
    Response::builder()
        .header("Content-Type", "application/json")
        .header("Lambda-Runtime-Aws-Request-Id", &invoked.id)
        .header("Lambda-Runtime-Deadline-Ms", deadline)
        .header("Lambda-Runtime-Invoked-Function-Arn", &shared.arn)
        .header("Lambda-Runtime-Trace-Id", trace_id(&invoked.id))
        .body(Full::new(invoked.event.clone()))
        .unwrap_or_else(|_| answer(StatusCode::INTERNAL_SERVER_ERROR, &Value::Null))
}

/// In the form of X-Ray, made of the request's own id; nothing is sampled.
fn trace_id(request_id: &str) -> String {
    let digits: String = request_id.chars().filter(char::is_ascii_hexdigit).collect();
    let (root, rest) = digits.split_at_checked(8).unwrap_or(("00000000", ""));
    format!("Root=1-{root}-{rest:0<24.24};Parent=53995c3f42cd8ad8;Sampled=0")
}

async fn response(request: Request<Incoming>, shared: &Shared, invoked: &Arc<Invoked>) -> Answer {
    if header_of(&request, "lambda-runtime-function-response-mode").as_deref() == Some("streaming")
    {
        return stream(request, shared, invoked).await;
    }
    match Limited::new(request.into_body(), MAX_RESPONSE_BYTES)
        .collect()
        .await
    {
        Ok(body) => {
            shared.end(invoked, Outcome::Response(body.to_bytes()));
            accepted()
        }
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!(
                "Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
            );
            let error_type = "Function.ResponseSizeTooLarge".to_owned();
            let report = json!({ "errorType": error_type, "errorMessage": message });
            shared.end(
                invoked,
                Outcome::FunctionError {
                    error_type,
                    message,
                },
            );
            answer(StatusCode::PAYLOAD_TOO_LARGE, &report)
        }
        // The connection broke: the function is gone, and its exit ends the invocation.
        Err(_) => answer(
            StatusCode::BAD_REQUEST,
            &json!({ "errorType": "BrokenBody" }),
        ),
    }
}

async fn stream(request: Request<Incoming>, shared: &Shared, invoked: &Arc<Invoked>) -> Answer {
    let has_prelude = header_of(&request, "content-type").as_deref() == Some(STREAM_WITH_PRELUDE);
    let mut splitter = has_prelude.then(PreludeSplitter::default);
    let mut body = request.into_body();
    let mut error_type = None;
    invoked
        .progress
        .send_modify(|progress| progress.is_streaming = true);
    let is_complete = loop {
        let frame = match body.frame().await {
            None => break splitter.is_none(),
            Some(Err(_)) => break false,
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(data) => match &mut splitter {
                None => invoked.push_chunk(data),
                Some(pending) => {
                    if let Some((prelude, rest)) = pending.push(&data) {
                        splitter = None;
                        invoked.set_prelude(serde_json::from_slice(&prelude).unwrap_or_default());
                        if !rest.is_empty() {
                            invoked.push_chunk(rest);
                        }
                    }
                }
            },
            Err(frame) => {
                error_type = frame.into_trailers().ok().and_then(|trailers| {
                    let value = trailers.get("lambda-runtime-function-error-type")?;
                    value.to_str().ok().map(str::to_owned)
                });
            }
        }
    };
    shared.end_stream(invoked, is_complete, error_type);
    accepted()
}

fn register(request: &Request<Incoming>, shared: &Shared) -> Answer {
    let name = header_of(request, "lambda-extension-name").unwrap_or_default();
    shared
        .state
        .send_modify(|state| state.extensions.push(name));
    let body =
        json!({ "functionName": "function", "functionVersion": "$LATEST", "handler": "bootstrap" });
    let mut answer = answer(StatusCode::OK, &body);
    if let Ok(identifier) = uuid::Uuid::new_v4().to_string().parse() {
        answer
            .headers_mut()
            .insert("Lambda-Extension-Identifier", identifier);
    }
    answer
}

async fn read_error(request: Request<Incoming>) -> Outcome {
    let body = request
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let report: Value = serde_json::from_slice(&body).unwrap_or_default();
    let field = |name: &str| {
        let value = report.get(name).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    Outcome::FunctionError {
        error_type: field("errorType"),
        message: field("errorMessage"),
    }
}

fn header_of(request: &Request<Incoming>, name: &str) -> Option<String> {
    request
        .headers()
        .get(name)?
        .to_str()
        .ok()
        .map(str::to_owned)
}

fn accepted() -> Answer {
    answer(StatusCode::ACCEPTED, &json!({ "status": "OK" }))
}

fn unknown_request_id() -> Answer {
    let report = json!({ "errorType": "InvalidRequestID", "errorMessage": "Invalid request ID" });
    answer(StatusCode::BAD_REQUEST, &report)
}

fn answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::new(body.to_string().into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    answer
}
