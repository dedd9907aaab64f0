//! The API: what a client meets, from the event a function gets to what API Gateway answers by
//! itself.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};
use lambda_local::application::Cors;
use lambda_local::pool::Pool;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{LIMIT, api, begin, gateway, get, limits, ordering, probe, request, send};

fn echo(path: &str) -> String {
    ordering(path, &json!({ "do": "echo" }))
}

fn answer(text: &str) -> Request<Full<Bytes>> {
    let order = json!({ "do": "answer", "answer": text });
    request("POST", "/buffered", order.to_string())
}

#[tokio::test]
async fn a_request_reaches_the_function_as_an_event_of_a_rest_api() {
    let gateway = gateway(api(), Pool::new(probe(), limits(1))).await;
    let target = format!("{}&a=1&a=%20x", echo("/buffered/c%201"));
    let mut request = get(&target);
    request
        .headers_mut()
        .append("x-twice", "1".parse().unwrap());
    request
        .headers_mut()
        .append("x-twice", "2".parse().unwrap());
    request
        .headers_mut()
        .append("connection", "close".parse().unwrap());
    let event = send(&gateway.url(), request).await.json();
    assert_eq!(event["resource"], "/buffered/{id}");
    assert_eq!(event["path"], "/buffered/c%201");
    assert_eq!(event["httpMethod"], "GET");
    assert_eq!(event["pathParameters"], json!({ "id": "c%201" }));
    assert_eq!(
        event["multiValueQueryStringParameters"]["a"],
        json!(["1", " x"])
    );
    assert_eq!(event["queryStringParameters"]["a"], " x");
    assert_eq!(event["headers"]["x-twice"], "2");
    assert_eq!(event["multiValueHeaders"]["x-twice"], json!(["1", "2"]));
    assert_eq!(event["headers"]["connection"], Value::Null);
    assert_eq!(event["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(event["requestContext"]["identity"]["sourceIp"], "127.0.0.1");
    assert_eq!(event["requestContext"]["stage"], "v1");
    assert_eq!(event["requestContext"]["path"], "/v1/buffered/c%201");
    assert_eq!(event["body"], Value::Null);
    assert_eq!(event["isBase64Encoded"], false);
}

#[tokio::test]
async fn a_body_of_a_binary_media_type_travels_as_base64_and_any_other_as_text() {
    let gateway = gateway(api(), Pool::new(probe(), limits(1))).await;
    let post = |media_type: &str, body: &'static [u8]| {
        Request::builder()
            .method("POST")
            .uri(echo("/buffered"))
            .header("content-type", media_type)
            .body(Full::new(Bytes::from_static(body)))
            .unwrap()
    };
    for (media_type, body, expected) in [
        ("application/octet-stream", &b"\xff\x00"[..], json!("/wA=")),
        ("application/octet-stream; x=y", b"hi", json!("aGk=")),
        ("text/plain", b"hi", json!("hi")),
        ("text/plain", b"\xffhi", json!("\u{fffd}hi")),
    ] {
        let event = send(&gateway.url(), post(media_type, body)).await.json();
        assert_eq!(event["body"], expected, "{media_type}");
        let is_base64 = media_type.starts_with("application");
        assert_eq!(event["isBase64Encoded"], is_base64, "{media_type}");
    }
}

#[tokio::test]
async fn what_no_route_takes_is_answered_as_api_gateway_does() {
    let gateway = gateway(api(), Pool::new(probe(), limits(1))).await;
    for target in [
        request("GET", "/nothing", ""),
        request("PUT", "/streamed", ""),
    ] {
        let answer = send(&gateway.url(), target).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(
            answer.json(),
            json!({ "message": "Missing Authentication Token" })
        );
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
    }
}

#[tokio::test]
async fn too_large_a_request_is_refused_by_the_gateway() {
    let gateway = gateway(api(), Pool::new(probe(), limits(1))).await;
    // The first by the gateway's limit, the second by the size of the event that it would make.
    for size in [11 * 1024 * 1024, 7 * 1024 * 1024] {
        let body = "x".repeat(size);
        let answer = send(&gateway.url(), request("POST", &echo("/buffered"), body)).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(answer.json(), json!({ "message": "Request Too Long" }));
    }
}

#[tokio::test]
async fn a_function_that_gives_no_answer_is_a_502_and_the_next_request_is_served() {
    let gateway = gateway(api(), Pool::new(probe(), limits(1))).await;
    let url = gateway.url();
    for (shown, asked) in [
        (
            "an exit",
            get(&ordering("/buffered", &json!({ "do": "exit" }))),
        ),
        (
            "an error",
            get(&ordering("/buffered", &json!({ "do": "error" }))),
        ),
        ("no JSON", answer("not JSON")),
        ("no status", answer(r#"{"no":"status"}"#)),
        (
            "an exit before a stream",
            get(&ordering("/streamed", &json!({ "do": "exit" }))),
        ),
    ] {
        let refused = send(&url, asked).await;
        assert_eq!(refused.status, StatusCode::BAD_GATEWAY, "{shown}");
        assert_eq!(
            refused.json(),
            json!({ "message": "Internal server error" })
        );
        let served = send(&url, get(&echo("/buffered"))).await;
        assert_eq!(served.status, StatusCode::OK, "after {shown}");
    }
}

#[tokio::test]
async fn an_integration_that_answers_too_late_is_a_504() {
    let gateway = gateway(api(), Pool::new(probe(), limits(2))).await;
    let target = ordering("/hasty", &json!({ "do": "hang" }));
    let refused = send(&gateway.url(), get(&target)).await;
    assert_eq!(refused.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(
        refused.json(),
        json!({ "message": "Endpoint request timed out" })
    );
}

#[tokio::test]
async fn a_streamed_answer_arrives_piece_by_piece() {
    let gateway = gateway(api(), Pool::new(probe(), limits(1))).await;
    let order = json!({ "do": "stream", "pieces": ["one", "two"], "then": "hang" });
    let response = begin(&gateway.url(), get(&ordering("/streamed", &order))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut seen = Vec::new();
    while seen != b"onetwo" {
        let frame = timeout(LIMIT, body.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        seen.extend_from_slice(&frame.into_data().unwrap());
    }
}

#[tokio::test]
async fn a_client_that_leaves_or_reads_nothing_holds_no_container() {
    let gateway = gateway(api(), Pool::new(probe(), limits(1))).await;
    let piece = "x".repeat(100_000);
    let order = json!({ "do": "stream", "pieces": vec![piece; 40], "then": "end" }).to_string();
    let ask = || request("POST", "/streamed", order.clone());
    // Never read, and still there.
    let unread = begin(&gateway.url(), ask()).await;
    let left = begin(&gateway.url(), ask()).await;
    drop(left);
    let served = timeout(LIMIT, send(&gateway.url(), get(&echo("/buffered")))).await;
    assert_eq!(served.unwrap().status, StatusCode::OK);
    drop(unread);
}

#[tokio::test]
async fn an_api_with_cors_answers_preflights_that_no_function_takes() {
    let mut with_cors = api();
    with_cors.cors = Some(Cors {
        allow_origin: "https://blog.example.com".to_owned(),
        allow_methods: Some("GET,POST".to_owned()),
        ..Cors::default()
    });
    let gateway = gateway(with_cors, Pool::new(probe(), limits(1))).await;
    let answer = send(&gateway.url(), request("OPTIONS", "/streamed", "")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://blog.example.com"
    );
    // Where a function takes the method, it answers.
    let answer = send(&gateway.url(), request("OPTIONS", &echo("/buffered"), "")).await;
    assert_eq!(answer.json()["httpMethod"], "OPTIONS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_from_two_hundred_connections_are_all_answered() {
    let gateway = gateway(api(), Pool::new(probe(), limits(4))).await;
    let url = gateway.url();
    let target = echo("/buffered");
    let client = || async {
        let mut answered = 0;
        for _ in 0..5 {
            answered += usize::from(send(&url, get(&target)).await.status == StatusCode::OK);
        }
        answered
    };
    let answered = timeout(
        Duration::from_secs(120),
        join_all((0..200).map(|_| client())),
    )
    .await;
    assert_eq!(answered.unwrap().iter().sum::<usize>(), 1000);
}
