//! Owns the routes of the Runtime and Extensions API.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::invocation::{Invoked, Outcome};
use super::prelude::PreludeSplitter;
use super::{FUNCTION_ARN, Shared, unix_millis};

/// The largest buffered answer: 6 MB, as Lambda counts.
const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024;
const STREAM_WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";

type Answer = Response<Full<Bytes>>;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve_connection(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    // Otherwise delayed acknowledgements add 40 ms to every answer.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(route(request, &shared).await) }
    });
    // It ends with an error when the function is killed; what that means is seen where bodies are read.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
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

/// The long poll: waits for an invocation. A poll whose connection closes is dropped and takes nothing.
async fn next(shared: &Shared) -> Answer {
    let _waiting = shared.count_worker();
    let mut state = shared.state.subscribe();
    let invoked = loop {
        if let Some(invoked) = shared.dispatch() {
            break invoked;
        }
        let _ = state.wait_for(|state| !state.queue.is_empty()).await;
    };
    invoked
        .progress
        .send_modify(|progress| progress.dispatched = Some(Instant::now()));
    let deadline = shared.now() + invoked.timeout;
    Response::builder()
        .header("Content-Type", "application/json")
        .header("Lambda-Runtime-Aws-Request-Id", &invoked.id)
        .header("Lambda-Runtime-Deadline-Ms", unix_millis(deadline))
        .header("Lambda-Runtime-Invoked-Function-Arn", FUNCTION_ARN)
        .header(
            "Lambda-Runtime-Trace-Id",
            "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=0",
        )
        .body(Full::new(invoked.event.clone()))
        .expect("these headers are valid")
}

async fn response(request: Request<Incoming>, shared: &Shared, invoked: &Arc<Invoked>) -> Answer {
    if header(&request, "lambda-runtime-function-response-mode").as_deref() == Some("streaming") {
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
    let has_prelude = header(&request, "content-type").as_deref() == Some(STREAM_WITH_PRELUDE);
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
    let name = header(request, "lambda-extension-name").unwrap_or_default();
    shared
        .state
        .send_modify(|state| state.extensions.push(name));
    let body =
        json!({ "functionName": "function", "functionVersion": "$LATEST", "handler": "bootstrap" });
    let mut answer = answer(StatusCode::OK, &body);
    let identifier = uuid::Uuid::new_v4()
        .to_string()
        .parse()
        .expect("a UUID is a header value");
    answer
        .headers_mut()
        .insert("Lambda-Extension-Identifier", identifier);
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
    let field = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
    Outcome::FunctionError {
        error_type: field("errorType"),
        message: field("errorMessage"),
    }
}

fn header(request: &Request<Incoming>, name: &str) -> Option<String> {
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
    Response::builder()
        .status(status)
        .header("Content-Type", "application/json")
        .body(Full::new(body.to_string().into()))
        .expect("these headers are valid")
}
