//! Resuming a reply that has ended: who waits for it gets it, once; who has it does not get it
//! twice.

use serde_json::json;
use tests::http::Request;

use crate::stack::{LIMIT, Said, Stack, Visitor, heard, launch_both, launch_chat, said, submit};

const SLOW: &str = "[[words 5]] [[delay 300]]";

/// A resume by a page that says which message it shows last.
async fn resume_behind(visitor: &Visitor<'_>, shown: &str) -> Said {
    let request = Request::new("GET", "/api/chat/c/stream").header("last-event-id", shown);
    said(visitor.send(request, LIMIT).outcome().await)
}

#[tokio::test]
async fn a_reply_that_ended_between_load_and_resume_is_replayed_once() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    let resume = || visitor.ask("GET", "/api/chat/c/stream", None);
    let mut first = visitor.begin(&submit("c", "u1", SLOW), LIMIT);
    heard(&mut first, "word1").await;
    let loaded = visitor.read("c").await;
    assert_eq!(loaded["messages"].as_array().unwrap().len(), 1);
    let first = said(first.outcome().await);
    assert_eq!(resume_of_another(&stack, &visitor).await, 204);

    let again = resume().await;
    assert_eq!(
        again.message()["parts"],
        json!([
            {"type": "step-start"},
            {"type": "text", "text": "word1 word2 word3 word4 word5", "state": "done"},
        ])
    );
    assert_eq!(resume().await.status(), 204, "it was delivered");

    // Who loads the reply has it.
    let mut second = visitor.begin(&submit("c", "u2", SLOW), LIMIT);
    heard(&mut second, "word1").await;
    visitor.read("c").await;
    let second = said(second.outcome().await);
    assert_eq!(
        visitor.read("c").await["messages"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    assert_eq!(resume().await.status(), 204);

    // Who says what the page shows is believed.
    let reply = second.message()["id"].as_str().unwrap().to_owned();
    assert!(
        second
            .body()
            .ends_with(&format!("id: {reply}\ndata: [DONE]\n\n"))
    );
    assert_eq!(resume_behind(&visitor, &reply).await.status(), 204);
    assert_eq!(
        resume_behind(&visitor, "u2").await.message()["id"],
        json!(reply)
    );

    // A reply of long ago is a matter of loading, and one that is not the last of the past.
    let age =
        "UPDATE messages SET awaited_at = now(), checkpoint_at = now() - interval '6 minutes'";
    stack
        .database("admin")
        .execute_idempotent(age, &[])
        .await
        .unwrap();
    assert_eq!(resume().await.status(), 204);
    assert_eq!(resume_behind(&visitor, "u2").await.status(), 204);
    let recent = "UPDATE messages SET awaited_at = now(), checkpoint_at = now() WHERE id = $1";
    let id = first.message()["id"].as_str().unwrap().to_owned();
    let params = [(&id as _, dsql::Type::TEXT)];
    stack
        .database("admin")
        .execute_idempotent(recent, &params)
        .await
        .unwrap();
    assert_eq!(resume().await.status(), 204);
}

/// Somebody else learns nothing.
async fn resume_of_another(stack: &Stack, visitor: &Visitor<'_>) -> u16 {
    let other = Visitor {
        token: stack.token("another"),
        ..*visitor
    };
    assert_eq!(resume_behind(&other, "u0").await.status(), 204);
    other.ask("GET", "/api/chat/c/stream", None).await.status()
}

#[tokio::test]
async fn who_resumed_while_it_was_written_has_the_reply() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let other = launch_chat(&stack).start().await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    let second = Visitor::of(&stack, &other, &chats, "visitor");
    let mut sent = visitor.begin(&submit("c", "u1", SLOW), LIMIT);
    heard(&mut sent, "word1").await;
    visitor.read("c").await;
    let resumed = second.ask("GET", "/api/chat/c/stream", None).await;
    let sent = said(sent.outcome().await);
    assert_eq!(resumed.message()["parts"], sent.message()["parts"]);
    assert_eq!(
        second.ask("GET", "/api/chat/c/stream", None).await.status(),
        204
    );
}
