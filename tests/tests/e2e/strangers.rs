//! What is somebody's is nobody else's: every route that is described, asked by strangers for what
//! another has. They read nothing of it, change nothing of it, and are answered as if it were not
//! there. Where a chat is made, one is: it may be called as another's is.

use regex::Regex;
use serde_json::{Map, Value, json};
use tests::function::Function;
use tests::http::{Request, Response};
use tests::openapi::description;

use crate::stack::{Stack, launch_chat, launch_chats, send_any};
use crate::visitor::Visitor;

/// Stands in all that the owner says.
const CANARY: &str = "what only Ada may read";
/// A chat and a job that nobody has, as long as those that somebody has.
const NOBODYS: Ids<'_> = Ids {
    chat: "00000000000000000000000000000000",
    job: "00000000-0000-7000-8000-000000000000",
};
const NOBODYS_SHARE: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What differs from one answer to the next whoever asks: ids that the server makes, times, and
/// tokens.
const MADE: &str = r#"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|[\w-]{43}|(?:createdAt|latencyMs)":\d+"#;

#[derive(Clone, Copy)]
struct Ids<'a> {
    chat: &'a str,
    job: &'a str,
}

impl Ids<'_> {
    /// The path of an operation, with these.
    fn path(self, template: &str) -> String {
        let segments = template.split('/').map(|segment| match segment {
            "{id}" | "{sameId}" => self.chat,
            "{messageId}" => "a1",
            "{jobId}" => self.job,
            "{shareId}" => NOBODYS_SHARE,
            segment => segment,
        });
        segments.collect::<Vec<_>>().join("/")
    }

    /// A body that the operation takes, as far as its schema names fields.
    fn body(self, fields: impl Fn(&str) -> bool) -> Value {
        let parts = json!([{"type": "text", "text": "a stranger was here"}]);
        let all = json!({
            "id": self.chat,
            "title": "a stranger was here",
            "visibility": "public",
            "pinned": true,
            "role": "user",
            "parts": parts,
            "message": {"id": "a1", "role": "user", "parts": parts},
            "messageId": "a1",
            "type": "edit",
            "isUpvoted": false,
            "comment": "a stranger was here",
            "guestToken": "x",
        });
        let all = all.as_object().cloned().unwrap_or_default();
        Value::Object(
            all.into_iter()
                .filter(|(name, _)| fields(name))
                .collect::<Map<_, _>>(),
        )
    }

    async fn ask(self, function: &Function, token: &str, method: &str, template: &str) -> Response {
        let path = self.path(template);
        let mut request = Request::new(method, &path).bearer(token);
        if method != "GET" {
            let fields = description().body_fields(method, &path);
            request = request.json(&self.body(|name| fields.is_empty() || fields.contains(name)));
        }
        send_any(function, &request).await
    }

    /// What is told of these, and of others would be told too.
    fn told(self, response: &Response) -> (u16, String) {
        let text = String::from_utf8_lossy(&response.body).into_owned();
        let text = match serde_json::from_str::<Value>(&text) {
            Ok(Value::Object(mut fields)) => {
                fields.remove("requestId");
                Value::Object(fields).to_string()
            }
            _ => text,
        };
        let text = text.replace(self.chat, "CHAT").replace(self.job, "JOB");
        let made = Regex::new(MADE).unwrap();
        (
            response.status,
            made.replace_all(&text, "MADE").into_owned(),
        )
    }
}

#[tokio::test]
async fn no_route_shows_changes_or_gives_away_what_is_anothers() {
    let stack = Stack::start().await;
    let (chats, chat) = tokio::join!(launch_chats(&stack).start(), launch_chat(&stack).start());
    let of = |who: &str| Visitor {
        function: &chats,
        token: stack.token(who),
    };
    let (ada, cyd) = (of("ada"), of("cyd"));
    let id = ada.conversation(CANARY).await;
    ada.ask(
        "POST",
        &format!("/api/chats/{id}/votes"),
        Some(json!({"messageId": "a1", "isUpvoted": true})),
    )
    .await;
    ada.ask("POST", &format!("/api/chats/{id}/share"), None)
        .await;
    let job = cyd.ask("DELETE", "/api/me", None).await.json();
    let adas = Ids {
        chat: &id,
        job: job["jobId"].as_str().unwrap(),
    };
    let db = stack.database("admin");
    let state = async || -> Vec<String> {
        let sql = "SELECT c::text AS t FROM chats c WHERE owner_id = 'ada' \
                   UNION ALL SELECT m::text FROM messages m JOIN chats c ON c.id = m.chat_id WHERE owner_id = 'ada' \
                   UNION ALL SELECT v::text FROM votes v WHERE owner_id = 'ada' \
                   UNION ALL SELECT s::text FROM shares s JOIN chats c ON c.id = s.chat_id WHERE owner_id = 'ada' \
                   UNION ALL SELECT j::text FROM jobs j WHERE payload NOT LIKE '%eve%' ORDER BY 1";
        let rows = db.query_idempotent(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get("t")).collect()
    };
    let before = state().await;
    assert!(before.iter().any(|row| row.contains(CANARY)));

    for token in [stack.token("eve"), stack.guest_token("eve")] {
        for (function, name) in [(&chats, "chats"), (&chat, "chat")] {
            for (method, template) in description().operations(name) {
                if template.contains("{token}") {
                    continue; // it opens what it is the key of, for anyone
                }
                let what = format!("{method} {template}");
                let foreign = adas.ask(function, &token, &method, &template).await;
                let text = String::from_utf8_lossy(&foreign.body);
                assert!(!text.contains(CANARY), "{what} shows it: {text}");
                assert_eq!(state().await, before, "{what} changes it");
                let missing = NOBODYS.ask(function, &token, &method, &template).await;
                assert!(foreign.status < 500, "{what}: {text}");
                if !template.contains('{') && method == "GET" {
                    continue; // it names nothing: what is answered is the stranger's own
                }
                assert_eq!(
                    adas.told(&foreign),
                    NOBODYS.told(&missing),
                    "{what} gives it away"
                );
            }
        }
    }
}
