//! The calls of tools in a reply: begun, made, asked about, answered.

use serde_json::{Value, json};

use super::{Calling, Draft, Part};
use crate::body::Writer;
use crate::chunk::Chunk;
use crate::parts::{Manner, Stage, called, merge, send, send_whole, stage, tool_call};

/// What is noted of a call whose end nobody has seen.
const CUT_SHORT: &str = "the call was cut short: whether it took effect is not known";

/// What became of the call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It gave something.
    Gave(Value),
    /// It failed.
    Failed(String),
    /// The visitor did not allow it.
    Denied,
}

/// A call that is to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenCall {
    /// Unique in the reply.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: Value,
    /// What the visitor said when asked.
    pub(crate) is_approved: Option<bool>,
}

impl Draft {
    /// Begins the call of a tool, which the provider calls `call`.
    pub(crate) fn begin_call(&mut self, call: &str, tool_name: &str, manner: Manner, out: &Writer) {
        if self.calls.contains_key(call) {
            return;
        }
        self.end_all(out);
        let id = self.unused_id(call);
        send(
            out,
            &Chunk::ToolInputStart {
                tool_call_id: &id,
                tool_name,
                provider_executed: manner.provider_executed(),
                dynamic: manner.dynamic(),
            },
        );
        self.calls.insert(call.to_owned(), self.parts.len());
        self.parts.push(Part::Calling(Calling {
            id,
            name: tool_name.to_owned(),
            manner,
            input: String::new(),
        }));
    }

    /// Adds to the input of a call that has begun.
    pub(crate) fn call_delta(&mut self, call: &str, input_text_delta: &str, out: &Writer) {
        let index = self.calls.get(call);
        if let Some(Part::Calling(calling)) = index.and_then(|index| self.parts.get_mut(*index)) {
            calling.input.push_str(input_text_delta);
            self.bytes += input_text_delta.len();
            send(
                out,
                &Chunk::ToolInputDelta {
                    tool_call_id: &calling.id,
                    input_text_delta,
                },
            );
        }
    }

    /// Calls a tool, whether or not that has begun.
    pub(crate) fn call(
        &mut self,
        call: &str,
        name: &str,
        input: &Value,
        manner: Manner,
        out: &Writer,
    ) {
        let index = self.calls.get(call).copied();
        let (id, slot) = match index.and_then(|index| self.parts.get_mut(index)) {
            Some(slot @ Part::Calling(_)) => {
                let Part::Calling(calling) = &*slot else {
                    return;
                };
                self.bytes -= calling.input.len();
                (calling.id.clone(), Some(slot))
            }
            Some(_) => return,
            None => (self.unused_id(call), None),
        };
        let part = called(&id, name, input, manner);
        if let Some(slot) = slot {
            self.bytes += part.to_string().len();
            send_whole(&part, None, out);
            *slot = Part::Whole(part);
        } else {
            self.calls.insert(call.to_owned(), self.parts.len());
            self.add(part, out);
        }
    }

    /// An id for a call that no other has: providers count again in every step.
    fn unused_id(&self, call: &str) -> String {
        let is_used = |id: &str| {
            self.parts.iter().any(|part| match part {
                Part::Said(_) => false,
                Part::Calling(calling) => calling.id == id,
                Part::Whole(part) => part.get("toolCallId").is_some_and(|used| used == id),
            })
        };
        let others = (2..).map(|n| format!("{call}-{n}"));
        let mut ids = std::iter::once(call.to_owned()).chain(others);
        ids.find(|id| !is_used(id)).unwrap_or_default()
    }

    /// The calls without an outcome that the provider does not execute, and whose visitor has
    /// nothing to say any more.
    pub(crate) fn open_calls(&self) -> Vec<OpenCall> {
        let open = |part: &Part| {
            let Part::Whole(part) = part else { return None };
            let call = tool_call(part)?;
            let is = |key: &str, value: &str| part.get(key).is_some_and(|of| of == value);
            let is_open = is("state", "input-available") || is("state", "approval-responded");
            (is_open && !call.manner.is_provider_executed).then(|| OpenCall {
                id: call.id.to_owned(),
                name: call.name.to_owned(),
                input: part.get("input").cloned().unwrap_or_default(),
                is_approved: part.pointer("/approval/approved").and_then(Value::as_bool),
            })
        };
        self.parts.iter().filter_map(open).collect()
    }

    /// Whether the visitor is asked something.
    pub(crate) fn is_asking(&self) -> bool {
        let is_asking = |part: &Part| matches!(part, Part::Whole(part) if part.get("state").is_some_and(|state| state == "approval-requested"));
        self.parts.iter().any(is_asking)
    }

    /// Asks the visitor whether a call may be made.
    pub(crate) fn ask(&mut self, call: &str, approval: &str, out: &Writer) {
        if let Some(part) = self.unanswered(call)
            && stage(part) == Some(Stage::Called)
        {
            merge(
                part,
                &json!({"state": "approval-requested", "approval": {"id": approval}}),
            );
            send_whole(part, Some(Stage::Called), out);
            self.bytes += approval.len();
        }
    }

    /// Adds what the provider says became of a call that it has executed.
    pub(crate) fn answered(&mut self, call: &str, outcome: Outcome, out: &Writer) {
        let index = self.calls.get(call);
        let Some(Part::Whole(part)) = index.and_then(|index| self.parts.get_mut(*index)) else {
            return;
        };
        merge(part, &json!({"providerExecuted": true}));
        let id = part
            .get("toolCallId")
            .and_then(Value::as_str)
            .map(str::to_owned);
        self.answer(&id.unwrap_or_default(), outcome, out);
    }

    /// Adds what became of the call with this id.
    pub(crate) fn answer(&mut self, call: &str, outcome: Outcome, out: &Writer) {
        let Some(part) = self.unanswered(call) else {
            return;
        };
        let before = stage(part);
        let (state, key, value) = match outcome {
            Outcome::Gave(output) => ("output-available", "output", output),
            Outcome::Failed(reason) => ("output-error", "errorText", reason.into()),
            Outcome::Denied => ("output-denied", "", Value::Null),
        };
        let size = value.to_string().len();
        merge(part, &json!({"state": state}));
        if !key.is_empty() {
            merge(part, &json!({key: value}));
        }
        send_whole(part, before, out);
        self.bytes += size;
    }

    /// The part of a call without an outcome.
    fn unanswered(&mut self, call: &str) -> Option<&mut Value> {
        self.parts.iter_mut().find_map(|part| match part {
            Part::Whole(part) if stage(part) < Some(Stage::Over) => {
                let is_meant = part.get("toolCallId").is_some_and(|id| id == call);
                is_meant.then_some(part)
            }
            _ => None,
        })
    }

    /// Ends every call that will get no outcome any more; the visitor may still be asked.
    pub(crate) fn end_calls(&mut self, out: &Writer) {
        for slot in &mut self.parts {
            if let Part::Calling(calling) = slot {
                let input = serde_json::from_str(&calling.input)
                    .unwrap_or_else(|_| calling.input.as_str().into());
                let part = called(&calling.id, &calling.name, &input, calling.manner);
                self.bytes += part.to_string().len() - calling.input.len();
                send_whole(&part, None, out);
                *slot = Part::Whole(part);
            }
        }
        let is_asking = |part: &Value| {
            part.get("state")
                .is_some_and(|of| of == "approval-requested")
        };
        let cut_short = self.parts.iter().filter_map(|part| match part {
            Part::Whole(part) if stage(part) < Some(Stage::Over) && !is_asking(part) => part
                .get("toolCallId")
                .and_then(Value::as_str)
                .map(str::to_owned),
            _ => None,
        });
        for id in cut_short.collect::<Vec<_>>() {
            self.answer(&id, Outcome::Failed(CUT_SHORT.to_owned()), out);
        }
    }
}
