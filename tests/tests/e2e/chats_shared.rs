//! Shares: a snapshot for anyone with the token, and for nobody once the chat is private, ended or
//! gone.

use std::time::Duration;

use serde_json::{Value, json};
use tests::clock::WallClock;
use tests::http::{Request, Response};

use crate::stack::{Stack, launch_chats, send};
use crate::visitor::Visitor;

#[tokio::test]
async fn a_share_shows_a_snapshot_to_everyone_until_it_ends() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
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
    let caching = "public, max-age=60, s-maxage=60";
    assert_eq!(shown.header("cache-control"), Some(caching));
    let tag = shown.header("etag").unwrap();
    let known = Request::new("GET", &url).header("If-None-Match", tag);
    let same = send(&function, &known).await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(same.header("cache-control"), Some(caching));
    assert_eq!(same.header("etag"), Some(tag));
    let snapshot = shown.json();
    assert_eq!(
        snapshot["messages"],
        json!([
            {"role": "user", "parts": [{"type": "text", "text": "a question"}]},
            {"role": "assistant", "parts": [{"type": "text", "text": "an answer"}], "writtenBy": "client"},
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

#[tokio::test]
async fn shares_are_listed_and_ended_one_by_one_and_with_the_last_the_chat_is_private() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let chat = visitor.conversation("a question").await;
    let path = format!("/api/chats/{chat}/share");
    assert_eq!(visitor.get(&path).await, json!({"shares": []}));
    let mut urls = Vec::new();
    for _ in 0..2 {
        let made = visitor.ask("POST", &path, None).await.json();
        urls.push(made["url"].as_str().unwrap().to_owned());
    }
    let shares = visitor.get(&path).await["shares"].clone();
    let ids: Vec<&str> = (0..2).map(|n| shares[n]["id"].as_str().unwrap()).collect();
    let open = async |url: &str| send(&function, &Request::new("GET", url)).await.status;
    let visibility =
        async || visitor.get(&format!("/api/chats/{chat}")).await["visibility"].clone();
    let end = async |id: &str| {
        visitor
            .ask("DELETE", &format!("{path}/{id}"), None)
            .await
            .status
    };

    assert_eq!(end(ids[0]).await, 204);
    assert_eq!((open(&urls[0]).await, open(&urls[1]).await), (404, 200));
    assert_eq!(visibility().await, "public");
    assert_eq!(end(ids[0]).await, 204, "it is ended already");
    assert_eq!((open(&urls[1]).await, end("no-id").await), (200, 404));
    assert_eq!(end(ids[1]).await, 204);
    assert_eq!(open(&urls[1]).await, 404);
    assert_eq!(visibility().await, "private");
    assert_eq!(visitor.get(&path).await, json!({"shares": []}));
}

#[tokio::test]
async fn a_chat_that_is_made_public_is_read_by_others_and_a_shared_one_is_not() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let of = |who: &str| Visitor {
        function: &function,
        token: stack.token(who),
    };
    let (visitor, other) = (of("visitor"), of("other"));
    let chat = visitor.conversation("a question").await;
    let path = format!("/api/chats/{chat}");
    let share = format!("{path}/share");
    let seen = async || other.ask("GET", &path, None).await;
    assert_eq!(seen().await.status, 404);
    assert_eq!(visitor.ask("POST", &share, None).await.status, 201);
    assert_eq!(seen().await.status, 404, "a share is not the chat");

    let change = async |changes: Value| visitor.ask("PATCH", &path, Some(changes)).await.status;
    assert_eq!(
        change(json!({"visibility": "public", "pinned": true})).await,
        200
    );
    let shown = seen().await.json();
    assert_eq!(
        (&shown["isOwner"], &shown["visibility"], &shown["pinned"]),
        (&json!(false), &json!("public"), &json!(false))
    );
    assert_eq!(
        shown["messages"],
        json!([
            {"id": "public-0", "role": "user", "parts": [{"type": "text", "text": "a question"}]},
            {"id": "public-1", "role": "assistant", "parts": [{"type": "text", "text": "an answer"}], "metadata": {"writtenBy": "client"}},
        ])
    );
    let own = visitor.get(&path).await;
    assert_eq!(
        (&own["isOwner"], &own["pinned"]),
        (&json!(true), &json!(true))
    );
    for (method, path) in [
        ("GET", format!("{path}/messages")),
        ("GET", format!("{path}/votes")),
        ("GET", share.clone()),
        ("DELETE", path.clone()),
    ] {
        assert_eq!(
            other.ask(method, &path, None).await.status,
            404,
            "{method} {path}"
        );
    }

    // It is public by itself, not by its shares.
    let id = visitor.get(&share).await["shares"][0]["id"].clone();
    let ended = format!("{share}/{}", id.as_str().unwrap());
    assert_eq!(visitor.ask("DELETE", &ended, None).await.status, 204);
    assert_eq!(seen().await.status, 200);
    assert_eq!(visitor.ask("POST", &share, None).await.status, 201);
    assert_eq!(seen().await.status, 200);
    assert_eq!(change(json!({"visibility": "private"})).await, 200);
    assert_eq!(seen().await.status, 404);
}

#[tokio::test]
async fn the_list_is_there_as_the_sidebar_of_a_chat_template_pages_it() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    for n in 0..5 {
        let chat = json!({"id": format!("c{n}"), "title": format!("Chat {n}")});
        assert_eq!(
            visitor.ask("POST", "/api/chats", Some(chat)).await.status,
            201
        );
    }
    let mut path = "/api/history?limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = visitor.get(&path).await;
        let chats = page["chats"].as_array().unwrap();
        seen.extend(
            chats
                .iter()
                .map(|chat| chat["id"].as_str().unwrap().to_owned()),
        );
        if page["hasMore"] == false {
            break;
        }
        path = format!(
            "/api/history?ending_before={}&limit=2",
            seen.last().unwrap()
        );
    }
    assert_eq!(seen, ["c4", "c3", "c2", "c1", "c0"]);
    let unknown = visitor.get("/api/history?ending_before=gone").await;
    assert_eq!(unknown, json!({"chats": [], "hasMore": false}));
    assert_eq!(
        visitor
            .ask("GET", "/api/history?limit=0", None)
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn a_chat_that_was_private_is_shared_by_a_new_link_alone() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let chat = visitor.conversation("a question").await;
    let share = async || {
        let made = visitor
            .ask("POST", &format!("/api/chats/{chat}/share"), None)
            .await;
        assert_eq!(made.status, 201);
        made.json()["url"].as_str().unwrap().to_owned()
    };
    let open = async |url: &str| send(&function, &Request::new("GET", url)).await.status;
    let mut urls = vec![share().await, share().await];
    for round in 0..3 {
        assert_eq!(open(urls.last().unwrap()).await, 200, "{round}");
        let body = json!({"visibility": "private"});
        let path = format!("/api/chats/{chat}");
        assert_eq!(visitor.ask("PATCH", &path, Some(body)).await.status, 200);
        let new = share().await;
        for past in &urls {
            assert_eq!(open(past).await, 404, "{round}: it was ended");
        }
        urls.push(new);
    }
    let rows = stack
        .database("admin")
        .query_idempotent("SELECT FROM shares", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn a_share_ends_with_its_chat_whenever_that_is_by_then() {
    let stack = Stack::start().await;
    let clock = WallClock::new();
    let function = launch_chats(&stack).clock(&clock).start().await;
    let visitor = || Visitor {
        function: &function,
        token: stack.key.token("visitor", clock.now()),
    };
    let hours = |hours: Value| json!({"retention": hours});
    let mut urls = Vec::new();
    for (first, then) in [
        (json!(1), json!(null)),
        (json!(1), json!(9)),
        (json!(9), json!(1)),
    ] {
        let visitor = visitor();
        let chat = visitor.conversation("a question").await;
        let path = format!("/api/chats/{chat}");
        assert_eq!(
            visitor.ask("PATCH", &path, Some(hours(first))).await.status,
            200
        );
        let made = visitor.ask("POST", &format!("{path}/share"), None).await;
        assert_eq!(
            visitor.ask("PATCH", &path, Some(hours(then))).await.status,
            200
        );
        urls.push(made.json()["url"].as_str().unwrap().to_owned());
    }
    let two_hours = Duration::from_secs(2 * 3_600);
    clock.advance(two_hours);
    stack.server.advance(two_hours);
    for (url, status) in urls.iter().zip([200, 200, 404]) {
        assert_eq!(
            send(&function, &Request::new("GET", url)).await.status,
            status
        );
    }
}

#[tokio::test]
async fn a_share_marks_a_reply_that_no_model_wrote() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let chat = visitor.conversation("a question").await;
    let messages = format!("/api/chats/{chat}/messages");
    let reply =
        json!({"id": "a2", "role": "assistant", "parts": [{"type": "text", "text": "mine"}]});
    let appended = visitor.ask("POST", &messages, Some(reply)).await;
    assert_eq!(appended.status, 201);
    // As a turn stores it.
    let by_model = "UPDATE messages SET model = 'm' WHERE id = 'a1'";
    let db = stack.database("admin");
    db.query_idempotent(by_model, &[]).await.unwrap();

    let share = format!("/api/chats/{chat}/share");
    let shared = visitor.ask("POST", &share, None).await.json();
    let open = Request::new("GET", shared["url"].as_str().unwrap());
    let shown = send(&function, &open).await.json();
    let marks: Vec<&Value> = shown["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["writtenBy"])
        .collect();
    assert_eq!(marks, [&Value::Null, &Value::Null, &json!("client")]);
}
