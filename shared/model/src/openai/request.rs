//! The body of a chat completion request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::turn::{Message, Part, Role, Turn};

/// Builds the body. `limit` is the field that caps the reply: servers disagree about its name.
pub(super) fn body(turn: &Turn, limit: &str) -> Value {
    let system = turn
        .system
        .iter()
        .map(|text| json!({"role": "system", "content": text}));
    let messages: Vec<_> = system
        .chain(turn.conversation().iter().map(message))
        .collect();
    json!({
        "model": turn.model,
        "messages": messages,
        "stream": true,
        "stream_options": {"include_usage": true},
        limit: turn.max_tokens,
    })
}

fn message(message: &Message) -> Value {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    // One text travels as a string, which the simplest servers understand.
    let content = match message.parts.as_slice() {
        [Part::Text(text)] => json!(text),
        parts => parts.iter().map(part).collect(),
    };
    json!({"role": role, "content": content})
}

fn part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image { media_type, bytes } => {
            let url = format!("data:{media_type};base64,{}", STANDARD.encode(bytes));
            json!({"type": "image_url", "image_url": {"url": url}})
        }
        Part::Pdf { name, bytes } => {
            let data = format!("data:application/pdf;base64,{}", STANDARD.encode(bytes));
            json!({"type": "file", "file": {"filename": name, "file_data": data}})
        }
    }
}
