//! The harness itself, with the hand-written probe for its function.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::clock::WallClock;
use tests::function::{Function, Launch};
use tests::http::{Request, Response};
use tests::proxy::Proxy;
use tests::runtime_api::Outcome;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

fn probe() -> Launch {
    Launch::program(Path::new(env!("CARGO_BIN_EXE_probe-function")))
}

async fn ask(function: &Function, order: Value) -> Value {
    let answer = function.invoke(order.to_string(), LIMIT).await.response();
    serde_json::from_slice(&answer).unwrap()
}

fn number(value: &Value, name: &str) -> i64 {
    value[name]
        .as_i64()
        .unwrap_or_else(|| panic!("no number {name} in {value}"))
}

fn unix_ms(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::test]
async fn an_event_comes_back_as_the_functions_answer() {
    let function = probe().start().await;
    assert_eq!(function.api().extensions(), ["probe"]);
    assert!(function.init_duration() > Duration::ZERO);
    for n in 0..3 {
        let order = json!({ "do": "echo", "n": n });
        assert_eq!(ask(&function, order.clone()).await, order);
    }
    function.line_with(r#""n":2"#).await;
}

#[tokio::test]
async fn a_reported_error_is_the_outcome() {
    let function = probe().start().await;
    let outcome = function.invoke(r#"{"do":"error"}"#, LIMIT).await;
    let Outcome::FunctionError {
        error_type,
        message,
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (error_type.as_str(), message.as_str()),
        ("Probe", "as told")
    );
}

#[tokio::test]
async fn a_function_that_exits_fails_its_invocation() {
    let function = probe().start().await;
    let outcome = function.invoke(r#"{"do":"exit"}"#, LIMIT).await;
    let Outcome::FunctionError {
        error_type,
        message,
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(error_type, "Runtime.ExitError");
    assert_eq!(message, "Runtime exited with error: exit status: 7");
}

#[tokio::test]
async fn a_function_that_does_not_come_up_says_why() {
    let error = probe()
        .env("PROBE_REFUSES", "1")
        .try_start()
        .await
        .unwrap_err();
    assert_eq!(error.cause, "exit status: 3");
    assert_eq!(error.output, ["PROBE_REFUSES is set"]);
}

#[tokio::test]
async fn a_function_is_killed_at_its_deadline() {
    let function = probe().start().await;
    let outcome = function
        .invoke(r#"{"do":"hang"}"#, Duration::from_millis(50))
        .await;
    assert!(matches!(outcome, Outcome::TimedOut), "{outcome:?}");
    assert_eq!(function.exit().await.to_string(), "signal: 9 (SIGKILL)");
}

#[tokio::test]
async fn several_workers_serve_at_once() {
    let function = probe().concurrency(3).start().await;
    function.idle().await;
    let hanging = [(); 2].map(|()| function.begin(r#"{"do":"hang"}"#, MINUTE));
    for mut invocation in hanging {
        invocation.dispatched().await;
    }
    let order = json!({ "do": "echo" });
    assert_eq!(ask(&function, order.clone()).await, order);
}

#[tokio::test]
async fn a_streamed_answer_arrives_piece_by_piece() {
    let function = probe().start().await;
    let order =
        json!({ "do": "stream", "pieces": ["data: one\n\n", "data: two\n\n"], "then": "end" });
    let mut invocation = function.begin(order.to_string(), LIMIT);
    assert_eq!(invocation.prelude().await.unwrap()["statusCode"], 200);
    assert!(
        invocation
            .chunk()
            .await
            .unwrap()
            .data
            .starts_with(b"data: one\n\n")
    );
    let streamed = invocation.outcome().await.streamed();
    assert!(streamed.is_complete);
    assert_eq!(streamed.status(), Some(200));
    assert_eq!(&streamed.body()[..], b"data: one\n\ndata: two\n\n");
    assert!(streamed.chunks.is_sorted_by_key(|chunk| chunk.at));
}

#[tokio::test]
async fn a_streamed_answer_without_its_end_is_incomplete() {
    let function = probe().start().await;
    let order = json!({ "do": "stream", "pieces": ["data: one\n\n"], "then": "cut" });
    let streamed = function.invoke(order.to_string(), LIMIT).await.streamed();
    assert!(!streamed.is_complete);
    assert_eq!(&streamed.body()[..], b"data: one\n\n");
}

#[tokio::test]
async fn a_function_killed_mid_stream_leaves_what_it_sent() {
    let function = probe().start().await;
    let order = json!({ "do": "stream", "pieces": ["data: one\n\n"], "then": "hang" });
    let mut invocation = function.begin(order.to_string(), MINUTE);
    invocation.chunk().await.unwrap();
    function.kill().await;
    let streamed = invocation.outcome().await.streamed();
    assert!(!streamed.is_complete);
    assert_eq!(&streamed.body()[..], b"data: one\n\n");
}

#[tokio::test]
async fn a_frozen_function_answers_after_the_thaw() {
    let function = probe().start().await;
    function.idle().await;
    function.freeze().await;
    let mut invocation = function.begin(r#"{"do":"echo"}"#, MINUTE);
    invocation.dispatched().await;
    function.thaw();
    let outcome = timeout(LIMIT, invocation.outcome()).await.unwrap();
    assert!(matches!(outcome, Outcome::Response(_)), "{outcome:?}");
}

#[tokio::test]
async fn the_wall_clock_moves_while_the_monotonic_one_goes_on() {
    let clock = WallClock::new();
    let function = probe().clock(&clock).start().await;
    let before = ask(&function, json!({ "do": "clocks" })).await;
    assert!((number(&before, "now_ms") - unix_ms(clock.now())).abs() < 5_000);

    clock.advance(16 * MINUTE);
    let after = ask(&function, json!({ "do": "clocks" })).await;
    let moved = number(&after, "now_ms") - number(&before, "now_ms");
    assert!((960_000..970_000).contains(&moved), "moved by {moved} ms");
    assert!(number(&after, "ran_ms") < 60_000);
    let left = number(&after, "deadline_ms") - number(&after, "now_ms");
    assert!(
        (0..=10_000).contains(&left),
        "the deadline is on the function's clock, {left} ms ahead"
    );

    clock.step_back(17 * MINUTE);
    let back = ask(&function, json!({ "do": "clocks" })).await;
    assert!(number(&back, "now_ms") < number(&before, "now_ms"));
}

#[tokio::test]
async fn the_monotonic_clock_can_be_held_and_moved() {
    let clock = WallClock::new();
    let function = probe().clock(&clock).start().await;
    clock.hold_monotonic();
    let first = ask(&function, json!({ "do": "clocks" })).await;
    let second = ask(&function, json!({ "do": "clocks" })).await;
    assert_eq!(number(&first, "ran_ms"), number(&second, "ran_ms"));
    clock.release_monotonic();
    clock.advance_with_monotonic(16 * MINUTE);
    let third = ask(&function, json!({ "do": "clocks" })).await;
    let ran = number(&third, "ran_ms") - number(&first, "ran_ms");
    assert!((960_000..970_000).contains(&ran), "ran {ran} ms");
}

#[tokio::test]
async fn a_black_hole_keeps_the_socket_open_and_a_new_connection_works() {
    let proxy = Proxy::to(echo_server().await).await;
    let mut dead = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(echo(&mut dead, b"hello").await.unwrap(), b"hello");
    proxy.blackhole();
    let mut fresh = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(echo(&mut fresh, b"again").await.unwrap(), b"again");
    dead.write_all(b"lost").await.unwrap();
    let mut byte = [0];
    assert!(
        timeout(Duration::from_millis(100), dead.read(&mut byte))
            .await
            .is_err(),
        "nothing comes, not even an end"
    );
    proxy.close();
    assert_eq!(dead.read(&mut byte).await.unwrap_or(0), 0);
    assert_eq!(fresh.read(&mut byte).await.unwrap_or(0), 0);
    assert_eq!(proxy.accepted(), 2);
}

#[test]
fn an_event_carries_the_request_as_api_gateway_does() {
    let request =
        Request::new("POST", "/api/chats?limit=3&q=a%20b&q=c").json(&json!({ "title": "x" }));
    let rest = request.rest_event();
    assert_eq!(
        rest["multiValueQueryStringParameters"]["q"],
        json!(["a b", "c"])
    );
    assert_eq!(rest["queryStringParameters"]["q"], "c");
    assert_eq!(rest["requestContext"]["path"], "/prod/api/chats");
    assert_eq!(rest["body"], r#"{"title":"x"}"#);
    let http = request.http_event();
    assert_eq!(http["rawQueryString"], "limit=3&q=a%20b&q=c");
    assert_eq!(http["headers"]["content-type"], "application/json");
    let binary = Request::new("POST", "/api/chats")
        .body(vec![0xff, 0xfe])
        .rest_event();
    assert_eq!(
        (&binary["body"], &binary["isBase64Encoded"]),
        (&json!("//4="), &json!(true))
    );
}

#[test]
#[should_panic(expected = "unexpected response header x-powered-by")]
fn an_unannounced_response_header_fails_the_test() {
    let answer =
        json!({ "statusCode": 200, "multiValueHeaders": { "X-Powered-By": ["us"] }, "body": "" });
    Response::from_answer(answer.to_string().as_bytes());
}

async fn echo_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    address
}

async fn echo(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).await?;
    Ok(back)
}

#[tokio::test]
#[should_panic(expected = "not JSON: a plain line")]
async fn a_deployed_function_that_writes_another_format_fails_the_test_that_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("chats");
    std::fs::write(&program, "#!/bin/sh\necho a plain line\nexit 1\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, executable).unwrap();
    let _ = Launch::program(&program).try_start().await;
}
