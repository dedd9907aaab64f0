//! What is sent, and every row of the stream that is read.

use std::time::Duration;

use model::{ErrorKind, Part};
use serde_json::json;

use super::{KEY, OK, at, read, read_deltas};
use crate::server::{Server, Step};
use crate::told::{rest, run, told, turn, turn_with_picture};

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
