//! A stored reply as a model sees it again: its text, the calls of tools, and their results.

use chat_store::is_blank;
use model::{Message, Part, Role};
use serde_json::{Value, json};

use crate::parts::{provider_metadata, tool_call};

/// A reply as a model is told it: its text, and, if so wanted, the calls of tools with what they
/// gave, and what was thought before them. What else a model has made, providers take from nobody
/// but a visitor.
pub(crate) fn reply(stored: &Value, has_tools: bool, has_reasoning: bool) -> Vec<Message> {
    let mut messages = Vec::new();
    let (mut said, mut results) = (Vec::new(), Vec::new());
    for part in stored.as_array().into_iter().flatten() {
        let text = |key: &str| part.get(key).and_then(Value::as_str).unwrap_or_default();
        if let Some(call) = tool_call(part) {
            // What a provider has executed is its own.
            if has_tools && !call.manner.is_provider_executed {
                said.push(Part::Call {
                    id: call.id.to_owned(),
                    name: call.name.to_owned(),
                    input: object(part.get("input").cloned().unwrap_or_default()),
                });
                results.push(result(call.id.to_owned(), part));
            }
            continue;
        }
        let next = match text("type") {
            "text" if !text("text").is_empty() => Part::Text(text("text").to_owned()),
            "reasoning" if has_reasoning => Part::Reasoning {
                text: text("text").to_owned(),
                metadata: provider_metadata(part).cloned().unwrap_or_default(),
            },
            "step-start" => {
                end_step(&mut messages, &mut said, &mut results);
                continue;
            }
            _ => continue,
        };
        if !results.is_empty() {
            end_step(&mut messages, &mut said, &mut results);
        }
        said.push(next);
    }
    end_step(&mut messages, &mut said, &mut results);
    messages
}

fn end_step(messages: &mut Vec<Message>, said: &mut Vec<Part>, results: &mut Vec<Part>) {
    for (role, parts) in [(Role::Assistant, said), (Role::User, results)] {
        let parts = std::mem::take(parts);
        match messages.last_mut() {
            _ if parts.is_empty() => {}
            Some(last) if last.role == role => last.parts.extend(parts),
            _ => messages.push(Message { role, parts }),
        }
    }
}

/// An input as providers take it.
fn object(input: Value) -> Value {
    match input {
        Value::Object(_) => input,
        other => json!({"input": other}),
    }
}

/// What became of a call: every call has a result, or a provider refuses the conversation.
fn result(id: String, part: &Value) -> Part {
    let text = |pointer: &str| part.pointer(pointer).and_then(Value::as_str);
    let output = match part.get("output") {
        Some(Value::String(text)) if is_blank(text) => "(nothing)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(output) => output.to_string(),
        None => match (text("/state"), text("/errorText"), text("/approval/reason")) {
            (Some("output-denied"), _, Some(why)) => format!("the user refused this call: {why}"),
            (Some("output-denied"), _, None) => "the user refused this call".to_owned(),
            (_, Some(reason), _) if !is_blank(reason) => reason.to_owned(),
            _ => "this call was not made".to_owned(),
        },
    };
    Part::Result {
        id,
        output,
        is_error: part.get("output").is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachments::Files;
    use crate::context::{conversation, question};
    use crate::parts::merge;
    use chat_store::StoredParts;

    fn message(role: &str, parts: &Value) -> chat_store::Message {
        chat_store::Message {
            id: "x".to_owned(),
            role: role.to_owned(),
            parts: StoredParts::parse(&parts.to_string()),
            metadata: None,
        }
    }

    #[test]
    fn the_calls_of_tools_are_told_as_pairs_whatever_became_of_them() {
        let call = |id: &str, state: &str, more: Value| {
            let mut part =
                json!({"type": "tool-look", "toolCallId": id, "state": state, "input": {}});
            merge(&mut part, &more);
            part
        };
        let stored = json!([
            {"type": "step-start"},
            {"type": "reasoning", "id": "r0", "text": "hm", "providerMetadata": {"p": {"signature": "s"}}},
            {"type": "text", "text": "one"},
            call("a", "output-available", json!({"output": {"n": 1}})),
            call("b", "output-error", json!({"errorText": "broken"})),
            {"type": "step-start"},
            call("c", "output-denied", json!({"approval": {"id": "x", "approved": false, "reason": "no"}})),
            call("d", "approval-requested", json!({"input": "not JSON"})),
            {"type": "tool-own", "toolCallId": "e", "state": "output-available", "output": 1, "providerExecuted": true},
        ]);
        let result = |id: &str, output: &str, is_error| Part::Result {
            id: id.to_owned(),
            output: output.to_owned(),
            is_error,
        };
        let call = |id: &str, input: Value| Part::Call {
            id: id.to_owned(),
            name: "look".to_owned(),
            input,
        };
        let says = |role, parts: Vec<Part>| Message { role, parts };
        let (text, thought) = (
            Part::Text("one".to_owned()),
            Part::Reasoning {
                text: "hm".to_owned(),
                metadata: json!({"p": {"signature": "s"}}),
            },
        );
        let none = || json!({});
        let expected = [
            says(
                Role::Assistant,
                vec![thought, text.clone(), call("a", none()), call("b", none())],
            ),
            says(
                Role::User,
                vec![
                    result("a", r#"{"n":1}"#, false),
                    result("b", "broken", true),
                ],
            ),
            says(
                Role::Assistant,
                vec![call("c", none()), call("d", json!({"input": "not JSON"}))],
            ),
            says(
                Role::User,
                vec![
                    result("c", "the user refused this call: no", true),
                    result("d", "this call was not made", true),
                ],
            ),
        ];
        assert_eq!(reply(&stored, true, true), expected);
        assert_eq!(
            reply(&stored, false, false),
            [says(Role::Assistant, vec![text])]
        );

        // What is cut off takes its results along.
        let said = message("assistant", &stored);
        let question = || question(r#"[{"type":"text","text":"now"}]"#, &Files::new());
        let alone = conversation(
            std::slice::from_ref(&said),
            question(),
            &Files::new(),
            1_000,
            true,
        );
        assert_eq!(alone, [question()]);
        let asked = json!([{"type": "text", "text": "look"}]);
        let history = [message("user", &asked), said];
        let told = conversation(&history, question(), &Files::new(), 1_000, true);
        assert_eq!(told.len(), 5, "{told:?}");
        assert_eq!(
            told[4].parts.len(),
            3,
            "the results come before what is said then"
        );
    }

    #[test]
    fn a_tool_whose_name_stands_beside_its_type_is_told_like_any_other() {
        let part = |kind: Value| {
            let mut part = json!({"toolCallId": "c", "state": "output-available", "input": {"n": 1},
                "output": "seen", "providerExecuted": false});
            merge(&mut part, &kind);
            json!([part, {"type": "text", "text": "so"}])
        };
        let dynamic = part(json!({"type": "dynamic-tool", "toolName": "look"}));
        let told = reply(&dynamic, true, false);
        assert_eq!(
            told,
            reply(&part(json!({"type": "tool-look"})), true, false)
        );
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(
            reply(&dynamic, false, false).len(),
            1,
            "only where there are tools"
        );
        // What names no tool or no call is none: not even the calls of the SDK's version 4.
        for nothing in [
            json!({"type": "dynamic-tool"}),
            json!({"type": "dynamic-tool", "toolName": 7}),
            json!({"type": "tool-"}),
            json!({"type": "tool-invocation", "toolCallId": null}),
            json!({"type": "tool-look", "toolCallId": ""}),
        ] {
            assert_eq!(reply(&part(nothing), true, false).len(), 1);
        }
    }
}
