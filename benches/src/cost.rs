//! Cost: DPU of each operation by the service's published formula, from the rows that PostgreSQL
//! counts behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tests::http::Request;
use tests::wait;
use tokio_postgres::Client;

use crate::report::Report;
use crate::routes::ask_any;
use crate::samples::short;
use crate::stack::{LIMIT, Stack, behind};

/// `ReadDPU` a byte, at least for this many bytes a transaction.
const READ: (f64, f64) = (1.831_05e-6, 2_048.0);
/// `WriteDPU` a byte, at least for this many bytes a transaction and a row or index entry.
const WRITE: (f64, f64, f64) = (4.883e-5, 1_024.0, 128.0);
/// What AWS's own example of a point read (0.00675) leaves for its computing.
const COMPUTE: f64 = 0.003;
/// US dollars for a million DPU in us-east-1, by a third party's report.
const PRICE: f64 = 8.0;
const REPEATS: u32 = 40;

/// The request of the n-th repetition.
type Make<'a> = Box<dyn Fn(u32) -> Request + 'a>;

/// Rows of one table since the server's start.
#[derive(Debug, Clone, Copy, Default)]
struct Rows {
    written: f64,
    read: f64,
    /// Of a row, its index entries not counted.
    bytes: f64,
    indexes: f64,
}

async fn rows(client: &Client) -> BTreeMap<String, Rows> {
    let sql = "SELECT format('%I.%I', schemaname, relname), (n_tup_ins + n_tup_upd + n_tup_del)::float8, \
               (coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::float8, \
               (SELECT count(*) FROM pg_index WHERE indrelid = relid)::float8 \
               FROM pg_stat_user_tables";
    let counted = client.query(sql, &[]).await.unwrap();
    counted
        .into_iter()
        .map(|row| {
            let rows = Rows {
                written: row.get(1),
                read: row.get(2),
                bytes: 0.0,
                indexes: row.get(3),
            };
            (row.get(0), rows)
        })
        .collect()
}

/// What changed, with the sizes of the rows that are there now.
async fn since(client: &Client, before: &BTreeMap<String, Rows>) -> Vec<Rows> {
    let mut changed = Vec::new();
    for (table, after) in rows(client).await {
        let before = before.get(&table).copied().unwrap_or_default();
        let (written, read) = (after.written - before.written, after.read - before.read);
        if written + read > 0.0 {
            let sql = format!(
                "SELECT coalesce(avg(pg_column_size(t.*)), 0)::float8 FROM (SELECT * FROM {table} LIMIT 1000) t"
            );
            let bytes = client.query_one(&sql, &[]).await.unwrap().get(0);
            changed.push(Rows {
                written,
                read,
                bytes,
                indexes: after.indexes,
            });
        }
    }
    changed
}

/// What is costed: a name, whether `chat` does it, and the requests. `chats` makes one with a
/// token.
fn operations(chats: &dyn Fn(&str, &str) -> Request) -> Vec<(&'static str, bool, Make<'_>)> {
    let parts =
        json!([{"type": "text", "text": "A question of some length about something or other."}]);
    let said = parts.clone();
    vec![
        (
            "list 20 chats",
            false,
            Box::new(|_| chats("GET", "/api/chats")),
        ),
        (
            "get a chat",
            false,
            Box::new(|n| chats("GET", &format!("/api/chats/cost-{n}"))),
        ),
        (
            "create a chat",
            false,
            Box::new(|n| {
                chats("POST", "/api/chats")
                    .json(&json!({"id": format!("new-{n}"), "title": "A chat"}))
            }),
        ),
        (
            "append a message",
            false,
            Box::new(move |n| {
                chats("POST", &format!("/api/chats/cost-{n}/messages"))
                    .json(&json!({"role": "user", "parts": said}))
            }),
        ),
        (
            "rename a chat",
            false,
            Box::new(|n| {
                chats("PATCH", &format!("/api/chats/cost-{n}/title"))
                    .json(&json!({"title": "Renamed"}))
            }),
        ),
        (
            "a turn, question and reply",
            true,
            Box::new(move |n| {
                chats("POST", "/api/chat").json(&json!({
                    "id": format!("cost-{n}"), "trigger": "submit-message",
                    "message": {"id": format!("turn-{n}"), "role": "user", "parts": parts},
                }))
            }),
        ),
        (
            "delete a chat",
            false,
            Box::new(|n| chats("DELETE", &format!("/api/chats/new-{n}"))),
        ),
    ]
}

pub(crate) async fn run(report: &mut Report) {
    report.section("Cost");
    // A small table is read whole by preference, which says nothing of one that has grown.
    let own = Stack::start_with(vec!["enable_seqscan=off".to_owned()]).await;
    let stack = &own;
    report.text(
        "DPU of one operation by the published formula: read bytes × 1.83105e-6, at least 2,048 a transaction; written bytes × \
         4.883e-5, at least 128 a row and index entry and 1,024 a transaction. Rows are counted by the PostgreSQL behind \
         `dsql-local` (each written row with all its index entries, which is the most it can be), their sizes measured there. \
         Computing is not measured: 0.003 a transaction is what AWS's example of a point read leaves for it. In dollars at $8 for a \
         million DPU, which is a third party's report of us-east-1.",
    );
    let client = behind(stack).await;
    let token = stack.token();
    let chats = |method: &str, path: &str| Request::new(method, path).bearer(&token);
    let setup = stack.chats().start().await;
    for n in 0..REPEATS {
        let chat = chats("POST", "/api/chats")
            .json(&json!({"id": format!("cost-{n}"), "title": "A chat"}));
        ask_any(&setup, chat.rest_event().to_string()).await;
    }
    setup.kill().await;
    let mut table = Vec::new();
    for (name, is_turn, request) in operations(&chats) {
        let before = rows(&client).await;
        let launch = if is_turn { stack.chat() } else { stack.chats() };
        let function = launch.start().await;
        let flights = stack.base.server.stats().client_flights;
        for n in 0..REPEATS {
            ask_any(&function, request(n).rest_event().to_string()).await;
        }
        let flights = stack.base.server.stats().client_flights - flights;
        function.kill().await;
        // A backend reports what it did when it ends.
        let closed = || (stack.base.server.stats().connections_open == stack.kept()).then_some(());
        wait::until("the end of the connections", LIMIT, closed).await;
        settled(&client).await;
        let changed = since(&client, &before).await;
        let each = f64::from(REPEATS);
        let transactions = f64::from(u32::try_from(flights).unwrap()) / each;
        let entries: f64 = changed
            .iter()
            .map(|t| t.written * (1.0 + t.indexes))
            .sum::<f64>()
            / each;
        let read: f64 = changed.iter().map(|t| t.read * t.bytes).sum::<f64>() / each;
        let written: f64 = changed
            .iter()
            .map(|t| t.written * (t.bytes.max(WRITE.2) + t.indexes * WRITE.2))
            .sum::<f64>()
            / each;
        let read_dpu = read.max(READ.1 * transactions) * READ.0;
        let write_dpu = if written > 0.0 {
            written.max(WRITE.1) * WRITE.0
        } else {
            0.0
        };
        let dpu = read_dpu + write_dpu + COMPUTE * transactions;
        table.push(vec![
            name.to_owned(),
            short(transactions),
            short(read),
            short(entries),
            short(written),
            short(read_dpu),
            short(write_dpu),
            short(dpu),
            format!("{:.2}", dpu * PRICE),
        ]);
    }
    report.table(
        &[
            "",
            "transactions",
            "bytes read",
            "rows and entries written",
            "bytes written",
            "ReadDPU",
            "WriteDPU",
            "DPU",
            "$ for a million",
        ],
        &table,
    );
    own.base.server.stop().await;
}

/// Waits until PostgreSQL's counts stand still.
async fn settled(client: &Client) {
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    ticks.tick().await;
    let mut last = String::new();
    loop {
        ticks.tick().await;
        let now = format!("{:?}", rows(client).await);
        if std::mem::replace(&mut last, now.clone()) == now {
            return;
        }
    }
}
