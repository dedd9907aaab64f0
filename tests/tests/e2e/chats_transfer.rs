//! Export and import: what is exported can be imported, once for each key, however often it is
//! sent.

use chat_store::{Export, OwnerId};
use serde_json::{Value, json};
use tests::http::Request;

use crate::stack::{LIMIT, Stack, launch_chat, launch_chats, send};
use crate::visitor::Visitor;

pub(crate) async fn export(stack: &Stack, owner: &str) -> String {
    let db = stack.database("admin");
    let now = chat_store::microseconds(std::time::SystemTime::UNIX_EPOCH);
    let mut export = Export::new(OwnerId::parse(owner).unwrap(), now);
    let mut text = String::new();
    while let Some(lines) = export.next(&db).await.unwrap() {
        text.push_str(&lines);
    }
    text
}

pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn an_export_is_imported_with_everything_and_once_for_each_key() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let of = |subject: &str| Visitor {
        function: &function,
        token: stack.token(subject),
    };
    let (from, to) = (of("from"), of("to"));
    for n in 0..60 {
        let chat = json!({"id": format!("c{n:02}"), "title": format!("Chat {n}"), "message":
            {"id": "m", "parts": [{"type": "text", "text": format!("text {n}")}], "metadata": {"n": n}}});
        assert_eq!(from.ask("POST", "/api/chats", Some(chat)).await.status, 201);
    }
    let chat = from.conversation("a question").await;
    let vote = json!({"messageId": "a1", "isUpvoted": true, "comment": "good"});
    let votes = format!("/api/chats/{chat}/votes");
    assert_eq!(from.ask("POST", &votes, Some(vote)).await.status, 200);

    let exported = export(&stack, "from").await;
    let all = lines(&exported);
    assert_eq!(all[0]["type"], "meta");
    assert_eq!(
        *all.last().unwrap(),
        json!({"type": "end", "chats": 61, "messages": 62})
    );

    // The route streams the same lines.
    let chat_function = launch_chat(&stack).start().await;
    let request = Request::new("GET", "/api/me/export").bearer(&from.token);
    let streamed = chat_function
        .invoke(request.rest_event().to_string(), LIMIT)
        .await
        .streamed();
    assert_eq!(streamed.status(), Some(200));
    let text = String::from_utf8(streamed.body().to_vec()).unwrap();
    assert_eq!(lines(&text)[1..], all[1..]);

    let import = async |text: &str| {
        let request = Request::new("POST", "/api/import")
            .bearer(&to.token)
            .header("content-type", "application/x-ndjson")
            .header("idempotency-key", "import-1")
            .body(text.to_owned());
        send(&function, &request).await
    };
    let first = import(&exported).await;
    assert_eq!(first.status, 201, "{:?}", first.json());
    assert_eq!(
        (
            first.json()["chats"].clone(),
            first.json()["messages"].clone()
        ),
        (json!(61), json!(62))
    );
    let again = import(&exported).await;
    assert_eq!((again.status, again.json()), (201, first.json()));
    // Interrupted before its answer was kept: the batches meet their own rows.
    stack
        .database("admin")
        .execute_sql("DELETE FROM idempotency")
        .await
        .unwrap();
    assert_eq!(import(&exported).await.json(), first.json());
    let other = import(&format!("{exported}\n")).await;
    assert_eq!(other.status, 422, "another body with the same key");

    let strip = |text: &str| -> Vec<String> {
        let mut all: Vec<String> = lines(text)
            .into_iter()
            .map(|mut line| {
                let fields = line.as_object_mut().unwrap();
                if fields["type"] == "chat" {
                    fields.remove("id");
                }
                fields.remove("chatId");
                fields.remove("exportedAt");
                line.to_string()
            })
            .collect();
        all.sort();
        all
    };
    assert_eq!(strip(&exported), strip(&export(&stack, "to").await));
}

#[tokio::test]
async fn a_file_that_is_not_accepted_imports_nothing() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let message = r#"{"type":"message","chatId":"c","id":"m","role":"user","parts":[{"type":"text","text":"x"}]}"#;
    let cut_off = format!("{{\"type\":\"chat\",\"id\":\"c\"}}\n{message}\n");
    let many = json!(vec![json!({"role": "user", "content": "x"}); 501]).to_string();
    for (body, status) in [
        (Vec::new(), 400),
        (b"{".to_vec(), 400),
        (b"\xff\xfe".to_vec(), 400),
        (cut_off.into_bytes(), 422),
        (many.into_bytes(), 422),
        (
            b"[{\"role\":\"user\",\"id\":\"a b\",\"content\":\"x\"}]".to_vec(),
            400,
        ),
        (vec![b' '; 4 * 1024 * 1024 + 1], 413),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let request = Request::new("POST", "/api/import")
            .bearer(&visitor.token)
            .body(body);
        let response = send(&function, &request).await;
        assert_eq!(response.status, status, "{shown}: {:?}", response.json());
    }
    assert_eq!(visitor.get("/api/chats").await["items"], json!([]));
    let rows = stack
        .database("admin")
        .query_idempotent("SELECT FROM chats", &[])
        .await
        .unwrap();
    assert!(rows.is_empty());
}

#[tokio::test]
async fn four_mebibytes_are_imported_in_batches_below_the_row_cap() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let mut file = vec![json!({"type": "meta", "version": 1}).to_string()];
    let (chats, each) = (30, 400);
    for chat in 0..chats {
        let line = json!({"type": "chat", "id": format!("c{chat}"), "title": format!("T{chat}")});
        file.push(line.to_string());
        for n in 0..each {
            let role = if n % 2 == 0 { "user" } else { "assistant" };
            let line = json!({"type": "message", "chatId": format!("c{chat}"), "id": format!("m{n}"), "role": role,
                "parts": [{"type": "text", "text": "x".repeat(200)}]});
            file.push(line.to_string());
        }
    }
    file.push(json!({"type": "end", "chats": chats, "messages": chats * each}).to_string());
    let text = file.join("\n");
    assert!(
        text.len() > 3_500_000 && text.len() <= 4 * 1024 * 1024,
        "{}",
        text.len()
    );
    let request = Request::new("POST", "/api/import")
        .bearer(&visitor.token)
        .body(text);
    let response = send(&function, &request).await;
    assert_eq!(response.status, 201, "{:?}", response.json());
    assert_eq!(response.json()["messages"], chats * each);
    let id = response.json()["ids"][7].as_str().unwrap().to_owned();
    let page = visitor.get(&format!("/api/chats/{id}")).await;
    assert_eq!(page["messages"][99]["id"], "m399");
    assert_eq!(page["title"], "T7");
}
