//! How the functions are started here, and asked.

use std::time::Duration;

use tests::function::{Function, Launch};
use tests::http::{Request, Response};
use tests::openapi::description;
use tests::runtime_api::Outcome;

pub(crate) use tests::stack::Stack;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// `chat` as deployed, but for a model that takes its time.
pub(crate) fn launch_chat(stack: &Stack) -> Launch {
    slow(stack.launch("chat"))
}

/// The same of another build.
pub(crate) fn slow(launch: Launch) -> Launch {
    launch
        .env("MODEL_PROVIDER", "echo")
        .env("ECHO_DELAY_MS", "10")
        .env("CHECKPOINT_MS", "200")
        .env("RESUME_POLL_MS", "200")
}

/// `chats` without limits that would meet a test.
pub(crate) fn launch_chats(stack: &Stack) -> Launch {
    stack
        .launch("chats")
        .env("REQUESTS_PER_MINUTE", "1000000")
        .env("WRITES_PER_MINUTE", "1000000")
}

/// Sends one request to a function whose answer may be streamed: it is read to its end.
pub(crate) async fn send_any(function: &Function, request: &Request) -> Response {
    let event = request.rest_event().to_string();
    match function.invoke(event, LIMIT).await {
        Outcome::Streamed(streamed) => Response::from_streamed(&streamed),
        outcome => Response::from_answer(&outcome.response()),
    }
}

/// Sends one request to a `chats` function as API Gateway's REST API does. The answer is one that
/// the API's description has.
pub(crate) async fn send(function: &Function, request: &Request) -> Response {
    let answer = function
        .invoke(request.rest_event().to_string(), LIMIT)
        .await
        .response();
    let response = Response::from_answer(&answer);
    let described = description().check(
        request.method(),
        request.path(),
        response.status,
        response.header("content-type"),
        &response.body,
    );
    assert_eq!(described, Ok(()));
    response
}
