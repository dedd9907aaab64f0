//! The Invoke API, as tools call it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use lambda_local::invoke_api::InvokeApi;
use lambda_local::lambda::Lambda;
use lambda_local::pool::Pool;
use serde_json::json;
use tests::wait;
use tokio::net::TcpListener;

use crate::support::{Answer, LIMIT, lambda, limits, probe, send};

struct Served {
    url: String,
    lambda: Arc<Lambda>,
    _api: InvokeApi,
}

async fn serve() -> Served {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let lambda = lambda(Pool::new(probe(), limits(2)));
    Served {
        url,
        lambda: Arc::clone(&lambda),
        _api: InvokeApi::serve(listener, lambda),
    }
}

async fn invoke(served: &Served, name: &str, headers: &[(&str, &str)], event: &str) -> Answer {
    let mut request = Request::builder()
        .method("POST")
        .uri(format!("/2015-03-31/functions/{name}/invocations"))
        .header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::copy_from_slice(event.as_bytes())))
        .unwrap();
    send(&served.url, request).await
}

#[tokio::test]
async fn a_function_is_found_by_each_of_its_names() {
    let served = serve().await;
    for name in [
        "Probe",
        "local-Probe",
        "local-Probe:live",
        "probe-function",
        "arn%3Aaws%3Alambda%3Aus-east-1%3A111122223333%3Afunction%3Alocal-Probe",
        "111122223333:function:local-Probe",
    ] {
        let answer = invoke(&served, name, &[], r#"{"do":"echo"}"#).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}");
        assert_eq!(answer.json(), json!({ "do": "echo" }));
        assert_eq!(answer.headers["x-amz-executed-version"], "$LATEST");
    }
    let answer = invoke(&served, "nobody", &[], "{}").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(
        answer.headers["x-amzn-errortype"],
        "ResourceNotFoundException"
    );
    assert!(
        answer.json()["Message"]
            .as_str()
            .unwrap()
            .contains("local-Probe")
    );
}

#[tokio::test]
async fn a_function_error_is_an_answer_that_says_so() {
    let served = serve().await;
    let answer = invoke(&served, "Probe", &[], r#"{"do":"error"}"#).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["x-amz-function-error"], "Unhandled");
    assert_eq!(
        answer.json(),
        json!({ "errorType": "Probe", "errorMessage": "as told" })
    );
}

#[tokio::test]
async fn the_tail_of_the_log_comes_with_the_answer() {
    let served = serve().await;
    let headers = [("x-amz-log-type", "Tail")];
    invoke(&served, "Probe", &headers, r#"{"do":"echo","first":1}"#).await;
    // The first invocation's line is there before the second's answer.
    let answer = invoke(&served, "Probe", &headers, r#"{"do":"echo"}"#).await;
    let log = STANDARD
        .decode(&answer.headers["x-amz-log-result"])
        .unwrap();
    assert!(String::from_utf8(log).unwrap().contains(r#""first":1"#));
}

#[tokio::test]
async fn an_asynchronous_invocation_is_accepted_and_happens() {
    let served = serve().await;
    let headers = [("x-amz-invocation-type", "Event")];
    let answer = invoke(&served, "Probe", &headers, r#"{"do":"echo","n":7}"#).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let pool = served.lambda.pool("Probe").unwrap();
    let seen = || {
        let lines = pool.output();
        lines
            .iter()
            .any(|line| line.contains(r#""n":7"#))
            .then_some(())
    };
    wait::until("the invocation", LIMIT, seen).await;
    let dry = [("x-amz-invocation-type", "DryRun")];
    let answer = invoke(&served, "Probe", &dry, r#"{"do":"exit"}"#).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn what_is_no_json_and_what_a_web_page_sends_is_refused() {
    let served = serve().await;
    let answer = invoke(&served, "Probe", &[], "{").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let origin = [("origin", "https://elsewhere.example.com")];
    let answer = invoke(&served, "Probe", &origin, r#"{"do":"echo"}"#).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}
