//! Requests as no client of ours sends them: odd ids, odd bodies, odd texts. Each has a clear
//! answer, and what is accepted reads back as it was said.

use serde_json::{Value, json};
use tests::http::Request;

use crate::stack::{LIMIT, Stack, Visitor, launch_both, message, said, submit, with};

/// Ids as they stand in a path.
fn odd_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        ".",
        "..",
        "%2E",
        "%",
        "%25",
        "%2F",
        "a%2Fb",
        "%F0%9F%A6%80",
        "a%00b",
        "%FF",
        "%E0%A4%A",
        "a%20b",
        "a.b",
        "-_",
        "null",
        "%27%20OR%201=1",
    ]
    .map(str::to_owned)
    .into();
    ids.push("x".repeat(65));
    ids.push("x".repeat(5_000));
    ids
}

#[tokio::test]
async fn an_odd_id_names_nothing_and_resuming_it_is_no_error() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    for id in odd_ids() {
        let resumed = visitor
            .ask("GET", &format!("/api/chat/{id}/stream"), None)
            .await;
        assert_eq!(resumed.status(), 204, "{id}: {}", resumed.body());
        let stopped = visitor
            .ask("POST", &format!("/api/chat/{id}/stop"), None)
            .await;
        let (status, code) = (stopped.status(), stopped.code());
        assert!(
            matches!(
                (status, code.as_str()),
                (404, "not_found") | (400, "invalid_request")
            ),
            "{id}: {status} {code}"
        );
        for (method, path, body) in [
            ("GET", "", None),
            ("GET", "/branches", None),
            ("DELETE", "", None),
            ("POST", "/branches", Some(json!({"messageId": "m"}))),
            (
                "DELETE",
                "/messages",
                Some(json!({"messageId": "m", "type": "edit"})),
            ),
        ] {
            let path = format!("/api/chats/{id}{path}");
            let answer = visitor.ask_chats(method, &path, body.as_ref()).await;
            let is_clear = matches!(answer.status, 400 | 404 | 405) && !answer.code().is_empty();
            assert!(is_clear, "{method} {path}: {}", answer.status);
        }
    }
    for id in [".", "%", "\u{1f980}", "a b", "", &"x".repeat(65)] {
        let said = visitor.post(&submit(id, "u", "hi")).await;
        assert_eq!(
            (said.status(), said.code().as_str()),
            (400, "invalid_request"),
            "{id:?}"
        );
        let said = visitor.post(&submit("c", id, "hi")).await;
        assert_eq!(
            (said.status(), said.code().as_str()),
            (400, "invalid_request"),
            "{id:?}"
        );
        // What a client shows may have ids of any kind: it is not stored here.
        let other = json!({"id": id, "role": "assistant", "parts": []});
        let shown = with(
            submit("c", "u", "hi"),
            "messages",
            json!([other, message("u", "hi")]),
        );
        assert_eq!(visitor.post(&shown).await.text(), "hi", "{id:?}");
    }
    let longest = "-".repeat(64);
    assert_eq!(
        visitor.post(&submit(&longest, &longest, "hi")).await.text(),
        "hi"
    );
    assert_eq!(
        visitor.transcript(&longest).await,
        [format!("{longest}: hi"), "*: hi".into()]
    );
}

#[tokio::test]
async fn an_odd_body_is_refused_in_words_or_understood() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    let post = async |body: &str| {
        let request = Request::new("POST", "/api/chat").header("Content-Type", "application/json");
        said(
            visitor
                .send(request.body(body.to_owned()), LIMIT)
                .outcome()
                .await,
        )
    };
    let deep = format!(
        r#"{{"id":"c","messages":{}{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    for (body, status) in [
        ("", 400),
        ("null", 400),
        ("[]", 400),
        ("7", 400),
        ("{", 400),
        (r#"{"id":"c"}"#, 400),
        (r#"{"id":"c","messages":null}"#, 400),
        (r#"{"id":"c","messages":{}}"#, 400),
        (r#"{"id":"c","messages":[]}"#, 400),
        (r#"{"id":"c","messages":[null,7,"x",[],{}]}"#, 400),
        (r#"{"id":["c"],"messages":[]}"#, 400),
        (
            r#"{"id":"c","message":{"id":"u","role":"user","parts":"hi"}}"#,
            400,
        ),
        (
            r#"{"id":"c","message":{"id":"u","role":"user","parts":[[]]}}"#,
            400,
        ),
        (
            r#"{"id":"c","message":{"id":"u","role":"User","parts":[{"type":"text","text":"x"}]}}"#,
            422,
        ),
        (
            r#"{"id":"c","message":{"id":"u","role":"user","parts":[{"type":"text","text":"a\u0000b"}]}}"#,
            400,
        ),
        (r#"{"id":"c","trigger":"resume-stream","messages":[]}"#, 400),
        (&deep, 422),
    ] {
        let said = post(body).await;
        let code = said.code();
        assert_eq!(said.status(), status, "{body}: {}", said.body());
        assert!(!code.is_empty(), "{body}");
    }
    let user = r#"{"id":"u","role":"user","parts":[{"type":"text","text":"hi"}]}"#;
    for (n, more) in [
        r#""trigger":null,"messageId":null,"model":null,"selectedChatModel":null"#,
        r#""selectedChatModel":"chat-model-reasoning","selectedVisibilityType":"private""#,
        r#""trigger":"regenerate-message","messageId":"never-stored""#,
        r#""trigger":"submit-message","messageId":"u""#,
        r#""metadata":[1,{"x":null}],"tools":{},"data":"x""#,
    ]
    .into_iter()
    .enumerate()
    {
        let before = r#"{"role":"system","parts":[]},null,{"id":7},{"id":"a","role":"assistant"}"#;
        let body = format!(r#"{{{more},"messages":[{before},{user}],"id":"c{n}"}}"#);
        assert_eq!(post(&body).await.text(), "hi", "{more}");
        assert_eq!(
            visitor.transcript(&format!("c{n}")).await,
            ["u: hi", "*: hi"],
            "{more}"
        );
    }
}

#[tokio::test]
async fn a_text_that_shows_nothing_is_refused_and_any_other_is_kept() {
    let stack = Stack::start().await;
    let (chat, chats) = launch_both(&stack).await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    for blank in [
        "",
        " ",
        "\n\t\r",
        "\u{a0}\u{2003}\u{3000}",
        "\u{200b}",
        "\u{feff}\u{2060}",
        "\u{3164}",
        "\u{2800}",
        "\u{202e}\u{202c}",
        "\u{fe0f}",
        "\u{e0020}\u{e007f}",
    ] {
        let said = visitor.post(&submit("c", "u", blank)).await;
        assert_eq!(
            (said.status(), said.code().as_str()),
            (422, "unprocessable"),
            "{blank:?}"
        );
    }
    assert_eq!(visitor.read("c").await["code"], "not_found");
    for (n, text) in [
        ".",
        "\u{1f980}",
        "\u{200b}a",
        "\u{5d0}\u{202e}b",
        "e\u{301}",
        "%",
        "\u{0}",
    ]
    .into_iter()
    .enumerate()
    {
        let chat = format!("c{n}");
        let said = visitor.post(&submit(&chat, "u", text)).await;
        if text == "\u{0}" {
            assert_eq!(said.status(), 400);
            continue;
        }
        let read = visitor.read(&chat).await;
        assert_eq!(read["messages"][0]["parts"][0]["text"], text);
        assert_eq!(said.text(), text);
    }
    // Half a character is another one in a message, in its metadata and in a part of another type.
    let body = r#"{"id":"s","message":{"id":"u","role":"user","metadata":{"n\ud800":"\udc00"},"parts":[
        {"type":"text","text":"a\ud83d b"},{"type":"data-x","data":{"\udfff":"\ud83e\udd80"}}]}}"#;
    let request = Request::new("POST", "/api/chat").header("Content-Type", "application/json");
    let sent = said(visitor.send(request.body(body), LIMIT).outcome().await);
    assert_eq!(sent.text(), "a\u{fffd} b");
    let stored: Value = visitor.read("s").await["messages"][0].clone();
    assert_eq!(stored["parts"][1]["data"], json!({"\u{fffd}": "\u{1f980}"}));
    assert_eq!(stored["metadata"], json!({"n\u{fffd}": "\u{fffd}"}));
}
