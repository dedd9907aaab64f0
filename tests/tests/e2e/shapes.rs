//! Event shapes: whoever invokes an HTTP function has a form of its own for a request, and expects
//! the answer in one. Each file in `events/shapes` is the request `POST /api/chats` as one caller
//! sends it. Every function gets every shape, with a request of its own in that form.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use tests::function::Function;
use tests::http::Response;
use tests::logins::{Login, Logins};
use tests::runtime_api::Outcome;
use tests::sample::Sample;

use crate::stack::{LIMIT, Stack, launch_chat, launch_chats};

/// The path in every sample.
const SAMPLE_PATH: &str = "/api/chats";
const ORIGIN: &str = "https://blog.example";

/// Every shape there is, and what its callers expect of a buffered answer.
const SHAPES: [(&str, Form); 8] = [
    ("api-gateway-http-1.0", Form::Version1),
    ("api-gateway-http-2.0", Form::Version2),
    ("api-gateway-http-2.0-stage", Form::Version2),
    ("api-gateway-rest", Form::Version1),
    ("cargo-lambda", Form::Version2),
    ("function-url", Form::Version2),
    ("load-balancer", Form::LoadBalancer),
    ("load-balancer-multi-value", Form::LoadBalancer),
];

/// What a buffered answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Headers by `multiValueHeaders` alone: API Gateway would send those of both maps.
    Version1,
    /// Headers by `headers`, and `cookies`, without which the local emulator answers 500.
    Version2,
    /// The status in words, and the headers in both maps: which one counts is a setting of the
    /// target group.
    LoadBalancer,
}

impl Form {
    fn check(self, answer: &Value) {
        let has = |name: &str| {
            let map = answer[name].as_object();
            map.is_some_and(|map| !map.is_empty())
        };
        let (one, many) = (has("headers"), has("multiValueHeaders"));
        match self {
            Self::Version1 => assert!(many && !one, "{answer}"),
            Self::Version2 => {
                assert!(one && !many && answer["cookies"].is_array(), "{answer}");
            }
            Self::LoadBalancer => {
                let status = answer["statusCode"].as_u64().unwrap_or_default();
                let words = answer["statusDescription"].as_str().unwrap_or_default();
                assert!(
                    one && many && words.starts_with(&format!("{status} ")),
                    "{answer}"
                );
            }
        }
        assert!(answer["isBase64Encoded"].is_boolean(), "{answer}");
    }
}

/// A request, in no caller's form yet.
#[derive(Debug, Clone, Default)]
struct Call {
    method: &'static str,
    path: String,
    /// Percent-encoded.
    query: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The body travels as base64, whatever the sample's does.
    is_binary: bool,
}

impl Call {
    fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            ..Self::default()
        }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .text(body.to_string())
    }

    fn text(mut self, body: String) -> Self {
        self.body = body.into_bytes();
        self
    }

    fn binary(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.is_binary = true;
        self
    }

    /// The request as the caller of `shape` sends it.
    fn event(&self, shape: &Sample) -> Value {
        let mut event = shape.event.clone();
        // The emulator's `httpMethod` is always GET.
        if let Some(method) = event.pointer_mut("/requestContext/http/method") {
            *method = json!(self.method);
        } else {
            event["httpMethod"] = json!(self.method);
            replace(&mut event, "/requestContext/httpMethod", json!(self.method));
        }
        for pointer in [
            "/path",
            "/rawPath",
            "/requestContext/path",
            "/requestContext/http/path",
        ] {
            if let Some(path) = event.pointer_mut(pointer) {
                let stage = path
                    .as_str()
                    .and_then(|path| path.strip_suffix(SAMPLE_PATH));
                *path = json!(format!("{}{}", stage.unwrap(), self.path));
            }
        }
        self.put_query(&mut event);
        for (name, value) in &self.headers {
            put_header(&mut event, name, value);
        }
        let is_base64 = self.is_binary || event["isBase64Encoded"] == json!(true);
        event["isBase64Encoded"] = json!(is_base64);
        event["body"] = match std::str::from_utf8(&self.body) {
            Ok(text) if !is_base64 => json!(text),
            _ => json!(STANDARD.encode(&self.body)),
        };
        event
    }

    /// API Gateway hands the parameters over decoded, a load balancer as they came.
    fn put_query(&self, event: &mut Value) {
        if self.query.is_empty() {
            return;
        }
        let is_encoded = event.pointer("/requestContext/elb").is_some();
        let pairs = self.query.split('&').map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            let value = if is_encoded {
                value.to_owned()
            } else {
                percent_decode_str(value)
                    .decode_utf8()
                    .unwrap()
                    .into_owned()
            };
            (name.to_owned(), value)
        });
        let (mut one, mut many) = (Map::new(), Map::new());
        for (name, value) in pairs {
            one.insert(name.clone(), json!(value));
            many.insert(name, json!([value]));
        }
        replace(event, "/rawQueryString", json!(self.query));
        replace(event, "/queryStringParameters", json!(one));
        replace(event, "/multiValueQueryStringParameters", json!(many));
    }
}

/// Puts `value` where the shape has something.
fn replace(event: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = event.pointer_mut(pointer) {
        *place = value;
    }
}

/// Sets a header in every map that the shape has, under the spelling that it has there.
fn put_header(event: &mut Value, name: &str, value: &str) {
    for (map, value) in [
        ("headers", json!(value)),
        ("multiValueHeaders", json!([value])),
    ] {
        let Some(map) = event.get_mut(map).and_then(Value::as_object_mut) else {
            continue;
        };
        let known = map.keys().find(|key| key.eq_ignore_ascii_case(name));
        let key = known.map_or_else(|| name.to_owned(), Clone::clone);
        map.insert(key, value);
    }
}

/// The three HTTP functions over one database.
struct Site {
    /// Holds the database.
    _stack: Stack,
    chat: Function,
    chats: Function,
    sql: Function,
    login: Login,
    token: String,
}

impl Site {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let logins = Logins::of(&stack.server).await;
        let login = logins.create("blog").await;
        let (chat, chats) = (launch_chat(&stack), launch_chats(&stack));
        Self {
            chat: chat.env("CORS_ALLOWED_ORIGINS", ORIGIN).start().await,
            chats: chats.env("CORS_ALLOWED_ORIGINS", ORIGIN).start().await,
            sql: logins.launch().start().await,
            token: stack.token("visitor"),
            login,
            _stack: stack,
        }
    }

    fn functions(&self) -> [(&'static str, &Function); 3] {
        [
            ("chat", &self.chat),
            ("chats", &self.chats),
            ("sql", &self.sql),
        ]
    }

    /// A request that needs no other before it; `id` names what it creates.
    fn call(&self, function: &str, id: &str) -> Call {
        let bearer = format!("Bearer {}", self.token);
        match function {
            "chat" => {
                let message = json!({"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]});
                Call::new("POST", "/api/chat")
                    .json(&json!({"id": id, "messages": [message]}))
                    .header("authorization", bearer)
            }
            "chats" => Call::new("POST", "/api/chats")
                .json(&json!({"id": id, "title": "Café & co"}))
                .header("authorization", bearer),
            "sql" => Call::new("POST", "/sql")
                .header("content-type", "text/plain;charset=UTF-8")
                .header("neon-connection-string", self.login.connection_string())
                .header("neon-raw-text-output", "true")
                .header("neon-array-mode", "true")
                .text(json!({"query": "SELECT $1::text", "params": ["é"]}).to_string()),
            other => panic!("no function {other}"),
        }
    }

    /// Sends `call` in the form of `shape`; the answer is in the form that its caller expects.
    async fn send(&self, function: &str, (shape, form): (&Sample, Form), call: &Call) -> Response {
        let (_, process) = self
            .functions()
            .into_iter()
            .find(|(name, _)| *name == function)
            .unwrap();
        let outcome = process.invoke(call.event(shape).to_string(), LIMIT).await;
        match outcome {
            // A stream has the same form for whoever can read one.
            Outcome::Streamed(streamed) => {
                assert!(streamed.is_complete, "{streamed:?}");
                assert!(streamed.prelude["headers"].is_object(), "{streamed:?}");
                assert!(streamed.prelude["cookies"].is_array(), "{streamed:?}");
                Response::from_streamed(&streamed)
            }
            Outcome::Response(answer) => {
                form.check(&serde_json::from_slice(&answer).unwrap());
                Response::from_answer(&answer)
            }
            other => panic!("{function}, {}: {other:?}", shape.name),
        }
    }

    /// Every function still answers, in the process it began with.
    async fn is_well(&self, shape: (&Sample, Form), id: &str) {
        for (name, process) in self.functions() {
            let call = self.call(name, &format!("{name}-{id}"));
            let answer = self.send(name, shape, &call).await;
            assert!(
                (200..300).contains(&answer.status),
                "{name}, {}: {answer:?}",
                shape.0.name
            );
            assert_eq!(process.exit_status(), None, "{name}");
        }
    }
}

/// The files in `events/shapes`, each with its form. A file that the table lacks, or one that is
/// gone, fails the test.
fn shapes() -> Vec<(Sample, Form)> {
    let files: Vec<Sample> = Sample::all()
        .into_iter()
        .filter(|sample| sample.function == "shapes")
        .collect();
    let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, SHAPES.iter().map(|(name, _)| *name).collect());
    let form = |file: &Sample| SHAPES.iter().find(|(name, _)| *name == file.name);
    files
        .into_iter()
        .map(|file| {
            let form = form(&file).unwrap().1;
            (file, form)
        })
        .collect()
}

#[tokio::test]
async fn every_function_answers_every_shape_in_its_own_form() {
    let site = Site::start().await;
    for (at, (shape, form)) in shapes().into_iter().enumerate() {
        let name = &shape.name;
        let to = (&shape, form);
        let id = format!("shape-{at}");

        // The file as it stands.
        let sample = shape.event_for(&site.token).to_string();
        let answer = site.chats.invoke(sample, LIMIT).await.response();
        assert_eq!(Response::from_answer(&answer).status, 201, "{name}");

        let created = site.send("chats", to, &site.call("chats", &id)).await;
        assert_eq!(created.status, 201, "{name}: {created:?}");
        let mut search = site.call("chats", &id);
        (search.method, search.query, search.body) = ("GET", "limit=50&q=caf%C3%A9%20%26", vec![]);
        let found = site.send("chats", to, &search).await.json();
        let items = found["items"].as_array().unwrap();
        assert_eq!(items.len(), at + 1, "{name}: {found}");
        assert!(items.iter().any(|chat| chat["id"] == json!(id)), "{name}");

        let id = format!("turn-{at}");
        let turn = site.send("chat", to, &site.call("chat", &id)).await;
        assert_eq!(turn.status, 200, "{name}: {turn:?}");
        let kind = "x-vercel-ai-ui-message-stream";
        assert_eq!(turn.header(kind), Some("v1"), "{name}");
        let stream = String::from_utf8_lossy(&turn.body).into_owned();
        assert!(stream.contains(r#""type":"finish""#), "{name}: {stream}");

        let asked = site.send("sql", to, &site.call("sql", "")).await;
        assert_eq!(asked.json()["rows"], json!([["é"]]), "{name}");
        let long = json!({"query": "SELECT repeat('x', 5000)"}).to_string();
        let packed = site.call("sql", "").header("accept-encoding", "gzip");
        let packed = site.send("sql", to, &packed.text(long)).await;
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{name}");
        assert!(packed.body.starts_with(&[0x1f, 0x8b]), "{name}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_utf_8_is_the_functions_own_400_in_every_shape() {
    let site = Site::start().await;
    let body = b"{\"query\":\"\xff\xfe\",\"title\":\"\xff\",\"id\":\"\xc3\"}";
    for (at, (shape, form)) in shapes().into_iter().enumerate() {
        for kind in ["application/json", "text/plain", "application/octet-stream"] {
            for (function, code) in [
                ("chat", "invalid_json"),
                ("chats", "invalid_json"),
                ("sql", "08P01"),
            ] {
                let call = site.call(function, "never").binary(body);
                let call = call.header("content-type", kind);
                let answer = site.send(function, (&shape, form), &call).await;
                let told = (answer.status, answer.code());
                assert_eq!(
                    told,
                    (400, code.to_owned()),
                    "{function}, {}, {kind}",
                    shape.name
                );
            }
        }
        site.is_well((&shape, form), &format!("well-{at}")).await;
    }
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_function_in_every_shape() {
    let site = Site::start().await;
    for (shape, form) in shapes() {
        for (function, path, allowed) in [
            ("chat", "/api/chat", ORIGIN),
            ("chats", "/api/chats", ORIGIN),
            ("sql", "/sql", "*"),
        ] {
            let call = Call::new("OPTIONS", path)
                .header("origin", ORIGIN)
                .header("access-control-request-method", "POST");
            let answer = site.send(function, (&shape, form), &call).await;
            let place = format!("{function}, {}: {answer:?}", shape.name);
            assert!((200..300).contains(&answer.status), "{place}");
            let header = |name| answer.header(name);
            assert_eq!(
                header("access-control-allow-origin"),
                Some(allowed),
                "{place}"
            );
            let methods = header("access-control-allow-methods").unwrap_or_default();
            assert!(methods.contains("POST"), "{place}");
            let headers = header("access-control-allow-headers").unwrap_or_default();
            let headers = headers.to_ascii_lowercase();
            assert!(headers.contains("authorization"), "{place}");
            let call = site.call(function, "preflight").header("origin", ORIGIN);
            let answer = site.send(function, (&shape, form), &call).await;
            assert_eq!(
                answer.header("access-control-allow-origin"),
                Some(allowed),
                "{function}, {}",
                shape.name
            );
        }
    }
}

/// No gateway sends these, but whoever may invoke the function can. The library refuses some by a
/// panic.
#[tokio::test]
async fn an_event_that_is_no_request_fails_alone_and_the_process_lives_on() {
    let site = Site::start().await;
    for (at, (shape, form)) in shapes().into_iter().enumerate() {
        for (function, process) in site.functions() {
            let call = site.call(function, "never");
            let mut not_base64 = call.event(&shape);
            not_base64["isBase64Encoded"] = json!(true);
            not_base64["body"] = json!("private!");
            let mut not_text = call.event(&shape).to_string().into_bytes();
            let private = br#","x":"private"#;
            not_text.pop();
            not_text.extend(private);
            not_text.extend(b"\xff\"}");
            let mut events = vec![
                not_base64.to_string().into_bytes(),
                not_text,
                b"{}".to_vec(),
            ];
            // Of a load balancer's headers with several values the library does not read the host.
            if shape.event["headers"].is_object() {
                for host in ["private:99999", "[::private"] {
                    let event = call.clone().header("host", host).event(&shape);
                    events.push(event.to_string().into_bytes());
                }
            }
            for event in events {
                let outcome = process.invoke(event, LIMIT).await;
                let Outcome::FunctionError {
                    error_type,
                    message,
                } = outcome
                else {
                    panic!("{function}, {}: {outcome:?}", shape.name)
                };
                assert_ne!(error_type, "Runtime.ExitError", "{message}");
                assert!(!message.contains("private"), "{message}");
            }
            assert!(!process.output().join("\n").contains("private"));
        }
        site.is_well((&shape, form), &format!("well-{at}")).await;
    }
}
