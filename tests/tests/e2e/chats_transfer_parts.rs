//! An import in parts: what an export holds comes in again, at every size and near every limit,
//! wherever it is cut.

use std::fmt::Write as _;

use dsql::Type;
use serde_json::{Value, json};
use tests::http::{Request, Response};

use crate::chats_transfer::{export, lines};
use crate::stack::{Stack, launch_chats, send};
use crate::visitor::Visitor;

/// As large as a part may be whatever its text: Lambda counts a quote twice, and takes 6 MB.
const PART_BYTES: usize = 5 * 1024 * 1024 / 2;

/// The lines in parts of at most this many bytes.
fn parts(export: &str, most: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in export.lines() {
        if parts.last().unwrap().len() + line.len() >= most && !parts.last().unwrap().is_empty() {
            parts.push(String::new());
        }
        writeln!(parts.last_mut().unwrap(), "{line}").unwrap();
    }
    parts
}

impl Visitor<'_> {
    async fn import_part(&self, key: &str, number: usize, body: &str) -> Response {
        let request = Request::new("POST", &format!("/api/import?part={number}"))
            .bearer(&self.token)
            .header("idempotency-key", key)
            .body(body.to_owned());
        send(self.function, &request).await
    }
}

/// What must be the same in both exports, chats apart from their ids.
fn contents(export: &str) -> Vec<String> {
    let mut all: Vec<String> = lines(export)
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
}

/// A chat at every limit: 500 messages with gaps between their places, replies as large as a value
/// of the database, of hundreds of parts, of characters that JSON writes as six; the longest title,
/// comments and metadata; and 20 chats more.
async fn fill(stack: &Stack) {
    let db = stack.database("admin");
    let title = "😀".repeat(100);
    let large = "x".repeat(900_000);
    let quotes = r#"\""#.repeat(500_000);
    let controls = r"\u0001".repeat(170_000);
    let many = [r#"{"type":"reasoning","text":"x","id":"r0","state":"done"}"#; 300].join(",");
    let texts = vec![json!({"type": "text", "text": "ä".repeat(6_500)}); 20];
    let chat = "INSERT INTO chats VALUES ('full', 'from', $1, 'private', true, true, 2000, NULL, now(), now())";
    db.execute(chat, &[(&title, Type::TEXT)]).await.unwrap();
    let insert =
        "INSERT INTO messages (chat_id, id, seq, role, parts, metadata, status, created_at)
        VALUES ('full', $1, $2, $3, $4, $5, 'complete', now())";
    let metadata = json!({"x": "y".repeat(2_048 - r#"{"x":""}"#.len())}).to_string();
    let replies = [&large, &quotes, &controls, &large];
    let replies = replies.map(|text| format!(r#"[{{"text":"{text}","type":"text"}}]"#));
    let own = [format!("[{many}]"), Value::from(texts).to_string()];
    for (n, (role, parts)) in ["assistant"; 5]
        .into_iter()
        .chain(["user"])
        .zip(replies.iter().chain(&own))
        .enumerate()
    {
        let (id, seq) = (format!("m{n}"), i64::try_from(n).unwrap() * 3);
        db.execute(
            insert,
            &[
                (&id, Type::TEXT),
                (&seq, Type::INT8),
                (&role, Type::TEXT),
                (parts, Type::TEXT),
                (&metadata, Type::TEXT),
            ],
        )
        .await
        .unwrap();
    }
    let comment = r#"""#.repeat(1_000);
    db.execute(
        "INSERT INTO votes SELECT 'full', 'm' || n, 'from', n = 1, $1, now() FROM generate_series(0, 3) n",
        &[(&comment, Type::TEXT)],
    )
    .await
    .unwrap();
    for sql in [
        "INSERT INTO messages (chat_id, id, seq, role, parts, status, created_at)
            SELECT 'full', 'm' || n, n * 3, 'user', '[{\"text\":\"x\",\"type\":\"text\"}]', 'complete', now() FROM generate_series(6, 499) n",
        "INSERT INTO chats SELECT 'c' || n, 'from', 'T' || n, 'private', false, false, 0, NULL, now(), now() FROM generate_series(1, 20) n",
    ] {
        db.execute(sql, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn an_export_of_any_size_is_imported_in_parts_as_it_was() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let of = |subject: &str| Visitor {
        function: &function,
        token: stack.token(subject),
    };
    fill(&stack).await;
    let exported = export(&stack, "from").await;
    assert!(exported.len() > 4 * 1024 * 1024, "{}", exported.len());
    for (owner, most) in [("large", PART_BYTES), ("small", 300_000)] {
        let to = of(owner);
        let parts = parts(&exported, most);
        assert!(parts.len() > 1, "{owner}");
        let last = to
            .import_part("key", parts.len(), parts.last().unwrap())
            .await;
        assert_eq!(last.status, 422, "the others are missing");
        for (n, part) in parts.iter().enumerate() {
            let first = to.import_part("key", n + 1, part).await;
            assert_eq!(first.status, 201, "{owner} {n}: {:?}", first.json());
            let again = to.import_part("key", n + 1, part).await;
            assert_eq!(again.json(), first.json(), "{owner} {n}");
        }
        assert!(
            contents(&export(&stack, owner).await) == contents(&exported),
            "{owner}"
        );
        // A part whose answer was not kept meets its own rows.
        let sql = format!("DELETE FROM idempotency WHERE owner_id = '{owner}'");
        stack.database("admin").execute_sql(&sql).await.unwrap();
        let again = to.import_part("key", 1, &parts[0]).await;
        assert_eq!(again.status, 201, "{:?}", again.json());
        assert!(
            contents(&export(&stack, owner).await) == contents(&exported),
            "{owner}"
        );
    }
}

#[tokio::test]
async fn a_part_that_does_not_fit_the_others_is_refused() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let chat = json!({"type": "chat", "id": "c", "title": "T"}).to_string();
    let message = |seq: usize| {
        json!({"type": "message", "chatId": "c", "id": format!("m{seq}"), "seq": seq, "role": "user",
            "parts": [{"type": "text", "text": "x"}]})
        .to_string()
    };
    let messages = |from: usize, to: usize| (from..to).map(message).collect::<Vec<_>>().join("\n");
    let end =
        |messages: usize| json!({"type": "end", "chats": 1, "messages": messages}).to_string();
    for path in [
        "/api/import?part=0",
        "/api/import?part=x",
        "/api/import?part=1001",
    ] {
        let asked = visitor
            .ask_with("POST", path, None, &[("idempotency-key", "k")])
            .await;
        assert_eq!(asked.status, 400, "{path}");
    }
    let unkeyed = visitor.ask("POST", "/api/import?part=1", None).await;
    assert_eq!(unkeyed.status, 400);
    // The chat is in no part so far.
    let alone = visitor.import_part("k", 2, &message(0)).await;
    assert_eq!(alone.status, 422, "{:?}", alone.json());
    let first = format!("{chat}\n{}", messages(0, 300));
    assert_eq!(visitor.import_part("k", 1, &first).await.status, 201);
    // Not below another key, nor for somebody else.
    assert_eq!(visitor.import_part("l", 2, &message(300)).await.status, 422);
    let other = Visitor {
        function: &function,
        token: stack.token("other"),
    };
    assert_eq!(other.import_part("k", 2, &message(300)).await.status, 422);
    let much = visitor.import_part("k", 2, &messages(300, 501)).await;
    assert_eq!(
        much.status,
        422,
        "a chat has 500 messages: {:?}",
        much.json()
    );
    for (count, status) in [(300, 422), (501, 422), (500, 201)] {
        let last = format!("{}\n{}", messages(300, 500), end(count));
        let answer = visitor.import_part("k", 2, &last).await;
        assert_eq!(answer.status, status, "{count}: {:?}", answer.json());
    }
    let rows = stack
        .database("admin")
        .query_idempotent("SELECT FROM messages", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 500);
}

#[tokio::test]
async fn what_follows_a_message_that_an_earlier_part_left_out_follows_what_that_one_followed() {
    let stack = Stack::start().await;
    let function = launch_chats(&stack).start().await;
    let visitor = Visitor {
        function: &function,
        token: stack.token("visitor"),
    };
    let chat = json!({"type": "chat", "id": "c", "title": "T"});
    let message = |id: &str, seq: usize, parent: Value, text: &str| {
        let (role, parts) = match text {
            "" => ("assistant", json!([])),
            text => ("user", json!([{"type": "text", "text": text}])),
        };
        json!({"type": "message", "chatId": "c", "id": id, "seq": seq, "role": role, "parts": parts,
            "parentId": parent, "isCurrent": !id.ends_with('x')})
    };
    // As exports were before they said what a message follows.
    let untold = |id: &str, seq: usize| {
        json!({"type": "message", "chatId": "d", "id": id, "seq": seq, "role": "user",
            "parts": [{"type": "text", "text": "x"}]})
    };
    let parts = [
        vec![
            chat,
            message("u1", 0, Value::Null, "x"),
            message("a1", 1, json!("u1"), ""),
            json!({"type": "chat", "id": "d", "title": "T"}),
            untold("v1", 10),
        ],
        // A message and another version of it; their reply, of which nothing is kept either.
        vec![
            message("u2", 2, json!("a1"), "x"),
            message("u2x", 3, json!("a1"), "x"),
            message("a2", 4, json!("u2"), ""),
        ],
        // The last one is behind a branch that is there.
        vec![
            message("u4", 5, json!("a2"), "x"),
            message("u5x", 6, json!("u2x"), "x"),
            untold("v2", 11),
            json!({"type": "end", "chats": 2, "messages": 9}),
        ],
    ];
    let parts = parts.map(|lines| {
        let lines: Vec<_> = lines.iter().map(Value::to_string).collect();
        lines.join("\n")
    });
    // Only in their order: what comes before is looked for.
    for (number, status) in [(2, 422), (1, 201), (3, 422), (2, 201), (3, 201), (2, 201)] {
        let answer = visitor.import_part("k", number, &parts[number - 1]).await;
        assert_eq!(answer.status, status, "{number}: {:?}", answer.json());
    }
    let rows = stack
        .database("admin")
        .query_idempotent(
            "SELECT id || ' < ' || coalesce(parent_id, '') FROM messages ORDER BY seq",
            &[],
        )
        .await
        .unwrap();
    let found: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    let expected = [
        "u1 < ",
        "u2 < u1",
        "u2x < u1",
        "u4 < u2",
        "u5x < u2x",
        "v1 < ",
        "v2 < v1",
    ];
    assert_eq!(found, expected);
}
