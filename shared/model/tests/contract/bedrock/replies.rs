//! What is sent, and every row of the stream that is read.

use model::Part;
use serde_json::{Value, json};

use super::{OK, at, block_stop, delta, event, message_start, message_stop, metadata, read, text};
use crate::server::{Server, Step};
use crate::told::{rest, run, told, turn, turn_with_picture};

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
    assert_eq!(
        run(&at(&server.url()), turn_with_picture()).await.unwrap(),
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
