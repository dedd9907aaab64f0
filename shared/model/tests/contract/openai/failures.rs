//! Every way a call fails, and that nothing secret is shown when it does.

use std::time::Duration;

use model::{ErrorKind, Provider};

use super::{KEY, OK, at, read};
use crate::server::Server;
use crate::told::{run, turn};

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
