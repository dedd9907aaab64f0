//! Tools: how they are offered, called and answered.

use model::{Message, Part, Role, Tool};
use serde_json::{Value, json};

use super::{OK, at, read_deltas};
use crate::server::Server;
use crate::told::{run, turn};

#[tokio::test]
async fn a_call_of_a_tool_is_put_together_and_answered_by_that_there_is_none() {
    let call = |call: Value| json!({"tool_calls": [call]});
    let told = read_deltas(&[
        call(json!({"index": 0, "id": "c", "function": {"name": "get weather", "arguments": "{\"place\":"}})),
        call(json!({"index": 0, "function": {"arguments": "\"Bern\"}"}})),
        call(json!({"index": 1, "id": "d", "function": {"name": "f", "arguments": "not JSON"}})),
        call(json!({"index": 2, "function": {"name": "without an id"}})),
    ])
    .await;
    assert_eq!(
        told,
        [
            "tool-start c get_weather",
            r#"tool-delta c {"place":"#,
            r#"tool-delta c "Bern"}"#,
            "tool-start d f",
            "tool-delta d not JSON",
            "tool-start call-2 without_an_id",
            r#"tool-call c get_weather {"place":"Bern"}"#,
            r#"tool-call d f "not JSON""#,
            "tool-call call-2 without_an_id {}",
            "tool-error c no tool of this name is configured",
            "tool-error d no tool of this name is configured",
            "tool-error call-2 no tool of this name is configured",
            "finish stop 0+0=0 cached 0",
        ]
    );
}

#[tokio::test]
async fn calls_are_told_apart_however_a_server_numbers_them() {
    let function = |name: &str, input: &str| json!({"name": name, "arguments": input});
    let more = |input: &str| json!({"arguments": input});
    for pieces in [
        // By index; by index and id, again and again; all with one index; by id alone.
        json!([
            {"index": 0, "id": "a", "function": function("f", "{")},
            {"index": 1, "id": "b", "function": function("g", "")},
            {"index": 0, "function": more("}")},
            {"index": 1, "function": more("[]")},
        ]),
        json!([
            {"index": 0, "id": "a", "function": function("f", "{")},
            {"index": 0, "id": "a", "function": function("f", "}")},
            {"index": 1, "id": "b", "function": function("g", "[]")},
        ]),
        json!([
            {"index": 0, "id": "a", "function": function("f", "{}")},
            {"index": 0, "id": "b", "function": function("g", "[")},
            {"index": 0, "function": more("]")},
        ]),
        json!([
            {"id": "a", "function": function("f", "{")},
            {"function": more("}")},
            {"id": "b", "function": {"name": "g", "arguments": "[]"}},
        ]),
    ] {
        let pieces = pieces.as_array().unwrap();
        let deltas: Vec<_> = pieces.iter().map(|p| json!({"tool_calls": [p]})).collect();
        let told = read_deltas(&deltas).await;
        let calls: Vec<_> = told.iter().filter(|l| l.starts_with("tool-call")).collect();
        assert_eq!(calls, ["tool-call a f {}", "tool-call b g []"], "{told:?}");
    }
}

/// A turn in which a tool was called and gave something.
fn turn_with_tools() -> model::Turn {
    let mut asked = turn("how is it in Bern?");
    asked.tools = [Tool {
        name: "weather".to_owned(),
        description: "What it is like outside".to_owned(),
        schema: json!({"type": "object", "properties": {"place": {"type": "string"}}}),
    }]
    .into();
    asked.messages.push(Message {
        role: Role::Assistant,
        parts: vec![
            Part::Text("Let me look.".to_owned()),
            Part::Call {
                id: "c-1".to_owned(),
                name: "weather".to_owned(),
                input: json!({"place": "Bern"}),
            },
        ],
    });
    asked.messages.push(Message {
        role: Role::User,
        parts: vec![Part::Result {
            id: "c-1".to_owned(),
            output: "rain".to_owned(),
            is_error: false,
        }],
    });
    asked
}

#[tokio::test]
async fn tools_are_offered_and_what_they_gave_is_told_as_pairs() {
    let call = json!({"tool_calls": [{"index": 0, "id": "c-2", "function": {"name": "weather", "arguments": "{}"}}]});
    let delta = json!({"choices": [{"delta": call, "finish_reason": "tool_calls"}]});
    let server = Server::answers(OK, format!("data: {delta}\n\ndata: [DONE]\n\n"));
    let mut asked = turn_with_tools();
    asked.may_call = false;
    assert_eq!(
        run(&at(&server.url()), asked).await.unwrap(),
        [
            "tool-start c-2 weather",
            "tool-delta c-2 {}",
            "tool-call c-2 weather {}",
            "finish tool-calls 0+0=0 cached 0"
        ],
        "a call without a result is the caller's to execute"
    );
    let body = server.request().body;
    assert_eq!(
        body["tools"],
        json!([{"type": "function", "function": {
            "name": "weather",
            "description": "What it is like outside",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        }}])
    );
    assert_eq!(body["tool_choice"], "none");
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(
        messages[1..],
        [
            json!({"role": "assistant", "content": "Let me look.", "tool_calls": [
                {"id": "c-1", "type": "function", "function": {"name": "weather", "arguments": "{\"place\":\"Bern\"}"}},
            ]}),
            json!({"role": "tool", "tool_call_id": "c-1", "content": "rain"}),
        ]
    );
}
