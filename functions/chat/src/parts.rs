//! Parts of a reply as chunks: those that are said by deltas, and those that are there at once.

use serde_json::{Value, json};

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

/// The part of a tool's call. One that the provider executes, if anyone does, is marked as such.
pub(crate) fn tool_call(id: &str, name: &str, input: &Value, is_provider_executed: bool) -> Value {
    let mut part = json!({
        "type": format!("{TOOL}{name}"),
        "toolCallId": id,
        "state": "input-available",
        "input": input,
    });
    if is_provider_executed {
        merge(&mut part, &json!({"providerExecuted": true}));
    }
    part
}

/// The tool that a part is a call of.
pub(crate) fn tool_name(part: &Value) -> Option<&str> {
    part.get("type")?.as_str()?.strip_prefix(TOOL)
}

/// Adds the fields of one object to another.
pub(crate) fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.clone());
    }
}

/// How far a part has come that is sent whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// A tool is called.
    Called,
    /// The visitor was asked whether it may be.
    Asked,
    /// Nothing more will be added.
    Over,
}

/// How far a part has come, if it is sent whole.
pub(crate) fn stage(part: &Value) -> Option<Stage> {
    if tool_name(part).is_none() {
        let kind = part.get("type")?.as_str()?;
        let is_whole = matches!(
            kind,
            "step-start" | "source-url" | "source-document" | "file"
        );
        return is_whole.then_some(Stage::Over);
    }
    let state = part.get("state").and_then(Value::as_str);
    Some(match state.unwrap_or_default() {
        "approval-requested" | "approval-responded" => Stage::Asked,
        state if state.starts_with("output-") => Stage::Over,
        _ => Stage::Called,
    })
}

/// Sends a part that is sent whole, from the stage on that was sent `before`.
pub(crate) fn send_whole(part: &Value, before: Option<Stage>, out: &Writer) {
    let text = |name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default();
    let Some(tool_name) = tool_name(part) else {
        if text("type") == "step-start" {
            send(out, &Chunk::FinishStep);
            return send(out, &Chunk::StartStep);
        }
        return send(out, &Chunk::Whole(part));
    };
    let now = stage(part);
    let tool_call_id = text("toolCallId");
    let provider_executed = part.get("providerExecuted").and_then(Value::as_bool);
    if before.is_none() {
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
    let approval = part.pointer("/approval/id").and_then(Value::as_str);
    if let Some(approval_id) = approval.filter(|_| before < Some(Stage::Asked)) {
        send(
            out,
            &Chunk::ToolApprovalRequest {
                approval_id,
                tool_call_id,
            },
        );
    }
    if now != Some(Stage::Over) {
        return;
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
    } else if text("state") == "output-denied" {
        send(out, &Chunk::ToolOutputDenied { tool_call_id });
    } else {
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

/// Sends a chunk. A client that left is none of the writer's business: the reply is stored all the
/// same.
pub(crate) fn send(out: &Writer, chunk: &Chunk<'_>) {
    let _ = out.send(chunk.encode());
}
