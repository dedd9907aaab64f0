//! The outbox: job rows, written in the transaction that makes the work necessary, and processed
//! later.

use dsql::{Db, Error, Transaction, Type};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ids::OwnerId;
use crate::secret::sha256_hex;

/// A kind of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Everything of an owner is erased; payload `{owner}`.
    EraseUser,
    /// The chats that the request hid are deleted; payload `{owner}`.
    DeleteAllChats,
    /// A chat gets a title from a model; payload `{owner, chat}`.
    Title,
}

impl JobKind {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EraseUser => "erase_user",
            Self::DeleteAllChats => "delete_all_chats",
            Self::Title => "title",
        }
    }
}

/// A job's id: a UUID version 7, made before the first attempt.
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

const INSERT: &str = "\
INSERT INTO jobs (id, kind, payload, state, attempts, run_after, created_at)
VALUES ($1, $2, $3, 'pending', 0, $4, $4) ON CONFLICT (id) DO NOTHING";

/// Promises a job in the caller's transaction.
///
/// # Errors
/// Any [`Error`] of a statement in a transaction.
pub async fn enqueue(
    tx: &Transaction,
    id: &str,
    kind: JobKind,
    payload: &Value,
    now: Timestamp,
) -> Result<(), Error> {
    tx.execute(
        INSERT,
        &[
            (&id, Type::TEXT),
            (&kind.as_str(), Type::TEXT),
            (&payload.to_string(), Type::TEXT),
            (&now, Type::TIMESTAMPTZ),
        ],
    )
    .await
    .map(|_| ())
}

/// The payload of a job about an owner.
pub fn owner_payload(owner: &OwnerId) -> Value {
    json!({"owner": owner.as_str()})
}

/// Most chats hidden in one statement: the service refuses the 3,001st row.
const MAX_HIDDEN: i64 = 2_000;

// The time of the request is the mark of what it hid: the job deletes what had ended by then. So
// the job comes with the last chats hidden, and a repeated attempt, which finds it, hides nothing
// that came later. An open job covers the request too if nothing has come since it was made.
const DISCARD: &str = "\
WITH made AS (
    SELECT FROM jobs WHERE id = $1
), open AS (
    SELECT id FROM jobs j
    WHERE state IN ('pending', 'queued') AND kind = $3 AND payload = $4 AND kind = 'erase_user' AND NOT $7
        AND (created_at AT TIME ZONE 'UTC')::date = ($5 AT TIME ZONE 'UTC')::date
        AND NOT EXISTS (SELECT FROM idempotency WHERE owner_id = $2 AND expires_at > j.created_at + INTERVAL '24 hours')
    ORDER BY id LIMIT 1
), hidden AS (
    UPDATE chats SET expires_at = $5
    WHERE owner_id = $2 AND NOT EXISTS (SELECT FROM made) AND id IN (
        SELECT id FROM chats WHERE owner_id = $2 AND (expires_at IS NULL OR expires_at > $5)
        ORDER BY updated_at DESC, id DESC LIMIT $6
    )
    RETURNING id
), job AS (
    INSERT INTO jobs (id, kind, payload, state, attempts, run_after, created_at)
    SELECT $1, $3, $4, 'pending', 0, $5, $5
    WHERE (SELECT count(*) FROM hidden) < $6
        AND (NOT EXISTS (SELECT FROM open) OR EXISTS (SELECT FROM hidden))
    ON CONFLICT (id) DO NOTHING
)
SELECT (SELECT count(*) FROM hidden) >= $6 AS is_more,
    CASE WHEN EXISTS (SELECT FROM made) OR EXISTS (SELECT FROM hidden) THEN NULL ELSE (SELECT id FROM open) END AS open";

/// Hides the owner's chats, all that there are at the time of the request, and promises with the
/// last of them the job that deletes them or everything. Returns the job's id: that of a pending
/// erasure if nothing has come since. One round trip for each 2,000 chats.
///
/// # Errors
/// Any [`Error`]. Chats that are hidden by then are deleted by the next such job, or the purge.
pub async fn discard(
    db: &Db,
    owner: &OwnerId,
    kind: JobKind,
    id: &str,
    now: Timestamp,
) -> Result<String, Error> {
    let payload = owner_payload(owner).to_string();
    let mut has_hidden = false;
    loop {
        let row = db
            .query_opt_idempotent(
                DISCARD,
                &[
                    (&id, Type::TEXT),
                    (&owner.as_str(), Type::TEXT),
                    (&kind.as_str(), Type::TEXT),
                    (&payload, Type::TEXT),
                    (&now, Type::TIMESTAMPTZ),
                    (&MAX_HIDDEN, Type::INT8),
                    (&has_hidden, Type::BOOL),
                ],
            )
            .await?;
        if row.as_ref().is_some_and(|row| row.get("is_more")) {
            has_hidden = true;
            continue;
        }
        let open = row.and_then(|row| row.get::<_, Option<String>>("open"));
        return Ok(open.unwrap_or_else(|| id.to_owned()));
    }
}

/// What is known about an erasure. Kept when the rest is gone, and without personal data.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// `pending`, `running`, `done` or `failed`.
    pub status: String,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// What the job noted: `deleted` by kind, and `finishedAt`.
    pub result: Option<Value>,
}

const RECEIPT: &str = "\
SELECT state, result, created_at FROM jobs
WHERE id = $1 AND kind IN ('erase_user', 'delete_all_chats') AND payload IN ($2, $3)";

/// The receipt of the owner's own job; `None` for everyone else's. A finished job may have replaced
/// its payload by [`anonymous_payload`].
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn receipt(db: &Db, owner: &OwnerId, id: &str) -> Result<Option<Receipt>, Error> {
    let row = db
        .query_opt_idempotent(
            RECEIPT,
            &[
                (&id, Type::TEXT),
                (&owner_payload(owner).to_string(), Type::TEXT),
                (&anonymous_payload(id, owner).to_string(), Type::TEXT),
            ],
        )
        .await?;
    Ok(row.map(|row| Receipt {
        status: row.get("state"),
        requested_at: row.get("created_at"),
        result: row
            .get::<_, Option<&str>>("result")
            .and_then(|text| serde_json::from_str(text).ok()),
    }))
}

/// What a finished job keeps in place of its owner: only who knows both owner and job can make it
/// again.
pub fn anonymous_payload(id: &str, owner: &OwnerId) -> Value {
    json!({"ownerHash": sha256_hex(&[id.as_bytes(), owner.as_str().as_bytes()])})
}
