//! The export: streamed in pieces, as fast as the client reads, and importable.

use chat_store::{Export, OwnerId, microseconds};
use serde_json::{Value, json};
use tests::http::{Request, Response};

use crate::stack::{
    LIMIT, Stack, Visitor, heard, launch_both, launch_chat, said, submit, until_true,
};

const CHATS: usize = 12;
const MESSAGES: usize = 150;

/// An export of 3 MB in chats of 150 messages.
fn file() -> String {
    let mut lines = vec![json!({"type": "meta", "version": 1}).to_string()];
    for chat in 0..CHATS {
        let id = format!("c{chat}");
        lines.push(json!({"type": "chat", "id": id, "title": format!("T{chat}")}).to_string());
        for n in 0..MESSAGES {
            let role = if n % 2 == 0 { "user" } else { "assistant" };
            let parts =
                json!([{"type": "text", "text": format!("{n} \\u0000 {}", "x".repeat(1_700))}]);
            let line = json!({"type": "message", "chatId": id, "id": format!("m{n}"), "role": role, "parts": parts});
            lines.push(line.to_string());
        }
        let vote = json!({"type": "vote", "chatId": id, "messageId": "m1", "isUpvoted": true});
        lines.push(vote.to_string());
    }
    let end = json!({"type": "end", "chats": CHATS, "messages": CHATS * MESSAGES});
    lines.push(end.to_string());
    lines.join("\n")
}

async fn import(visitor: &Visitor<'_>, text: &str, key: &str) -> Response {
    let request = Request::new("POST", "/api/import")
        .header("idempotency-key", key)
        .body(text.to_owned());
    visitor.send_chats(request).await
}

/// The lines without what an import makes again: ids of chats, and times.
fn comparable(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let fields = line.as_object_mut().unwrap();
            if fields["type"] == "chat" {
                fields.remove("id");
            }
            for key in ["chatId", "exportedAt"] {
                fields.remove(key);
            }
            line.to_string()
        })
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_large_export_is_streamed_in_pieces_and_imported_again() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let of = |name: &str| Visitor::of(&stack, &chat, &chats, name);
    let (from, to) = (of("from"), of("to"));
    let made = import(&from, &file(), "first").await;
    assert_eq!(
        (made.status, &made.json()["messages"]),
        (201, &json!(CHATS * MESSAGES))
    );

    let export = |visitor: &Visitor<'_>| visitor.send(Request::new("GET", "/api/me/export"), LIMIT);
    let streamed = export(&from).outcome().await.streamed();
    assert!(streamed.is_complete);
    // A page of a megabyte at most, and not all at once.
    assert!(streamed.chunks.len() > CHATS, "{}", streamed.chunks.len());
    let response = Response::from_streamed(&streamed);
    assert_eq!(
        response.header("content-type"),
        Some("application/x-ndjson")
    );
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    assert!(text.len() > 3_000_000, "{}", text.len());
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        last,
        json!({"type": "end", "chats": CHATS, "messages": CHATS * MESSAGES})
    );

    let first = import(&to, &text, "again").await;
    let second = import(&to, &text, "again").await;
    assert_eq!(
        (first.status, second.status),
        (201, 201),
        "{}",
        first.json()
    );
    assert_eq!(first.json(), second.json());
    let again = said(export(&to).outcome().await).body();
    assert_eq!(comparable(&text), comparable(&again));
}

#[tokio::test]
async fn a_client_that_leaves_an_export_ends_it_and_one_that_is_cut_off_has_no_end() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    assert_eq!(import(&visitor, &file(), "first").await.status, 201);
    let request = || Request::new("GET", "/api/me/export");
    let mut invocation = visitor.send(request(), LIMIT);
    invocation.chunk().await.unwrap();
    drop(invocation);
    // The container serves the next request.
    let complete = said(visitor.send(request(), LIMIT).outcome().await).body();
    assert!(complete.contains(r#""type":"end""#));

    // The database goes away for longer than the function has.
    let mut invocation = visitor.send(request(), std::time::Duration::from_secs(6));
    invocation.chunk().await.unwrap();
    let away = dsql_local::Faults {
        drop_rate: 1.0,
        ..dsql_local::Faults::default()
    };
    stack.server.set_faults(away).unwrap();
    let mut text = String::new();
    while let Some(chunk) = invocation.chunk().await {
        text.push_str(&String::from_utf8_lossy(&chunk.data));
    }
    stack
        .server
        .set_faults(dsql_local::Faults::default())
        .unwrap();
    assert!(
        !text.contains(r#""type":"end""#),
        "an export that was cut off has no end line"
    );
    until_true(&stack.database("admin"), "a connection", "SELECT true").await;
}

#[tokio::test]
async fn what_is_deleted_while_an_export_runs_is_left_out_of_it_and_of_its_end() {
    let stack = Stack::start().await;
    let db = stack.database("admin");
    db.execute_sql(
        "INSERT INTO chats (id, owner_id, title, visibility, pinned, archived, next_seq, created_at, updated_at)
         SELECT 'c' || n, 'owner', 'T', 'private', false, false, 0, now(), now() FROM generate_series(1001, 1230) n",
    )
    .await
    .unwrap();
    let now = microseconds(std::time::SystemTime::now());
    let mut export = Export::new(OwnerId::parse("owner").unwrap(), now);
    let mut text = String::new();
    while !text.contains("c1001") {
        text += &export.next(&db).await.unwrap().unwrap();
    }
    // A page and more, some of another, and the last.
    for gone in [
        "'c1051' AND 'c1120'",
        "'c1130' AND 'c1139'",
        "'c1230' AND 'c1230'",
    ] {
        let sql = format!("DELETE FROM chats WHERE id BETWEEN {gone}");
        db.execute_sql(&sql).await.unwrap();
    }
    while let Some(lines) = export.next(&db).await.unwrap() {
        text += &lines;
    }
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["id"].as_str())
        .collect();
    let gone = [1_051..=1_120, 1_130..=1_139, 1_230..=1_230];
    let left = (1_001..=1_230).filter(|n| !gone.iter().any(|gone| gone.contains(n)));
    let left: Vec<String> = left.map(|n| format!("c{n}")).collect();
    assert_eq!(told, left);
    assert_eq!(lines.last().unwrap()["chats"], left.len());
}

/// Messages that follow one which is not there.
const LOST: &str = "SELECT count(*) FROM messages m WHERE parent_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM messages p WHERE p.chat_id = m.chat_id AND p.id = m.parent_id)";

#[tokio::test]
async fn what_follows_a_reply_being_written_is_forked_and_exported_without_it() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let db = stack.database("admin");
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    let mut writing = visitor.begin(&submit("c", "u1", "[[delay 30000]]one two"), LIMIT);
    heard(&mut writing, "start-step").await;
    let parts = json!([{"type": "text", "text": "and more"}]);
    let message = json!({"id": "u2", "role": "user", "parts": parts});
    let appended = visitor
        .ask_chats("POST", "/api/chats/c/messages", Some(&message))
        .await;
    assert_eq!(appended.status, 201);

    let forked = visitor
        .ask_chats(
            "POST",
            "/api/chats/c/fork",
            Some(&json!({"messageId": "u2"})),
        )
        .await;
    assert_eq!(forked.status, 201);
    let id = forked.json()["id"].as_str().unwrap().to_owned();
    let fork = ["u1: [[delay 30000]]one two", "u2: and more"];
    assert_eq!(visitor.transcript(&id).await, fork);

    // By another container; and once more, when the reply has ended without a word.
    let elsewhere = launch_chat(&stack).start().await;
    let exporter = Visitor::of(&stack, &elsewhere, &chats, "visitor");
    let during = exporter.ask("GET", "/api/me/export", None).await.body();
    assert_eq!(during.matches("\"assistant\"").count(), 0, "{during}");
    let stopped = exporter
        .ask("POST", "/api/chat/c/stop", Some(&json!({})))
        .await;
    assert_eq!(stopped.status(), 202);
    let after = exporter.ask("GET", "/api/me/export", None).await.body();
    let other = Visitor::of(&stack, &chat, &chats, "another");
    for (key, exported) in [("k1", during), ("k2", after)] {
        let imported = import(&other, &exported, key).await;
        assert_eq!(imported.status, 201, "{:?} {exported}", imported.json());
    }
    let lost = db.query_opt_idempotent(LOST, &[]).await.unwrap().unwrap();
    assert_eq!(lost.get::<_, i64>(0), 0);
}
