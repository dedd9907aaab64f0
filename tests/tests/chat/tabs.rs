//! Several tabs of one visitor in one chat, each with a view of its own, at the same time: whatever
//! they ask for in whatever order, the chat stays a tree of which one path is read, and nothing
//! that was answered is gone.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::{Value, json};
use tests::function::Function;
use tests::http::Response;

use crate::stack::{Said, Stack, Visitor, launch_chat, message, until_true, with};

const TABS: usize = 3;
const ACTS: usize = 20;
const CHATS: u64 = 3;

/// What must stay.
#[derive(Default)]
struct Kept {
    /// Texts of the visitor's messages that were accepted.
    texts: BTreeSet<String>,
    /// Replies that were heard to their end.
    replies: BTreeSet<String>,
}

struct Tab<'a> {
    visitor: Visitor<'a>,
    chat: String,
    name: usize,
    random: Rng,
    /// What it shows, which may be old.
    shows: Vec<Value>,
    sent: usize,
    kept: Kept,
}

impl Tab<'_> {
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        let path = format!("/api/chats/{}{path}", self.chat);
        self.visitor.ask_chats(method, &path, body.as_ref()).await
    }

    async fn load(&mut self) {
        let read = self.ask("GET", "", None).await.json();
        if let Some(messages) = read["messages"].as_array() {
            self.shows.clone_from(messages);
        }
    }

    /// A new text, which may tell the model to take its time or to fail.
    fn text(&mut self) -> String {
        self.sent += 1;
        let how = [
            "",
            "",
            "[[accept 300]]",
            "[[delay 20]]",
            "[[refuse unavailable]]",
            "[[fail 2]]",
        ];
        let how = self.random.choice(how).unwrap();
        format!("{how}said {} by {} so", self.sent, self.name)
    }

    /// A place in what is shown, of a message of this role.
    fn place(&mut self, role: &str) -> Option<usize> {
        let places = (0..self.shows.len()).filter(|place| self.shows[*place]["role"] == role);
        self.random.choice(places.collect::<Vec<_>>())
    }

    async fn post(&mut self, body: &Value) {
        let said = self.visitor.post(body).await;
        let status = said.status();
        assert!(
            matches!(status, 200 | 409 | 429 | 503),
            "{status} {body}: {}",
            said.body()
        );
        if status == 200 {
            self.heard(body, &said);
        }
    }

    fn heard(&mut self, body: &Value, said: &Said) {
        let posted = body["messages"].as_array().unwrap().last().unwrap();
        let text = posted["parts"][0]["text"].as_str().unwrap();
        self.kept.texts.insert(text.to_owned());
        let chunks = said.chunks();
        if chunks.last().unwrap()["type"] == "finish" {
            let reply = chunks[0]["messageId"].as_str().unwrap();
            self.kept.replies.insert(reply.to_owned());
            self.shows.clone_from(body["messages"].as_array().unwrap());
            self.shows.push(said.message());
        }
    }

    /// Posts what is shown before a place, and this message.
    fn turn(&self, place: usize, message: Value, trigger: &str) -> Value {
        let mut messages = self.shows[..place].to_vec();
        messages.push(message);
        json!({"id": self.chat, "messages": messages, "trigger": trigger})
    }

    async fn act(&mut self) {
        let (submit, again) = ("submit-message", "regenerate-message");
        let act = self.random.u8(..13);
        match act {
            0 | 1 => self.load().await,
            2..=4 => {
                let text = self.text();
                let id = format!("u{}-{}", self.name, self.sent);
                let all = self.shows.len();
                let place = if act == 4 {
                    self.random.usize(..=all)
                } else {
                    all
                };
                let body = self.turn(place, message(&id, &text), submit);
                self.post(&body).await;
            }
            5..=8 => {
                let Some(place) = self.place("user") else {
                    return;
                };
                let shown = self.shows[place].clone();
                let id = shown["id"].as_str().unwrap().to_owned();
                let body = match act {
                    5 => self.turn(place, shown, submit),
                    6 => {
                        let text = self.text();
                        let edit = self.turn(place, message(&id, &text), submit);
                        with(edit, "messageId", json!(id))
                    }
                    7 => self.turn(place, shown, again),
                    _ => with(self.turn(place, shown, again), "messageId", json!(id)),
                };
                self.post(&body).await;
            }
            9 => {
                let Some(place) = self.place("assistant").filter(|place| *place > 0) else {
                    return;
                };
                let (reply, asked) = (
                    self.shows[place]["id"].clone(),
                    self.shows[place - 1].clone(),
                );
                let body = with(self.turn(place - 1, asked, again), "messageId", reply);
                let said = self.visitor.post(&body).await;
                // An earlier message that was never answered may stand before it.
                assert!(
                    matches!(said.status(), 200 | 409 | 422 | 429 | 503),
                    "{}",
                    said.body()
                );
                if said.status() == 200 {
                    self.heard(&body, &said);
                }
            }
            10 => {
                let path = format!("/api/chat/{}/stop", self.chat);
                let stopped = self.visitor.ask("POST", &path, None).await.status();
                assert!(matches!(stopped, 200 | 202 | 404), "{stopped}");
            }
            11 => {
                let roles = ["user", "assistant"];
                let role = self.random.choice(roles).unwrap();
                let Some(place) = self.place(role) else {
                    return;
                };
                let kind = if role == "user" { "edit" } else { "regenerate" };
                let body = json!({"messageId": self.shows[place]["id"], "type": kind});
                let cut = self.ask("DELETE", "/messages", Some(body)).await.status;
                assert!(matches!(cut, 200 | 409), "{cut}");
            }
            _ => {
                let listed = self.ask("GET", "/branches", None).await.json();
                let places = listed["branches"].as_array().into_iter().flatten();
                let all = places.flat_map(|place| place["messages"].as_array().unwrap());
                let ids: Vec<Value> = all.map(|branch| branch["id"].clone()).collect();
                let Some(id) = self.random.choice(ids) else {
                    return;
                };
                let body = json!({"messageId": id});
                let switched = self.ask("POST", "/branches", Some(body)).await.status;
                assert!(matches!(switched, 200 | 409), "{switched}");
            }
        }
    }

    async fn work(mut self) -> Kept {
        for _ in 0..ACTS {
            self.act().await;
        }
        self.kept
    }
}

async fn count(db: &dsql::Db, sql: &'static str, chat: &str) -> i64 {
    let row = db
        .query_opt_idempotent(sql, &[(&chat, dsql::Type::TEXT)])
        .await
        .unwrap();
    row.unwrap().get(0)
}

/// What holds of every chat: the query counts what does not.
const FAULTS: [(&str, &str); 4] = [
    (
        "every message follows one that is there",
        "SELECT count(*) FROM messages m WHERE chat_id = $1 AND parent_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM messages p WHERE p.chat_id = m.chat_id AND p.id = m.parent_id)",
    ),
    (
        "along every path the places grow",
        "SELECT count(*) FROM messages m JOIN messages p ON p.chat_id = m.chat_id AND p.id = m.parent_id
            WHERE m.chat_id = $1 AND m.seq <= p.seq",
    ),
    (
        "on the path each message follows the one before",
        "SELECT count(*) FROM (
            SELECT parent_id, lag(id) OVER (ORDER BY seq) AS before FROM messages WHERE chat_id = $1 AND aside_since IS NULL
        ) path WHERE parent_id IS DISTINCT FROM before",
    ),
    (
        "nothing is being written any more",
        "SELECT count(*) FROM messages WHERE chat_id = $1 AND status = 'streaming'",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_tabs_ask_for_at_once_the_chat_stays_a_tree_and_loses_nothing() {
    let stack = Stack::start().await;
    let (chats, db) = (stack.launch("chats").start().await, stack.database("admin"));
    let mut functions: Vec<Function> = Vec::new();
    for _ in 0..TABS {
        functions.push(launch_chat(&stack).start().await);
    }
    for seed in 0..CHATS {
        let chat = format!("c{seed}");
        let tab = |name: usize| Tab {
            visitor: Visitor {
                chat: &functions[name],
                chats: &chats,
                token: stack.token("visitor"),
            },
            chat: chat.clone(),
            name,
            random: Rng::with_seed(seed * 100 + u64::try_from(name).unwrap()),
            shows: Vec::new(),
            sent: 0,
            kept: Kept::default(),
        };
        let (one, two, three) = tokio::join!(tab(0).work(), tab(1).work(), tab(2).work());
        until_true(
            &db,
            "the end of every reply",
            "SELECT count(*) = 0 FROM generations",
        )
        .await;
        for (what, sql) in FAULTS {
            assert_eq!(count(&db, sql, &chat).await, 0, "{what}, in {chat}");
        }
        for kept in [one, two, three] {
            for text in kept.texts {
                let part = json!(text).to_string();
                let found = db
                    .query_opt_idempotent(
                        "SELECT count(*) FROM messages WHERE chat_id = $1 AND strpos(parts, $2) > 0 AND role = 'user'",
                        &[(&chat, dsql::Type::TEXT), (&part, dsql::Type::TEXT)],
                    )
                    .await
                    .unwrap();
                assert!(found.unwrap().get::<_, i64>(0) > 0, "{text} is gone");
            }
            for reply in kept.replies {
                let found = db
                    .query_opt_idempotent(
                        "SELECT count(*) FROM messages WHERE chat_id = $1 AND id = $2",
                        &[(&chat, dsql::Type::TEXT), (&reply, dsql::Type::TEXT)],
                    )
                    .await
                    .unwrap();
                assert_eq!(
                    found.unwrap().get::<_, i64>(0),
                    1,
                    "the reply {reply} is gone"
                );
            }
        }
        let read = tab(0).ask("GET", "", None).await;
        assert_eq!(read.status, 200, "{chat}");
    }
}
