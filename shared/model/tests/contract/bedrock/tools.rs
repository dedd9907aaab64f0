//! Tools: how they are offered, called and answered.

use model::{Message, Part, Role, Tool};
use serde_json::{Value, json};

use super::{OK, at, block_stop, delta, event, message_start, message_stop, metadata, text};
use crate::server::Server;
use crate::told::{run, turn};

#[tokio::test]
async fn tools_are_offered_called_and_answered_in_the_services_blocks() {
    let start = |index: u32, id: &str| {
        let start = json!({"toolUse": {"toolUseId": id, "name": "weather"}});
        event(
            "contentBlockStart",
            &json!({"contentBlockIndex": index, "start": start}),
        )
    };
    let frames = [
        message_start(),
        text(0, "Again."),
        block_stop(0),
        start(1, "u-2"),
        delta(1, &json!({"toolUse": {"input": "{\"place\":"}})),
        delta(1, &json!({"toolUse": {"input": "\"Rome\"}"}})),
        block_stop(1),
        start(2, "u-3"),
        block_stop(2),
        message_stop("tool_use"),
        metadata(),
    ];
    let server = Server::answers(OK, frames.concat());
    let mut asked = turn("how is it in Bern?");
    asked.tools = [Tool {
        name: "weather".to_owned(),
        description: String::new(),
        schema: json!({"type": "object"}),
    }]
    .into();
    let signed = json!({"bedrock": {"signature": "s"}});
    let reasoning = |metadata: Value| Part::Reasoning {
        text: "hm".to_owned(),
        metadata,
    };
    asked.messages.push(Message {
        role: Role::Assistant,
        parts: vec![
            reasoning(signed),
            reasoning(json!({"other": {"signature": "s"}})),
            Part::Call {
                id: "functions.weather:0".to_owned(),
                name: "weather".to_owned(),
                input: json!({"place": "Bern", "days": -1, "at": 0.5}),
            },
        ],
    });
    asked.messages.push(Message {
        role: Role::User,
        parts: vec![Part::Result {
            id: "functions.weather:0".to_owned(),
            output: "no such place".to_owned(),
            is_error: true,
        }],
    });
    assert_eq!(
        run(&at(&server.url()), asked).await.unwrap(),
        [
            "text-start t0",
            "text-delta t0 Again.",
            "text-end t0",
            "tool-start u-2 weather",
            "tool-delta u-2 {\"place\":",
            "tool-delta u-2 \"Rome\"}",
            "tool-call u-2 weather {\"place\":\"Rome\"}",
            "tool-start u-3 weather",
            "tool-call u-3 weather {}",
            "finish tool-calls 9+2=11 cached 4",
        ]
    );
    let body = server.request().body;
    assert_eq!(
        body["toolConfig"],
        json!({"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]})
    );
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(
        messages[1..],
        [
            json!({"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
                {"toolUse": {"toolUseId": "functions_weather_0", "name": "weather", "input": {"place": "Bern", "days": -1, "at": 0.5}}},
            ]}),
            json!({"role": "user", "content": [{"toolResult": {
                "toolUseId": "functions_weather_0", "status": "error", "content": [{"text": "no such place"}],
            }}]}),
        ]
    );
}
