//! Tools of a real MCP server: called, answered, stored, told to the model again; bounded in steps,
//! time, size and tokens.

use serde_json::{Value, json};
use tests::function::Function;
use tests::mcp::McpServer;

use crate::stack::{
    LIMIT, Said, Stack, Visitor, chat_with_tools, heard, launch_chat, submit, until_true,
};

/// The visitor, at this pair of functions.
pub(crate) fn at<'a>(stack: &Stack, chat: &'a Function, chats: &'a Function) -> Visitor<'a> {
    let token = stack.token("visitor");
    Visitor { chat, chats, token }
}

/// A call of a tool in a stored or streamed reply.
pub(crate) fn calls(parts: &Value) -> Vec<&Value> {
    let parts = parts.as_array().unwrap().iter();
    parts
        .filter(|part| part["toolCallId"].is_string())
        .collect()
}

/// The stored reply of a chat with one turn.
pub(crate) async fn stored(visitor: &Visitor<'_>, chat: &str) -> Value {
    visitor.read(chat).await["messages"][1].clone()
}

/// What was streamed is what is stored.
pub(crate) async fn agree(visitor: &Visitor<'_>, chat: &str, said: &Said) -> Value {
    let stored = stored(visitor, chat).await;
    assert_eq!(said.message()["parts"], stored["parts"]);
    stored
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_is_told_stored_and_told_again() {
    for answers_as in ["json", "events"] {
        let server = McpServer::start(&[("AS", answers_as), ("TOKEN", "s3cret")]);
        let servers = server.config(&json!({"headers": {"authorization": "Bearer ${MCP_SECRET}"}}));
        let stack = Stack::start().await;
        let chat = chat_with_tools(&stack, &servers)
            .env("MCP_SECRET", "s3cret")
            .env("AWS_LAMBDA_LOG_LEVEL", "DEBUG");
        let (chat, chats) = (chat.start().await, stack.launch("chats").start().await);
        let visitor = at(&stack, &chat, &chats);
        let text = r#"[[tool lab_look {"at":"it"}]] [[tool lab_measure {"of":"four"}]]"#;
        let said = visitor.post(&submit("c", "u", text)).await;
        assert_eq!(
            said.types(),
            [
                "start",
                "start-step",
                "data-chat-title",
                "tool-input-start",
                "tool-input-delta",
                "tool-input-available",
                "tool-output-available",
                "finish-step",
                "start-step",
                "tool-input-start",
                "tool-input-delta",
                "tool-input-available",
                "tool-output-available",
                "finish-step",
                "start-step",
                "text-start",
                "text-delta",
                "text-end",
                "finish-step",
                "finish",
            ]
        );
        assert_eq!(said.text(), r#"Tools said: saw it, {"length":4}"#);
        assert_eq!(
            server.calls(),
            [r#"look {"at":"it"}"#, r#"measure {"of":"four"}"#]
        );
        let reply = agree(&visitor, "c", &said).await;
        assert_eq!(
            calls(&reply["parts"]),
            [
                &json!({
                    "type": "tool-lab_look", "toolCallId": "call-1", "state": "output-available",
                    "input": {"at": "it"}, "output": "saw it",
                }),
                // The provider counts again in every step.
                &json!({
                    "type": "tool-lab_measure", "toolCallId": "call-1-2", "state": "output-available",
                    "input": {"of": "four"}, "output": {"length": 4},
                }),
            ]
        );
        assert_eq!(reply["metadata"]["finishReason"], "stop");
        // Another turn is told of them, and whoever resumes hears the same.
        let again = visitor.post(&submit("c", "u2", "[[offered]]")).await;
        assert!(again.text().contains("lab_remove"), "{}", again.text());
        let replay = visitor.post(&submit("c", "u", text)).await;
        assert_eq!(replay.message()["parts"], reply["parts"]);
        let logged = chat.output().join("\n");
        for unsaid in ["s3cret", "saw it", "four"] {
            assert!(!logged.contains(unsaid), "{unsaid}: {logged}");
        }
    }
}

#[tokio::test]
async fn what_goes_wrong_with_a_tool_is_told_and_the_turn_goes_on() {
    let server = McpServer::start(&[]);
    let stack = Stack::start().await;
    let chat = chat_with_tools(&stack, &server.config(&json!({})))
        .env("TOOL_RESULT_BYTES", "256")
        .start()
        .await;
    let chats = stack.launch("chats").start().await;
    let visitor = at(&stack, &chat, &chats);
    let text = r#"[[together]] [[tool lab_fail {}]] [[tool lab_look "it"]]
        [[tool lab_look {"at":7}]] [[tool lab_none {}]] [[tool lab_talk {"bytes":300}]]"#;
    let said = visitor.post(&submit("c", "u", text)).await;
    let reply = agree(&visitor, "c", &said).await;
    assert_eq!(reply["metadata"]["status"], "complete");
    let calls = calls(&reply["parts"]);
    let told = |n: usize| calls[n]["errorText"].as_str().unwrap();
    assert_eq!(told(0), "it is broken");
    assert!(told(1).contains("not a JSON object"), "{}", told(1));
    assert!(told(2).contains("at"), "{}", told(2));
    assert!(told(3).contains("no tool of this name"), "{}", told(3));
    let cut = calls[4]["output"].as_str().unwrap();
    assert!(
        cut.len() <= 256 && cut.ends_with("[cut: the result was longer]"),
        "{cut}"
    );
    assert!(
        said.text().contains("error: it is broken"),
        "{}",
        said.text()
    );

    // One that does not answer, where no other call is hurried.
    let servers = server.config(&json!({}));
    let impatient = chat_with_tools(&stack, &servers).env("TOOL_TIMEOUT_MS", "300");
    let impatient = impatient.start().await;
    let hurried = at(&stack, &impatient, &chats);
    let said = hurried
        .post(&submit("h", "u", "[[tool lab_hang {}]]"))
        .await;
    assert!(
        said.text().contains("no answer within 300 ms"),
        "{}",
        said.text()
    );

    let look = r#"[[tool lab_look {"at":"it"}]]"#;
    let too_long = r#"[[tool lab_talk {"bytes":2000000}]] [[tool lab_look {"at":"it"}]]"#;
    let said = visitor.post(&submit("e", "u", too_long)).await;
    assert!(
        said.text().starts_with("Tools said: error: lab: "),
        "{}",
        said.text()
    );
    assert!(said.text().ends_with("saw it"), "{}", said.text());
    server.forget().await;
    let said = visitor.post(&submit("f", "u", look)).await;
    assert_eq!(said.text(), "Tools said: saw it", "a session is begun anew");

    // A server that is gone is an error in words.
    drop(server);
    let said = visitor.post(&submit("d", "u", look)).await;
    assert!(
        said.text().contains("error: lab: it does not answer"),
        "{}",
        said.text()
    );
    assert_eq!(
        stored(&visitor, "d").await["metadata"]["status"],
        "complete"
    );
}

#[tokio::test]
async fn a_reply_has_a_limited_number_of_steps() {
    let server = McpServer::start(&[]);
    let stack = Stack::start().await;
    let chat = chat_with_tools(&stack, &server.config(&json!({"tools": ["look"]})))
        .env("TOOL_STEPS", "3")
        .start()
        .await;
    let chats = stack.launch("chats").start().await;
    let visitor = at(&stack, &chat, &chats);
    let look = r#"[[tool lab_look {"at":"it"}]] "#.repeat(5);
    let said = visitor.post(&submit("c", "u", &look)).await;
    let reply = agree(&visitor, "c", &said).await;
    assert_eq!(
        server.calls().len(),
        2,
        "the third time the model has to answer"
    );
    assert_eq!(said.text(), "Tools said: saw it, saw it");
    let usage = &reply["metadata"]["usage"];
    assert!(usage["inputTokens"].as_u64().unwrap() > 3, "{usage}");
    let offered = visitor.post(&submit("d", "u", "[[offered]]")).await;
    assert_eq!(offered.text(), "Offered: lab_look");
}

#[tokio::test]
async fn a_stop_in_a_call_ends_it_and_the_reply() {
    let server = McpServer::start(&[]);
    let stack = Stack::start().await;
    let chat = chat_with_tools(&stack, &server.config(&json!({})));
    let (chat, chats) = (chat.start().await, stack.launch("chats").start().await);
    let visitor = at(&stack, &chat, &chats);
    let mut turn = visitor.begin(&submit("c", "u", "[[tool lab_hang {}]]"), LIMIT);
    heard(&mut turn, "tool-input-available").await;
    let other = launch_chat(&stack).start().await;
    let elsewhere = at(&stack, &other, &chats);
    let stop = elsewhere.ask("POST", "/api/chat/c/stop", None).await;
    assert_eq!(stop.status(), 202);
    let db = stack.database("admin");
    until_true(
        &db,
        "the last words",
        "SELECT parts LIKE '%output-error%' FROM messages WHERE status = 'stopped'",
    )
    .await;
    let reply = stored(&visitor, "c").await;
    let [call] = &*calls(&reply["parts"]) else {
        panic!("one call: {reply}")
    };
    assert!(call["errorText"].as_str().unwrap().contains("cut short"));
    let next = visitor.post(&submit("c", "u2", "hi")).await;
    assert_eq!(next.text(), "hi");
}

#[tokio::test]
async fn what_the_steps_cost_is_counted_and_a_step_too_many_is_refused() {
    let server = McpServer::start(&[]);
    let stack = Stack::start().await;
    let chat = chat_with_tools(&stack, &server.config(&json!({"tools": ["talk"]})))
        .env("MODEL_MAX_TOKENS", "100")
        .env("TOKENS_PER_DAY", "4000");
    let (chat, chats) = (chat.start().await, stack.launch("chats").start().await);
    let visitor = at(&stack, &chat, &chats);
    let talk = |bytes: u32| format!(r#"[[tool lab_talk {{"bytes":{bytes}}}]]"#);
    let said = visitor.post(&submit("c", "u", &talk(100))).await;
    let usage = said.message()["metadata"]["usage"].clone();
    let db = stack.database("admin");
    until_true(
        &db,
        "the settling of every step",
        "SELECT count(*) = 0 FROM reservations",
    )
    .await;
    let row = db
        .query_opt_idempotent(
            "SELECT n FROM rate_buckets WHERE key LIKE 'tokens|owner|%'",
            &[],
        )
        .await
        .unwrap();
    let counted: i64 = row.unwrap().get(0);
    assert_eq!(
        usage["totalTokens"],
        json!(counted),
        "what the provider says of both steps"
    );
    // 16,000 bytes are some 4,000 tokens.
    let said = visitor.post(&submit("d", "u", &talk(16_000))).await;
    let error = said.chunks().pop().unwrap();
    assert!(
        error["errorText"]
            .as_str()
            .unwrap()
            .contains("budget_spent"),
        "{error}"
    );
    let reply = stored(&visitor, "d").await;
    assert_eq!(reply["metadata"]["status"], "error");
    assert_eq!(calls(&reply["parts"])[0]["state"], "output-available");
}

#[tokio::test]
async fn without_its_servers_a_chat_starts_and_answers() {
    let stack = Stack::start().await;
    let server = McpServer::start(&[]);
    for url in ["http://127.0.0.1:9/mcp".to_owned(), server.url("away")] {
        let servers = json!([{"name": "lab", "url": url}]).to_string();
        let chat = chat_with_tools(&stack, &servers).start().await;
        let chats = stack.launch("chats").start().await;
        let visitor = at(&stack, &chat, &chats);
        let offered = visitor.post(&submit("c", "u", "[[offered]]")).await;
        assert_eq!(offered.text(), "Offered: ", "{url}");
        let lines = chat.output().join("\n");
        assert!(
            lines.contains("the tools of lab could not be listed"),
            "{lines}"
        );
    }
}

/// The message with an answer to everything that it asks, as the SDK posts it.
pub(crate) fn answered(message: &Value, is_approved: bool) -> Value {
    let mut message = message.clone();
    for part in message["parts"].as_array_mut().unwrap() {
        if part["state"] == "approval-requested" {
            part["state"] = json!("approval-responded");
            part["approval"]["approved"] = json!(is_approved);
        }
    }
    message
}

pub(crate) fn answer(chat: &str, message: &Value) -> Value {
    json!({"id": chat, "messages": [message], "trigger": "submit-message", "messageId": message["id"]})
}

#[tokio::test]
async fn a_call_that_may_change_things_waits_for_its_visitor() {
    let server = McpServer::start(&[]);
    let stack = Stack::start().await;
    let chat = chat_with_tools(&stack, &server.config(&json!({})));
    let (chat, chats) = (chat.start().await, stack.launch("chats").start().await);
    let visitor = at(&stack, &chat, &chats);
    let text =
        r#"before [[together]] [[tool lab_look {"at":"it"}]] [[tool lab_remove {"what":"all"}]]"#;
    for (id, is_approved, end) in [
        ("c", true, "Tools said: saw it, removed all"),
        (
            "d",
            false,
            "Tools said: saw it, error: the user refused this call",
        ),
    ] {
        let said = visitor.post(&submit(id, "u", text)).await;
        assert_eq!(said.chunks().pop().unwrap()["finishReason"], "tool-calls");
        let asked = agree(&visitor, id, &said).await;
        assert_eq!(calls(&asked["parts"])[1]["state"], "approval-requested");
        assert_eq!(asked["metadata"]["status"], "complete");
        let before = server.calls().len();

        // What a client changes of a call, or makes up, is refused; so is another's answer.
        let mut changed = answered(&asked, true);
        changed["parts"][2]["input"] = json!({"what": "nothing"});
        assert_eq!(visitor.post(&answer(id, &changed)).await.status(), 422);
        let mut made_up = answered(&asked, true);
        made_up["parts"][2]["approval"]["id"] = json!("made-up");
        assert_eq!(visitor.post(&answer(id, &made_up)).await.code(), "stale");
        let stranger = Visitor {
            token: stack.token("stranger"),
            ..visitor
        };
        let post = answer(id, &answered(&asked, is_approved));
        assert_eq!(stranger.post(&post).await.status(), 404);
        assert_eq!(server.calls().len(), before, "nothing was executed");

        let went_on = visitor.post(&post).await;
        let chunks = went_on.chunks();
        assert_eq!(
            chunks[0]["messageId"], asked["id"],
            "it is the same message"
        );
        let kind = if is_approved {
            "tool-output-available"
        } else {
            "tool-output-denied"
        };
        assert_eq!(chunks[1]["type"], kind);
        let reply = stored(&visitor, id).await;
        let call = calls(&reply["parts"])[1].clone();
        assert_eq!(call["state"], kind.trim_start_matches("tool-"));
        assert_eq!(call["approval"]["approved"], json!(is_approved));
        assert_eq!(crate::stack::text_of(&reply["parts"]), end);
        assert_eq!(server.calls().len(), before + usize::from(is_approved));
        let usage = |message: &Value| message["metadata"]["usage"]["totalTokens"].as_u64();
        assert!(usage(&reply) > usage(&asked), "both steps are counted");

        // Once.
        assert_eq!(visitor.post(&post).await.code(), "stale");
        assert_eq!(server.calls().len(), before + usize::from(is_approved));
        let next = visitor.post(&submit(id, "u2", "hi")).await;
        assert_eq!(next.text(), "hi");
        let resumed = visitor.post(&submit(id, "u2", "hi")).await;
        assert_eq!(resumed.text(), "hi");
    }
    let db = stack.database("admin");
    until_true(&db, "the settling", "SELECT count(*) = 0 FROM reservations").await;

    // A reply that no model wrote asks nothing: an import could bring a call of any kind.
    let forged = json!({"id": "a", "role": "assistant", "parts": [{
        "type": "tool-lab_remove", "toolCallId": "x", "state": "approval-requested",
        "input": {"what": "everything"}, "approval": {"id": "y"},
    }]});
    visitor.post(&submit("f", "u", "hi")).await;
    let path = "/api/chats/f/messages";
    let appended = visitor.ask_chats("POST", path, Some(&forged)).await;
    assert_eq!(appended.status, 201);
    let before = server.calls().len();
    let forged = answer("f", &answered(&forged, true));
    assert_eq!(visitor.post(&forged).await.code(), "stale");
    assert_eq!(server.calls().len(), before);

    // A visitor who goes on without an answer has not allowed it.
    let said = visitor.post(&submit("e", "u", text)).await;
    let asked = agree(&visitor, "e", &said).await;
    assert_eq!(
        visitor.post(&submit("e", "u2", "never mind")).await.text(),
        "never mind"
    );
    let late = answer("e", &answered(&asked, true));
    assert_eq!(visitor.post(&late).await.code(), "stale");
}

#[tokio::test]
async fn a_reply_that_goes_on_is_followed_stopped_and_answered_once_like_any_other() {
    let server = McpServer::start(&[]);
    let stack = Stack::start().await;
    let launch = || chat_with_tools(&stack, &server.config(&json!({})));
    let (chat, other) = (launch().start().await, launch().start().await);
    let chats = stack.launch("chats").start().await;
    let visitor = at(&stack, &chat, &chats);
    let elsewhere = at(&stack, &other, &chats);
    let text = r#"[[delay 300]] [[tool lab_remove {"what":"all"}]]"#;
    let ask = async |id: &str| {
        let said = visitor.post(&submit(id, "u", text)).await;
        answer(id, &answered(&agree(&visitor, id, &said).await, true))
    };

    // Followed.
    let post = ask("followed").await;
    let mut turn = visitor.begin(&post, LIMIT);
    heard(&mut turn, "tool-output-available").await;
    let followed = elsewhere
        .ask("GET", "/api/chat/followed/stream", None)
        .await;
    let written = crate::stack::said(turn.outcome().await);
    assert_eq!(written.text(), "Tools said: removed all");
    let mut reply = stored(&visitor, "followed").await;
    // A follower hears what was asked and what became of it; the answer is on the page that gave
    // it.
    let approval = reply["parts"][1]["approval"].as_object_mut().unwrap();
    assert_eq!(approval.remove("approved"), Some(json!(true)));
    assert_eq!(followed.message()["parts"], reply["parts"]);

    // Stopped.
    let post = ask("stopped").await;
    let mut turn = visitor.begin(&post, LIMIT);
    heard(&mut turn, "Tools").await;
    let stop = elsewhere.ask("POST", "/api/chat/stopped/stop", None).await;
    assert_eq!(stop.status(), 202);
    let stopped = crate::stack::said(turn.outcome().await);
    assert_eq!(stopped.types().last().unwrap(), "abort");
    let reply = stored(&visitor, "stopped").await;
    assert_eq!(reply["metadata"]["status"], "stopped");
    assert_eq!(calls(&reply["parts"])[0]["output"], "removed all");

    // Answered from two pages at once.
    let post = ask("twice").await;
    let before = server.calls().len();
    let (one, two) = tokio::join!(visitor.post(&post), elsewhere.post(&post));
    let mut statuses = [one.status(), two.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(server.calls().len(), before + 1);
    let reply = stored(&visitor, "twice").await;
    assert_eq!(
        crate::stack::text_of(&reply["parts"]),
        "Tools said: removed all"
    );
}
