//! Erasing in batches: chats with all that belongs to them, then what else names an owner. Each
//! batch is one transaction below the row limit, which also writes the job's progress, so that the
//! receipt counts exactly what was deleted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use dsql::{Db, Error, Transaction, Type};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::OwnerId;
use crate::jobs::{self, Job, Progress};
use crate::released::released;
use crate::replies::generations::settled;

/// Most rows that one batch deletes: the service refuses the 3,001st.
const MAX_ROWS: i64 = 2_000;
/// Most chats looked at for one batch.
const MAX_CHATS: i64 = 200;
/// After so many a batch is one chat.
const MOST_HALVINGS: u32 = MAX_CHATS.ilog2() + 1;

/// What an erasure has deleted so far; the receipt when it is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Rows by kind.
    pub deleted: BTreeMap<String, i64>,
    /// When it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Timestamp>,
    /// When it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

impl Receipt {
    /// What an earlier run of the job wrote.
    pub fn of(job: &Job) -> Self {
        let written = job
            .result
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        Self {
            requested_at: Some(job.created_at),
            ..written.unwrap_or_default()
        }
    }

    fn with(&self, counts: &[(&'static str, i64)]) -> Self {
        let mut sum = self.clone();
        for (kind, count) in counts {
            *sum.deleted.entry((*kind).to_owned()).or_default() += count;
        }
        sum
    }

    /// As it is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

/// Why a step of an erasure did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Another worker has the job by now.
    #[error("the job's lease was lost")]
    LeaseLost,
    /// The database.
    #[error("{}", .0.report())]
    Database(#[from] Error),
}

/// Whose chats a batch deletes.
#[derive(Debug, Clone, Copy)]
enum Whose<'a> {
    /// One owner's that had ended by this time: what a request hid has ended at the time of the
    /// request.
    Owner(&'a str, Timestamp),
    /// Anyone's that have expired.
    Expired(Timestamp),
}

/// Rows of one chat: its own, its messages, votes, shares, uploads with their uses, its generation,
/// and the usage that is counted for it.
macro_rules! chat_and_rows {
    ($where:literal) => {
        concat!(
            "SELECT c.id, (SELECT count(*) FROM shares s WHERE s.chat_id = c.id) AS shares,
    (SELECT count(*) FROM messages m WHERE m.chat_id = c.id)
    + (SELECT count(*) FROM votes v WHERE v.chat_id = c.id)
    + 2 * (SELECT count(*) FROM chat_uploads u WHERE u.chat_id = c.id) + 3 AS other_rows
FROM chats c WHERE ",
            $where,
            " LIMIT $1"
        )
    };
}

const OWNED: &str = chat_and_rows!("c.owner_id = $2 AND c.expires_at <= $3 ORDER BY c.id");
const EXPIRED: &str = chat_and_rows!("c.expires_at <= $2 ORDER BY c.expires_at");

const DELETE: &str = concat!(
    "\
WITH v AS (DELETE FROM votes WHERE chat_id = ANY($1) RETURNING 1),
    s AS (DELETE FROM shares WHERE chat_id = ANY($1) RETURNING 1),
    g AS (DELETE FROM generations WHERE chat_id = ANY($1) RETURNING chat_id, message_id, owner_id),
    ",
    settled!("g"),
    ",
    ",
    released!("= ANY($1)"),
    ",
    m AS (DELETE FROM messages WHERE chat_id = ANY($1) RETURNING 1),
    c AS (DELETE FROM chats WHERE id = ANY($1) RETURNING 1)
SELECT (SELECT count(*) FROM c), (SELECT count(*) FROM m), (SELECT count(*) FROM v), (SELECT count(*) FROM s),
    (SELECT count(*) FROM g)"
);

const DELETE_SHARES: &str = "\
WITH s AS (
    DELETE FROM shares WHERE token_hash IN (SELECT token_hash FROM shares WHERE chat_id = $1 LIMIT $2) RETURNING 1
)
SELECT count(*) FROM s";

pub(crate) type Counts = Vec<(&'static str, i64)>;

/// Most rows and chats of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    rows: i64,
    chats: i64,
}

impl Batch {
    /// For the attempt after so many that were undone.
    fn after(conflicts: u32) -> Self {
        let half = |most: i64| most.checked_shr(conflicts).unwrap_or(0).max(1);
        Self {
            rows: half(MAX_ROWS),
            chats: half(MAX_CHATS),
        }
    }
}

/// How much the batches of one run take. A writer to one of a batch's chats undoes all of it, so
/// each attempt after a conflict takes half as much, down to one chat, and each batch that was
/// deleted lets the next one take twice as much: an erasure makes progress beside writers, and does
/// not meet the same conflicts with every batch.
#[derive(Debug, Default)]
pub struct Pace {
    /// Those of the next attempt.
    halvings: AtomicU32,
}

impl Pace {
    /// What an attempt takes. The next one takes half as much, unless this one [succeeds].
    ///
    /// [succeeds]: Self::deleted
    fn next(&self) -> Batch {
        Batch::after(self.halvings.fetch_add(1, Ordering::Relaxed))
    }

    /// The last attempt succeeded.
    fn deleted(&self) {
        let last = self.halvings.load(Ordering::Relaxed).saturating_sub(1);
        let fewer = last.min(MOST_HALVINGS).saturating_sub(1);
        self.halvings.store(fewer, Ordering::Relaxed);
    }
}

/// Deletes a batch; empty when nothing is left. A chat's children and the chat itself go in one
/// transaction, so that nothing can be added to a chat that is half gone. What a reply under way
/// has used is counted.
async fn delete_batch(
    transaction: &Transaction,
    whose: Whose<'_>,
    most: Batch,
) -> Result<Counts, Error> {
    let rows = match whose {
        Whose::Owner(owner, hidden_at) => {
            transaction
                .query(
                    OWNED,
                    &[
                        (&most.chats, Type::INT8),
                        (&owner, Type::TEXT),
                        (&hidden_at, Type::TIMESTAMPTZ),
                    ],
                )
                .await?
        }
        Whose::Expired(now) => {
            transaction
                .query(
                    EXPIRED,
                    &[(&most.chats, Type::INT8), (&now, Type::TIMESTAMPTZ)],
                )
                .await?
        }
    };
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    // Shares of one chat have no upper bound: they go first, in batches of their own.
    if first.get::<_, i64>("shares") > MAX_ROWS / 2 {
        let id: String = first.get("id");
        let row = transaction
            .query_opt(
                DELETE_SHARES,
                &[(&id, Type::TEXT), (&most.rows, Type::INT8)],
            )
            .await?;
        return Ok(vec![("shares", row.map_or(0, |row| row.get(0)))]);
    }
    let mut ids: Vec<String> = Vec::new();
    let mut total = 0;
    for row in &rows {
        let (shares, others): (i64, i64) = (row.get("shares"), row.get("other_rows"));
        total += shares + others;
        if !ids.is_empty() && total > most.rows {
            break;
        }
        ids.push(row.get("id"));
    }
    let row = transaction
        .query_opt(DELETE, &[(&ids, Type::TEXT_ARRAY)])
        .await?;
    Ok(row.map_or_else(Vec::new, |row| {
        vec![
            ("chats", row.get(0)),
            ("messages", row.get(1)),
            ("votes", row.get(2)),
            ("shares", row.get(3)),
            ("generations", row.get(4)),
        ]
    }))
}

/// Deletes a batch of expired chats, whoever owns them, and says how many; `None` when none is
/// left.
///
/// # Errors
/// Any [`Error`].
pub async fn delete_expired_chats(
    db: &Db,
    pace: &Pace,
    now: Timestamp,
) -> Result<Option<i64>, Error> {
    let counts: Counts = db
        .transaction(|transaction| {
            let most = pace.next();
            async move { delete_batch(&transaction, Whose::Expired(now), most).await }
        })
        .await?;
    pace.deleted();
    let chats = counts.iter().filter(|(kind, _)| *kind == "chats");
    Ok((!counts.is_empty()).then(|| chats.map(|(_, count)| count).sum()))
}

/// Deletes a batch of the chats that the request for `job` hid from `owner`. What was made,
/// imported or claimed since has not ended, whatever time it bears. `None` when none is left.
///
/// # Errors
/// [`StepError`]; then nothing of the batch was deleted, unless the outcome is unknown.
pub async fn erase_chats(
    db: &Db,
    job: &Job,
    receipt: &Receipt,
    owner: &OwnerId,
    pace: &Pace,
) -> Result<Option<Receipt>, StepError> {
    step(
        db,
        job,
        receipt,
        "chats",
        pace,
        |transaction, most| async move {
            let whose = Whose::Owner(owner.as_str(), job.created_at);
            delete_batch(&transaction, whose, most).await
        },
    )
    .await
}

/// What names an owner beside the chats and was there at the time of the request: its key in the
/// receipt, and the statement for one batch.
const TRACES: &[(&str, &str)] = &[
    (
        "usageRows",
        "WITH d AS (
    DELETE FROM usage_daily WHERE (owner_id, day, model) IN (
        SELECT owner_id, day, model FROM usage_daily
        WHERE owner_id = $1 AND day <= ($3 AT TIME ZONE 'UTC')::date LIMIT $2) RETURNING 1
) SELECT count(*) FROM d",
    ),
    (
        "idempotencyKeys",
        "WITH d AS (
    DELETE FROM idempotency WHERE (owner_id, key) IN (
        SELECT owner_id, key FROM idempotency
        WHERE owner_id = $1 AND expires_at <= $3 + INTERVAL '24 hours' LIMIT $2) RETURNING 1
) SELECT count(*) FROM d",
    ),
];

/// Deletes a batch of what else named `owner` at the time of the request: usage, by whole days, and
/// idempotency keys. `None` when nothing is left.
///
/// # Errors
/// As [`erase_chats`].
pub async fn erase_traces(
    db: &Db,
    job: &Job,
    receipt: &Receipt,
    owner: &OwnerId,
    pace: &Pace,
) -> Result<Option<Receipt>, StepError> {
    for (kind, sql) in TRACES {
        let done = step(
            db,
            job,
            receipt,
            kind,
            pace,
            |transaction, most| async move {
                let row = transaction
                    .query_opt(
                        sql,
                        &[
                            (&owner.as_str(), Type::TEXT),
                            (&most.rows, Type::INT8),
                            (&job.created_at, Type::TIMESTAMPTZ),
                        ],
                    )
                    .await?;
                let count: i64 = row.map_or(0, |row| row.get(0));
                Ok(if count == 0 {
                    Vec::new()
                } else {
                    vec![(*kind, count)]
                })
            },
        )
        .await?;
        if done.is_some() {
            return Ok(done);
        }
    }
    Ok(None)
}

/// One batch and the job's progress, together or not at all.
pub(crate) async fn step<'a, F, Fut>(
    db: &Db,
    job: &'a Job,
    receipt: &'a Receipt,
    cursor: &'a str,
    pace: &Pace,
    delete: F,
) -> Result<Option<Receipt>, StepError>
where
    F: Fn(Transaction, Batch) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Counts, Error>> + Send,
{
    let delete = &delete;
    let done = db.transaction(|transaction| async move {
        let counts = delete(transaction.clone(), pace.next()).await?;
        if counts.is_empty() {
            return Ok(None);
        }
        let sum = receipt.with(&counts);
        let result = sum.to_json();
        let progress = Progress::Step {
            cursor,
            result: &result,
        };
        if jobs::progress(&transaction, job, progress).await? {
            Ok(Some(sum))
        } else {
            Err(StepError::LeaseLost)
        }
    });
    let done = done.await?;
    pace.deleted();
    Ok(done)
}

/// Ends a job with its receipt; what the payload said about a person is replaced by `payload`.
///
/// # Errors
/// As [`erase_chats`].
pub async fn finish(
    db: &Db,
    job: &Job,
    receipt: &Receipt,
    payload: &str,
    now: Timestamp,
) -> Result<Receipt, StepError> {
    let done = Receipt {
        finished_at: Some(now),
        ..receipt.clone()
    };
    let result = done.to_json();
    let result = &result;
    db.transaction(|transaction| async move {
        let progress = Progress::Done { payload, result };
        if jobs::progress(&transaction, job, progress).await? {
            Ok(())
        } else {
            Err(StepError::LeaseLost)
        }
    })
    .await?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chats of each attempt at one batch that so many writers undo.
    fn batch(pace: &Pace, conflicts: usize) -> Vec<i64> {
        let chats = (0..=conflicts).map(|_| pace.next().chats).collect();
        pace.deleted();
        chats
    }

    #[test]
    fn batches_shrink_with_each_conflict_and_grow_again_with_each_that_is_deleted() {
        let pace = Pace::default();
        assert_eq!(batch(&pace, 0), [200]);
        assert_eq!(batch(&pace, 3), [200, 100, 50, 25]);
        assert_eq!(batch(&pace, 1), [50, 25]);
        assert_eq!(batch(&pace, 0), [50]);
        assert_eq!(batch(&pace, 0), [100]);
        assert_eq!(batch(&pace, 40).last(), Some(&1));
        assert_eq!(batch(&pace, 0), [1], "no longer than it takes");
        assert_eq!(batch(&pace, 0), [3]);
    }
}
