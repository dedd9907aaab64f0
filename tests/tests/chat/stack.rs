//! How `chat` is started here, and a client that reads its streams as the AI SDK does.

use std::time::Duration;

use serde_json::{Value, json};
use tests::function::{Function, Launch};
use tests::http::{Request, Response};
use tests::runtime_api::{Invocation, Outcome};
use tests::wait;

pub(crate) use tests::stack::Stack;

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// `chat` with an `echo` that does as its messages say, at once.
pub(crate) fn launch_chat(stack: &Stack) -> Launch {
    steered(stack.launch("chat"))
}

/// `chat` as above, and `chats`.
pub(crate) async fn launch_both(stack: &Stack) -> (Function, Function) {
    let chat = launch_chat(stack).start().await;
    (chat, stack.launch("chats").start().await)
}

/// The same with the tools of a server.
pub(crate) fn chat_with_tools(stack: &Stack, servers: &str) -> Launch {
    let launch = stack.set_up("chat", Launch::full_binary("chat"));
    steered(launch).env("MCP_SERVERS", servers)
}

fn steered(launch: Launch) -> Launch {
    launch
        .env("MODEL_PROVIDER", "echo")
        .env("MODEL_ALLOWED", "echo,other")
        .env("ECHO_DIRECTIVES", "true")
        .env("ECHO_DELAY_MS", "0")
        .env("CHECKPOINT_MS", "50")
        .env("RESUME_POLL_MS", "50")
        .env("TURNS_PER_MINUTE", "1000")
        .env("ADDRESS_HASH_KEY", "0123456789abcdef")
}

/// A visitor at a pair of functions.
pub(crate) struct Visitor<'a> {
    pub(crate) chat: &'a Function,
    pub(crate) chats: &'a Function,
    pub(crate) token: String,
}

impl<'a> Visitor<'a> {
    /// The account of this name.
    pub(crate) fn of(stack: &Stack, chat: &'a Function, chats: &'a Function, name: &str) -> Self {
        let token = stack.token(name);
        Self { chat, chats, token }
    }

    /// Posts a turn and waits for its end.
    pub(crate) async fn post(&self, body: &Value) -> Said {
        said(self.begin(body, LIMIT).outcome().await)
    }

    /// Posts a turn.
    pub(crate) fn begin(&self, body: &Value, limit: Duration) -> Invocation {
        let request = Request::new("POST", "/api/chat").json(body);
        self.send(request, limit)
    }

    pub(crate) fn send(&self, request: Request, limit: Duration) -> Invocation {
        let event = request.bearer(&self.token).rest_event().to_string();
        self.chat.begin(event, limit)
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Said {
        let mut request = Request::new(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        said(self.send(request, LIMIT).outcome().await)
    }

    /// What `chats` answers to a request.
    pub(crate) async fn send_chats(&self, request: Request) -> Response {
        let event = request.bearer(&self.token).rest_event().to_string();
        Response::from_answer(&self.chats.invoke(event, LIMIT).await.response())
    }

    /// The same, by method, path and body.
    pub(crate) async fn ask_chats(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Response {
        let mut request = Request::new(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send_chats(request).await
    }

    /// A chat as `chats` gives it.
    pub(crate) async fn read(&self, chat: &str) -> Value {
        let path = format!("/api/chats/{chat}");
        self.ask_chats("GET", &path, None).await.json()
    }

    /// The stored messages as `id: text`, a reply's id as `*`, its status in brackets unless it is
    /// complete.
    pub(crate) async fn transcript(&self, chat: &str) -> Vec<String> {
        let read = self.read(chat).await;
        let line = |message: &Value| {
            let is_reply = message["role"] == "assistant";
            let id = if is_reply {
                "*"
            } else {
                message["id"].as_str().unwrap()
            };
            let status = match message["metadata"]["status"].as_str() {
                None | Some("complete") => String::new(),
                Some(status) => format!("[{status}] "),
            };
            format!("{id}: {status}{}", text_of(&message["parts"]))
        };
        read["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(line)
            .collect()
    }
}

/// All text parts of a message, without what `echo` begins with.
pub(crate) fn text_of(parts: &Value) -> String {
    let text: String = parts
        .as_array()
        .unwrap()
        .iter()
        .filter(|part| part["type"] == "text")
        .map(|part| part["text"].as_str().unwrap())
        .collect();
    text.strip_prefix("You said: ").unwrap_or(&text).to_owned()
}

/// An answer, streamed or not, as far as it came.
pub(crate) struct Said {
    pub(crate) response: Response,
    pub(crate) is_complete: bool,
}

pub(crate) fn said(outcome: Outcome) -> Said {
    let streamed = outcome.streamed();
    assert_eq!(streamed.error_type, None, "a body must not fail");
    Said {
        response: Response::from_streamed(&streamed),
        is_complete: streamed.is_complete,
    }
}

impl Said {
    pub(crate) fn status(&self) -> u16 {
        self.response.status
    }

    pub(crate) fn code(&self) -> String {
        self.response.code()
    }

    pub(crate) fn body(&self) -> String {
        String::from_utf8(self.response.body.to_vec()).unwrap()
    }

    /// The chunks; a complete stream ends with `[DONE]`.
    pub(crate) fn chunks(&self) -> Vec<Value> {
        assert_eq!(self.status(), 200, "{}", self.body());
        let body = self.body();
        let mut events = events(&body);
        if self.is_complete {
            assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{body}");
        }
        events
            .iter()
            .map(|event| serde_json::from_str(event).unwrap())
            .collect()
    }

    /// Their types, runs of deltas as one.
    pub(crate) fn types(&self) -> Vec<String> {
        let mut types: Vec<String> = self
            .chunks()
            .iter()
            .map(|chunk| chunk["type"].as_str().unwrap().to_owned())
            .collect();
        types.dedup();
        types
    }

    /// The message as the AI SDK has it at the end of the stream.
    pub(crate) fn message(&self) -> Value {
        let mut message = json!({"id": "", "role": "assistant", "parts": [], "metadata": {}});
        let mut open: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
        for chunk in self.chunks() {
            if let Some(new) = chunk["messageMetadata"].as_object() {
                let metadata = message["metadata"].as_object_mut().unwrap();
                metadata.extend(new.clone());
            }
            let parts = message["parts"].as_array_mut().unwrap();
            let id = chunk["id"].as_str().unwrap_or_default().to_owned();
            match chunk["type"].as_str().unwrap() {
                "start" => message["id"] = chunk["messageId"].clone(),
                "start-step" => parts.push(json!({"type": "step-start"})),
                "text-start" => {
                    open.insert(id, parts.len());
                    parts.push(json!({"type": "text", "text": "", "state": "streaming"}));
                }
                "reasoning-start" => {
                    open.insert(id.clone(), parts.len());
                    parts.push(
                        json!({"type": "reasoning", "id": id, "text": "", "state": "streaming"}),
                    );
                }
                "text-delta" | "reasoning-delta" => {
                    let part = &mut parts[open[&id]];
                    let text = part["text"].as_str().unwrap().to_owned();
                    part["text"] = json!(text + chunk["delta"].as_str().unwrap());
                }
                "tool-input-start" | "tool-input-available" => {
                    let call = &chunk["toolCallId"];
                    let known = parts.iter().position(|part| part["toolCallId"] == *call);
                    let at = known.unwrap_or(parts.len());
                    if known.is_none() {
                        let name = chunk["toolName"].as_str().unwrap();
                        parts.push(if chunk["dynamic"] == true {
                            json!({"type": "dynamic-tool", "toolName": name, "toolCallId": call})
                        } else {
                            json!({"type": format!("tool-{name}"), "toolCallId": call})
                        });
                    }
                    parts[at]["state"] = json!("input-available");
                    for key in ["input", "providerExecuted"] {
                        if !chunk[key].is_null() {
                            parts[at][key] = chunk[key].clone();
                        }
                    }
                }
                "tool-approval-request"
                | "tool-output-available"
                | "tool-output-error"
                | "tool-output-denied" => {
                    let call = &chunk["toolCallId"];
                    let known = parts.iter().position(|part| part["toolCallId"] == *call);
                    // A reply that goes on answers earlier calls.
                    let at = known.unwrap_or_else(|| {
                        parts.push(json!({"type": "call-of-before", "toolCallId": call}));
                        parts.len() - 1
                    });
                    let part = &mut parts[at];
                    let kind = chunk["type"].as_str().unwrap();
                    part["state"] = json!(kind.trim_start_matches("tool-"));
                    if kind == "tool-approval-request" {
                        part["state"] = json!("approval-requested");
                        part["approval"] = json!({"id": chunk["approvalId"]});
                    }
                    for key in ["output", "errorText"] {
                        if !chunk[key].is_null() {
                            part[key] = chunk[key].clone();
                        }
                    }
                }
                "text-end" | "reasoning-end" => {
                    parts[open.remove(&id).unwrap()]["state"] = json!("done");
                }
                "source-url" => parts.push(chunk.clone()),
                _ => {}
            }
        }
        message
    }

    pub(crate) fn text(&self) -> String {
        text_of(&self.message()["parts"])
    }
}

/// The data of a stream's events, comments left out.
fn events(body: &str) -> Vec<String> {
    body.split_inclusive("\n\n")
        .filter_map(|event| event.strip_suffix("\n\n"))
        .filter(|event| !event.starts_with(':'))
        .map(|event| {
            let mut lines = event.lines();
            let data = lines.find_map(|line| line.strip_prefix("data: "));
            data.unwrap().to_owned()
        })
        .collect()
}

/// Waits until a stream has said `text`.
pub(crate) async fn heard(invocation: &mut Invocation, text: &str) {
    let mut so_far = String::new();
    while !so_far.contains(text) {
        let chunk = tokio::time::timeout(LIMIT, invocation.chunk())
            .await
            .unwrap();
        let chunk = chunk.unwrap_or_else(|| panic!("the stream ended without {text:?}: {so_far}"));
        so_far.push_str(std::str::from_utf8(&chunk.data).unwrap());
    }
}

/// Waits until a statement's first column is true.
pub(crate) async fn until_true(db: &dsql::Db, what: &str, sql: &'static str) {
    wait::until_true(db, what, LIMIT, sql).await;
}

/// A turn's body with the new message alone.
pub(crate) fn submit(chat: &str, id: &str, text: &str) -> Value {
    json!({"id": chat, "message": message(id, text), "trigger": "submit-message"})
}

pub(crate) fn message(id: &str, text: &str) -> Value {
    json!({"id": id, "role": "user", "parts": [{"type": "text", "text": text}]})
}

/// `body` with one more key; `messages` stand in place of `message`.
pub(crate) fn with(mut body: Value, key: &str, value: Value) -> Value {
    if key == "messages" {
        body["message"] = Value::Null;
    }
    body[key] = value;
    body
}
