//! Every exception, streams that end early, and what is refused before the call.

use model::{ErrorKind, Part};
use serde_json::json;

use super::{at, frame, message_start, message_stop, read, text};
use crate::server::Server;
use crate::told::{run, turn};

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
    // The server answers one connection: a second call would find nobody and be told as
    // unavailable.
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

#[test]
fn a_provider_does_not_show_its_credentials() {
    let shown = format!("{:?}", at("http://127.0.0.1:9"));
    assert!(!shown.contains("a-secret-key") && !shown.contains("a-session-token"));
}
