//! Memory has a ceiling: the worst JSON that a body may be, to every route that is described, and
//! the real process stays below 64 MiB.

use std::collections::BTreeSet;

use dsql_local::{DsqlLocal, Options};
use tests::function::Function;
use tests::http::Request;
use tests::logins::Logins;
use tests::openapi::description;

use crate::stack::{Stack, launch_chat, launch_chats, send_any};

/// The most that a process may ever have had.
const CEILING_KIB: u64 = 64 * 1024;
/// What most routes read.
const BODY_BYTES: usize = 512 * 1024;
/// What a turn and an import may have.
const LONG_BODY_BYTES: usize = 4 * 1024 * 1024;

/// `unit` as often as it fits into `bytes`, between `open` and `close`.
fn fill(open: &str, unit: &str, close: &str, bytes: usize) -> String {
    let count = (bytes - open.len() - close.len()) / unit.len();
    let mut text = unit.repeat(count);
    if close.starts_with([']', '}']) {
        text.truncate(text.len() - usize::from(unit.ends_with(',')));
    }
    format!("{open}{text}{close}")
}

/// JSON that is small as text and large as a tree, or slow to end, alone and under names that
/// routes know.
fn worst(bytes: usize) -> Vec<String> {
    let keys: Vec<String> = (0..bytes / 11).map(|n| format!("\"{n:06}\":0")).collect();
    let mut bodies = vec![
        "[".repeat(bytes),
        "{\"a\":".repeat(bytes / 5),
        fill("[", "0,", "]", bytes),
        format!("{{{}}}", keys.join(",")),
        fill("{\"id\":\"", "\\u0041", "\"}", bytes),
    ];
    for (open, close) in [
        (
            "{\"role\":\"user\",\"parts\":[{\"type\":\"x\",\"a\":[",
            "]}]}",
        ),
        (
            "{\"id\":\"c\",\"message\":{\"id\":\"u\",\"role\":\"user\",\"parts\":[{\"type\":\"x\",\"a\":[",
            "]}]}}",
        ),
    ] {
        bodies.push(fill(open, "{\"a\":0},", close, bytes));
    }
    bodies
}

/// The same for routes that take many messages, lines or queries.
fn worst_of_many(bytes: usize) -> Vec<String> {
    let chats = (0..bytes / 32).map(|n| format!("{{\"type\":\"chat\",\"id\":\"{n:06}\"}}\n"));
    let message = "{\"type\":\"message\",\"chatId\":\"c\",\"role\":\"user\"}\n";
    let mut bodies = worst(bytes);
    bodies.extend([
        fill("[", "{},", "]", bytes),
        fill("[", "{\"role\":\"system\"},", "]", bytes),
        fill("{\"id\":\"c\",\"messages\":[", "0,", "]}", bytes),
        fill("", message, "", bytes),
        chats.collect::<Vec<_>>().concat(),
    ]);
    bodies
}

/// The operations of a function that take a body.
fn with_body(function: &str) -> BTreeSet<(String, String)> {
    let mut operations = description().operations(function);
    operations.retain(|(method, _)| method != "GET");
    assert!(!operations.is_empty());
    operations
}

/// Sends all of it, and returns the peak.
async fn attack(
    function: &Function,
    operations: BTreeSet<(String, String)>,
    request: impl Fn(Request) -> Request,
) -> u64 {
    let (usual, long) = (worst(BODY_BYTES), worst_of_many(LONG_BODY_BYTES));
    for (method, template) in operations {
        let path: Vec<&str> = template
            .split('/')
            .map(|segment| {
                if segment.starts_with('{') {
                    "c"
                } else {
                    segment
                }
            })
            .collect();
        let path = path.join("/");
        let is_long = template.ends_with("/import")
            || ["/chat", "/sql"].iter().any(|end| template.ends_with(end))
            || method == "POST" && template == "/api/chats/{id}";
        let bodies = if is_long { &long } else { &usual };
        for body in bodies {
            let begin: String = body.chars().take(40).collect();
            let response = send_any(
                function,
                &request(Request::new(&method, &path)).body(body.clone()),
            )
            .await;
            assert!(
                response.status < 500,
                "{method} {path} {begin}: {}",
                response.status
            );
            let peak = function.peak_memory_kib();
            assert!(peak < CEILING_KIB, "{method} {path} {begin}: {peak} KiB");
        }
    }
    function.peak_memory_kib()
}

#[tokio::test]
async fn no_body_takes_a_function_of_the_chat_beyond_64_mib() {
    let stack = Stack::start().await;
    let (chats, chat) = tokio::join!(launch_chats(&stack).start(), launch_chat(&stack).start());
    let token = stack.token("visitor");
    let attacked = |function, name| {
        let token = &token;
        attack(function, with_body(name), move |request| {
            request.bearer(token)
        })
    };
    let (chats, chat) = tokio::join!(attacked(&chats, "chats"), attacked(&chat, "chat"));
    println!("at most {chats} KiB in chats, {chat} KiB in chat");
}

#[tokio::test]
async fn no_body_takes_sql_beyond_64_mib() {
    let server = DsqlLocal::start(Options::default()).await.unwrap();
    let logins = Logins::of(&server).await;
    let blog = logins.create("blog").await;
    let function = logins.launch().start().await;
    let mut operations = with_body("sql");
    operations.insert(("POST".to_owned(), "/sql".to_owned()));
    let connection = blog.connection_string();
    let peak = attack(&function, operations, |request| {
        request.header("Neon-Connection-String", &connection)
    })
    .await;
    println!("sql: at most {peak} KiB");
}
