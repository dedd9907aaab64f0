//! The OpenAI-compatible provider: every row of the stream it reads, every way it fails.

use std::time::Duration;

use model::{ErrorKind, Message, Part, Provider, Role, Tool};
use serde_json::{Value, json};

use crate::server::{Server, Step};
use crate::told::{provider, rest, run, told, turn};

const OK: &str = "200 OK\r\ncontent-type: text/event-stream";
const KEY: &str = "sk-a-secret-key";

fn at(url: &str) -> Provider {
    provider(&[
        ("MODEL_PROVIDER", "openai"),
        ("MODEL_ID", "m-1"),
        ("OPENAI_BASE_URL", &format!("{url}/v1/")),
        ("OPENAI_API_KEY", KEY),
    ])
}

/// What is understood of a stream, in whole.
async fn read(stream: &str) -> Vec<String> {
    let server = Server::answers(OK, stream);
    run(&at(&server.url()), turn("hi")).await.unwrap()
}

#[tokio::test]
async fn a_plain_reply_is_read_and_the_request_is_as_documented() {
    let stream = concat!(
        ": OPENROUTER PROCESSING\n\n",
        "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"},\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"logprobs\":null}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11,\"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":0}}}\n\n",
        "data: [DONE]\n\n",
    );
    let server = Server::answers(OK, stream);
    let mut turn = turn("what is this?");
    turn.system = Some("Be brief.".to_owned());
    turn.messages.insert(0, Message::text(Role::User, "one"));
    turn.messages
        .insert(1, Message::text(Role::Assistant, "two"));
    turn.messages[2].parts.push(Part::Image {
        media_type: "image/png".to_owned(),
        bytes: b"png".to_vec(),
    });
    assert_eq!(
        run(&at(&server.url()), turn).await.unwrap(),
        [
            "text-start t0",
            "text-delta t0 Hel",
            "text-delta t0 lo",
            "text-end t0",
            "finish stop 9+2=11 cached 4",
        ]
    );
    let request = server.request();
    assert!(
        request
            .head
            .starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    let head = request.head.to_ascii_lowercase();
    assert!(head.contains(&format!("\r\nauthorization: bearer {KEY}")));
    assert!(head.contains("\r\nhost: 127.0.0.1:"));
    assert_eq!(
        request.body,
        json!({
            "model": "m-1",
            "max_tokens": 64,
            "stream": true,
            "stream_options": {"include_usage": true},
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": [
                    {"type": "text", "text": "what is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}},
                ]},
            ],
        })
    );
}

#[tokio::test]
async fn a_pdf_is_a_file_with_its_name() {
    let server = Server::answers(OK, "data: [DONE]\n\n");
    let mut asked = turn("");
    asked.messages[0].parts = vec![Part::Pdf {
        name: "a.pdf".to_owned(),
        bytes: b"pdf".to_vec(),
    }];
    run(&at(&server.url()), asked).await.unwrap();
    assert_eq!(
        server.request().body["messages"][0]["content"],
        json!([{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,cGRm"}}])
    );
}

#[tokio::test]
async fn both_spellings_of_reasoning_end_where_the_text_begins() {
    for name in ["reasoning_content", "reasoning"] {
        let stream = format!(
            "data: {{\"choices\":[{{\"delta\":{{\"{name}\":\"hm\",\"content\":null}}}}]}}\r\n\r\n\
             data: {{\"choices\":[{{\"delta\":{{\"content\":[{{\"type\":\"text\",\"text\":\"a\"}},{{\"type\":\"text\",\"text\":\"b\"}}]}}}}]}}\r\n\r\n\
             data: {{\"choices\":[{{\"delta\":null,\"finish_reason\":\"length\"}}]}}\r\n\r\ndata: [DONE]\r\n\r\n"
        );
        assert_eq!(
            read(&stream).await,
            [
                "reasoning-start r0",
                "reasoning-delta r0 hm",
                "reasoning-end r0",
                "text-start t0",
                "text-delta t0 a",
                "text-delta t0 b",
                "text-end t0",
                "finish length 0+0=0 cached 0",
            ],
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_refusal_is_text_that_ends_as_filtered() {
    let stream = "data: {\"choices\":[{\"delta\":{\"refusal\":\"No.\"}}]}\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    assert_eq!(
        read(stream).await,
        [
            "text-start t0",
            "text-delta t0 No.",
            "text-end t0",
            "finish content-filter 0+0=0 cached 0",
        ]
    );
}

#[tokio::test]
async fn every_finish_reason_has_its_name() {
    for (theirs, ours) in [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool-calls"),
        ("function_call", "tool-calls"),
        ("content_filter", "content-filter"),
        ("error", "error"),
        ("eos_token", "other"),
    ] {
        let stream = format!(
            "data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"{theirs}\"}}]}}\n\ndata: [DONE]\n\n"
        );
        let expected = format!("finish {ours} 0+0=0 cached 0");
        assert_eq!(read(&stream).await, [expected], "{theirs}");
    }
}

/// What is understood of chunks with these deltas.
async fn read_deltas(deltas: &[Value]) -> Vec<String> {
    let chunk = |delta: &Value| format!("data: {}\n\n", json!({"choices": [{"delta": delta}]}));
    let stream: String = deltas.iter().map(chunk).collect();
    let end = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
    read(&format!("{stream}data: {end}\n\ndata: [DONE]\n\n")).await
}

#[tokio::test]
async fn a_call_of_a_tool_is_put_together_and_answered_by_that_there_is_none() {
    let call = |call: Value| json!({"tool_calls": [call]});
    let told = read_deltas(&[
        call(json!({"index": 0, "id": "c", "function": {"name": "get weather", "arguments": "{\"place\":"}})),
        call(json!({"index": 0, "function": {"arguments": "\"Bern\"}"}})),
        call(json!({"index": 1, "id": "d", "function": {"name": "f", "arguments": "not JSON"}})),
        call(json!({"index": 2, "function": {"name": "without an id"}})),
    ])
    .await;
    assert_eq!(
        told,
        [
            "tool-start c get_weather",
            r#"tool-delta c {"place":"#,
            r#"tool-delta c "Bern"}"#,
            "tool-start d f",
            "tool-delta d not JSON",
            "tool-start call-2 without_an_id",
            r#"tool-call c get_weather {"place":"Bern"}"#,
            r#"tool-call d f "not JSON""#,
            "tool-call call-2 without_an_id {}",
            "tool-error c no tool of this name is configured",
            "tool-error d no tool of this name is configured",
            "tool-error call-2 no tool of this name is configured",
            "finish stop 0+0=0 cached 0",
        ]
    );
}

#[tokio::test]
async fn calls_are_told_apart_however_a_server_numbers_them() {
    let function = |name: &str, input: &str| json!({"name": name, "arguments": input});
    let more = |input: &str| json!({"arguments": input});
    for pieces in [
        // By index; by index and id, again and again; all with one index; by id alone.
        json!([
            {"index": 0, "id": "a", "function": function("f", "{")},
            {"index": 1, "id": "b", "function": function("g", "")},
            {"index": 0, "function": more("}")},
            {"index": 1, "function": more("[]")},
        ]),
        json!([
            {"index": 0, "id": "a", "function": function("f", "{")},
            {"index": 0, "id": "a", "function": function("f", "}")},
            {"index": 1, "id": "b", "function": function("g", "[]")},
        ]),
        json!([
            {"index": 0, "id": "a", "function": function("f", "{}")},
            {"index": 0, "id": "b", "function": function("g", "[")},
            {"index": 0, "function": more("]")},
        ]),
        json!([
            {"id": "a", "function": function("f", "{")},
            {"function": more("}")},
            {"id": "b", "function": {"name": "g", "arguments": "[]"}},
        ]),
    ] {
        let pieces = pieces.as_array().unwrap();
        let deltas: Vec<_> = pieces.iter().map(|p| json!({"tool_calls": [p]})).collect();
        let told = read_deltas(&deltas).await;
        let calls: Vec<_> = told.iter().filter(|l| l.starts_with("tool-call")).collect();
        assert_eq!(calls, ["tool-call a f {}", "tool-call b g []"], "{told:?}");
    }
}

/// A turn in which a tool was called and gave something.
fn turn_with_tools() -> model::Turn {
    let mut asked = turn("how is it in Bern?");
    asked.tools = [Tool {
        name: "weather".to_owned(),
        description: "What it is like outside".to_owned(),
        schema: json!({"type": "object", "properties": {"place": {"type": "string"}}}),
    }]
    .into();
    asked.messages.push(Message {
        role: Role::Assistant,
        parts: vec![
            Part::Text("Let me look.".to_owned()),
            Part::Call {
                id: "c-1".to_owned(),
                name: "weather".to_owned(),
                input: json!({"place": "Bern"}),
            },
        ],
    });
    asked.messages.push(Message {
        role: Role::User,
        parts: vec![Part::Result {
            id: "c-1".to_owned(),
            output: "rain".to_owned(),
            is_error: false,
        }],
    });
    asked
}

#[tokio::test]
async fn tools_are_offered_and_what_they_gave_is_told_as_pairs() {
    let call = json!({"tool_calls": [{"index": 0, "id": "c-2", "function": {"name": "weather", "arguments": "{}"}}]});
    let delta = json!({"choices": [{"delta": call, "finish_reason": "tool_calls"}]});
    let server = Server::answers(OK, format!("data: {delta}\n\ndata: [DONE]\n\n"));
    let mut asked = turn_with_tools();
    asked.may_call = false;
    assert_eq!(
        run(&at(&server.url()), asked).await.unwrap(),
        [
            "tool-start c-2 weather",
            "tool-delta c-2 {}",
            "tool-call c-2 weather {}",
            "finish tool-calls 0+0=0 cached 0"
        ],
        "a call without a result is the caller's to execute"
    );
    let body = server.request().body;
    assert_eq!(
        body["tools"],
        json!([{"type": "function", "function": {
            "name": "weather",
            "description": "What it is like outside",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        }}])
    );
    assert_eq!(body["tool_choice"], "none");
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(
        messages[1..],
        [
            json!({"role": "assistant", "content": "Let me look.", "tool_calls": [
                {"id": "c-1", "type": "function", "function": {"name": "weather", "arguments": "{\"place\":\"Bern\"}"}},
            ]}),
            json!({"role": "tool", "tool_call_id": "c-1", "content": "rain"}),
        ]
    );
}

#[tokio::test]
async fn sources_files_and_signatures_are_carried_as_servers_spell_them() {
    let told = read_deltas(&[
        json!({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
        json!({"reasoning_details": [{"type": "reasoning.text", "signature": "sig"}]}),
        json!({"content": "Hello", "annotations": [
            {"type": "url_citation", "url_citation": {"url": "https://a.example/", "title": "A"}},
            {"type": "file_citation", "file_citation": {"filename": "a.pdf"}},
        ]}),
        json!({"images": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}},
            {"type": "image_url", "image_url": {"url": "https://a.example/track.png"}},
            {"type": "image_url", "image_url": {"url": "data:text/html;base64,PGI+"}},
        ]}),
        json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "aGlkZGVu"}]}),
    ])
    .await;
    assert_eq!(
        told,
        [
            "reasoning-start r0",
            "reasoning-delta r0 hm",
            r#"reasoning-end r0 {"openai":{"signature":"sig"}}"#,
            "text-start t0",
            "text-delta t0 Hello",
            "text-end t0",
            "source https://a.example/ A",
            "document a.pdf application/octet-stream",
            "file image/png cG5n",
            "reasoning-start r1",
            r#"reasoning-end r1 {"openai":{"redactedData":"aGlkZGVu"}}"#,
            "finish stop 0+0=0 cached 0",
        ]
    );
    let found = json!({
        "search_results": [{"url": "https://b.example/", "title": "B"}],
        "citations": ["https://b.example/", "https://c.example/"],
        "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}],
    });
    let told = read(&format!("data: {found}\n\ndata: [DONE]\n\n")).await;
    assert_eq!(
        told[..2],
        ["source https://b.example/ B", "source https://c.example/ -"]
    );
}

#[tokio::test]
async fn the_end_of_the_stream_counts_only_after_a_finish_reason() {
    let half = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";
    let begun = ["text-start t0", "text-delta t0 Hel"];
    let with = |more: &[&'static str]| [&begun[..], more].concat();

    assert_eq!(read(half).await, with(&["error Interrupted"]));
    assert_eq!(read("").await, ["error Interrupted"]);
    let done = format!("{half}data: [DONE]");
    let ended = with(&["text-end t0", "finish other 0+0=0 cached 0"]);
    assert_eq!(read(&done).await, ended);
    let no_done =
        format!("{half}data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}");
    let ended = with(&["text-end t0", "finish stop 0+0=0 cached 0"]);
    assert_eq!(read(&no_done).await, ended);
}

#[tokio::test]
async fn a_connection_that_breaks_inside_the_body_interrupts_the_reply() {
    let chunk = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";
    let body = format!("{:x}\r\n{chunk}\r\n", chunk.len());
    let server = Server::answers(&format!("{OK}\r\ntransfer-encoding: chunked"), body);
    assert_eq!(
        run(&at(&server.url()), turn("hi")).await.unwrap(),
        ["text-start t0", "text-delta t0 Hel", "error Interrupted"]
    );
}

#[tokio::test]
async fn an_error_inside_the_stream_has_a_kind() {
    for (error, kind) in [
        (
            r#"{"message":"x","code":429}"#,
            "Throttled { retry_after: None }",
        ),
        (
            r#"{"type":"rate_limit_error"}"#,
            "Throttled { retry_after: None }",
        ),
        (r#"{"type":"invalid_request_error"}"#, "Refused"),
        (r#"{"code":"server_error"}"#, "Unavailable"),
        (r#""just words""#, "Unavailable"),
    ] {
        let stream = format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"Hel\"}}}}]}}\n\ndata: {{\"error\":{error}}}\n\n"
        );
        assert_eq!(
            read(&stream).await,
            [
                "text-start t0".to_owned(),
                "text-delta t0 Hel".to_owned(),
                format!("error {kind}")
            ],
            "{error}"
        );
    }
    let stream = "data: not json\n\ndata: [DONE]\n\n";
    assert_eq!(read(stream).await, ["error Interrupted"]);
}

#[tokio::test]
async fn a_status_before_the_first_byte_has_a_kind() {
    let retry_after = Some(Duration::from_secs(7));
    for (head, kind) in [
        (
            "429 Too Many Requests\r\nretry-after: 7",
            ErrorKind::Throttled { retry_after },
        ),
        (
            "429 Too Many Requests",
            ErrorKind::Throttled { retry_after: None },
        ),
        ("400 Bad Request", ErrorKind::Refused),
        ("422 Unprocessable", ErrorKind::Refused),
        ("401 Unauthorized", ErrorKind::Config),
        ("404 Not Found", ErrorKind::Config),
        ("302 Found\r\nlocation: /", ErrorKind::Config),
        ("500 Internal Server Error", ErrorKind::Unavailable),
        ("503 Service Unavailable", ErrorKind::Unavailable),
    ] {
        let server = Server::answers(head, "{\"error\":{\"type\":\"t\"}}");
        assert_eq!(
            run(&at(&server.url()), turn("hi")).await,
            Err(kind),
            "{head}"
        );
    }
}

#[tokio::test]
async fn neither_key_nor_conversation_is_in_what_is_logged() {
    let body = format!(
        "{{\"error\":{{\"type\":\"auth\",\"code\":\"bad_key\",\"message\":\"{KEY} my question\"}}}}"
    );
    let server = Server::answers("401 Unauthorized", body);
    let provider = at(&server.url());
    let turn = turn("my question");
    let shown = format!("{provider:?} {turn:?}");
    let error = provider.start(turn).await.unwrap_err();
    let shown = format!("{shown} {error} {error:?}");
    assert!(!shown.contains(KEY), "{shown}");
    assert!(!shown.contains("my question"), "{shown}");
    assert_eq!(
        error.to_string(),
        "the provider answered 401 (auth, bad_key)"
    );
}

#[tokio::test]
async fn a_delta_arrives_before_the_server_says_more_and_a_silent_server_meets_the_deadline() {
    let head = format!("HTTP/1.1 {OK}\r\nconnection: close\r\n\r\n");
    let first = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";
    let server = Server::start(vec![
        Step::Send(head.clone().into_bytes()),
        Step::Hold,
        Step::Send(first.into()),
        Step::Hold,
        Step::Send("data: [DONE]\n\n".into()),
    ]);
    // Accepted with the headers, before any event.
    let mut reply = at(&server.url()).start(turn("hi")).await.unwrap();
    server.go_on();
    assert_eq!(told(&reply.next().await.unwrap()), "text-start t0");
    assert_eq!(told(&reply.next().await.unwrap()), "text-delta t0 Hel");
    server.go_on();
    assert_eq!(rest(&mut reply).await.len(), 2);

    let server = Server::start(vec![Step::Send(head.into_bytes()), Step::Hold]);
    let mut short = turn("hi");
    short.deadline -= Duration::from_hours(1);
    short.deadline += Duration::from_millis(300);
    let mut reply = at(&server.url()).start(short).await.unwrap();
    assert_eq!(rest(&mut reply).await, ["error Interrupted"]);

    let server = Server::start(vec![Step::Hold]);
    let mut short = turn("hi");
    short.deadline -= Duration::from_hours(1);
    short.deadline += Duration::from_millis(50);
    assert_eq!(
        run(&at(&server.url()), short).await,
        Err(ErrorKind::Unavailable)
    );
}

#[tokio::test]
async fn nobody_listening_is_unavailable() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(
        run(&at(&url), turn("hi")).await,
        Err(ErrorKind::Unavailable)
    );
}

#[test]
fn a_wrong_variable_is_named_and_a_key_is_not_shown() {
    let refused = |variables: &[(&str, &str)]| {
        let error = Provider::from_lookup(&|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        });
        error.unwrap_err().to_string()
    };
    let openai = ("MODEL_PROVIDER", "openai");
    let url = ("OPENAI_BASE_URL", "https://example.com/v1");
    for (variables, variable) in [
        (vec![], "MODEL_PROVIDER"),
        (vec![("MODEL_PROVIDER", "magic")], "MODEL_PROVIDER"),
        (vec![openai], "OPENAI_BASE_URL"),
        (vec![openai, url], "MODEL_ID"),
        (
            vec![openai, ("OPENAI_BASE_URL", "example.com")],
            "OPENAI_BASE_URL",
        ),
        (
            vec![openai, ("OPENAI_BASE_URL", "https://u:p@example.com")],
            "OPENAI_BASE_URL",
        ),
        (
            vec![openai, url, ("OPENAI_API_KEY", "secret\nkey")],
            "OPENAI_API_KEY",
        ),
        (
            vec![openai, url, ("MODEL_ID", "m"), ("MODEL_MAX_TOKENS", "0")],
            "MODEL_MAX_TOKENS",
        ),
        (vec![("MODEL_PROVIDER", "bedrock")], "AWS_REGION"),
        (
            vec![("MODEL_PROVIDER", "bedrock"), ("AWS_REGION", "us-east-1")],
            "AWS_ACCESS_KEY_ID",
        ),
        (
            vec![("MODEL_PROVIDER", "echo"), ("ECHO_DIRECTIVES", "yes")],
            "ECHO_DIRECTIVES",
        ),
    ] {
        let text = refused(&variables);
        assert!(text.starts_with(variable), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
