//! What a visitor sees of a database that does not answer: a refusal in time, signs of life, and a
//! word at the end.

use std::time::Duration;

use dsql_local::Faults;
use serde_json::Value;

use crate::stack::{
    Said, Stack, Visitor, heard, launch_both, launch_chat, message, said, submit, with,
};

/// Time enough for a stream's beginning, besides the five seconds that it keeps for its end.
const SHORT: Duration = Duration::from_secs(9);

fn fault_code(said: &Said) -> String {
    let chunks = said.chunks();
    let text = chunks.last().unwrap()["errorText"].as_str().unwrap();
    let fault: Value = serde_json::from_str(text).unwrap();
    fault["code"].as_str().unwrap().to_owned()
}

/// Comments after the last chunk of this type.
fn signs_of_life_after(said: &Said, chunk: &str) -> usize {
    let body = said.body();
    let at = body.rfind(&format!("\"type\":\"{chunk}\"")).unwrap();
    body[at..].matches(": keep-alive\n\n").count()
}

#[tokio::test]
async fn while_the_database_is_silent_streams_live_and_end_with_a_word_and_others_are_refused() {
    let stack = Stack::start().await;
    let (chat, other) = (
        launch_chat(&stack)
            .env("KEEP_ALIVE_MS", "200")
            .start()
            .await,
        launch_chat(&stack)
            .env("KEEP_ALIVE_MS", "200")
            .start()
            .await,
    );
    let (third, chats) = launch_both(&stack).await;
    let at = |chat| Visitor {
        chat,
        chats: &chats,
        token: stack.token("visitor"),
    };
    let (writer, follower, late) = (at(&chat), at(&other), at(&third));
    let text = "[[delay 20]][[words 60]]";
    let mut written = writer.begin(&submit("c", "u1", text), SHORT);
    heard(&mut written, "word5").await;
    let resume = tests::http::Request::new("GET", "/api/chat/c/stream");
    let mut followed = follower.send(resume, SHORT);
    heard(&mut followed, "word1").await;
    let frozen = Faults {
        freeze: true,
        ..Faults::default()
    };
    stack.server.set_faults(frozen).unwrap();
    let refused = late.begin(&submit("d", "u1", "hi"), SHORT);
    let (written, followed, refused) =
        tokio::join!(written.outcome(), followed.outcome(), refused.outcome());
    stack.server.set_faults(Faults::default()).unwrap();

    let (written, followed, refused) = (said(written), said(followed), said(refused));
    assert_eq!(fault_code(&written), "not_stored");
    assert!(written.body().contains("word60"), "the model is heard out");
    assert!(signs_of_life_after(&written, "text-end") > 0);
    assert_eq!(fault_code(&followed), "resume_again");
    assert!(signs_of_life_after(&followed, "text-delta") > 0);
    assert_eq!(refused.status(), 503, "{}", refused.body());
}

#[tokio::test]
async fn a_model_that_says_nothing_is_an_error_with_its_reason() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    for (id, text, code) in [
        ("a", "[[words 0]]", "empty_reply"),
        (
            "b",
            "[[words 0]][[finish content-filter]]",
            "content_filtered",
        ),
        (
            "c",
            "[[words 0]][[reasoning]][[finish length]]",
            "out_of_tokens",
        ),
    ] {
        let said = visitor.post(&submit(id, "u1", text)).await;
        assert_eq!(fault_code(&said), code);
        let stored = visitor.read(id).await["messages"][1].clone();
        assert_eq!(stored["metadata"]["status"], "error", "{stored}");
        // The same message again asks the model again.
        assert_eq!(
            fault_code(&visitor.post(&submit(id, "u1", text)).await),
            code
        );
    }
}

#[tokio::test]
async fn a_source_is_told_stored_and_replayed_as_a_part_of_its_own() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    let body = submit("c", "u1", "[[source https://example.com/a]]hello");
    let source = serde_json::json!(
        {"type": "source-url", "sourceId": "s0", "url": "https://example.com/a", "title": "Example"}
    );
    for _ in 0..2 {
        let said = visitor.post(&body).await;
        assert_eq!(said.text(), "hello");
        assert!(said.chunks().contains(&source), "{}", said.body());
    }
    let parts = visitor.read("c").await["messages"][1]["parts"].clone();
    assert_eq!(parts.as_array().unwrap().last(), Some(&source));
}

#[tokio::test]
async fn what_is_blank_is_refused_and_what_the_client_keeps_for_itself_is_given_back() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    let refused = visitor.post(&submit("c", "u1", " \n\t ")).await;
    assert_eq!(
        (refused.status(), refused.code().as_str()),
        (422, "unprocessable")
    );

    let parts = serde_json::json!([
        {"type": "text", "text": "half \u{fffd} there"},
        {"type": "data-place", "id": "p", "data": {"lat": 1.5}},
    ]);
    let mut asked = message("u1", "");
    asked["parts"] = parts.clone();
    let body = with(
        submit("c", "u1", "x"),
        "messages",
        serde_json::json!([asked]),
    );
    // As a client writes a text that was cut inside an emoji.
    let body = body.to_string().replace('\u{fffd}', "\\ud83d");
    let request = tests::http::Request::new("POST", "/api/chat").body(body);
    let answered = said(visitor.send(request, SHORT).outcome().await);
    assert_eq!(answered.text(), "half \u{fffd} there");
    let types = answered.types();
    assert_eq!(types[..3], ["start", "start-step", "data-chat-title"]);
    assert_eq!(visitor.read("c").await["messages"][0]["parts"], parts);
}
