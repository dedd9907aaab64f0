//! Tools that clients do not know by name, and whatever else of a reply comes from elsewhere: a
//! `dynamic-tool` is streamed, stored, resumed, exported, imported and told to the model as a
//! `tool-NAME` is, and a part that a client has stored fails no other client.

use serde_json::{Value, json};
use tests::http::Request;
use tests::mcp::McpServer;

use crate::stack::{
    LIMIT, Stack, Visitor, chat_with_tools, heard, launch_chat, message, said, submit,
};
use crate::tools::{agree, answer, answered, at, calls, stored};

/// The parts of all messages.
fn all_parts(read: &Value) -> Value {
    let messages = read["messages"].as_array().unwrap().iter();
    messages.map(|message| message["parts"].clone()).collect()
}

/// Whether an export of everything, imported by somebody else, has the chat as it is.
async fn is_the_same_when_imported(stack: &Stack, visitor: &Visitor<'_>, chat: &str) -> bool {
    let other = Visitor {
        token: stack.token("importer"),
        ..*visitor
    };
    let lines = visitor.ask("GET", "/api/me/export", None).await.body();
    let imported = other
        .send_chats(Request::new("POST", "/api/import").body(lines))
        .await;
    assert_eq!(imported.status, 201, "{:?}", imported.body);
    let original = all_parts(&visitor.read(chat).await);
    for id in imported.json()["ids"].as_array().unwrap() {
        if all_parts(&other.read(id.as_str().unwrap()).await) == original {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn the_calls_of_a_dynamic_server_are_told_stored_resumed_exported_and_told_again() {
    let server = McpServer::start(&[]);
    let stack = Stack::start().await;
    let launch =
        |is_dynamic: bool| chat_with_tools(&stack, &server.config(&json!({"dynamic": is_dynamic})));
    let (chat, other) = (launch(true).start().await, launch(true).start().await);
    let chats = stack.launch("chats").start().await;
    let visitor = at(&stack, &chat, &chats);
    let text = r#"[[tool lab_look {"at":"it"}]] [[tool lab_wait {"ms":800}]]"#;
    let mut turn = visitor.begin(&submit("c", "u", text), LIMIT);
    heard(&mut turn, "tool-output-available").await;
    let followed = at(&stack, &other, &chats);
    let followed = followed.ask("GET", "/api/chat/c/stream", None).await;
    let streamed = said(turn.outcome().await);
    for chunk in streamed.chunks() {
        let kind = chunk["type"].as_str().unwrap();
        let is_told = kind.starts_with("tool-") && kind != "tool-input-delta";
        assert_eq!(chunk["dynamic"] == true, is_told, "{chunk}");
    }
    let reply = agree(&visitor, "c", &streamed).await;
    assert_eq!(followed.message()["parts"], reply["parts"]);
    assert_eq!(
        calls(&reply["parts"])[0],
        &json!({
            "type": "dynamic-tool", "toolName": "lab_look", "toolCallId": "call-1",
            "state": "output-available", "input": {"at": "it"}, "output": "saw it",
        })
    );
    let replayed = visitor.post(&submit("c", "u", text)).await;
    assert_eq!(replayed.message()["parts"], reply["parts"]);
    assert!(is_the_same_when_imported(&stack, &visitor, "c").await);

    // The next turn reads as much as after the same calls of tools that are known by name.
    let known = launch(false).start().await;
    let known = at(&stack, &known, &chats);
    known.post(&submit("k", "u", text)).await;
    let read = async |visitor: &Visitor<'_>, chat: &str| {
        let next = visitor.post(&submit(chat, "u2", "go on")).await;
        assert_eq!(next.text(), "go on");
        next.message()["metadata"]["usage"]["inputTokens"].clone()
    };
    let tokens = read(&visitor, "c").await;
    assert_eq!(tokens, read(&known, "k").await);
    assert!(
        tokens.as_u64() > Some(8),
        "the calls are among it: {tokens}"
    );
}

#[tokio::test]
async fn a_dynamic_tool_that_changes_things_waits_for_its_visitor_too() {
    let server = McpServer::start(&[]);
    let stack = Stack::start().await;
    let chat = chat_with_tools(&stack, &server.config(&json!({"dynamic": true})));
    let (chat, chats) = (chat.start().await, stack.launch("chats").start().await);
    let visitor = at(&stack, &chat, &chats);
    for (id, is_approved, state) in [
        ("c", true, "output-available"),
        ("d", false, "output-denied"),
    ] {
        let text = r#"[[tool lab_remove {"what":"all"}]]"#;
        let streamed = visitor.post(&submit(id, "u", text)).await;
        let asked = agree(&visitor, id, &streamed).await;
        assert_eq!(calls(&asked["parts"])[0]["state"], "approval-requested");
        let went_on = visitor
            .post(&answer(id, &answered(&asked, is_approved)))
            .await;
        assert_eq!(went_on.chunks()[1]["type"], format!("tool-{state}"));
        let reply = stored(&visitor, id).await;
        let call = calls(&reply["parts"])[0];
        assert_eq!(
            (&call["type"], &call["state"]),
            (&json!("dynamic-tool"), &json!(state))
        );
    }
    assert_eq!(server.calls(), [r#"remove {"what":"all"}"#]);
}

/// Whether the strictest client takes a chunk: version 5.0.100, which fails on a key too many.
fn is_accepted(chunk: &Value) -> bool {
    let kind = chunk["type"].as_str().unwrap();
    let more: &[&str] = match kind {
        "start" => &["messageId", "messageMetadata"],
        "start-step" | "finish-step" => &[],
        "finish" => &["finishReason", "messageMetadata"],
        "text-start" | "text-end" | "reasoning-start" | "reasoning-end" => {
            &["id", "providerMetadata"]
        }
        "text-delta" | "reasoning-delta" => &["id", "delta", "providerMetadata"],
        "tool-input-available" => &[
            "toolCallId",
            "toolName",
            "input",
            "providerExecuted",
            "dynamic",
        ],
        "tool-output-available" => &["toolCallId", "output", "providerExecuted", "dynamic"],
        "tool-output-error" => &["toolCallId", "errorText", "providerExecuted", "dynamic"],
        "source-url" => &["sourceId", "url", "title", "providerMetadata"],
        "source-document" => &["sourceId", "mediaType", "title", "filename"],
        "file" => &["url", "mediaType", "providerMetadata"],
        kind if kind.starts_with("data-") => &["id", "data"],
        _ => return false,
    };
    let is_metadata = |noted: &Value| noted.as_object().unwrap().values().all(Value::is_object);
    chunk.as_object().unwrap().iter().all(|(key, value)| {
        let is_known = key == "type" || more.contains(&key.as_str());
        is_known
            && (key == "input" || !value.is_null())
            && (key != "providerMetadata" || is_metadata(value))
    })
}

/// The call of a tool as other applications store it.
fn foreign_call(kind: &Value) -> Value {
    let mut part = json!({
        "toolCallId": "t1", "state": "output-available", "input": {"q": "one two three"},
        "output": "four five six", "title": "A title", "providerExecuted": false,
        "callProviderMetadata": {"p": {}},
    });
    part.as_object_mut()
        .unwrap()
        .extend(kind.as_object().unwrap().clone());
    part
}

/// A reply of an application of its own, with what no client of here sends.
fn foreign_parts(call: &Value) -> Value {
    let image = "data:image/png;base64,AA==";
    json!([
        {"type": "step-start"},
        {"type": "reasoning", "text": "hm", "state": "done", "providerMetadata": {"p": "no object"}},
        call,
        {"type": "dynamic-tool", "toolName": "q", "toolCallId": "t2", "state": "output-error", "input": null, "errorText": "no"},
        {"type": "dynamic-tool", "toolCallId": "t3"},
        {"type": "tool-invocation", "toolInvocation": {"toolCallId": "t4"}},
        {"type": "file", "mediaType": "image/png", "url": image, "filename": "a.png"},
        {"type": "source-url", "sourceId": "s", "url": "https://example.com/", "title": null, "rank": 1},
        {"type": "source-url", "url": "https://example.com/without-id"},
        {"type": "source-document", "sourceId": "d", "mediaType": "text/plain", "title": "T", "filename": 7},
        {"type": "data-place", "id": "p", "data": {"lat": 1}, "transient": true, "x": 1},
        {"type": "data-nothing"},
        {"type": "custom", "kind": "x.y"},
        {"type": "reasoning-file", "mediaType": "image/png", "url": image},
        {"type": "text", "text": "done"},
    ])
}

#[tokio::test]
async fn a_reply_from_elsewhere_is_streamed_as_every_client_takes_it_and_told_with_its_calls() {
    let server = McpServer::start(&[]);
    let stack = Stack::start().await;
    let chat = chat_with_tools(&stack, &server.config(&json!({})));
    let (chat, chats) = (chat.start().await, stack.launch("chats").start().await);
    let plain = launch_chat(&stack).start().await;
    let (visitor, without) = (at(&stack, &chat, &chats), at(&stack, &plain, &chats));
    let mut read = Vec::new();
    for (chat, kind) in [
        (
            "d",
            json!({"type": "dynamic-tool", "toolName": "look up.it"}),
        ),
        ("k", json!({"type": "tool-look up.it"})),
    ] {
        let first = json!({"id": chat, "message": message("u", "hi")});
        let made = visitor
            .send_chats(Request::new("POST", "/api/chats").json(&first))
            .await;
        assert_eq!(made.status, 201);
        let parts = foreign_parts(&foreign_call(&kind));
        let reply = json!({"id": "a", "role": "assistant", "parts": parts});
        let path = format!("/api/chats/{chat}/messages");
        let appended = visitor
            .send_chats(Request::new("POST", &path).json(&reply))
            .await;
        assert_eq!(appended.status, 201, "{:?}", appended.body);
        let stored = visitor.read(chat).await["messages"][1]["parts"].clone();
        assert_eq!(stored, parts, "everything is kept");
        // Answered already: what is there is streamed.
        let replayed = visitor.post(&submit(chat, "u", "hi")).await;
        let chunks = replayed.chunks();
        for chunk in &chunks {
            assert!(is_accepted(chunk), "{chunk}");
        }
        let of = |kind: &str| chunks.iter().filter(|c| c["type"] == kind).count();
        let told = [
            "tool-input-available",
            "tool-output-available",
            "tool-output-error",
        ];
        assert_eq!(told.map(of), [2, 1, 1]);
        let told = ["source-url", "source-document", "file", "data-place"];
        assert_eq!(told.map(of), [1, 1, 1, 1]);
        assert_eq!(replayed.text(), "done");
        let call = calls(&replayed.message()["parts"])[0]["type"].clone();
        assert_eq!(call, kind["type"]);
        assert!(is_the_same_when_imported(&stack, &visitor, chat).await);
        let next = visitor.post(&submit(chat, "u2", "go on")).await;
        let usage = next.message()["metadata"]["usage"].clone();
        read.push(usage["inputTokens"].as_u64().unwrap());
        let next = without.post(&submit(chat, "u3", "go on")).await;
        assert_eq!(next.text(), "go on", "also where there are no tools");
    }
    assert_eq!(read[0], read[1], "both are told alike");
    assert!(
        read[0] > 10,
        "with what was given and what came of it: {read:?}"
    );
}
