//! Owns the smallest possible function, hand-written on a socket, that does what its event says.
//! The harness's own tests invoke it, so that a fault in the mock is not hidden by the runtime
//! crate's habits.

#![allow(clippy::exit, reason = "it ends as its event says, without unwinding")]
#![allow(clippy::panic, clippy::indexing_slicing, reason = "part of the tests")]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "the harness's tests look at both"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

const PRELUDE: &str = r#"{"statusCode":200,"headers":{"content-type":"text/event-stream"}}"#;

fn main() {
    if std::env::var_os("PROBE_REFUSES").is_some() {
        println!("PROBE_REFUSES is set");
        std::process::exit(3);
    }
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").expect("the Runtime API's address");
    let workers: usize = std::env::var("AWS_LAMBDA_MAX_CONCURRENCY")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(1);
    let start = Instant::now();
    let extension = call(
        &api,
        "POST",
        "/2020-01-01/extension/register",
        "Lambda-Extension-Name: probe\r\n",
        "{}",
    );
    assert!(
        extension.header("lambda-extension-identifier").is_some(),
        "the registration has an identifier"
    );
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&api, start));
        }
    });
}

fn work(api: &str, start: Instant) {
    loop {
        let event = call(api, "GET", "/2018-06-01/runtime/invocation/next", "", "");
        let id = event
            .header("lambda-runtime-aws-request-id")
            .expect("an id")
            .to_owned();
        let deadline_ms: u64 = event
            .header("lambda-runtime-deadline-ms")
            .expect("a deadline")
            .parse()
            .expect("a number");
        let body: Value = serde_json::from_slice(&event.body).expect("events are JSON");
        let post = |what: &str, text: &str| {
            call(
                api,
                "POST",
                &format!("/2018-06-01/runtime/invocation/{id}/{what}"),
                "",
                text,
            );
        };
        println!("got {body}");
        let order = order(&body);
        match order["do"].as_str().expect("an order") {
            "echo" if body["httpMethod"].is_string() => post(
                "response",
                &json!({ "statusCode": 200, "body": body.to_string() }).to_string(),
            ),
            "echo" => post("response", &body.to_string()),
            "answer" => post("response", order["answer"].as_str().expect("an answer")),
            "pid" => post(
                "response",
                &json!({ "statusCode": 200, "body": std::process::id().to_string() }).to_string(),
            ),
            "clocks" => {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .expect("after 1970")
                    .as_millis();
                let ran = start.elapsed().as_millis();
                post(
                    "response",
                    &json!({ "now_ms": now, "ran_ms": ran, "deadline_ms": deadline_ms })
                        .to_string(),
                );
            }
            "error" => post("error", r#"{"errorType":"Probe","errorMessage":"as told"}"#),
            "exit" => std::process::exit(7),
            "hang" => std::thread::park(),
            "stream" => stream(api, &id, &order),
            other => panic!("unknown order {other}"),
        }
    }
}

/// What an event orders: the event itself, or of a request through the gateway its query parameter
/// `order` or its body.
fn order(event: &Value) -> Value {
    let parameter = &event["queryStringParameters"]["order"];
    match parameter.as_str().or(event["body"].as_str()) {
        Some(text) => serde_json::from_str(text).expect("an order is JSON"),
        None => event.clone(),
    }
}

/// Streams the pieces given, each in a packet of its own, then ends properly or not.
fn stream(api: &str, id: &str, order: &Value) {
    let mut socket = TcpStream::connect(api).expect("the Runtime API listens");
    socket.set_nodelay(true).expect("a socket option");
    write!(
        socket,
        "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: {api}\r\n\
         Lambda-Runtime-Function-Response-Mode: streaming\r\n\
         Content-Type: application/vnd.awslambda.http-integration-response\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .expect("the socket is open");
    let mut send = |piece: &[u8]| {
        let framed = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        socket.write_all(&framed).expect("the socket is open");
    };
    send(PRELUDE.as_bytes());
    send(&[0; 5]);
    send(&[0; 3]);
    for piece in order["pieces"].as_array().into_iter().flatten() {
        send(piece.as_str().expect("text").as_bytes());
    }
    match order["then"].as_str().expect("an end") {
        "end" => {
            socket.write_all(b"0\r\n\r\n").expect("the socket is open");
            read_answer(socket);
        }
        "cut" => drop(socket),
        "hang" => std::thread::park(),
        other => panic!("unknown end {other}"),
    }
}

struct Answer {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

fn call(api: &str, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut socket = TcpStream::connect(api).expect("the Runtime API listens");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {api}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    socket
        .write_all(request.as_bytes())
        .expect("the socket is open");
    read_answer(socket)
}

fn read_answer(socket: TcpStream) -> Answer {
    let mut reader = BufReader::new(socket);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        let read = reader
            .read_line(&mut line)
            .expect("the Runtime API answers");
        if read <= 2 {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let mut answer = Answer {
        head,
        body: Vec::new(),
    };
    let length = answer
        .header("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    answer.body.resize(length, 0);
    reader
        .read_exact(&mut answer.body)
        .expect("the whole body arrives");
    answer
}
