//! The chat API: its story, its refusals, other people's chats.

use serde_json::{Value, json};
use tests::http::Request;
use tests::jwt::Forgery;

use crate::stack::{Stack, launch_chats, send};

#[tokio::test]
async fn a_chat_is_created_listed_read_changed_and_deleted() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let token = stack.token("visitor");
    let ask = async |method: &str, path: &str, body: Option<Value>| {
        let mut request = Request::new(method, path).bearer(&token);
        if let Some(body) = &body {
            request = request.json(body);
        }
        send(&function, &request).await
    };
    for n in 0..5 {
        let created = ask(
            "POST",
            "/api/chats",
            Some(json!({"id": format!("c{n}"), "title": format!("Chat {n}")})),
        )
        .await;
        assert_eq!(
            (created.status, created.json()["title"].clone()),
            (201, json!(format!("Chat {n}")))
        );
    }
    let again = ask(
        "POST",
        "/api/chats",
        Some(json!({"id": "c0", "title": "Chat 0"})),
    )
    .await;
    assert_eq!(again.status, 201, "the same request again finds its chat");
    let taken = ask("POST", "/api/chats", Some(json!({"id": "c1"}))).await;
    assert_eq!((taken.status, taken.code().as_str()), (409, "id_taken"));

    // Pages neither lose nor repeat a chat.
    let mut seen = Vec::new();
    let mut path = "/api/chats?limit=2".to_owned();
    loop {
        let page = ask("GET", &path, None).await.json();
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| c["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/chats?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["c4", "c3", "c2", "c1", "c0"]);

    let says = |id: &str, text: &str| json!({"id": id, "role": "user", "parts": [{"type": "text", "text": text}]});
    for (id, text) in [("m1", "one"), ("m2", "two"), ("m1", "one"), ("m3", "three")] {
        assert_eq!(
            ask("POST", "/api/chats/c0/messages", Some(says(id, text)))
                .await
                .status,
            201,
            "{id}"
        );
    }
    let other = ask("POST", "/api/chats/c0/messages", Some(says("m1", "other"))).await;
    assert_eq!((other.status, other.code().as_str()), (409, "id_taken"));

    let chat = ask("GET", "/api/chats/c0?limit=2", None).await.json();
    let texts: Vec<&str> = chat["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["parts"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["two", "three"]);
    assert_eq!(
        (chat["isOwner"].clone(), chat["activeStreamId"].clone()),
        (json!(true), Value::Null)
    );
    let before = chat["prevCursor"].as_i64().unwrap();
    let earlier = ask(
        "GET",
        &format!("/api/chats/c0/messages?before={before}"),
        None,
    )
    .await
    .json();
    assert_eq!(earlier["messages"][0]["id"], "m1");
    assert_eq!(earlier["prevCursor"], Value::Null);

    let changed = ask(
        "PATCH",
        "/api/chats/c2",
        Some(json!({"title": "50% off", "archived": true})),
    )
    .await;
    assert_eq!(
        (changed.status, changed.json()["archived"].clone()),
        (200, json!(true))
    );
    let found = ask("GET", "/api/chats?archived=true&q=50%25", None)
        .await
        .json();
    assert_eq!(found["items"][0]["id"], "c2");
    assert_eq!(
        ask("GET", "/api/chats?q=50%25", None).await.json()["items"],
        json!([])
    );

    assert_eq!(ask("DELETE", "/api/chats/c0", None).await.status, 204);
    assert_eq!(ask("GET", "/api/chats/c0", None).await.status, 404);
    assert_eq!(ask("DELETE", "/api/chats/c0", None).await.status, 404);
    assert_eq!(stack.server.stats().connections_open, 1);
}

#[tokio::test]
async fn a_page_of_large_messages_ends_before_it_is_too_large_to_answer() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let token = stack.token("visitor");
    let part = json!({"type": "text", "text": "a".repeat(16_000)});
    let parts = vec![part; 15];
    let create = Request::new("POST", "/api/chats")
        .bearer(&token)
        .json(&json!({"id": "large"}));
    assert_eq!(send(&function, &create).await.status, 201);
    for n in 0..40 {
        let append = Request::new("POST", "/api/chats/large/messages")
            .bearer(&token)
            .json(&json!({"id": format!("m{n}"), "role": "user", "parts": parts, "metadata": {"n": n}}));
        assert_eq!(send(&function, &append).await.status, 201);
    }
    let mut seen = Vec::new();
    let mut path = "/api/chats/large".to_owned();
    loop {
        let response = send(&function, &Request::new("GET", &path).bearer(&token)).await;
        assert!(
            response.status == 200 && response.body.len() < 6_000_000,
            "{}",
            response.body.len()
        );
        let page = response.json();
        let messages = page["messages"].as_array().unwrap();
        assert!(!messages.is_empty());
        seen.extend(
            messages
                .iter()
                .rev()
                .map(|m| m["metadata"]["n"].as_u64().unwrap()),
        );
        let Some(before) = page["prevCursor"].as_i64() else {
            break;
        };
        path = format!("/api/chats/large?before={before}");
    }
    assert!(seen.iter().copied().eq((0..40).rev()), "{seen:?}");
}

/// A share that nobody has.
const ONE_SHARE: &str = "/share/0000000000000000000000000000000000000000000000000000000000000000";

#[tokio::test]
async fn a_foreign_chat_looks_like_a_missing_one_on_every_route() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let (owner, stranger) = (stack.token("owner"), stack.token("stranger"));
    let message = json!({"id": "m1", "role": "user", "parts": [{"type": "text", "text": "mine"}]});
    let create = Request::new("POST", "/api/chats")
        .bearer(&owner)
        .json(&json!({"id": "owned", "message": message}));
    assert_eq!(send(&function, &create).await.status, 201);

    let all = [
        ("GET", "", None),
        ("PATCH", "", Some(json!({"title": "stolen"}))),
        ("PATCH", "/title", Some(json!({"title": "stolen"}))),
        (
            "PATCH",
            "/visibility",
            Some(json!({"visibility": "public"})),
        ),
        ("DELETE", "", None),
        ("GET", "/messages", None),
        (
            "POST",
            "/messages",
            Some(json!({"id": "m1", "role": "user", "parts": [{"type": "text", "text": "x"}]})),
        ),
        (
            "POST",
            "/messages",
            Some(json!({"id": "m9", "role": "user", "parts": [{"type": "text", "text": "x"}]})),
        ),
        (
            "DELETE",
            "/messages",
            Some(json!({"messageId": "m1", "type": "regenerate"})),
        ),
        ("GET", "/votes", None),
        (
            "POST",
            "/votes",
            Some(json!({"messageId": "m1", "isUpvoted": true})),
        ),
        ("PUT", "/messages/m1/vote", Some(json!({"isUpvoted": true}))),
        ("GET", "/branches", None),
        ("POST", "/branches", Some(json!({"messageId": "m1"}))),
        ("DELETE", "/branches/m1", None),
        ("POST", "/fork", Some(json!({"messageId": "m1"}))),
        ("GET", "/share", None),
        ("POST", "/share", None),
        ("DELETE", "/share", None),
        ("DELETE", ONE_SHARE, None),
    ];
    for (path, methods) in chats::routes() {
        let Some(rest) = path.strip_prefix("/api/chats/{id}") else {
            continue;
        };
        let rest = rest
            .replace("{messageId}", "m1")
            .replace("/share/{shareId}", ONE_SHARE);
        for method in methods.split(", ").filter(|method| *method != "OPTIONS") {
            let is_asked = all.iter().any(|ask| (ask.0, ask.1) == (method, &rest));
            assert!(is_asked, "{method} {path}");
        }
    }
    for (method, rest, body) in all {
        let mut answers = Vec::new();
        for id in ["owned", "missing"] {
            let mut request =
                Request::new(method, &format!("/api/chats/{id}{rest}")).bearer(&stranger);
            if let Some(body) = &body {
                request = request.json(body);
            }
            let response = send(&function, &request).await;
            let mut body = response.json();
            body["requestId"] = Value::Null;
            answers.push((response.status, body));
        }
        assert_eq!(answers[0], answers[1], "{method} {rest}");
        assert_eq!(answers[0].0, 404, "{method} {rest}");
    }
    let read = send(
        &function,
        &Request::new("GET", "/api/chats/owned").bearer(&owner),
    )
    .await
    .json();
    assert_eq!(
        (
            read["title"].clone(),
            read["messages"][0]["parts"][0]["text"].clone()
        ),
        (json!("New chat"), json!("mine"))
    );
    assert_eq!(read["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_input_is_refused_with_a_code_and_writes_nothing() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let token = stack.token("visitor");
    let create = Request::new("POST", "/api/chats")
        .bearer(&token)
        .json(&json!({"id": "kept"}));
    assert_eq!(send(&function, &create).await.status, 201);
    let before = send(
        &function,
        &Request::new("GET", "/api/chats/kept").bearer(&token),
    )
    .await
    .json();

    let large = format!("{{\"title\":\"{}\"}}", "a".repeat(4 * 1024 * 1024));
    let long_text =
        json!({"role": "user", "parts": [{"type": "text", "text": "a".repeat(16_001)}]})
            .to_string();
    let bodies: Vec<(&str, &str, Vec<u8>, u16)> = vec![
        ("POST", "/api/chats", b"not json".to_vec(), 400),
        ("POST", "/api/chats", b"".to_vec(), 400),
        ("POST", "/api/chats", b"[]".to_vec(), 400),
        ("POST", "/api/chats", b"{\"title\":1}".to_vec(), 400),
        ("POST", "/api/chats", b"{\"id\":\"a b\"}".to_vec(), 400),
        (
            "POST",
            "/api/chats",
            b"{\"title\":\"a\\u0000b\"}".to_vec(),
            400,
        ),
        (
            "POST",
            "/api/chats",
            b"{\"title\":\"\xff\xfe\"}".to_vec(),
            400,
        ),
        ("POST", "/api/chats", b"{\"title\":\"\"}".to_vec(), 422),
        ("POST", "/api/chats", large.into_bytes(), 413),
        ("POST", "/api/chats", b"{\"message\":\"hi\"}".to_vec(), 400),
        (
            "POST",
            "/api/chats",
            b"{\"message\":{\"role\":\"system\",\"parts\":[{\"type\":\"text\",\"text\":\"x\"}]}}"
                .to_vec(),
            422,
        ),
        ("POST", "/api/chats/kept/messages", b"{}".to_vec(), 400),
        (
            "POST",
            "/api/chats/kept/messages",
            b"{\"role\":\"user\",\"parts\":[]}".to_vec(),
            422,
        ),
        (
            "POST",
            "/api/chats/kept/messages",
            b"{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"text\":\" \"}]}".to_vec(),
            422,
        ),
        (
            "POST",
            "/api/chats/kept/messages",
            long_text.into_bytes(),
            422,
        ),
        (
            "POST",
            "/api/chats/k%20t/messages",
            b"{\"role\":\"user\",\"parts\":[]}".to_vec(),
            400,
        ),
        ("PATCH", "/api/chats/kept", b"{}".to_vec(), 400),
        (
            "PATCH",
            "/api/chats/kept",
            b"{\"pinned\":\"yes\"}".to_vec(),
            400,
        ),
        (
            "PATCH",
            "/api/chats/kept",
            b"{\"visibility\":\"world\"}".to_vec(),
            422,
        ),
        (
            "PATCH",
            "/api/chats/kept/title",
            b"{\"visibility\":\"public\"}".to_vec(),
            400,
        ),
        ("GET", "/api/chats?limit=0", Vec::new(), 400),
        ("GET", "/api/chats?limit=x", Vec::new(), 400),
        ("GET", "/api/chats?cursor=%00", Vec::new(), 400),
        ("GET", "/api/chats?cursor=abc", Vec::new(), 400),
        ("GET", "/api/chats/kept?before=-1", Vec::new(), 400),
        ("PUT", "/api/chats", Vec::new(), 405),
        ("GET", "/api/nothing", Vec::new(), 404),
        ("GET", "/", Vec::new(), 404),
    ];
    for (method, path, body, expected) in bodies {
        let mut request = Request::new(method, path).bearer(&token);
        if method != "GET" {
            request = request
                .header("content-type", "application/json")
                .body(body.clone());
        }
        let response = send(&function, &request).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(
            response.status,
            expected,
            "{method} {path} {shown}: {:?}",
            response.json()
        );
        assert!(
            !response.code().is_empty() && response.json()["message"].is_string(),
            "{method} {path} {shown}"
        );
    }
    let after = send(
        &function,
        &Request::new("GET", "/api/chats/kept").bearer(&token),
    )
    .await
    .json();
    assert_eq!(before, after);
    let all = send(&function, &Request::new("GET", "/api/chats").bearer(&token))
        .await
        .json();
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        stack.server.stats().connections_opened,
        2,
        "admin's and one more"
    );
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "tokens for processes under the machine's clock"
)]
async fn forged_tokens_are_refused() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    for forgery in Forgery::ALL {
        let token = stack
            .key
            .forged(forgery, "visitor", std::time::SystemTime::now());
        let response = send(&function, &Request::new("GET", "/api/chats").bearer(&token)).await;
        assert_eq!(
            (response.status, response.code().as_str()),
            (401, "unauthenticated"),
            "{forgery:?}"
        );
        assert!(!String::from_utf8_lossy(&response.body).contains(&token));
    }
    assert_eq!(
        send(&function, &Request::new("GET", "/api/chats"))
            .await
            .status,
        401
    );
    assert_eq!(
        send(
            &function,
            &Request::new("GET", "/api/chats").bearer(&stack.token("x"))
        )
        .await
        .status,
        200
    );
}
