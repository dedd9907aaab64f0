//! What these tests share: the database as an administrator sees it, job rows, and the functions
//! without visitors.

use std::time::Duration;

use chat_store::{JobKind, OwnerId};
use dsql::{Db, Type};
use dsql_local::DsqlLocal;
use serde_json::{Value, json};
use tests::function::Function;
use tests::logins::as_role;
use tests::sample::Sample;

use crate::stack::LIMIT;

/// Longer than any test takes.
const TEST: Duration = Duration::from_secs(1_800);

/// The database, as `admin`.
pub(crate) fn database(server: &DsqlLocal) -> Db {
    let dsql = as_role(server, "admin");
    dsql.until(dsql.clock().now() + TEST)
}

pub(crate) async fn number(db: &Db, sql: &'static str) -> i64 {
    db.query_opt_idempotent(sql, &[])
        .await
        .unwrap()
        .unwrap()
        .get(0)
}

/// Writes a job row for which nothing was hidden.
pub(crate) async fn insert_job(db: &Db, id: &str, kind: &str, payload: &Value) {
    db.execute(
        "INSERT INTO jobs (id, kind, payload, state, attempts, run_after, created_at)
         VALUES ($1, $2, $3, 'pending', 0, now(), now())",
        &[
            (&id, Type::TEXT),
            (&kind, Type::TEXT),
            (&payload.to_string(), Type::TEXT),
        ],
    )
    .await
    .unwrap();
}

/// Hides an owner's chats and promises the job `id`, as the request does.
pub(crate) async fn discard(db: &Db, id: &str, kind: JobKind, owner: &str) {
    let now = chat_store::microseconds(std::time::SystemTime::now());
    let owner = OwnerId::parse(owner).unwrap();
    let made = chat_store::jobs::discard(db, &owner, kind, id, now).await;
    assert_eq!(made.unwrap(), id);
}

/// State, cursor, result, payload and attempts of a job.
#[derive(Debug)]
pub(crate) struct JobRow {
    pub(crate) state: String,
    pub(crate) cursor: Option<String>,
    pub(crate) result: Value,
    pub(crate) payload: String,
    pub(crate) attempts: i32,
}

pub(crate) async fn job(db: &Db, id: &str) -> JobRow {
    let row = db
        .query_opt_idempotent(
            "SELECT state, cursor, result, payload, attempts FROM jobs WHERE id = $1",
            &[(&id, Type::TEXT)],
        )
        .await
        .unwrap()
        .unwrap();
    JobRow {
        state: row.get(0),
        cursor: row.get(1),
        result: row
            .get::<_, Option<String>>(2)
            .map_or(Value::Null, |text| serde_json::from_str(&text).unwrap()),
        payload: row.get(3),
        attempts: row.get(4),
    }
}

/// `chats` chats of `owner`, each with `messages` messages and a vote, in batches below the row
/// limit.
pub(crate) async fn fill(db: &Db, owner: &str, chats: i32, messages: i32) {
    db.execute(
        "INSERT INTO chats (id, owner_id, title, visibility, pinned, archived, next_seq, created_at, updated_at)
         SELECT $1 || '-' || n, $1, 'a chat', 'private', false, false, $3, now(), now() FROM generate_series(1, $2) n",
        &[
            (&owner, Type::TEXT),
            (&chats, Type::INT4),
            (&messages, Type::INT4),
        ],
    )
    .await
    .unwrap();
    let per_batch = 2_500 / (messages + 1);
    let mut from = 1;
    while from <= chats {
        let to = chats.min(from + per_batch - 1);
        db.execute(
            "INSERT INTO messages (chat_id, id, seq, role, parts, status, created_at)
             SELECT $1 || '-' || n, 'm' || k, k, CASE k WHEN 2 THEN 'assistant' ELSE 'user' END, '[{\"type\":\"text\",\"text\":\"hello\"}]', 'complete', now()
             FROM generate_series($2, $3) n, generate_series(1, $4) k",
            &[
                (&owner, Type::TEXT),
                (&from, Type::INT4),
                (&to, Type::INT4),
                (&messages, Type::INT4),
            ],
        )
        .await
        .unwrap();
        db.execute(
            "INSERT INTO votes (chat_id, message_id, owner_id, is_upvoted, created_at)
             SELECT $1 || '-' || n, 'm1', $1, true, now() FROM generate_series($2, $3) n",
            &[(&owner, Type::TEXT), (&from, Type::INT4), (&to, Type::INT4)],
        )
        .await
        .unwrap();
        from = to + 1;
    }
}

/// A sample event, `events/<function>/<name>.json`.
pub(crate) fn sample(function: &str, name: &str) -> Value {
    Sample::all()
        .into_iter()
        .find(|sample| sample.function == function && sample.name == name)
        .expect("there is such a file")
        .event
}

/// Sends an event and returns the report.
pub(crate) async fn invoke(function: &Function, event: &Value) -> Value {
    invoke_within(function, event, LIMIT).await
}

/// The same, with so much time for it.
pub(crate) async fn invoke_within(function: &Function, event: &Value, limit: Duration) -> Value {
    let answer = function.invoke(event.to_string(), limit).await.response();
    serde_json::from_slice(&answer).unwrap()
}

/// A batch as the queue delivers it: ids `m0`, `m1`, …
pub(crate) fn batch(bodies: &[Value]) -> Value {
    let records: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| {
            let body = body
                .as_str()
                .map_or_else(|| body.to_string(), str::to_owned);
            json!({
                "messageId": format!("m{n}"),
                "receiptHandle": "AQEB",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:111122223333:jobs",
                "awsRegion": "us-east-1"
            })
        })
        .collect();
    json!({"Records": records})
}
