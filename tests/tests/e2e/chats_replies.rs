//! What is done with replies: votes, cuts before an edit or another reply, forks; and the reply
//! being written.

use serde_json::{Value, json};

use crate::stack::{Stack, launch_chats};
use crate::visitor::Visitor;

#[tokio::test]
async fn a_reply_is_voted_on_and_the_vote_changed_and_taken_back_in_one_round_trip_each() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let chat = visitor.conversation("a question").await;
    let votes = format!("/api/chats/{chat}/votes");
    let vote = |body: Value| visitor.ask("POST", &votes, Some(body));

    let up = vote(json!({"messageId": "a1", "isUpvoted": true})).await;
    assert_eq!(
        (up.status, up.json()["isUpvoted"].clone()),
        (200, json!(true))
    );
    let put = visitor
        .ask(
            "PUT",
            &format!("/api/chats/{chat}/messages/a1/vote"),
            Some(json!({"isUpvoted": false, "comment": "too short"})),
        )
        .await;
    assert_eq!(put.status, 200);
    assert_eq!(
        visitor.get(&votes).await,
        json!([{"chatId": chat, "messageId": "a1", "isUpvoted": false, "comment": "too short"}])
    );
    let question = vote(json!({"messageId": "u1", "isUpvoted": true})).await;
    assert_eq!(
        (question.status, question.code().as_str()),
        (400, "invalid_request")
    );
    assert_eq!(
        vote(json!({"messageId": "zz", "isUpvoted": true}))
            .await
            .status,
        404
    );
    let before = stack.server.stats().client_flights;
    assert_eq!(vote(json!({"messageId": "a1"})).await.status, 200);
    assert_eq!(
        stack.server.stats().client_flights - before,
        2,
        "the count of the limit and the statement"
    );
    assert_eq!(visitor.get(&votes).await, json!([]));
}

#[tokio::test]
async fn a_cut_sets_aside_what_comes_after_and_nothing_while_a_reply_is_written() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let chat = visitor.conversation("a question").await;
    let path = format!("/api/chats/{chat}");
    let messages = format!("{path}/messages");
    let says = json!({"id": "u2", "role": "user", "parts": [{"type": "text", "text": "more"}]});
    assert_eq!(visitor.ask("POST", &messages, Some(says)).await.status, 201);
    let ids = async || -> Vec<String> {
        let page = visitor.get(&path).await;
        let messages = page["messages"].as_array().unwrap().iter();
        messages
            .map(|m| m["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let cut = |message: &str, kind: &str| {
        let body = json!({"messageId": message, "type": kind});
        visitor.ask("DELETE", &messages, Some(body))
    };
    let vote = json!({"messageId": "a1", "isUpvoted": true});
    let votes = format!("{path}/votes");
    assert_eq!(visitor.ask("POST", &votes, Some(vote)).await.status, 200);

    // A reply is being written: nothing is cut, and its message is not shown.
    let db = stack.database("admin");
    let writing = format!(
        "INSERT INTO messages (chat_id, id, seq, role, parts, status, created_at) \
         VALUES ('{chat}', 'a2', 9, 'assistant', '[]', 'streaming', now())"
    );
    db.execute_sql(&writing).await.unwrap();
    let lease = format!(
        "INSERT INTO generations VALUES ('{chat}', 'a2', 'stream-1', 'visitor', now() + interval '1 hour')"
    );
    db.execute_sql(&lease).await.unwrap();
    assert_eq!(ids().await, ["u1", "a1", "u2"]);
    assert_eq!(visitor.get(&path).await["activeStreamId"], "stream-1");
    let busy = cut("a1", "regenerate").await;
    assert_eq!(
        (busy.status, busy.code().as_str()),
        (409, "generation_in_progress")
    );
    assert_eq!(ids().await, ["u1", "a1", "u2"]);

    // Its lease has passed.
    db.execute_sql("UPDATE generations SET lease_until = now() - interval '1 second'")
        .await
        .unwrap();
    assert_eq!(visitor.get(&path).await["activeStreamId"], Value::Null);
    let reply = cut("a1", "edit").await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (422, "unprocessable")
    );
    assert_eq!(
        cut("u2", "regenerate").await.json(),
        json!({"success": true})
    );
    assert_eq!(
        ids().await,
        ["u1", "a1", "u2"],
        "only the reply that nobody writes followed u2"
    );
    assert_eq!(cut("u1", "edit").await.status, 200);
    assert_eq!(ids().await, ["u1"]);
    assert_eq!(
        visitor.get(&votes).await[0]["messageId"],
        "a1",
        "a vote stays with its reply, which is a branch now"
    );
    assert_eq!(
        cut("a1", "regenerate").await.status,
        200,
        "again: nothing is left to set aside"
    );
    let left = db
        .query_idempotent("SELECT FROM generations", &[])
        .await
        .unwrap();
    assert!(left.is_empty());
}

#[tokio::test]
async fn a_fork_is_a_chat_of_its_own_and_is_made_once_for_each_key() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let chat = visitor.conversation("a question").await;
    let path = format!("/api/chats/{chat}/fork");
    let fork = |message: &str, key: &'static str| {
        let body = json!({"messageId": message});
        let (visitor, path) = (&visitor, &path);
        async move {
            let headers = [("idempotency-key", key)];
            visitor.ask_with("POST", path, Some(body), &headers).await
        }
    };
    let first = fork("u1", "k1").await;
    assert_eq!(first.status, 201, "{:?}", first.json());
    let again = fork("u1", "k1").await;
    assert_eq!((again.status, again.json()), (201, first.json()));
    let other = fork("a1", "k1").await;
    assert_eq!(
        (other.status, other.code().as_str()),
        (422, "unprocessable")
    );
    assert_eq!(fork("missing", "k2").await.status, 404);
    let whole = fork("a1", "k2").await;
    assert_eq!(whole.status, 201, "a refused request leaves its key free");
    assert_eq!(fork("u1", "a key").await.status, 400);

    let id = whole.json()["id"].as_str().unwrap().to_owned();
    let (original, copy) = (
        visitor.get(&format!("/api/chats/{chat}")).await,
        visitor.get(&format!("/api/chats/{id}")).await,
    );
    assert_eq!(original["messages"], copy["messages"]);
    assert_eq!(copy["title"], original["title"]);
    let deleted = visitor
        .ask("DELETE", &format!("/api/chats/{id}"), None)
        .await;
    assert_eq!(deleted.status, 204);
    let left = visitor.get(&format!("/api/chats/{chat}")).await;
    assert_eq!(left["messages"].as_array().unwrap().len(), 2);
    let list = visitor.get("/api/chats?shape=array").await;
    assert_eq!(
        list.as_array().unwrap().len(),
        2,
        "the chat and its fork at u1"
    );
}
