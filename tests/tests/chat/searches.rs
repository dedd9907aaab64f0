//! The search in titles: without case in any script, also in titles from before it.

use serde_json::{Value, json};

use crate::stack::{Stack, Visitor, launch_both, submit};
use tests::http::Request;

impl Visitor<'_> {
    /// The titles that a search finds, sorted.
    async fn found(&self, search: &str) -> Vec<String> {
        let encoded = search.bytes().fold(String::new(), |encoded, byte| {
            encoded + &format!("%{byte:02X}")
        });
        let request = Request::new("GET", &format!("/api/chats?q={encoded}"));
        let answer = self.send_chats(request).await.json();
        let title = |chat: &Value| chat["title"].as_str().unwrap().to_owned();
        let items = answer["items"].as_array().unwrap();
        let mut titles: Vec<String> = items.iter().map(title).collect();
        titles.sort();
        titles
    }
}

#[tokio::test]
async fn a_title_is_found_without_case_in_any_script_however_it_came_to_be() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    for title in ["Maße", "İstanbul", "été 50%", "สวัส"] {
        let request = Request::new("POST", "/api/chats").json(&json!({"title": title}));
        assert_eq!(visitor.send_chats(request).await.status, 201);
    }
    visitor.post(&submit("sent", "u", "Οδύσσεια σοφός")).await;
    visitor.post(&submit("renamed", "u", "x")).await;
    let renamed =
        Request::new("PATCH", "/api/chats/renamed/title").json(&json!({"title": "Привет"}));
    assert_eq!(visitor.send_chats(renamed).await.status, 200);
    let fork = Request::new("POST", "/api/chats/renamed/fork").json(&json!({"messageId": "u"}));
    assert_eq!(visitor.send_chats(fork).await.status, 201);
    let lines = [
        json!({"type": "meta", "version": 1}),
        json!({"type": "chat", "id": "i", "title": "FaÇade"}),
        json!({"type": "end", "chats": 1, "messages": 0}),
    ]
    .map(|line| line.to_string());
    let import = Request::new("POST", "/api/import").body(lines.join("\n").into_bytes());
    let imported = visitor.send_chats(import).await;
    assert_eq!(imported.status, 201, "{imported:?}");

    let hello = "Привет";
    let expected = [
        ("MASSE", vec!["Maße"]),
        ("istanbul", vec!["İstanbul"]),
        ("E\u{301}T", vec!["été 50%"]),
        ("0%", vec!["été 50%"]),
        ("%", vec!["été 50%"]),
        ("_", vec![]),
        ("วั", vec!["สวัส"]),
        ("ΣΟΦΌΣ", vec!["Οδύσσεια σοφός"]),
        ("РИВ", vec![hello, hello]),
        ("aça", vec!["FaÇade"]),
    ];
    for (search, titles) in &expected {
        assert_eq!(visitor.found(search).await, *titles, "{search}");
    }
    // As rows from before titles were folded.
    let forget = "UPDATE chats SET title_folded = NULL";
    stack
        .database("admin")
        .execute_idempotent(forget, &[])
        .await
        .unwrap();
    for (search, titles) in &expected {
        assert_eq!(
            visitor.found(search).await,
            *titles,
            "{search}, folded late"
        );
    }
}
