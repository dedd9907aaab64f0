//! Job rows: the transactional outbox and the state of every job. A row is written in the
//! transaction of its cause (`pending`), handed to the queue by the relay (`queued`), processed
//! under a lease (`running`), and ends as `done` or `failed`; a failed one is reported to the
//! dead-letter queue (`dead`). Delivery is at least once everywhere: a claim lets one worker in,
//! and everything it writes carries its lease, so that a late one writes nothing.

mod outbox;

pub use outbox::{
    JobKind, Receipt, anonymous_payload, discard, enqueue, new_id, owner_payload, receipt,
};

use std::time::SystemTime;

use dsql::{Db, Error, Transaction, Type};
use jiff::Timestamp;

use crate::values::microseconds;

/// Attempts at a job that fails or kills its worker, before it is given up.
pub const MAX_JOB_ATTEMPTS: i32 = 5;

/// A job under the lease of this worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What to do.
    pub kind: String,
    /// With what: JSON.
    pub payload: String,
    /// How far an earlier run came, in the words of the kind.
    pub cursor: Option<String>,
    /// What has been done so far: JSON.
    pub result: Option<String>,
    /// This attempt's number, from 1.
    pub attempts: i32,
    /// When it was asked for.
    pub created_at: Timestamp,
    lease: Timestamp,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is this worker's until the lease ends.
    Job(Job),
    /// All its attempts were begun and none came to an end, so it was given up now: it kills its
    /// worker.
    GivenUp {
        /// What it should have done.
        kind: String,
    },
    /// There is nothing to do: it is done, or was given up.
    Over,
    /// Another worker has it.
    Busy,
    /// There is no such row.
    Unknown,
}

/// Why a job is given up whose workers said nothing more.
const SILENT: &str = "its last worker died, or was stopped, without saying how the job ended";

// A worker that lives writes how an attempt ended, and the last one's end is no further attempt.
const CLAIM: &str = "\
UPDATE jobs SET state = CASE WHEN attempts < $4 THEN 'running' ELSE 'failed' END,
    attempts = CASE WHEN attempts < $4 THEN attempts + 1 ELSE attempts END,
    cursor = CASE WHEN attempts < $4 THEN cursor ELSE $5 END, run_after = $3
WHERE id = $1 AND (state IN ('pending', 'queued') OR (state = 'running' AND run_after <= $2))
RETURNING state, kind, payload, cursor, result, attempts, created_at";

/// Takes a job, which no other worker can take before `lease_until`; or gives it up, for the relay
/// to report, if [`MAX_JOB_ATTEMPTS`] workers have taken it and none of them said how it ended.
///
/// # Errors
/// Any [`Error`]. After an unknown outcome the row may be claimed: it is free again when the lease
/// ends.
pub async fn claim(
    db: &Db,
    id: &str,
    now: SystemTime,
    lease_until: SystemTime,
) -> Result<Claim, Error> {
    let (now, lease) = (microseconds(now), microseconds(lease_until));
    let row = db
        .query_opt(
            CLAIM,
            &[
                (&id, Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
                (&lease, Type::TIMESTAMPTZ),
                (&MAX_JOB_ATTEMPTS, Type::INT4),
                (&SILENT, Type::TEXT),
            ],
        )
        .await?;
    if let Some(row) = row {
        if row.get::<_, &str>("state") == "failed" {
            let kind = row.get("kind");
            return Ok(Claim::GivenUp { kind });
        }
        return Ok(Claim::Job(Job {
            id: id.to_owned(),
            kind: row.get("kind"),
            payload: row.get("payload"),
            cursor: row.get("cursor"),
            result: row.get("result"),
            attempts: row.get("attempts"),
            created_at: row.get("created_at"),
            lease,
        }));
    }
    let state = db
        .query_opt_idempotent("SELECT state FROM jobs WHERE id = $1", &[(&id, Type::TEXT)])
        .await?;
    Ok(match state.as_ref().map(|row| row.get::<_, &str>(0)) {
        None => Claim::Unknown,
        Some("done" | "failed" | "dead") => Claim::Over,
        Some(_) => Claim::Busy,
    })
}

/// What the lease's holder writes about its job.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A step is done, more is to do.
    Step {
        /// How far it came.
        cursor: &'a str,
        /// What has been done so far: JSON.
        result: &'a str,
    },
    /// All is done. Its payload, which may name a person, is replaced.
    Done {
        /// What is kept of the payload: JSON.
        payload: &'a str,
        /// The receipt: JSON.
        result: &'a str,
    },
}

const PROGRESS: &str = "\
UPDATE jobs SET state = $4, cursor = $5, result = $6, payload = COALESCE($7, payload)
WHERE id = $1 AND state = 'running' AND run_after = $2 AND attempts = $3";

/// Writes progress in the transaction of the work it tells of. False: the lease was lost, and the
/// transaction must not be committed.
///
/// # Errors
/// Any [`Error`].
pub async fn progress(
    transaction: &Transaction,
    job: &Job,
    progress: Progress<'_>,
) -> Result<bool, Error> {
    let (state, cursor, result, payload) = match progress {
        Progress::Step { cursor, result } => ("running", Some(cursor), result, None),
        Progress::Done { payload, result } => ("done", None, result, Some(payload)),
    };
    let changed = transaction
        .execute(
            PROGRESS,
            &[
                (&job.id, Type::TEXT),
                (&job.lease, Type::TIMESTAMPTZ),
                (&job.attempts, Type::INT4),
                (&state, Type::TEXT),
                (&cursor, Type::TEXT),
                (&result, Type::TEXT),
                (&payload, Type::TEXT),
            ],
        )
        .await?;
    Ok(changed == 1)
}

const GIVE_BACK: &str = "\
UPDATE jobs SET state = 'pending', attempts = $4, run_after = $5
WHERE id = $1 AND state = 'running' AND run_after = $2 AND attempts = $3";

/// Gives a job back whose time is up although it made progress: that is no failed attempt, and it
/// goes on at once.
///
/// # Errors
/// Any [`Error`].
pub async fn give_back(db: &Db, job: &Job, now: SystemTime) -> Result<(), Error> {
    release(db, job, 0, now).await
}

/// Gives a job back that failed, to be tried again from `run_after` on.
///
/// # Errors
/// Any [`Error`].
pub async fn retry_later(db: &Db, job: &Job, run_after: SystemTime) -> Result<(), Error> {
    release(db, job, job.attempts, run_after).await
}

async fn release(db: &Db, job: &Job, attempts: i32, run_after: SystemTime) -> Result<(), Error> {
    db.execute_idempotent(
        GIVE_BACK,
        &[
            (&job.id, Type::TEXT),
            (&job.lease, Type::TIMESTAMPTZ),
            (&job.attempts, Type::INT4),
            (&attempts, Type::INT4),
            (&microseconds(run_after), Type::TIMESTAMPTZ),
        ],
    )
    .await
    .map(|_| ())
}

const GIVE_UP: &str = "\
UPDATE jobs SET state = 'failed', cursor = $4
WHERE id = $1 AND state = 'running' AND run_after = $2 AND attempts = $3";

/// Gives a job up for `reason`, which the relay reports to the dead-letter queue. What it did
/// before stays in its result.
///
/// # Errors
/// Any [`Error`].
pub async fn give_up(db: &Db, job: &Job, reason: &str) -> Result<(), Error> {
    db.execute_idempotent(
        GIVE_UP,
        &[
            (&job.id, Type::TEXT),
            (&job.lease, Type::TIMESTAMPTZ),
            (&job.attempts, Type::INT4),
            (&reason, Type::TEXT),
        ],
    )
    .await
    .map(|_| ())
}

/// A job to send to the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its id.
    pub id: String,
    /// What it does, for the log.
    pub kind: String,
}

// A worker that died leaves `running` behind, a send that was dropped leaves `queued`: both become
// due again.
const DUE: &str = "\
UPDATE jobs SET state = 'queued', run_after = $2
WHERE id IN (
    SELECT id FROM jobs WHERE state IN ('pending', 'queued', 'running') AND run_after <= $1 ORDER BY run_after LIMIT $3
)
RETURNING id, kind";

/// Takes up to `limit` jobs that are due, to be sent. What is not begun by `resend_at` becomes due
/// again.
///
/// # Errors
/// Any [`Error`]; after an unknown outcome the jobs become due again at `resend_at`.
pub async fn take_due(
    db: &Db,
    now: SystemTime,
    resend_at: SystemTime,
    limit: i64,
) -> Result<Vec<Due>, Error> {
    let rows = db
        .query(
            DUE,
            &[
                (&microseconds(now), Type::TIMESTAMPTZ),
                (&microseconds(resend_at), Type::TIMESTAMPTZ),
                (&limit, Type::INT8),
            ],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| Due {
            id: row.get("id"),
            kind: row.get("kind"),
        })
        .collect())
}

/// Makes jobs due at once that the queue did not take.
///
/// # Errors
/// Any [`Error`].
pub async fn make_due(db: &Db, ids: &[String], now: SystemTime) -> Result<(), Error> {
    db.execute_idempotent(
        "UPDATE jobs SET state = 'pending', run_after = $2 WHERE id = ANY($1) AND state = 'queued'",
        &[
            (&ids, Type::TEXT_ARRAY),
            (&microseconds(now), Type::TIMESTAMPTZ),
        ],
    )
    .await
    .map(|_| ())
}

/// A job that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Its id.
    pub id: String,
    /// What it should have done.
    pub kind: String,
    /// How often it was tried.
    pub attempts: i32,
    /// Why it was given up.
    pub reason: String,
}

/// Up to `limit` jobs that were given up and not reported yet.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn failed(db: &Db, limit: i64) -> Result<Vec<Failed>, Error> {
    let rows = db
        .query_idempotent(
            "SELECT id, kind, attempts, cursor FROM jobs WHERE state = 'failed' ORDER BY run_after LIMIT $1",
            &[(&limit, Type::INT8)],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| Failed {
            id: row.get("id"),
            kind: row.get("kind"),
            attempts: row.get("attempts"),
            reason: row.get::<_, Option<String>>("cursor").unwrap_or_default(),
        })
        .collect())
}

/// Marks jobs as reported.
///
/// # Errors
/// Any [`Error`].
pub async fn mark_reported(db: &Db, ids: &[String]) -> Result<(), Error> {
    db.execute_idempotent(
        "UPDATE jobs SET state = 'dead' WHERE id = ANY($1) AND state = 'failed'",
        &[(&ids, Type::TEXT_ARRAY)],
    )
    .await
    .map(|_| ())
}
