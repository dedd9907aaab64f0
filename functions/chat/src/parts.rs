//! Parts of a reply as chunks: those that are sent as deltas, and those that are sent whole.

use serde_json::{Map, Value, json};

use crate::body::Writer;
use crate::chunk::Chunk;

/// The type of a tool's part is this and its name.
const TOOL: &str = "tool-";
/// The type of a tool's part that has its name beside it.
const DYNAMIC_TOOL: &str = "dynamic-tool";
/// What the types of an application's own parts begin with.
const DATA: &str = "data-";

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

/// How the call of a tool is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// As a part of the type `dynamic-tool`, which has the tool's name beside it: of tools that a
    /// client's types do not know.
    pub(crate) is_dynamic: bool,
    /// As one that the provider executes, if anyone does.
    pub(crate) is_provider_executed: bool,
}

impl Manner {
    /// As a chunk has it: a key that is `true`, or none.
    pub(crate) fn dynamic(self) -> Option<bool> {
        self.is_dynamic.then_some(true)
    }

    /// In the same way.
    pub(crate) fn provider_executed(self) -> Option<bool> {
        self.is_provider_executed.then_some(true)
    }
}

/// What a part is a call of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ToolCall<'a> {
    /// Unique in the message.
    pub(crate) id: &'a str,
    /// The tool.
    pub(crate) name: &'a str,
    pub(crate) manner: Manner,
}

/// The call of a tool that a part is, whichever type it has.
pub(crate) fn tool_call(part: &Value) -> Option<ToolCall<'_>> {
    let text = |name: &str| part.get(name)?.as_str().filter(|text| !text.is_empty());
    let (name, is_dynamic) = match text("type")? {
        DYNAMIC_TOOL => (text("toolName")?, true),
        kind => (kind.strip_prefix(TOOL)?, false),
    };
    let is_provider_executed = part.get("providerExecuted").and_then(Value::as_bool);
    (!name.is_empty()).then_some(ToolCall {
        id: text("toolCallId")?,
        name,
        manner: Manner {
            is_dynamic,
            is_provider_executed: is_provider_executed == Some(true),
        },
    })
}

/// The part of a tool's call.
pub(crate) fn called(id: &str, name: &str, input: &Value, manner: Manner) -> Value {
    let mut part = json!({"toolCallId": id, "state": "input-available", "input": input});
    if manner.is_dynamic {
        merge(&mut part, &json!({"type": DYNAMIC_TOOL, "toolName": name}));
    } else {
        merge(&mut part, &json!({"type": format!("{TOOL}{name}")}));
    }
    if manner.is_provider_executed {
        merge(&mut part, &json!({"providerExecuted": true}));
    }
    part
}

/// What a provider says of a part, if it is what clients take for that: objects, by provider.
pub(crate) fn provider_metadata(part: &Value) -> Option<&Value> {
    let noted = part.get("providerMetadata")?;
    let mut providers = noted.as_object()?.values();
    providers.all(Value::is_object).then_some(noted)
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
    if tool_call(part).is_none() {
        return (is_step(part) || keys(part).is_some()).then_some(Stage::Over);
    }
    let state = part.get("state").and_then(Value::as_str);
    Some(match state.unwrap_or_default() {
        "approval-requested" | "approval-responded" => Stage::Asked,
        state if state.starts_with("output-") => Stage::Over,
        _ => Stage::Called,
    })
}

/// Whether a part is the begin of a step.
pub(crate) fn is_step(part: &Value) -> bool {
    part.get("type").is_some_and(|kind| kind == "step-start")
}

/// What the chunk of a part that is there at once has besides its type: the keys without which
/// there is none, and those that it may have. A client may have stored other ones, and some fail
/// on a chunk with a key too many.
fn keys(part: &Value) -> Option<(&'static [&'static str], &'static [&'static str])> {
    let (needed, allowed): (&[&str], &[&str]) = match part.get("type")?.as_str()? {
        "source-url" => (&["sourceId", "url"], &["title"]),
        "source-document" => (&["sourceId", "mediaType", "title"], &["filename"]),
        "file" => (&["mediaType", "url"], &[]),
        kind if kind.starts_with(DATA) => {
            return part.get("data").map(|_| (&["data"][..], &["id"][..]));
        }
        _ => return None,
    };
    let is_text = |key: &&str| part.get(*key).is_some_and(Value::is_string);
    needed.iter().all(is_text).then_some((needed, allowed))
}

/// The chunk of a part that is there at once.
fn whole(part: &Value) -> Option<Value> {
    let (needed, allowed) = keys(part)?;
    let field = |key: &&'static str| Some(((*key).to_owned(), part.get(*key)?.clone()));
    let texts = allowed.iter().filter_map(field);
    let texts = texts.filter(|(_, value)| value.is_string());
    let fields = ["type"].iter().chain(needed).filter_map(field);
    let mut chunk: Map<String, Value> = fields.chain(texts).collect();
    if let (Some(noted), false) = (provider_metadata(part), chunk.contains_key("data")) {
        chunk.insert("providerMetadata".to_owned(), noted.clone());
    }
    Some(Value::Object(chunk))
}

/// Sends a part that is sent whole, from the stage on that was sent `before`.
pub(crate) fn send_whole(part: &Value, before: Option<Stage>, out: &Writer) {
    let Some(call) = tool_call(part) else {
        if is_step(part) {
            send(out, &Chunk::FinishStep);
            send(out, &Chunk::StartStep);
        } else if let Some(chunk) = whole(part) {
            send(out, &Chunk::Whole(&chunk));
        }
        return;
    };
    let now = stage(part);
    let (tool_call_id, tool_name) = (call.id, call.name);
    let (dynamic, provider_executed) = (call.manner.dynamic(), call.manner.provider_executed());
    if before.is_none() {
        let input = part.get("input").unwrap_or(&Value::Null);
        send(
            out,
            &Chunk::ToolInputAvailable {
                tool_call_id,
                tool_name,
                input,
                provider_executed,
                dynamic,
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
    let text = |name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default();
    if let Some(output) = part.get("output") {
        send(
            out,
            &Chunk::ToolOutputAvailable {
                tool_call_id,
                output,
                provider_executed,
                dynamic,
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
                dynamic,
            },
        );
    }
}

/// Sends a chunk. The writer does not care whether the client has left: the reply is stored all the
/// same.
pub(crate) fn send(out: &Writer, chunk: &Chunk<'_>) {
    let _ = out.send(chunk.encode());
}
