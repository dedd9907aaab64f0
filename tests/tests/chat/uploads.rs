//! Attachments that are too large for a message: announced, uploaded as a page does it, named in a
//! turn, given to the model, and read again.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tests::bucket::{Bucket, ORIGIN, put};
use tests::client::send;
use tests::clock::WallClock;
use tests::function::Function;
use tests::http::{Request, Response};

use crate::stack::{LIMIT, Stack, Visitor, launch_chat, submit};

const IMAGE: &[u8] = &[7; 300];

/// Asks `chats`.
async fn ask(
    chats: &Function,
    token: &str,
    (method, path): (&str, &str),
    body: Option<Value>,
    accept: Option<&str>,
) -> Response {
    let mut request = Request::new(method, path).bearer(token);
    if let Some(body) = &body {
        request = request.json(body);
    }
    if let Some(accept) = accept {
        request = request.header("Accept", accept);
    }
    let event = request.rest_event().to_string();
    Response::from_answer(&chats.invoke(event, LIMIT).await.response())
}

fn announced(media_type: &str, size: usize) -> Value {
    json!({"mediaType": media_type, "size": size, "filename": "a cat \u{fc}.png"})
}

async fn announce(chats: &Function, token: &str, media_type: &str, size: usize) -> Value {
    let to = ("POST", "/api/uploads");
    let made = ask(chats, token, to, Some(announced(media_type, size)), None).await;
    assert_eq!(made.status, 201, "{:?}", made.json());
    made.json()
}

/// A turn that shows files, and says a word.
fn showing(chat: &str, id: &str, files: &[(&str, &str)]) -> Value {
    let mut turn = submit(chat, id, "this");
    let parts = turn["message"]["parts"].as_array_mut().unwrap();
    for (media_type, url) in files {
        parts.push(
            json!({"type": "file", "mediaType": media_type, "url": url, "filename": "cat.png"}),
        );
    }
    turn
}

#[tokio::test]
async fn an_upload_is_put_once_shown_to_the_model_and_read_again_by_its_owner_alone() {
    let stack = Stack::start().await;
    let clock = WallClock::new();
    let shown = clock.clone();
    let bucket = Bucket::start(&stack, move || shown.now()).await;
    let (chat, chats) = (
        bucket
            .given_to(launch_chat(&stack))
            .clock(&clock)
            .start()
            .await,
        bucket
            .given_to(stack.launch("chats"))
            .clock(&clock)
            .start()
            .await,
    );
    let token = stack.token("visitor-1");
    let stranger = stack.token("visitor-2");
    let visitor = Visitor {
        chat: &chat,
        chats: &chats,
        token: token.clone(),
    };

    // The URL takes these bytes of this type, where there are none, and nothing else.
    let made = announce(&chats, &token, "image/png", IMAGE.len()).await;
    let (path, to) = (made["url"].as_str().unwrap(), &made["upload"]);
    let url = to["url"].as_str().unwrap();
    let own = [("content-type", "image/png"), ("if-none-match", "*")];
    assert_eq!(
        send("PUT", url, &own, &IMAGE[1..]).await.status,
        403,
        "size"
    );
    let other = [("content-type", "text/html"), ("if-none-match", "*")];
    assert_eq!(send("PUT", url, &other, IMAGE).await.status, 403, "type");
    assert_eq!(
        send("PUT", url, &own[..1], IMAGE).await.status,
        403,
        "again"
    );
    assert_eq!(send("GET", url, &own, b"").await.status, 403, "method");
    let forged = url.replace("X-Amz-Expires=300", "X-Amz-Expires=301");
    assert_eq!(send("PUT", &forged, &own, IMAGE).await.status, 403, "life");
    assert_eq!(bucket.objects(), 0);

    // A page asks before it sends, and is answered at its own origin alone.
    let asked = |origin| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            (
                "access-control-request-headers",
                "content-type,if-none-match",
            ),
        ];
        async move { send("OPTIONS", url, &headers, b"").await.status }
    };
    assert_eq!(asked(ORIGIN).await, 200);
    assert_eq!(asked("https://other.example").await, 403);

    let turn = |id: &str, url: &str| showing("c", id, &[("image/png", url)]);
    let early = visitor.post(&turn("u0", path)).await;
    assert_eq!(
        (early.status(), &*early.code()),
        (422, "unprocessable"),
        "not uploaded yet"
    );

    assert_eq!(put(&made, IMAGE).await.status, 200);
    assert_eq!(put(&made, IMAGE).await.status, 412, "once");
    assert_eq!(bucket.objects(), 1);

    // By a redirection, and for a page at another origin by JSON.
    let found = ask(&chats, &token, ("GET", path), None, None).await;
    assert_eq!(found.status, 302);
    let read = send(
        "GET",
        found.header("location").unwrap(),
        &[("origin", ORIGIN)],
        b"",
    )
    .await;
    assert_eq!((read.status, &read.body[..]), (200, IMAGE));
    assert_eq!(read.headers["content-type"], "image/png");
    assert_eq!(read.headers["access-control-allow-origin"], ORIGIN);
    let named = "inline; filename*=UTF-8''a%20cat%20%C3%BC.png";
    assert_eq!(read.headers["content-disposition"], named);
    let told = ask(
        &chats,
        &token,
        ("GET", path),
        None,
        Some("application/json"),
    )
    .await;
    let for_a_minute = told.json()["url"].as_str().unwrap().to_owned();
    assert_eq!(send("GET", &for_a_minute, &[], b"").await.status, 200);

    // Another visitor learns nothing of it, and cannot send it.
    let missing = "/api/uploads/00000000-0000-4000-8000-000000000000";
    for (of, path) in [
        (&stranger, path),
        (&token, missing),
        (&token, "/api/uploads/x"),
    ] {
        let foreign = ask(&chats, of, ("GET", path), None, None).await;
        assert_eq!(
            (foreign.status, &*foreign.code()),
            (404, "not_found"),
            "{path}"
        );
    }
    let other = Visitor {
        token: stranger,
        ..visitor
    };
    let refused = |said: crate::stack::Said| (said.status(), said.code());
    let unprocessable = || (422, "unprocessable".to_owned());
    assert_eq!(refused(other.post(&turn("u", path)).await), unprocessable());
    let visitor = Visitor { token, ..other };
    for (files, what) in [
        (("image/jpeg", path.to_owned()), "another type"),
        (("image/png", missing.to_owned()), "missing"),
        (
            ("image/png", format!("https://elsewhere.example{path}")),
            "another host",
        ),
        (("image/png", format!("{path}?x")), "no path of an upload"),
    ] {
        let said = visitor
            .post(&showing("c", "u", &[(files.0, &files.1)]))
            .await;
        assert_eq!(refused(said), unprocessable(), "{what}");
    }

    // The model is given the bytes; what is stored is what was sent, also with the API's own host.
    let said = visitor.post(&turn("u1", path)).await;
    assert_eq!(said.text(), "this (image/png, 300 bytes)");
    let absolute = format!("https://api.example.com/v1{path}");
    let said = visitor.post(&turn("u2", &absolute)).await;
    assert_eq!(said.text(), "this (image/png, 300 bytes)");
    let stored = visitor.read("c").await;
    let ids = stored["messages"].as_array().unwrap().len();
    assert_eq!(ids, 4, "nothing is stored of what was refused");
    assert_eq!(stored["messages"][0]["parts"][1]["url"], path);
    assert_eq!(stored["messages"][2]["parts"][1]["url"], absolute);
    let again = visitor.post(&turn("u2", &absolute)).await;
    assert_eq!(again.text(), "this (image/png, 300 bytes)", "a replay");

    // It goes on when the file is gone, and when its time is over; the URLs are good no longer.
    let late = announce(&chats, &visitor.token, "image/png", 3).await;
    clock.advance(Duration::from_secs(301));
    assert_eq!(send("GET", &for_a_minute, &[], b"").await.status, 403);
    assert_eq!(put(&late, b"abc").await.status, 403, "too late");
    drop(bucket);
    let said = visitor.post(&submit("c", "u3", "and now?")).await;
    assert_eq!(said.text(), "and now?");
    let away = visitor.post(&turn("u4", path)).await;
    assert_eq!((away.status(), &*away.code()), (503, "unavailable"));
}

#[tokio::test]
async fn an_upload_that_has_not_come_is_told_from_one_that_is_denied_by_who_may_list() {
    let stack = Stack::start().await;
    let may_put_and_get = ["s3:PutObject", "s3:GetObject"];
    let chats = stack.launch("chats");
    let expected = [(422, "unprocessable"), (503, "unavailable")];
    for (bucket, expected) in [
        Bucket::start(&stack, SystemTime::now).await,
        Bucket::allowing(&may_put_and_get, &stack, SystemTime::now).await,
    ]
    .into_iter()
    .zip(expected)
    {
        let chat = bucket.given_to(launch_chat(&stack)).start().await;
        let chats = bucket.given_to(chats.clone()).start().await;
        let token = stack.token("visitor");
        let made = announce(&chats, &token, "image/png", IMAGE.len()).await;
        let visitor = Visitor {
            chat: &chat,
            chats: &chats,
            token,
        };
        let said = visitor
            .post(&showing(
                "c",
                "u",
                &[("image/png", made["url"].as_str().unwrap())],
            ))
            .await;
        assert_eq!((said.status(), said.code().as_str()), expected);
    }
}

#[tokio::test]
async fn a_chat_has_at_most_a_hundred_uploads_and_a_turn_a_limited_number_of_bytes() {
    let stack = Stack::start().await;
    let bucket = Bucket::start(&stack, SystemTime::now).await;
    let chat = bucket.given_to(launch_chat(&stack));
    let chat = chat.env("UPLOAD_BYTES_PER_TURN", "500").start().await;
    let chats = bucket.given_to(stack.launch("chats")).start().await;
    let visitor = Visitor::of(&stack, &chat, &chats, "visitor");
    let mut paths = Vec::new();
    for _ in 0..2 {
        let made = announce(&chats, &visitor.token, "image/png", IMAGE.len()).await;
        assert_eq!(put(&made, IMAGE).await.status, 200);
        paths.push(made["url"].as_str().unwrap().to_owned());
    }
    let files = [("image/png", &*paths[0]), ("image/png", &*paths[1])];
    let both = visitor.post(&showing("c", "u", &files)).await;
    assert_eq!((both.status(), &*both.code()), (413, "too_large"));
    let one = visitor.post(&showing("c", "u0", &files[..1])).await;
    assert_eq!(one.text(), "this (image/png, 300 bytes)");

    let more =
        "INSERT INTO chat_uploads SELECT 'c', 'of before ' || n FROM generate_series(1, 99) n";
    stack.database("admin").execute_sql(more).await.unwrap();
    let beyond = visitor.post(&showing("c", "u1", &files[1..])).await;
    assert_eq!((beyond.status(), &*beyond.code()), (422, "unprocessable"));
    let elsewhere = visitor.post(&showing("d", "u", &files[1..])).await;
    assert_eq!(elsewhere.text(), "this (image/png, 300 bytes)");
}

#[tokio::test]
async fn what_is_too_much_of_another_type_or_where_no_bucket_is_cannot_be_uploaded() {
    let stack = Stack::start().await;
    let bucket = Bucket::start(&stack, SystemTime::now).await;
    let limited = bucket
        .given_to(stack.launch("chats"))
        .env("UPLOAD_BYTES", "1000")
        .env("UPLOAD_BYTES_PER_DAY", "2500")
        .env("UPLOAD_BYTES_PER_DAY_GUEST", "900");
    let (chats, without) = (limited.start().await, stack.launch("chats").start().await);
    let (token, guest) = (stack.token("visitor-1"), stack.guest_token("anon_1"));
    let of_models = ("GET", "/api/models");
    let told = ask(&chats, &token, of_models, None, None).await.json();
    let takes = json!({"maxBytes": 1000, "mediaTypes": chat_store::FILE_TYPES});
    assert_eq!(told["uploads"], takes, "a page learns it before");
    let told = ask(&without, &token, of_models, None, None).await.json();
    assert_eq!(told["uploads"], Value::Null);

    let to = ("POST", "/api/uploads");
    let long = "x".repeat(256);
    for (body, status) in [
        (announced("image/svg+xml", 10), 422),
        (announced("text/html", 10), 422),
        (announced("image/png", 0), 400),
        (announced("image/png", 1001), 413),
        (json!({"mediaType": "image/png"}), 400),
        (json!({"size": 10}), 400),
        (json!({"mediaType": "image/png", "size": "10"}), 400),
        (
            json!({"mediaType": "image/png", "size": 10, "filename": long}),
            422,
        ),
    ] {
        let refused = ask(&chats, &token, to, Some(body.clone()), None).await;
        assert_eq!(refused.status, status, "{body}: {:?}", refused.json());
    }
    for _ in 0..2 {
        announce(&chats, &token, "application/pdf", 1000).await;
    }
    let body = || Some(announced("application/pdf", 501));
    let spent = ask(&chats, &token, to, body(), None).await;
    assert_eq!((spent.status, &*spent.code()), (429, "rate_limited"));
    assert!(spent.header("retry-after").is_some());
    announce(&chats, &token, "application/pdf", 500).await;
    announce(&chats, &guest, "text/plain", 900).await;
    let spent = ask(&chats, &guest, to, Some(announced("text/plain", 1)), None).await;
    assert_eq!(spent.status, 429, "a guest has less");

    // Without a bucket there is no route, and a message names no upload.
    let path = "/api/uploads/00000000-0000-4000-8000-000000000000";
    for (method, path, body) in [("POST", to.1, body()), ("GET", path, None)] {
        let missing = ask(&without, &token, (method, path), body, None).await;
        assert_eq!(
            (missing.status, &*missing.code()),
            (404, "not_found"),
            "{method}"
        );
    }
    let chat = launch_chat(&stack).start().await;
    let visitor = Visitor {
        chat: &chat,
        chats: &without,
        token,
    };
    let said = visitor
        .post(&showing("c", "u", &[("image/png", path)]))
        .await;
    assert_eq!((said.status(), &*said.code()), (422, "unprocessable"));
}
