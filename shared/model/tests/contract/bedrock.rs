//! Bedrock: event streams framed as the service frames them, every row of what is read, every exception.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message as Frame};
use model::{ErrorKind, Message, Part, Provider, Role, Tool};
use serde_json::{Value, json};

use crate::server::{Server, Step};
use crate::told::{provider, rest, run, told, turn};

const OK: &str =
    "200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nx-amzn-requestid: r-1";

fn at(url: &str) -> Provider {
    provider(&[
        ("MODEL_PROVIDER", "bedrock"),
        ("MODEL_ID", "m-1"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "a-secret-key"),
        ("AWS_SESSION_TOKEN", "a-session-token"),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url),
    ])
}

/// One frame, with the headers the service sends.
fn frame(message_type: &str, name: &str, payload: &Value) -> Vec<u8> {
    let header = |name: &'static str, value: &str| {
        Header::new(name, HeaderValue::String(value.to_owned().into()))
    };
    let kind = match message_type {
        "exception" => ":exception-type",
        _ => ":event-type",
    };
    let frame = Frame::new(payload.to_string().into_bytes())
        .add_header(header(":message-type", message_type))
        .add_header(header(kind, name))
        .add_header(header(":content-type", "application/json"));
    let mut bytes = Vec::new();
    write_message_to(&frame, &mut bytes).unwrap();
    bytes
}

fn event(name: &str, payload: &Value) -> Vec<u8> {
    frame("event", name, payload)
}

fn delta(index: u32, delta: &Value) -> Vec<u8> {
    let payload = json!({"contentBlockIndex": index, "delta": delta, "p": "abcdefgh"});
    event("contentBlockDelta", &payload)
}

fn text(index: u32, text: &str) -> Vec<u8> {
    delta(index, &json!({"text": text}))
}

fn block_stop(index: u32) -> Vec<u8> {
    event("contentBlockStop", &json!({"contentBlockIndex": index}))
}

fn message_start() -> Vec<u8> {
    event("messageStart", &json!({"role": "assistant"}))
}

fn message_stop(reason: &str) -> Vec<u8> {
    event("messageStop", &json!({"stopReason": reason}))
}

fn metadata() -> Vec<u8> {
    event(
        "metadata",
        &json!({
            "usage": {"inputTokens": 9, "outputTokens": 2, "totalTokens": 11, "cacheReadInputTokens": 4},
            "metrics": {"latencyMs": 12},
        }),
    )
}

async fn read(frames: &[Vec<u8>]) -> Vec<String> {
    let server = Server::answers(OK, frames.concat());
    run(&at(&server.url()), turn("hi")).await.unwrap()
}

#[test]
fn a_frame_has_the_bytes_that_the_service_documents() {
    // Total length, headers length, CRC of both, headers, payload, CRC of all.
    let bytes = event("messageStart", &json!({}));
    assert_eq!(bytes[..8], [0, 0, 0, 100, 0, 0, 0, 82]);
    assert_eq!(&bytes[12..27], b"\x0d:message-type\x07");
    assert_eq!(&bytes[27..34], b"\x00\x05event");
    assert_eq!(&bytes[94..96], b"{}");
}

#[tokio::test]
async fn a_plain_reply_is_read_and_the_request_is_signed() {
    let stream = [
        message_start(),
        text(0, "Hel"),
        text(0, "lo"),
        block_stop(0),
        message_stop("end_turn"),
        metadata(),
    ];
    let server = Server::answers(OK, stream.concat());
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
            .starts_with("POST /model/m-1/converse-stream HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert!(
        request
            .head
            .contains("/eu-central-1/bedrock/aws4_request, SignedHeaders="),
        "{}",
        request.head
    );
    assert_eq!(
        request.body,
        json!({
            "system": [{"text": "Be brief."}],
            "inferenceConfig": {"maxTokens": 64},
            "messages": [
                {"role": "user", "content": [{"text": "one"}]},
                {"role": "assistant", "content": [{"text": "two"}]},
                {"role": "user", "content": [
                    {"text": "what is this?"},
                    {"image": {"format": "png", "source": {"bytes": "cG5n"}}},
                ]},
            ],
        })
    );
}

#[tokio::test]
async fn a_pdf_is_a_document_with_a_name_of_ours_and_a_text_beside_it() {
    let server = Server::answers(OK, [message_stop("end_turn"), metadata()].concat());
    let mut asked = turn("");
    asked.messages[0].parts = vec![Part::Pdf {
        name: "a.pdf".to_owned(),
        bytes: b"pdf".to_vec(),
    }];
    run(&at(&server.url()), asked).await.unwrap();
    assert_eq!(
        server.request().body["messages"][0]["content"],
        json!([
            {"document": {"format": "pdf", "name": "document 0", "source": {"bytes": "cGRm"}}},
            {"text": "See the document."},
        ])
    );
}

#[tokio::test]
async fn reasoning_comes_before_the_text_with_its_signature_and_what_only_the_provider_can_read() {
    let reasoning = |payload: Value| delta(0, &json!({"reasoningContent": payload}));
    let lines = read(&[
        message_start(),
        reasoning(json!({"text": "hm"})),
        reasoning(json!({"signature": "c2"})),
        reasoning(json!({"signature": "ln"})),
        block_stop(0),
        delta(
            1,
            &json!({"reasoningContent": {"redactedContent": "c2VjcmV0"}}),
        ),
        block_stop(1),
        text(2, "Hello"),
        block_stop(2),
        text(3, "again"),
        text(4, "and again"),
        message_stop("stop_sequence"),
        metadata(),
    ])
    .await;
    assert_eq!(
        lines,
        [
            "reasoning-start r0",
            "reasoning-delta r0 hm",
            r#"reasoning-end r0 {"bedrock":{"signature":"c2ln"}}"#,
            "reasoning-start r1",
            r#"reasoning-end r1 {"bedrock":{"redactedData":"c2VjcmV0"}}"#,
            "text-start t0",
            "text-delta t0 Hello",
            "text-end t0",
            "text-start t1",
            "text-delta t1 again",
            "text-end t1",
            "text-start t2",
            "text-delta t2 and again",
            "text-end t2",
            "finish stop 9+2=11 cached 4",
        ]
    );
}

#[tokio::test]
async fn citations_of_nothing_and_events_of_the_future_are_passed_over() {
    let lines = read(&[
        message_start(),
        text(1, "Hello"),
        delta(1, &json!({"citation": {"title": "t"}})),
        delta(1, &json!({"somethingNew": {"x": 1}})),
        event("somethingNewer", &json!({"x": 1})),
        text(1, " again"),
        block_stop(1),
        message_stop("end_turn"),
        metadata(),
    ])
    .await;
    assert_eq!(
        lines,
        [
            "text-start t0",
            "text-delta t0 Hello",
            "text-delta t0  again",
            "text-end t0",
            "finish stop 9+2=11 cached 4",
        ]
    );
}

#[tokio::test]
async fn tools_are_offered_called_and_answered_in_the_services_blocks() {
    let start = |index: u32, id: &str| {
        let start = json!({"toolUse": {"toolUseId": id, "name": "weather"}});
        event(
            "contentBlockStart",
            &json!({"contentBlockIndex": index, "start": start}),
        )
    };
    let frames = [
        message_start(),
        text(0, "Again."),
        block_stop(0),
        start(1, "u-2"),
        delta(1, &json!({"toolUse": {"input": "{\"place\":"}})),
        delta(1, &json!({"toolUse": {"input": "\"Rome\"}"}})),
        block_stop(1),
        start(2, "u-3"),
        block_stop(2),
        message_stop("tool_use"),
        metadata(),
    ];
    let server = Server::answers(OK, frames.concat());
    let mut asked = turn("how is it in Bern?");
    asked.tools = [Tool {
        name: "weather".to_owned(),
        description: String::new(),
        schema: json!({"type": "object"}),
    }]
    .into();
    let signed = json!({"bedrock": {"signature": "s"}});
    let reasoning = |metadata: Value| Part::Reasoning {
        text: "hm".to_owned(),
        metadata,
    };
    asked.messages.push(Message {
        role: Role::Assistant,
        parts: vec![
            reasoning(signed),
            reasoning(json!({"other": {"signature": "s"}})),
            Part::Call {
                id: "functions.weather:0".to_owned(),
                name: "weather".to_owned(),
                input: json!({"place": "Bern", "days": -1, "at": 0.5}),
            },
        ],
    });
    asked.messages.push(Message {
        role: Role::User,
        parts: vec![Part::Result {
            id: "functions.weather:0".to_owned(),
            output: "no such place".to_owned(),
            is_error: true,
        }],
    });
    assert_eq!(
        run(&at(&server.url()), asked).await.unwrap(),
        [
            "text-start t0",
            "text-delta t0 Again.",
            "text-end t0",
            "tool-start u-2 weather",
            "tool-delta u-2 {\"place\":",
            "tool-delta u-2 \"Rome\"}",
            "tool-call u-2 weather {\"place\":\"Rome\"}",
            "tool-start u-3 weather",
            "tool-call u-3 weather {}",
            "finish tool-calls 9+2=11 cached 4",
        ]
    );
    let body = server.request().body;
    assert_eq!(
        body["toolConfig"],
        json!({"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]})
    );
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(
        messages[1..],
        [
            json!({"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
                {"toolUse": {"toolUseId": "functions_weather_0", "name": "weather", "input": {"place": "Bern", "days": -1, "at": 0.5}}},
            ]}),
            json!({"role": "user", "content": [{"toolResult": {
                "toolUseId": "functions_weather_0", "status": "error", "content": [{"text": "no such place"}],
            }}]}),
        ]
    );
}

#[tokio::test]
async fn citations_of_pages_and_documents_and_images_are_told_between_the_blocks() {
    let cited = |citation: Value| delta(0, &json!({"citation": citation}));
    let page = json!({"title": "A", "location": {"web": {"url": "https://a.example/", "domain": "a.example"}}});
    let found = json!({"source": "https://b.example/", "location": {"searchResultLocation": {"searchResultIndex": 0, "start": 0, "end": 1}}});
    let leaf = json!({"title": "Handbook", "location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 2}}});
    let lines = read(&[
        message_start(),
        text(0, "Hello"),
        cited(page),
        cited(found),
        cited(leaf.clone()),
        cited(leaf),
        block_stop(0),
        event(
            "contentBlockStart",
            &json!({"contentBlockIndex": 1, "start": {"image": {"format": "png"}}}),
        ),
        delta(1, &json!({"image": {"source": {"bytes": "cG5n"}}})),
        block_stop(1),
        message_stop("end_turn"),
        metadata(),
    ])
    .await;
    assert_eq!(
        lines,
        [
            "text-start t0",
            "text-delta t0 Hello",
            "text-end t0",
            "source https://a.example/ A",
            "source https://b.example/ -",
            "document Handbook application/pdf",
            "file image/png cG5n",
            "finish stop 9+2=11 cached 4",
        ]
    );
}

#[tokio::test]
async fn every_stop_reason_has_its_name() {
    for (theirs, ours) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool-calls"),
        ("content_filtered", "content-filter"),
        ("guardrail_intervened", "content-filter"),
        ("malformed_model_output", "error"),
        ("malformed_tool_use", "error"),
        ("malformed_anything", "error"),
        ("something_new", "other"),
    ] {
        let lines = read(&[message_start(), message_stop(theirs), metadata()]).await;
        let expected = format!("finish {ours} 9+2=11 cached 4");
        assert_eq!(lines, [expected], "{theirs}");
    }
}

#[tokio::test]
async fn the_end_of_the_stream_counts_only_after_message_stop() {
    let half = [message_start(), text(0, "Hel")];
    assert_eq!(
        read(&half).await,
        ["text-start t0", "text-delta t0 Hel", "error Interrupted"]
    );
    assert_eq!(read(&[]).await, ["error Interrupted"]);
    assert_eq!(
        read(&[text(0, "Hel"), message_stop("end_turn")]).await,
        [
            "text-start t0",
            "text-delta t0 Hel",
            "text-end t0",
            "finish stop 0+0=0 cached 0",
        ]
    );
    let mut cut = text(0, "lost");
    cut.truncate(20);
    assert_eq!(
        read(&[text(0, "Hel"), cut]).await,
        ["text-start t0", "text-delta t0 Hel", "error Interrupted"]
    );
    let mut corrupt = text(0, "lost");
    *corrupt.last_mut().unwrap() ^= 1;
    assert_eq!(
        read(&[text(0, "Hel"), corrupt]).await,
        ["text-start t0", "text-delta t0 Hel", "error Interrupted"]
    );
}

const EXCEPTIONS: [(&str, u16, ErrorKind); 9] = [
    (
        "ThrottlingException",
        429,
        ErrorKind::Throttled { retry_after: None },
    ),
    ("ValidationException", 400, ErrorKind::Refused),
    ("AccessDeniedException", 403, ErrorKind::Config),
    ("ResourceNotFoundException", 404, ErrorKind::Config),
    ("ModelTimeoutException", 408, ErrorKind::Unavailable),
    ("ModelErrorException", 424, ErrorKind::Unavailable),
    ("ModelNotReadyException", 429, ErrorKind::Unavailable),
    ("InternalServerException", 500, ErrorKind::Unavailable),
    ("ServiceUnavailableException", 503, ErrorKind::Unavailable),
];

#[tokio::test]
async fn an_exception_before_the_first_byte_has_a_kind() {
    for (name, status, kind) in EXCEPTIONS {
        let head = format!(
            "{status} Refused\r\ncontent-type: application/json\r\nx-amzn-requestid: r-1\r\nx-amzn-errortype: {name}:http://internal.amazon.com/coral/"
        );
        let server = Server::answers(&head, "{\"message\":\"my question\"}");
        let error = at(&server.url()).start(turn("hi")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}");
        assert_eq!(
            error.to_string(),
            format!("the provider answered {name} (request r-1)")
        );
        assert!(!format!("{error:?}").contains("my question"));
    }
}

#[tokio::test]
async fn an_exception_after_the_first_byte_has_a_kind() {
    for (name, kind) in [
        ("throttlingException", "Throttled { retry_after: None }"),
        ("validationException", "Refused"),
        ("modelStreamErrorException", "Unavailable"),
        ("internalServerException", "Unavailable"),
        ("serviceUnavailableException", "Unavailable"),
    ] {
        let exception = frame("exception", name, &json!({"message": "my question"}));
        assert_eq!(
            read(&[message_start(), text(0, "Hel"), exception]).await,
            [
                "text-start t0".to_owned(),
                "text-delta t0 Hel".to_owned(),
                format!("error {kind}")
            ],
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_throttled_call_is_sent_once() {
    // The server answers one connection: a second call would find nobody and be told as unavailable.
    let head = "429 Too Many\r\nx-amzn-errortype: ThrottlingException";
    let server = Server::answers(head, "{}");
    let kind = run(&at(&server.url()), turn("hi")).await;
    assert_eq!(kind, Err(ErrorKind::Throttled { retry_after: None }));
}

#[tokio::test]
async fn an_image_of_another_kind_is_refused_before_the_call() {
    let mut turn = turn("hi");
    turn.messages[0].parts.push(Part::Image {
        media_type: "image/tiff".to_owned(),
        bytes: b"tiff".to_vec(),
    });
    let kind = run(&at("http://127.0.0.1:9"), turn).await;
    assert_eq!(kind, Err(ErrorKind::Refused));
}

#[tokio::test]
async fn a_delta_arrives_before_the_service_says_more() {
    let head = format!("HTTP/1.1 {OK}\r\nconnection: close\r\n\r\n");
    let server = Server::start(vec![
        Step::Send(head.into_bytes()),
        Step::Hold,
        Step::Send(text(0, "Hel")),
        Step::Hold,
        Step::Send([message_stop("end_turn"), metadata()].concat()),
    ]);
    // Accepted with the headers, before any event.
    let mut reply = at(&server.url()).start(turn("hi")).await.unwrap();
    server.go_on();
    assert_eq!(told(&reply.next().await.unwrap()), "text-start t0");
    assert_eq!(told(&reply.next().await.unwrap()), "text-delta t0 Hel");
    server.go_on();
    assert_eq!(
        rest(&mut reply).await,
        ["text-end t0", "finish stop 9+2=11 cached 4"]
    );
}

#[test]
fn a_provider_does_not_show_its_credentials() {
    let shown = format!("{:?}", at("http://127.0.0.1:9"));
    assert!(!shown.contains("a-secret-key") && !shown.contains("a-session-token"));
}
