//! Owns the requests that warm functions are asked, one kind for each route of the API, and what
//! must exist for them.

use std::ops::Range;

use serde_json::{Value, json};
use tests::function::Function;
use tests::http::{Request, Response};
use tests::runtime_api::Outcome;

use crate::stack::{LIMIT, Stack};

/// The function that has a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Chats,
    Chat,
}

/// A kind of request, of which the n-th is one that was not made before.
pub(crate) struct Route {
    pub(crate) name: &'static str,
    pub(crate) on: On,
    owner: fn(usize) -> String,
    /// Who owns what is there beforehand.
    maker: fn(usize) -> String,
    /// What the maker asks beforehand, so that the n-th request finds what it is about.
    before: fn(usize) -> Vec<(On, Request)>,
    request: fn(&Routes<'_>, usize) -> Request,
}

/// Chats that take turns in being written to: one has at most 500 messages.
pub(crate) const CHATS: usize = 16;
/// A chat has at most this many shares.
const SHARES: usize = 20;
/// The chat that is read, of this many messages.
const READ: &str = "bench-read";
const READ_MESSAGES: usize = 20;
/// The owner whose receipt is read.
const ERASED: &str = "erased";
/// The owner whose chats are exported.
const EXPORTED: &str = "exporter";
pub(crate) const SQL: &str = "sql: SELECT 1";

fn visitor(_: usize) -> String {
    "visitor-1".to_owned()
}

const fn on(on: On, name: &'static str, request: fn(&Routes<'_>, usize) -> Request) -> Route {
    Route {
        name,
        on,
        owner: visitor,
        maker: visitor,
        before: |_| Vec::new(),
        request,
    }
}

impl Route {
    const fn of(mut self, owner: fn(usize) -> String) -> Self {
        self.owner = owner;
        self.maker = owner;
        self
    }

    const fn made_by(mut self, maker: fn(usize) -> String) -> Self {
        self.maker = maker;
        self
    }

    const fn after(mut self, before: fn(usize) -> Vec<(On, Request)>) -> Self {
        self.before = before;
        self
    }
}

fn text(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

fn get(target: &str) -> Request {
    Request::new("GET", target)
}

fn post(target: &str, body: &Value) -> Request {
    Request::new("POST", target).json(body)
}

fn delete(target: &str) -> Request {
    Request::new("DELETE", target)
}

/// A chat with a message `first` of its owner.
fn chat(id: &str) -> (On, Request) {
    let message = json!({"id": "first", "parts": text("How do I boil an egg?")});
    let body = json!({"id": id, "title": "A chat", "message": message});
    (On::Chats, post("/api/chats", &body))
}

fn message(chat: &str, id: &str, role: &str, words: &str) -> (On, Request) {
    let body = json!({"id": id, "role": role, "parts": text(words)});
    (
        On::Chats,
        post(&format!("/api/chats/{chat}/messages"), &body),
    )
}

fn said(chat: &str, id: &str, words: &str, more: &Value) -> Request {
    let message = json!({"id": id, "role": "user", "parts": text(words)});
    let mut body = json!({"id": chat, "trigger": "submit-message", "message": message});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    post("/api/chat", &body)
}

/// The turn that a route's requests are about; it is asked once.
fn first_turn(chat: &str, n: usize) -> Vec<(On, Request)> {
    if n == 0 {
        vec![(On::Chat, said(chat, "first", "hi", &json!({})))]
    } else {
        Vec::new()
    }
}

/// Turns of a chat that branch it.
const BRANCHES: usize = 100;

/// The chat that the n-th branches: all branches of one count towards the messages that it may
/// have.
fn branched(what: &str, n: usize) -> String {
    format!("{what}-{}", n / BRANCHES)
}

/// The n-th's chat among those that are written to.
fn written(n: usize) -> String {
    format!("bench-{}", n % CHATS)
}

fn is_written(n: usize) -> Vec<(On, Request)> {
    if n < CHATS {
        vec![chat(&written(n))]
    } else {
        Vec::new()
    }
}

/// Every route, those that only read first. A turn and its stream have a second path each, which
/// leads to the same code.
pub(crate) static ROUTES: [Route; 34] = [
    on(On::Chats, "health", |_, _| get("/api/health")),
    on(On::Chats, "ready", |_, _| get("/api/ready")),
    on(On::Chats, "models", |_, _| get("/api/models")),
    on(On::Chats, "list, 20 chats", |_, _| get("/api/chats")),
    on(On::Chats, "get, 20 messages", |_, _| {
        get(&format!("/api/chats/{READ}"))
    }),
    on(On::Chats, "messages, the last 2", |_, _| {
        get(&format!("/api/chats/{READ}/messages?limit=2"))
    }),
    on(On::Chats, "votes", |_, _| get(&format!("/api/chats/{READ}/votes"))),
    on(On::Chats, "usage", |_, _| get("/api/me/usage")),
    on(On::Chats, "a share", |routes, _| {
        get(&format!("/api/shared/{}", routes.share))
    }),
    on(On::Chats, "an erasure's receipt", |routes, _| {
        get(&format!("/api/me/erasure/{}", routes.job))
    })
    .of(|_| ERASED.to_owned()),
    on(On::Chats, "create", |_, _| {
        post("/api/chats", &json!({"title": "A chat"}))
    }),
    on(On::Chats, "create with a message", |_, n| {
        chat(&format!("created-{n}")).1
    }),
    on(On::Chats, "append a message", |_, n| {
        message(&written(n), &format!("m{n}"), "user", "How do I boil an egg?").1
    })
    .after(is_written),
    on(On::Chats, "rename", |_, n| {
        Request::new("PATCH", &format!("/api/chats/{}/title", written(n)))
            .json(&json!({"title": format!("Title {n}")}))
    })
    .after(is_written),
    on(On::Chats, "change visibility", |_, n| {
        let is_even = (n / CHATS).is_multiple_of(2);
        Request::new("PATCH", &format!("/api/chats/{}/visibility", written(n)))
            .json(&json!({"visibility": if is_even { "public" } else { "private" }}))
    })
    .after(is_written),
    on(On::Chats, "pin", |_, n| {
        Request::new("PATCH", &format!("/api/chats/{}", written(n)))
            .json(&json!({"pinned": (n / CHATS).is_multiple_of(2)}))
    })
    .after(is_written),
    on(On::Chats, "vote", |_, n| {
        Request::new("PUT", &format!("/api/chats/{READ}/messages/reply-1/vote"))
            .json(&json!({"isUpvoted": n.is_multiple_of(2)}))
    }),
    on(On::Chats, "vote by the list", |_, n| {
        post(
            &format!("/api/chats/{READ}/votes"),
            &json!({"messageId": "reply-3", "isUpvoted": n.is_multiple_of(2)}),
        )
    }),
    on(On::Chats, "cut, 1 message", |_, n| {
        delete(&format!("/api/chats/cut-{n}/messages"))
            .json(&json!({"messageId": "first", "type": "edit"}))
    })
    .after(|n| {
        let id = format!("cut-{n}");
        vec![chat(&id), message(&id, "second", "assistant", "In water.")]
    }),
    on(On::Chats, "delete", |_, n| delete(&format!("/api/chats/gone-{n}")))
        .after(|n| vec![chat(&format!("gone-{n}"))]),
    on(On::Chats, "fork, 10 messages", |_, _| {
        post(
            &format!("/api/chats/{READ}/fork"),
            &json!({"messageId": "reply-9"}),
        )
    }),
    on(On::Chats, "share", |_, n| {
        Request::new("POST", &format!("/api/chats/shared-{}/share", n / SHARES))
    })
    .after(|n| {
        if n.is_multiple_of(SHARES) {
            vec![chat(&format!("shared-{}", n / SHARES))]
        } else {
            Vec::new()
        }
    }),
    on(On::Chats, "end a share", |_, n| {
        delete(&format!("/api/chats/unshared-{n}/share"))
    })
    .after(|n| {
        let id = format!("unshared-{n}");
        let share = Request::new("POST", &format!("/api/chats/{id}/share"));
        vec![chat(&id), (On::Chats, share)]
    }),
    on(On::Chats, "import, 10 messages", |_, n| {
        let message = |at: usize| {
            let role = if at.is_multiple_of(2) { "user" } else { "assistant" };
            json!({"id": format!("m{at}"), "role": role, "parts": text(&format!("Said in file {n}."))})
        };
        let messages: Vec<Value> = (0..10).map(message).collect();
        post("/api/import", &json!(messages))
    })
    .of(|_| "importer".to_owned()),
    on(On::Chats, "claim, 1 chat", |routes, n| {
        let token = routes.stack.guest_token_of(&format!("guest-{n}"));
        post("/api/me/claim", &json!({"guestToken": token}))
    })
    .made_by(|n| format!("guest-{n}"))
    .after(|n| vec![chat(&format!("claimed-{n}"))]),
    on(On::Chats, "delete all, 1 chat", |_, _| delete("/api/chats"))
        .of(|n| format!("leaver-{n}"))
        .after(|n| vec![chat(&format!("left-{n}"))]),
    on(On::Chats, "erase, 1 chat", |_, _| delete("/api/me"))
        .of(|n| format!("eraser-{n}"))
        .after(|n| vec![chat(&format!("erased-{n}"))]),
    on(On::Chat, "turn", |_, n| {
        said(&format!("turns-{}", n / 100), &format!("u{n}"), "hi", &json!({}))
    }),
    on(On::Chat, "a turn again", |_, _| {
        said("replayed", "first", "hi", &json!({}))
    })
    .after(|n| first_turn("replayed", n)),
    on(On::Chat, "edit", |_, n| {
        let edit = json!({"messageId": "first"});
        said(&branched("edited", n), "first", &format!("hi {n}"), &edit)
    })
    .after(|n| first_turn(&branched("edited", n), n % BRANCHES)),
    on(On::Chat, "regenerate", |_, n| {
        let again = json!({"trigger": "regenerate-message"});
        said(&branched("regenerated", n), "first", "hi", &again)
    })
    .after(|n| first_turn(&branched("regenerated", n), n % BRANCHES)),
    on(On::Chat, "follow, nothing runs", |_, _| {
        get("/api/chat/replayed/stream")
    }),
    on(On::Chat, "stop, nothing runs", |_, _| {
        post("/api/chat/replayed/stop", &json!({}))
    }),
    on(On::Chat, "export, 1 chat of 20 messages", |_, _| {
        get("/api/me/export")
    })
    .of(|_| EXPORTED.to_owned()),
];

/// What a function is asked again and again.
pub(crate) enum Events {
    Same(String),
    Of(&'static Route),
}

impl Events {
    /// Those of a contender's name: a route, `sql`, or one that asks nothing.
    pub(crate) fn named(stack: &Stack, name: &str) -> Self {
        match ROUTES.iter().find(|route| route.name == name) {
            Some(route) => Self::Of(route),
            None if name == SQL => Self::Same(stack.sql().event),
            None => Self::Same("{}".to_owned()),
        }
    }

    pub(crate) fn of(&self, routes: &Routes<'_>, n: usize) -> String {
        match self {
            Self::Same(event) => event.clone(),
            Self::Of(route) => routes.event(route, n),
        }
    }
}

/// What all routes' requests are made from.
pub(crate) struct Routes<'a> {
    stack: &'a Stack,
    chats: Function,
    chat: Function,
    share: String,
    job: String,
}

impl<'a> Routes<'a> {
    /// Makes what is there once: a chat to be read, a share, a receipt.
    pub(crate) async fn prepare(stack: &'a Stack) -> Self {
        let mut routes = Self {
            stack,
            chats: stack.chats().start().await,
            chat: stack.chat().start().await,
            share: String::new(),
            job: String::new(),
        };
        for (owner, id) in [("visitor-1", READ), (EXPORTED, "exported")] {
            let empty = post("/api/chats", &json!({"id": id, "title": "Read"}));
            routes.ask(owner, On::Chats, empty).await;
            for n in 0..READ_MESSAGES {
                let (message_id, role) = if n.is_multiple_of(2) {
                    (format!("question-{n}"), "user")
                } else {
                    (format!("reply-{n}"), "assistant")
                };
                let words = "A sentence or two of what was said. ".repeat(4);
                let (on, request) = message(id, &message_id, role, &words);
                routes.ask(owner, on, request).await;
            }
        }
        for n in 0..20 {
            let (on, request) = chat(&format!("listed-{n}"));
            routes.ask("visitor-1", on, request).await;
        }
        let share = Request::new("POST", &format!("/api/chats/{READ}/share"));
        let share = routes.ask("visitor-1", On::Chats, share).await.json();
        share["token"]
            .as_str()
            .unwrap()
            .clone_into(&mut routes.share);
        let job = routes
            .ask(ERASED, On::Chats, delete("/api/me"))
            .await
            .json();
        job["jobId"].as_str().unwrap().clone_into(&mut routes.job);
        routes
    }

    /// Makes what these events are about.
    pub(crate) async fn make(&self, events: &Events, numbers: Range<usize>) {
        let Events::Of(route) = events else { return };
        for n in numbers {
            for (on, request) in (route.before)(n) {
                self.ask(&(route.maker)(n), on, request).await;
            }
        }
    }

    /// The event of the n-th invocation, with a token of now.
    fn event(&self, route: &Route, n: usize) -> String {
        let token = self.stack.token_of(&(route.owner)(n));
        (route.request)(self, n)
            .bearer(&token)
            .rest_event()
            .to_string()
    }

    async fn ask(&self, owner: &str, on: On, request: Request) -> Response {
        let request = request.bearer(&self.stack.token_of(owner));
        let function = match on {
            On::Chats => &self.chats,
            On::Chat => &self.chat,
        };
        ask_any(function, request.rest_event().to_string()).await
    }
}

/// Invokes once, streamed or not, and insists on a good answer.
pub(crate) async fn ask_any(function: &Function, event: String) -> Response {
    let response = match function.invoke(event, LIMIT).await {
        Outcome::Streamed(streamed) => Response::from_streamed(&streamed),
        other => Response::from_answer(&other.response()),
    };
    assert!(
        (200..300).contains(&response.status),
        "{} {}",
        response.status,
        String::from_utf8_lossy(&response.body)
    );
    response
}
