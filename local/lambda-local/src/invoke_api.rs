//! Owns Lambda's Invoke API, for `aws lambda invoke --endpoint-url`, `cargo lambda invoke` and the
//! SDKs: synchronous, asynchronous and dry invocations, with the tail of the log where it is asked
//! for. Signatures are not checked; a request that a browser sent for another site is refused,
//! because every site may send one to this machine.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::invoker::InvokeError;
use crate::lambda::{self, Lambda};
use crate::listen;
use crate::loopback;
use crate::task::Task;

/// The largest payload of a synchronous invocation (Lambda quotas).
const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024;
/// How much of the log `LogType: Tail` answers with (API reference of Invoke).
const LOG_TAIL_BYTES: usize = 4 * 1024;

type Answer = Response<Full<Bytes>>;

/// The served API. Requests are answered until it is dropped.
#[derive(Debug)]
pub struct InvokeApi {
    _serve: Task,
}

impl InvokeApi {
    /// Serves the functions of `lambda` on `listener`.
    pub fn serve(listener: TcpListener, lambda: Arc<Lambda>) -> Self {
        let runtime = Handle::current();
        let answer = move |request: Request<Incoming>, _| {
            let lambda = Arc::clone(&lambda);
            let runtime = runtime.clone();
            async move {
                if loopback::is_from_a_page(&request) {
                    return fault(
                        StatusCode::FORBIDDEN,
                        "AccessDeniedException",
                        "requests of web pages are not answered here",
                    );
                }
                let (head, body) = request.into_parts();
                match Limited::new(body, MAX_PAYLOAD_BYTES).collect().await {
                    Ok(body) => answer(&runtime, lambda, &head, body.to_bytes()).await,
                    Err(error) if error.is::<LengthLimitError>() => fault(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "RequestTooLargeException",
                        &format!("the payload may have {MAX_PAYLOAD_BYTES} bytes"),
                    ),
                    Err(_) => fault(
                        StatusCode::BAD_REQUEST,
                        "InvalidRequestContentException",
                        "the body broke off",
                    ),
                }
            }
        };
        Self {
            _serve: Task::spawn(listen::serve(listener, answer)),
        }
    }
}

async fn answer(runtime: &Handle, lambda: Arc<Lambda>, head: &Parts, body: Bytes) -> Answer {
    let path = head.uri.path().trim_end_matches('/').to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (head.method.clone(), segments.as_slice()) {
        (Method::POST, ["2015-03-31", "functions", name, "invocations"]) => {
            let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
            invoke(runtime, lambda, head, &name, body).await
        }
        (Method::GET, ["2015-03-31", "functions"]) => {
            let functions: Vec<Value> = lambda
                .names()
                .map(|name| json!({ "FunctionName": name, "Runtime": "provided.al2023" }))
                .collect();
            json_answer(StatusCode::OK, &json!({ "Functions": functions }))
        }
        _ => fault(
            StatusCode::NOT_FOUND,
            "UnknownOperationException",
            "only POST /2015-03-31/functions/NAME/invocations and GET /2015-03-31/functions are answered",
        ),
    }
}

async fn invoke(
    runtime: &Handle,
    lambda: Arc<Lambda>,
    head: &Parts,
    name: &str,
    body: Bytes,
) -> Answer {
    let Some(pool) = lambda.pool(name) else {
        let known: Vec<&str> = lambda.names().collect();
        let message = format!("Function not found: {name}; there are {}", known.join(", "));
        return fault(StatusCode::NOT_FOUND, "ResourceNotFoundException", &message);
    };
    let event = if body.is_empty() {
        Bytes::from_static(b"{}")
    } else {
        body
    };
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&event) {
        let message = format!("Could not parse request body into json: {error}");
        return fault(
            StatusCode::BAD_REQUEST,
            "InvalidRequestContentException",
            &message,
        );
    }
    let given = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    match given("x-amz-invocation-type").unwrap_or("RequestResponse") {
        "DryRun" => empty(StatusCode::NO_CONTENT),
        "Event" => {
            let name = name.to_owned();
            runtime.spawn(async move {
                if let Err(error) = lambda.invoke(&name, event).await {
                    tracing::warn!("{name}, invoked asynchronously, failed: {error}");
                }
            });
            empty(StatusCode::ACCEPTED)
        }
        "RequestResponse" => {
            let invoked = Arc::clone(&lambda);
            let owned = name.to_owned();
            let running = runtime.spawn(async move { invoked.invoke(&owned, event).await });
            let mut answer = match running.await {
                Ok(result) => answered(result),
                Err(error) => fault(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "ServiceException",
                    &error.to_string(),
                ),
            };
            put(&mut answer, "x-amz-executed-version", "$LATEST");
            if given("x-amz-log-type") == Some("Tail") {
                let log = pool.output().join("\n");
                let from = log.ceil_char_boundary(log.len().saturating_sub(LOG_TAIL_BYTES));
                let tail = log.get(from..).unwrap_or_default();
                put(&mut answer, "x-amz-log-result", &STANDARD.encode(tail));
            }
            answer
        }
        other => fault(
            StatusCode::BAD_REQUEST,
            "InvalidParameterValueException",
            &format!("{other} is not RequestResponse, Event or DryRun"),
        ),
    }
}

fn answered(result: Result<Bytes, InvokeError>) -> Answer {
    match result {
        Ok(body) => {
            let mut answer = Response::new(Full::new(body));
            put(&mut answer, "content-type", "application/json");
            answer
        }
        Err(InvokeError::Throttled) => fault(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequestsException",
            "Rate Exceeded.",
        ),
        Err(error) => {
            let mut answer = Response::new(Full::new(lambda::report(&error)));
            put(&mut answer, "content-type", "application/json");
            put(&mut answer, "x-amz-function-error", "Unhandled");
            answer
        }
    }
}

fn fault(status: StatusCode, kind: &str, message: &str) -> Answer {
    let mut answer = json_answer(status, &json!({ "Type": "User", "Message": message }));
    put(&mut answer, "x-amzn-errortype", kind);
    answer
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::from(body.to_string()));
    *answer.status_mut() = status;
    put(&mut answer, "content-type", "application/json");
    answer
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

fn put(answer: &mut Answer, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
}
