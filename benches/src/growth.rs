//! Growth: what a visitor's requests and a purge take when others have stored a thousand, a hundred thousand, a million messages.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::function::Launch;
use tests::http::Request;
use tokio_postgres::Client;

use crate::Run;
use crate::plot::Plot;
use crate::report::{Report, Target};
use crate::samples::{Samples, ms, short};
use crate::stack::{LIMIT, Stack, behind};
use crate::warm::ask_any;

/// Messages of each chat, and chats of each owner.
const CHAT: i32 = 100;
const OWNER: i32 = 20;
const OPERATIONS: [&str; 3] = ["list", "get", "send"];
/// Chats that a purge finds expired.
const EXPIRED: i32 = 20;

/// Chats of other people, by the PostgreSQL behind: `from` to `to`, with all their messages.
async fn store(client: &Client, prefix: &str, from: i32, to: i32, expires: &str) {
    let chats = format!(
        "INSERT INTO chats (id, owner_id, title, visibility, pinned, archived, next_seq, expires_at, created_at, updated_at)
         SELECT '{prefix}-' || n, '{prefix}-' || n / {OWNER}, 'A chat about ' || n, 'private', false, false, {CHAT}, {expires},
         now(), now() FROM generate_series({from}, {to}) n"
    );
    let messages = format!(
        "INSERT INTO messages (chat_id, id, seq, role, parts, status, created_at)
         SELECT '{prefix}-' || n, 'm' || k, k, CASE k % 2 WHEN 0 THEN 'user' ELSE 'assistant' END,
         '[{{\"type\":\"text\",\"text\":\"' || repeat(md5(k::text), 6) || '\"}}]', 'complete', now()
         FROM generate_series({from}, {to}) n, generate_series(1, {CHAT}) k"
    );
    client.execute(&chats, &[]).await.unwrap();
    client.execute(&messages, &[]).await.unwrap();
}

fn request(name: &str, n: usize) -> Request {
    match name {
        "list" => Request::new("GET", "/api/chats"),
        "get" => Request::new("GET", "/api/chats/growth-0?limit=20"),
        _ => Request::new("POST", &format!("/api/chats/growth-{}/messages", n % 16)).json(&json!({
            "role": "user", "parts": [{"type": "text", "text": "How do I boil an egg?"}],
        })),
    }
}

pub(crate) async fn run(run: &Run, stack: &Stack, report: &mut Report) {
    report.section("Growth");
    report.text(&format!(
        "A visitor with 20 chats lists them, reads 20 messages of one, sends a message; and `maintenance` purges {EXPIRED} expired chats \
         of {CHAT} messages. Others have stored more and more, put straight into the PostgreSQL behind `dsql-local`. What DSQL's \
         storage makes of such numbers is not measured by this: only that no statement looks at more rows.",
    ));
    let client = behind(stack).await;
    let token = stack.token();
    let function = stack.chats().start().await;
    for n in 0..20 {
        let chat = Request::new("POST", "/api/chats")
            .json(&json!({"id": format!("growth-{n}"), "title": "Mine"}));
        ask_any(&function, chat.bearer(&token).rest_event().to_string()).await;
    }
    for n in 0..40 {
        let message = request("send", n * 16).bearer(&token);
        ask_any(&function, message.rest_event().to_string()).await;
    }
    let samples: usize = run.of(300, 60);
    let mut stored = 0;
    let mut found: Vec<(f64, Vec<f64>)> = Vec::new();
    for messages in [1_000, 100_000, 1_000_000] {
        store(
            &client,
            "others",
            stored / CHAT,
            messages / CHAT - 1,
            "NULL",
        )
        .await;
        stored = messages;
        client
            .batch_execute("VACUUM ANALYZE chats, messages")
            .await
            .unwrap();
        let mut times = vec![Vec::new(); OPERATIONS.len()];
        for n in 0..samples + samples / 10 {
            for (name, times) in OPERATIONS.into_iter().zip(&mut times) {
                let event = request(name, n).bearer(&token).rest_event().to_string();
                let begun = Instant::now();
                ask_any(&function, event).await;
                if n >= samples / 10 {
                    times.push(begun.elapsed());
                }
            }
        }
        let mut medians: Vec<f64> = times
            .into_iter()
            .map(|times| Samples::times(times).p50())
            .collect();
        let prefix = format!("expired{messages}");
        store(
            &client,
            &prefix,
            0,
            EXPIRED - 1,
            "now() - interval '3 days'",
        )
        .await;
        medians.push(ms(purge(stack).await));
        found.push((f64::from(messages), medians));
    }
    tell(report, &found);
}

fn tell(report: &mut Report, found: &[(f64, Vec<f64>)]) {
    let names: Vec<&str> = OPERATIONS.into_iter().chain(["purge"]).collect();
    let rows: Vec<Vec<String>> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let values = found.iter().map(|(_, medians)| short(medians[at]));
            let ratio = found[2].1[at] / found[0].1[at];
            std::iter::once((*name).to_owned())
                .chain(values)
                .chain([short(ratio)])
                .collect()
        })
        .collect();
    report.table(
        &[
            "p50 ms",
            "at 1,000",
            "at 100,000",
            "at 1,000,000",
            "last to first",
        ],
        &rows,
    );
    for (at, name) in names.iter().enumerate().take(2) {
        report.verdict(
            format!("Growth: {name} at a million messages, of the same at a thousand"),
            found[2].1[at] / found[0].1[at],
            Target::AtMost(1.5),
            "×",
        );
    }
    let lines = OPERATIONS
        .into_iter()
        .enumerate()
        .map(|(at, name)| {
            (
                name.to_owned(),
                found.iter().map(|(x, medians)| (*x, medians[at])).collect(),
            )
        })
        .collect();
    let title = "p50 in ms by stored messages".to_owned();
    report.plot(
        "growth",
        &Plot::Lines {
            title,
            x: "messages",
            lines,
        },
    );
}

/// One run of the schedule that deletes what has expired.
async fn purge(stack: &Stack) -> Duration {
    let function = Launch::binary("maintenance")
        .envs(stack.server.env())
        .env("DSQL_ROLE", "maintenance")
        .start()
        .await;
    let begun = Instant::now();
    let answer = function
        .invoke(json!({"task": "purge"}).to_string(), LIMIT)
        .await
        .response();
    let taken = begun.elapsed();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["deleted"]["chats"], EXPIRED, "{answer}");
    taken
}
