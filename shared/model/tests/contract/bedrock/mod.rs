//! Bedrock: event streams framed as the service frames them.

mod failures;
mod replies;
mod tools;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message as Frame};
use model::Provider;
use serde_json::{Value, json};

use crate::server::Server;
use crate::told::{provider, run, turn};

const OK: &str =
    "200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nx-amzn-requestid: r-1";

fn at(url: &str) -> Provider {
    provider(&[
        ("MODEL_PROVIDER", "bedrock"),
        ("MODEL_ID", "m-1"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "a-secret-key"),
        ("AWS_SESSION_TOKEN", "a-session-token"),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url),
    ])
}

/// One frame, with the headers the service sends.
fn frame(message_type: &str, name: &str, payload: &Value) -> Vec<u8> {
    let header = |name: &'static str, value: &str| {
        Header::new(name, HeaderValue::String(value.to_owned().into()))
    };
    let kind = match message_type {
        "exception" => ":exception-type",
        _ => ":event-type",
    };
    let frame = Frame::new(payload.to_string().into_bytes())
        .add_header(header(":message-type", message_type))
        .add_header(header(kind, name))
        .add_header(header(":content-type", "application/json"));
    let mut bytes = Vec::new();
    write_message_to(&frame, &mut bytes).unwrap();
    bytes
}

fn event(name: &str, payload: &Value) -> Vec<u8> {
    frame("event", name, payload)
}

fn delta(index: u32, delta: &Value) -> Vec<u8> {
    let payload = json!({"contentBlockIndex": index, "delta": delta, "p": "abcdefgh"});
    event("contentBlockDelta", &payload)
}

fn text(index: u32, text: &str) -> Vec<u8> {
    delta(index, &json!({"text": text}))
}

fn block_stop(index: u32) -> Vec<u8> {
    event("contentBlockStop", &json!({"contentBlockIndex": index}))
}

fn message_start() -> Vec<u8> {
    event("messageStart", &json!({"role": "assistant"}))
}

fn message_stop(reason: &str) -> Vec<u8> {
    event("messageStop", &json!({"stopReason": reason}))
}

fn metadata() -> Vec<u8> {
    event(
        "metadata",
        &json!({
            "usage": {"inputTokens": 9, "outputTokens": 2, "totalTokens": 11, "cacheReadInputTokens": 4},
            "metrics": {"latencyMs": 12},
        }),
    )
}

async fn read(frames: &[Vec<u8>]) -> Vec<String> {
    let server = Server::answers(OK, frames.concat());
    run(&at(&server.url()), turn("hi")).await.unwrap()
}
