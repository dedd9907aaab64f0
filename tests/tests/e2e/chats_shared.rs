//! Shares: a snapshot for anyone with the token, and for nobody once the chat is private, ended or gone.

use serde_json::{Value, json};
use tests::http::{Request, Response};

use crate::stack::{Stack, send};
use crate::visitor::Visitor;

#[tokio::test]
async fn a_share_shows_a_snapshot_to_everyone_until_it_ends() {
    let stack = Stack::start().await;
    let function = stack.launch_chats().start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let chat = visitor.conversation("a question").await;
    let path = format!("/api/chats/{chat}/share");
    let open = async |url: &str| -> Response { send(&function, &Request::new("GET", url)).await };

    let headers = [("Idempotency-Key", "0b6b2f3c-share")];
    let first = visitor.ask_with("POST", &path, None, &headers).await;
    assert_eq!(first.status, 201);
    let again = visitor.ask_with("POST", &path, None, &headers).await;
    assert_eq!(again.json(), first.json(), "the same token is made again");
    let url = first.json()["url"].as_str().unwrap().to_owned();
    let token = first.json()["token"].as_str().unwrap().to_owned();

    let shown = open(&url).await;
    assert_eq!(shown.status, 200);
    assert_eq!(shown.header("cache-control"), Some("public, max-age=60"));
    let snapshot = shown.json();
    assert_eq!(
        snapshot["messages"],
        json!([
            {"role": "user", "parts": [{"type": "text", "text": "a question"}]},
            {"role": "assistant", "parts": [{"type": "text", "text": "an answer"}]},
        ])
    );
    let text = snapshot.to_string();
    for secret in ["visitor", "u1", "a1", chat.as_str(), "thought"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let db = stack.database("admin");
    for table in [
        "SELECT token_hash AS t FROM shares",
        "SELECT response || key AS t FROM idempotency",
    ] {
        for row in db.query_idempotent(table, &[]).await.unwrap() {
            assert!(!row.get::<_, &str>("t").contains(&token), "{table}");
        }
    }

    // What is said later is not in the snapshot.
    let more = json!({"id": "u2", "role": "user", "parts": [{"type": "text", "text": "more"}]});
    let messages = format!("/api/chats/{chat}/messages");
    assert_eq!(visitor.ask("POST", &messages, Some(more)).await.status, 201);
    assert_eq!(open(&url).await.json(), snapshot);

    // Private hides it, public shows it again; DELETE ends it.
    let visibility = format!("/api/chats/{chat}/visibility");
    for (value, status) in [("private", 404), ("public", 200)] {
        let body = json!({"visibility": value});
        assert_eq!(
            visitor.ask("PATCH", &visibility, Some(body)).await.status,
            200
        );
        assert_eq!(open(&url).await.status, status, "{value}");
    }
    assert_eq!(visitor.ask("DELETE", &path, None).await.status, 204);
    assert_eq!(visitor.ask("DELETE", &path, None).await.status, 204);
    assert_eq!(
        visitor.get(&format!("/api/chats/{chat}")).await["visibility"],
        "private"
    );
    let (ended, never) = (
        open(&url).await,
        open(&format!("/api/shared/{}", "A".repeat(43))).await,
    );
    let same = |response: &Response| {
        let mut body = response.json();
        body["requestId"] = Value::Null;
        (response.status, body)
    };
    assert_eq!(same(&ended), same(&never));
    assert_eq!(open("/api/shared/x").await.status, 404);

    // A chat has at most 20 shares, and they go with it.
    let mut last = Value::Null;
    for n in 0..20 {
        let made = visitor.ask("POST", &path, None).await;
        assert_eq!(made.status, 201, "{n}");
        last = made.json();
    }
    let many = visitor.ask("POST", &path, None).await;
    assert_eq!((many.status, many.code().as_str()), (422, "unprocessable"));
    let deleted = visitor
        .ask("DELETE", &format!("/api/chats/{chat}"), None)
        .await;
    assert_eq!(deleted.status, 204);
    assert_eq!(open(last["url"].as_str().unwrap()).await.status, 404);
    let left = db
        .query_idempotent("SELECT FROM shares", &[])
        .await
        .unwrap();
    assert!(left.is_empty());
}
