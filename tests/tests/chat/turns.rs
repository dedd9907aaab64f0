//! Every row of the table of cases of a turn.

use serde_json::{Value, json};
use tests::http::Request;

use crate::stack::{LIMIT, Stack, Visitor, launch_both, launch_chat, message, said, submit, with};

fn regenerate(chat: &str, id: &str, text: &str) -> Value {
    json!({"id": chat, "messages": [message(id, text)], "trigger": "regenerate-message"})
}

#[tokio::test]
async fn a_reply_is_streamed_stored_and_the_same_after_a_reload() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");

    let said = visitor
        .post(&submit("c1", "u1", "[[reasoning]]Hello from Rust"))
        .await;
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache"),
        ("x-vercel-ai-ui-message-stream", "v1"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(said.response.header(name), Some(value));
    }
    assert_eq!(
        said.types(),
        [
            "start",
            "start-step",
            "data-chat-title",
            "reasoning-start",
            "reasoning-delta",
            "reasoning-end",
            "text-start",
            "text-delta",
            "text-end",
            "finish-step",
            "finish"
        ]
    );
    assert_eq!(said.text(), "Hello from Rust");
    let title = said
        .chunks()
        .into_iter()
        .find(|chunk| chunk["type"] == "data-chat-title");
    assert_eq!(
        title.unwrap(),
        json!({"type": "data-chat-title", "data": "[[reasoning]]Hello from Rust", "transient": true})
    );
    let mine = said.message();
    assert_eq!(mine["metadata"]["status"], "complete");
    assert_eq!(mine["metadata"]["finishReason"], "stop");
    assert!(mine["metadata"]["usage"]["totalTokens"].as_u64().unwrap() > 0);

    let read = visitor.read("c1").await;
    assert_eq!(read["title"], "[[reasoning]]Hello from Rust");
    assert_eq!(read["activeStreamId"], Value::Null);
    assert_eq!(
        read["messages"][1], mine,
        "a reload shows what was streamed"
    );

    // The next turn has no title to tell.
    let next = visitor.post(&submit("c1", "u2", "more")).await;
    assert_eq!(
        next.types(),
        [
            "start",
            "start-step",
            "text-start",
            "text-delta",
            "text-end",
            "finish-step",
            "finish"
        ]
    );
    assert_eq!(
        visitor.transcript("c1").await,
        [
            "u1: [[reasoning]]Hello from Rust",
            "*: Hello from Rust",
            "u2: more",
            "*: more"
        ]
    );

    // The same POST again: the stored reply, under its id, without a model.
    let again = visitor.post(&submit("c1", "u2", "more")).await;
    assert_eq!(again.message(), next.message());
    let calls = visitor.post(&submit("c1", "u3", "[[calls]]")).await;
    assert_eq!(calls.text(), "This is turn 3");

    // A message alone, as some transports post it, and the path alias.
    let alone = json!({"id": "c2", "message": message("u1", "alone"), "trigger": "submit-message", "model": "other"});
    let said = visitor.ask("POST", "/api/chats/c2", Some(&alone)).await;
    assert_eq!(said.text(), "alone");
    assert_eq!(said.message()["metadata"]["model"], "other");
}

#[tokio::test]
async fn edits_and_regenerations_replace_what_followed() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    for (id, text) in [("u1", "one"), ("u2", "two"), ("u3", "three")] {
        assert_eq!(visitor.post(&submit("c", id, text)).await.text(), text);
    }

    // Other content without the wish to edit.
    let said = visitor.post(&submit("c", "u2", "zwei")).await;
    assert_eq!((said.status(), said.code().as_str()), (409, "id_taken"));
    // An earlier message that is answered is replayed, and nothing is lost.
    assert_eq!(visitor.post(&submit("c", "u1", "one")).await.text(), "one");
    // A stale tab's regeneration deletes nothing unseen.
    let said = visitor.post(&regenerate("c", "u2", "two")).await;
    assert_eq!((said.status(), said.code().as_str()), (409, "stale"));
    assert_eq!(visitor.transcript("c").await.len(), 6);

    // A plain regeneration replaces the last reply.
    let before = visitor.read("c").await["messages"][5]["id"].clone();
    let said = visitor.post(&regenerate("c", "u3", "three")).await;
    assert_eq!(said.text(), "three");
    let read = visitor.read("c").await;
    assert_eq!(read["messages"].as_array().unwrap().len(), 6);
    assert_ne!(read["messages"][5]["id"], before);

    // By the reply's id: from it on.
    let reply = read["messages"][3]["id"].clone();
    let body = with(regenerate("c", "u2", "two"), "messageId", reply.clone());
    assert_eq!(visitor.post(&body).await.text(), "two");
    assert_eq!(
        visitor.transcript("c").await,
        ["u1: one", "*: one", "u2: two", "*: two"]
    );
    // The reply is gone: the message is answered again all the same.
    assert_eq!(visitor.post(&body).await.text(), "two");
    // A reply that answers another message.
    let first = read["messages"][1]["id"].clone();
    let said = visitor
        .post(&with(regenerate("c", "u2", "two"), "messageId", first))
        .await;
    assert_eq!((said.status(), said.code().as_str()), (409, "stale"));

    // By the visitor's id: after it.
    let body = with(regenerate("c", "u1", "one"), "messageId", json!("u1"));
    assert_eq!(visitor.post(&body).await.text(), "one");
    assert_eq!(visitor.transcript("c").await, ["u1: one", "*: one"]);

    // An edit.
    visitor.post(&submit("c", "u2", "two")).await;
    let body = with(submit("c", "u1", "eins"), "messageId", json!("u1"));
    assert_eq!(visitor.post(&body).await.text(), "eins");
    assert_eq!(visitor.transcript("c").await, ["u1: eins", "*: eins"]);
    // Bare `sendMessage()`: an edit without a change is a replay.
    let said = visitor.post(&body).await;
    assert_eq!(said.message(), visitor.read("c").await["messages"][1]);

    // Tool continuations are not supported.
    let reply = visitor.read("c").await["messages"][1]["id"].clone();
    let said = visitor
        .post(&with(submit("c", "u1", "eins"), "messageId", reply))
        .await;
    assert_eq!(said.status(), 422);
}

#[tokio::test]
async fn a_first_turn_may_be_a_regeneration_and_a_missing_message_is_stored() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    // The Nuxt template: the chat and its message are there, the page regenerates.
    let create = Request::new("POST", "/api/chats")
        .bearer(&visitor.token)
        .json(&json!({"id": "n", "message": message("u1", "first")}));
    let made = chats.invoke(create.rest_event().to_string(), LIMIT).await;
    drop(made);
    let said = visitor.post(&regenerate("n", "u1", "first")).await;
    assert_eq!(said.text(), "first");
    assert!(said.types().contains(&"data-chat-title".to_owned()));
    assert_eq!(visitor.read("n").await["title"], "first");
    assert_eq!(visitor.transcript("n").await, ["u1: first", "*: first"]);

    // Neither chat nor message is there.
    assert_eq!(
        visitor.post(&regenerate("r", "u1", "new")).await.text(),
        "new"
    );
    let named = with(regenerate("s", "u1", "new"), "messageId", json!("unknown"));
    assert_eq!(visitor.post(&named).await.text(), "new");
    assert_eq!(visitor.transcript("s").await, ["u1: new", "*: new"]);
}

#[tokio::test]
async fn a_turn_with_a_key_is_answered_once_also_when_it_is_sent_twice_at_once() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let other = launch_chat(&stack).start().await;
    let token = stack.token("visitor");
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
    let keyed = |visitor: &Visitor<'_>, key: &str, body: &Value| {
        let request = Request::new("POST", "/api/chat")
            .header("idempotency-key", key)
            .json(body);
        visitor.send(request, LIMIT)
    };
    // The second one meets the first in its middle, or waits for its end.
    let body = submit("c", "u1", "[[delay 20]][[words 30]]");
    let (first, second) = tokio::join!(
        keyed(&visitor, "k1", &body).outcome(),
        keyed(&elsewhere, "k1", &body).outcome()
    );
    let (first, second) = (said(first), said(second));
    assert_eq!((first.status(), second.status()), (200, 200));
    assert_eq!(first.message()["id"], second.message()["id"]);
    assert_eq!(second.message()["parts"], first.message()["parts"]);
    assert_eq!(visitor.read("c").await["messages"][1], first.message());

    // Another answer is asked for once, however often it is sent.
    let again = with(submit("c", "u1", "[[calls]]"), "messageId", json!("u1"));
    let once = said(keyed(&visitor, "k2", &again).outcome().await);
    let twice = said(keyed(&visitor, "k2", &again).outcome().await);
    assert_eq!(once.message(), twice.message());
    let anew = with(again.clone(), "trigger", json!("regenerate-message"));
    let refused = said(keyed(&visitor, "k2", &anew).outcome().await);
    assert_eq!(
        (refused.status(), refused.code().as_str()),
        (422, "unprocessable")
    );
    let other_answer = said(keyed(&visitor, "k3", &anew).outcome().await);
    assert_ne!(other_answer.message()["id"], once.message()["id"]);
    assert_eq!(
        visitor.read("c").await["messages"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let malformed = said(keyed(&visitor, "two words", &anew).outcome().await);
    assert_eq!(malformed.status(), 400);
}
