//! Parts of a reply as chunks: those that are said by deltas, and those that are there at once.

use serde_json::Value;

use crate::body::Writer;
use crate::chunk::Chunk;

/// The type of a tool's part is this and its name.
const TOOL: &str = "tool-";

/// What a part that is said by deltas holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Text,
    Reasoning,
}

/// The id of the `n`th part of its kind.
pub(crate) fn part_id(kind: Kind, n: usize) -> String {
    match kind {
        Kind::Text => format!("t{n}"),
        Kind::Reasoning => format!("r{n}"),
    }
}

pub(crate) fn send_start(kind: Kind, id: &str, out: &Writer) {
    match kind {
        Kind::Text => send(out, &Chunk::TextStart { id }),
        Kind::Reasoning => send(out, &Chunk::ReasoningStart { id }),
    }
}

pub(crate) fn send_delta(kind: Kind, id: &str, delta: &str, out: &Writer) {
    match kind {
        Kind::Text => send(out, &Chunk::TextDelta { id, delta }),
        Kind::Reasoning => send(out, &Chunk::ReasoningDelta { id, delta }),
    }
}

/// Ends a part that was said.
pub(crate) fn close(kind: Kind, id: &str, provider_metadata: Option<&Value>, out: &Writer) {
    match kind {
        Kind::Text => send(out, &Chunk::TextEnd { id }),
        Kind::Reasoning => send(
            out,
            &Chunk::ReasoningEnd {
                id,
                provider_metadata,
            },
        ),
    }
}

/// The part of a tool's call. The provider has it executed, if anyone does: a client is not to send a result.
pub(crate) fn tool_call(id: &str, name: &str, input: &Value) -> Value {
    serde_json::json!({
        "type": format!("{TOOL}{name}"),
        "toolCallId": id,
        "state": "input-available",
        "input": input,
        "providerExecuted": true,
    })
}

/// Whether a part is sent whole, and if so whether nothing will be added to it: a call waits for its output.
pub(crate) fn is_answered(part: &Value) -> Option<bool> {
    match part.get("type")?.as_str()? {
        "source-url" | "source-document" | "file" => Some(true),
        tool if tool.starts_with(TOOL) => {
            Some(part.get("output").is_some() || part.get("errorText").is_some())
        }
        _ => None,
    }
}

/// Sends a part that is there at once; of a call that `is_begun` only what became of it.
pub(crate) fn send_whole(part: &Value, is_begun: bool, out: &Writer) {
    let text = |name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default();
    let Some(tool_name) = text("type").strip_prefix(TOOL) else {
        return send(out, &Chunk::Whole(part));
    };
    let (tool_call_id, provider_executed) = (text("toolCallId"), true);
    if !is_begun {
        let input = part.get("input").unwrap_or(&Value::Null);
        send(
            out,
            &Chunk::ToolInputAvailable {
                tool_call_id,
                tool_name,
                input,
                provider_executed,
            },
        );
    }
    if let Some(output) = part.get("output") {
        send(
            out,
            &Chunk::ToolOutputAvailable {
                tool_call_id,
                output,
                provider_executed,
            },
        );
    } else if part.get("errorText").is_some() {
        send(
            out,
            &Chunk::ToolOutputError {
                tool_call_id,
                error_text: text("errorText"),
                provider_executed,
            },
        );
    }
}

/// Sends a chunk. A client that left is none of the writer's business: the reply is stored all the same.
pub(crate) fn send(out: &Writer, chunk: &Chunk<'_>) {
    let _ = out.send(chunk.encode());
}
