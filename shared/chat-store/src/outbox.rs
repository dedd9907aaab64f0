//! Job rows: work that is promised in the transaction that makes it necessary, and worked off later.

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
    /// All chats that an owner had when the job was made are deleted; payload `{owner}`.
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
pub fn new_job_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

const INSERT: &str = "\
INSERT INTO jobs (id, kind, payload, state, attempts, run_after, created_at)
VALUES ($1, $2, $3, 'pending', 0, $4, $4) ON CONFLICT (id) DO NOTHING";

/// Promises a job in the caller's transaction.
///
/// # Errors
/// Any [`Error`] of a statement in a transaction.
pub async fn insert(
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

// Hidden at once, up to a number that stays below 3,000 rows; the job deletes all. An open job is found again.
const DISCARD: &str = "\
WITH open AS (
    SELECT id FROM jobs WHERE state IN ('pending', 'queued', 'running') AND kind = $3 AND payload = $4 ORDER BY id LIMIT 1
), hidden AS (
    UPDATE chats SET expires_at = $5
    WHERE owner_id = $2 AND id IN (
        SELECT id FROM chats WHERE owner_id = $2 AND (expires_at IS NULL OR expires_at > $5)
        ORDER BY updated_at DESC, id DESC LIMIT 2000
    )
), job AS (
    INSERT INTO jobs (id, kind, payload, state, attempts, run_after, created_at)
    SELECT $1, $3, $4, 'pending', 0, $5, $5 WHERE $3 = 'delete_all_chats' OR NOT EXISTS (SELECT FROM open)
    ON CONFLICT (id) DO NOTHING RETURNING id
)
SELECT id, 1 AS rank FROM job UNION ALL SELECT id, 2 FROM open ORDER BY rank LIMIT 1";

/// Hides the owner's chats and promises, in the same statement, the job that deletes them or everything. Returns the job's
/// id: of an erasure that is pending already, that one's.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn discard(
    db: &Db,
    owner: &OwnerId,
    kind: JobKind,
    id: &str,
    now: Timestamp,
) -> Result<String, Error> {
    let row = db
        .query_opt_idempotent(
            DISCARD,
            &[
                (&id, Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&kind.as_str(), Type::TEXT),
                (&owner_payload(owner).to_string(), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    // No row: an attempt whose answer was lost has made it.
    Ok(row.map_or_else(|| id.to_owned(), |row| row.get("id")))
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

/// The receipt of the owner's own job; `None` for everyone else's. A finished job may have replaced its payload by
/// [`anonymous_payload`].
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

/// What a finished job keeps in place of its owner: only who knows both owner and job can make it again.
pub fn anonymous_payload(id: &str, owner: &OwnerId) -> Value {
    json!({"ownerHash": sha256_hex(&[id.as_bytes(), owner.as_str().as_bytes()])})
}
