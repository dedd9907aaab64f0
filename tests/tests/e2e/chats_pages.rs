//! Pages of messages: never longer than an answer may be as it is sent, whatever the text.

use dsql::Type;
use serde_json::Value;

use crate::stack::{Stack, launch_chats};
use crate::visitor::Visitor;

#[tokio::test]
async fn a_long_chat_comes_in_pages_however_much_its_text_is_escaped() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    // What a character is in stored JSON, and how many messages of half a MiB an answer holds of
    // it.
    for (name, stored, most) in [
        ("plain", "x", 9),
        ("quotes", r#"\""#, 6),
        ("backslashes", r"\\", 6),
        ("controls", r"\u0001", 9),
        ("emoji", "😀", 9),
    ] {
        let chat = "INSERT INTO chats VALUES ($1, 'visitor', 't', 'private', false, false, 14, NULL, now(), now())";
        let db = stack.database("admin");
        db.execute(chat, &[(&name, Type::TEXT)]).await.unwrap();
        let times = i32::try_from(500_000 / stored.len()).unwrap();
        db.execute(
            "INSERT INTO messages (chat_id, id, seq, role, parts, status, created_at)
             SELECT $1, 'm' || n, n, 'assistant', '[{\"type\":\"text\",\"text\":\"' || repeat($2, $3) || '\"}]', 'complete', now()
             FROM generate_series(10, 23) n",
            &[
                (&name, Type::TEXT),
                (&stored, Type::TEXT),
                (&times, Type::INT4),
            ],
        )
        .await
        .unwrap();
        let (mut path, mut pages) = (format!("/api/chats/{name}"), Vec::new());
        loop {
            let page = visitor.get(&path).await;
            let messages = page["messages"].as_array().unwrap();
            assert!((1..=most).contains(&messages.len()), "{name}");
            let id = |message: &Value| message["id"].as_str().unwrap().to_owned();
            pages.push(messages.iter().map(id).collect::<Vec<_>>());
            let Some(before) = page["prevCursor"].as_i64() else {
                break;
            };
            path = format!("/api/chats/{name}/messages?before={before}");
        }
        pages.reverse();
        let expected: Vec<String> = (10..24).map(|n| format!("m{n}")).collect();
        assert_eq!(pages.concat(), expected, "{name}");
        assert!(pages.len() >= 14 / most, "{name}: {pages:?}");
    }
}
