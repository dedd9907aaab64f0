//! The body of a chat completion request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::turn::{Message, Part, Role, Tool, Turn};

/// Builds the body. `limit` is the field that caps the reply: servers disagree about its name.
pub(super) fn body(turn: &Turn, limit: &str) -> Value {
    let system = turn
        .system
        .iter()
        .map(|text| json!({"role": "system", "content": text}));
    let messages: Vec<_> = system
        .chain(turn.conversation().iter().flat_map(messages))
        .collect();
    let mut body = json!({
        "model": turn.model,
        "messages": messages,
        "stream": true,
        "stream_options": {"include_usage": true},
        limit: turn.max_tokens,
    });
    if let (Some(body), false) = (body.as_object_mut(), turn.tools.is_empty()) {
        body.insert("tools".to_owned(), turn.tools.iter().map(tool).collect());
        if !turn.may_call {
            body.insert("tool_choice".to_owned(), "none".into());
        }
    }
    body
}

fn tool(tool: &Tool) -> Value {
    json!({"type": "function", "function": {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema,
    }})
}

/// A message, after one for each result of a tool.
fn messages(message: &Message) -> Vec<Value> {
    let results = message.parts.iter().filter_map(|part| match part {
        Part::Result { id, output, .. } => {
            Some(json!({"role": "tool", "tool_call_id": id, "content": output}))
        }
        _ => None,
    });
    let mut messages: Vec<Value> = results.collect();
    let content: Vec<Value> = message.parts.iter().filter_map(part).collect();
    let calls: Vec<Value> = message.parts.iter().filter_map(call).collect();
    if content.is_empty() && calls.is_empty() {
        return messages;
    }
    // One text travels as a string, which the simplest servers understand.
    let mut texts = message.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    let content = match (content.len(), texts.next()) {
        (0, _) => Value::Null,
        (1, Some(text)) => json!(text),
        _ => json!(content),
    };
    let mut sent = match message.role {
        Role::User => json!({"role": "user", "content": content}),
        Role::Assistant => json!({"role": "assistant", "content": content}),
    };
    if let (Some(sent), false) = (sent.as_object_mut(), calls.is_empty()) {
        sent.insert("tool_calls".to_owned(), calls.into());
    }
    messages.push(sent);
    messages
}

fn call(part: &Part) -> Option<Value> {
    let Part::Call { id, name, input } = part else {
        return None;
    };
    let function = json!({"name": name, "arguments": input.to_string()});
    Some(json!({"id": id, "type": "function", "function": function}))
}

/// What is content, in the narrow sense.
fn part(part: &Part) -> Option<Value> {
    Some(match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image { media_type, bytes } => {
            let url = format!("data:{media_type};base64,{}", STANDARD.encode(bytes));
            json!({"type": "image_url", "image_url": {"url": url}})
        }
        Part::Pdf { name, bytes } => {
            let data = format!("data:application/pdf;base64,{}", STANDARD.encode(bytes));
            json!({"type": "file", "file": {"filename": name, "file_data": data}})
        }
        Part::Reasoning { .. } | Part::Call { .. } | Part::Result { .. } => return None,
    })
}
