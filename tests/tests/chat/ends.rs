//! How replies end: refused, failed, cut short, stopped, resumed, left alone.

use std::time::Duration;

use serde_json::{Value, json};
use tests::http::Request;

use crate::stack::{
    LIMIT, Said, Stack, Visitor, heard, launch_both, launch_chat, message, said, submit,
    until_true, with,
};

fn fault(said: &Said) -> Value {
    let chunks = said.chunks();
    let last = chunks.last().unwrap();
    assert_eq!(last["type"], "error", "{last}");
    serde_json::from_str(last["errorText"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_model_that_refuses_or_fails_is_said_and_stored() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    for (text, status, code, wait) in [
        ("[[refuse throttled 7]]", 429, "model_busy", Some("7")),
        ("[[refuse invalid]]", 502, "model_refused", None),
        (
            "[[refuse unavailable]]",
            503,
            "model_unavailable",
            Some("1"),
        ),
    ] {
        let body = with(submit("r", "u1", text), "messageId", json!("u1"));
        let said = visitor.post(&body).await;
        assert_eq!((said.status(), said.code().as_str()), (status, code));
        assert_eq!(said.response.header("retry-after"), wait);
        assert_eq!(visitor.transcript("r").await, [format!("u1: {text}")]);
    }
    let body = with(submit("r", "u1", "now"), "messageId", json!("u1"));
    assert_eq!(visitor.post(&body).await.text(), "now");
    assert_eq!(visitor.transcript("r").await, ["u1: now", "*: now"]);

    for (chat, text) in [("f", "[[fail 3]]a b"), ("e", "[[eof 3]]a b")] {
        for _ in 0..2 {
            // Again: the failed reply is replaced, not joined by another.
            let said = visitor.post(&submit(chat, "u1", text)).await;
            assert_eq!(fault(&said)["code"], "model_failed");
            let types = said.types();
            assert_eq!(
                types[types.len() - 3..],
                ["text-end", "message-metadata", "error"]
            );
            assert_eq!(
                visitor.transcript(chat).await,
                [format!("u1: {text}"), "*: [error] a ".to_owned()]
            );
            assert_eq!(visitor.read(chat).await["messages"][1], said.message());
        }
    }
}

#[tokio::test]
async fn no_stream_ends_silently_when_the_time_is_up() {
    let stack = Stack::start().await;
    let chat = launch_chat(&stack)
        .env("KEEP_ALIVE_MS", "200")
        .start()
        .await;
    let chats = stack.launch("chats").start().await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    let body = submit("c", "u1", "[[hang 4]]one two three");
    let said = said(visitor.begin(&body, Duration::from_secs(8)).outcome().await);
    assert!(said.is_complete);
    assert!(said.body().contains(": keep-alive\n\n"));
    assert_eq!(fault(&said)["code"], "interrupted");
    assert_eq!(
        visitor.transcript("c").await,
        ["u1: [[hang 4]]one two three", "*: [interrupted] one two "]
    );
    assert_eq!(visitor.read("c").await["messages"][1], said.message());
}

#[tokio::test]
async fn a_reply_is_followed_and_stopped_from_another_container() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let other = launch_chat(&stack).start().await;
    let (token, db) = (stack.token("visitor"), stack.database("admin"));
    let visitor = Visitor {
        chat: &chat,
        chats: &chats,
        token: token.clone(),
    };
    let elsewhere = Visitor {
        chat: &other,
        chats: &chats,
        token,
    };
    for path in [
        "/api/chat/c/stream",
        "/api/chat/c%2F1%20%C3%A4/stream",
        "/api/chats/c/c/stream",
    ] {
        assert_eq!(
            elsewhere.ask("GET", path, None).await.status(),
            204,
            "{path}"
        );
    }
    assert_eq!(
        elsewhere
            .ask("POST", "/api/chat/c/stop", None)
            .await
            .status(),
        404
    );

    let mut first = visitor.begin(&submit("c", "u1", "[[delay 20]][[words 400]]"), LIMIT);
    heard(&mut first, "word20").await;
    until_true(
        &db,
        "a checkpoint",
        "SELECT parts LIKE '%word5%' FROM messages WHERE status = 'streaming'",
    )
    .await;
    let read = visitor.read("c").await;
    assert_eq!(
        read["messages"].as_array().unwrap().len(),
        1,
        "the reply is left out until it is done"
    );
    assert!(read["activeStreamId"].is_string());
    let busy = elsewhere.post(&submit("c", "u2", "again")).await;
    assert_eq!(
        (busy.status(), busy.code().as_str()),
        (409, "generation_in_progress")
    );
    assert_eq!(busy.response.header("retry-after"), Some("3"));
    let busy = elsewhere
        .post(&submit("c", "u1", "[[delay 20]][[words 400]]"))
        .await;
    assert_eq!(busy.code(), "generation_in_progress");
    let followed = elsewhere.ask("GET", "/api/chats/c/c/stream", None).await;
    let written = said(first.outcome().await);
    assert_eq!(followed.message(), written.message());
    assert_eq!(followed.types().last().unwrap(), "finish");
    assert_eq!(
        elsewhere
            .ask("GET", "/api/chat/c/stream", None)
            .await
            .status(),
        204
    );

    let mut second = visitor.begin(&submit("c", "u2", "[[delay 20]][[words 400]]"), LIMIT);
    heard(&mut second, "word10").await;
    let stream = visitor.read("c").await["activeStreamId"].clone();
    let wrong = json!({"activeStreamId": "another"});
    let said_no = elsewhere
        .ask("POST", "/api/chat/c/stop", Some(&wrong))
        .await;
    assert_eq!(
        (said_no.status(), said_no.response.json()),
        (200, json!({"stopped": false}))
    );
    let stop = json!({"activeStreamId": stream, "assistantMessage": {"parts": []}});
    let said_yes = elsewhere.ask("POST", "/api/chat/c/stop", Some(&stop)).await;
    assert_eq!(
        (said_yes.status(), said_yes.response.json()),
        (202, json!({"stopped": true}))
    );
    let stopped = said(second.outcome().await);
    let types = stopped.types();
    assert_eq!(
        types[types.len() - 3..],
        ["text-end", "message-metadata", "abort"]
    );
    let read = visitor.read("c").await;
    assert_eq!(read["messages"][3], stopped.message());
    assert_eq!(read["messages"][3]["metadata"]["status"], "stopped");
    let late = elsewhere.ask("POST", "/api/chat/c/stop", None).await;
    assert_eq!(
        (late.status(), late.response.json()),
        (200, json!({"stopped": false}))
    );
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_storing() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let (token, db) = (stack.token("visitor"), stack.database("admin"));
    let visitor = Visitor {
        chat: &chat,
        chats: &chats,
        token,
    };
    let mut invocation = visitor.begin(&submit("c", "u1", "[[delay 10]][[words 50]]"), LIMIT);
    heard(&mut invocation, "word3").await;
    drop(invocation);
    until_true(
        &db,
        "the close",
        "SELECT status = 'complete' FROM messages WHERE role = 'assistant'",
    )
    .await;
    let read = visitor.read("c").await;
    assert!(
        read["messages"][1]["parts"][1]["text"]
            .as_str()
            .unwrap()
            .ends_with("word50")
    );
}

#[tokio::test]
async fn a_chat_deleted_under_a_reply_ends_it() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    let mut invocation = visitor.begin(&submit("c", "u1", "[[delay 20]][[words 1000]]"), LIMIT);
    heard(&mut invocation, "word3").await;
    let delete = Request::new("DELETE", "/api/chats/c").bearer(&visitor.token);
    chats.invoke(delete.rest_event().to_string(), LIMIT).await;
    let said = said(invocation.outcome().await);
    let types = said.types();
    assert_eq!(types[types.len() - 2..], ["text-end", "abort"]);
    assert_eq!(visitor.read("c").await["code"], "not_found");
}

#[tokio::test]
async fn what_is_someone_elses_is_not_there() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let other = launch_chat(&stack).start().await;
    let owner = Visitor::of(&stack, &chat, &chats, "owner");
    let thief = Visitor::of(&stack, &other, &chats, "thief");
    owner.post(&submit("c", "u1", "mine")).await;
    let mut active = owner.begin(&submit("c", "u2", "[[delay 10]][[words 100]]"), LIMIT);
    heard(&mut active, "word3").await;
    for path in ["/api/chat/c/stream", "/api/chats/c/c/stream"] {
        assert_eq!(thief.ask("GET", path, None).await.status(), 204, "{path}");
    }
    let mut answers = Vec::new();
    for path in ["/api/chat/c/stop", "/api/chat/missing/stop"] {
        let mut answer = thief.ask("POST", path, None).await.response.json();
        answer["requestId"] = json!(null);
        answers.push(answer);
    }
    assert_eq!(answers[0]["code"], "not_found");
    assert_eq!(answers[0], answers[1], "foreign and missing look the same");
    let exported = thief.ask("GET", "/api/me/export", None).await.body();
    assert!(
        exported.ends_with("{\"chats\":0,\"messages\":0,\"type\":\"end\"}\n"),
        "{exported}"
    );
    // A turn begins a chat of the thief's own, as it does under an id that nobody has.
    let mut answers = Vec::new();
    for id in ["c", "missing"] {
        let again = with(submit(id, "u1", "x"), "messageId", json!("u1"));
        let regenerate = with(again.clone(), "trigger", json!("regenerate-message"));
        for body in [submit(id, "u9", "x"), again, regenerate] {
            let said = thief.post(&body).await;
            let told = match said.status() {
                200 => said.types(),
                _ => vec![said.code()],
            };
            answers.push((said.status(), told));
        }
    }
    let (foreign, missing) = answers.split_at(3);
    assert_eq!(foreign[0].0, 200);
    assert_eq!(foreign, missing);
    let said = said(active.outcome().await);
    assert_eq!(
        said.types().last().unwrap(),
        "finish",
        "the thief stopped nothing"
    );
    assert_eq!(owner.transcript("c").await.len(), 4);
    let anonymous =
        Request::new("POST", "/api/chat").json(&json!({"id": "c", "message": message("u", "x")}));
    let answer = crate::stack::said(chat.invoke(anonymous.rest_event().to_string(), LIMIT).await);
    assert_eq!(
        (answer.status(), answer.code().as_str()),
        (401, "unauthenticated")
    );
}
