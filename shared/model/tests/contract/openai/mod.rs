//! The OpenAI-compatible provider.

mod failures;
mod replies;
mod tools;

use model::Provider;
use serde_json::{Value, json};

use crate::server::Server;
use crate::told::{provider, run, turn};

const OK: &str = "200 OK\r\ncontent-type: text/event-stream";

const KEY: &str = "sk-a-secret-key";

fn at(url: &str) -> Provider {
    provider(&[
        ("MODEL_PROVIDER", "openai"),
        ("MODEL_ID", "m-1"),
        ("OPENAI_BASE_URL", &format!("{url}/v1/")),
        ("OPENAI_API_KEY", KEY),
    ])
}

/// What is understood of a stream, in whole.
async fn read(stream: &str) -> Vec<String> {
    let server = Server::answers(OK, stream);
    run(&at(&server.url()), turn("hi")).await.unwrap()
}

/// What is understood of chunks with these deltas.
async fn read_deltas(deltas: &[Value]) -> Vec<String> {
    let chunk = |delta: &Value| format!("data: {}\n\n", json!({"choices": [{"delta": delta}]}));
    let stream: String = deltas.iter().map(chunk).collect();
    let end = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
    read(&format!("{stream}data: {end}\n\ndata: [DONE]\n\n")).await
}
