//! Uploads: attachments whose bytes are in a bucket, one object for each row, under the row's id. A
//! row is made before its object, and deleted after it, so that no object is without one.
//!
//! 1. An upload belongs to its owner, and lives as long as a chat that it was sent in
//!    (`chat_uploads`). What was sent in none ends after a day.
//! 2. Whoever adds or deletes such a use writes the upload's row as well: of two at once, one meets
//!    a conflict, runs again, and sees what the other did.

use std::time::Duration;

use dsql::{Db, Error, Row, Type};
use jiff::{SignedDuration, Timestamp};

use crate::erasure::{Pace, Receipt, StepError, step};
use crate::ids::{OwnerId, UploadId};
use crate::jobs::Job;
use crate::jobs::JobKind;
use crate::limits::Window;

/// Most uploads of one chat.
pub const MAX_CHAT_UPLOADS: i64 = 100;
/// How long the URL that takes an upload's bytes is good: an object may come until then.
pub const UPLOAD_LIFE: Duration = Duration::from_mins(5);
/// How long an upload is kept that no message names.
const UNUSED: SignedDuration = SignedDuration::from_hours(24);
/// An upload that has ended is left alone for so long: a turn may be under way that has seen it.
const GRACE: SignedDuration = SignedDuration::from_hours(1);
/// Most uploads of one batch.
const BATCH: i64 = 100;
const DAY: Duration = Duration::from_hours(24);

/// An upload to make. Its id and time are fixed before the first attempt.
#[derive(Debug, Clone)]
pub struct NewUpload<'a> {
    /// Its id, and its object's key.
    pub id: &'a UploadId,
    /// One of [`FILE_TYPES`](crate::FILE_TYPES).
    pub media_type: &'a str,
    /// In bytes.
    pub size: i64,
    /// What its owner calls it.
    pub filename: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
}

/// An upload that is there, or will be: whether its bytes have come, the bucket knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id, and its object's key.
    pub id: UploadId,
    /// One of [`FILE_TYPES`](crate::FILE_TYPES).
    pub media_type: String,
    /// In bytes.
    pub size: i64,
    /// What its owner calls it.
    pub filename: Option<String>,
}

impl Upload {
    fn from_row(row: &Row) -> Self {
        Self {
            id: UploadId::stored(row.get("id")),
            media_type: row.get("media_type"),
            size: row.get("size"),
            filename: row.get("filename"),
        }
    }
}

/// How making an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploading {
    /// Its bytes may come.
    Accepted,
    /// They would be more than the owner may upload in a day.
    Spent {
        /// When the next day begins.
        retry_after: Duration,
    },
}

const CREATE: &str = "\
WITH known AS (
    SELECT id FROM uploads WHERE id = $1
), counted AS (
    INSERT INTO rate_buckets (key, window_start, n, expires_at)
    SELECT $7, $8, $4, $9 WHERE NOT EXISTS (SELECT FROM known)
        AND COALESCE((SELECT n FROM rate_buckets WHERE key = $7 AND window_start = $8), 0) + $4 <= $10
    ON CONFLICT (key, window_start) DO UPDATE SET n = rate_buckets.n + excluded.n
    RETURNING key
), made AS (
    INSERT INTO uploads (id, owner_id, media_type, size, filename, expires_at, created_at)
    SELECT $1, $2, $3, $4, $5, $11, $6 FROM counted
    RETURNING id
)
SELECT EXISTS (SELECT FROM known) OR EXISTS (SELECT FROM made) AS is_there";

/// Makes an upload, unless its owner has announced more than `bytes_a_day` in this day of UTC.
///
/// # Errors
/// Any [`Error`].
pub async fn create_upload(
    db: &Db,
    owner: &OwnerId,
    upload: &NewUpload<'_>,
    bytes_a_day: i64,
) -> Result<Uploading, Error> {
    let day = Window::at(upload.now, DAY);
    let row = db
        .query_opt_idempotent(
            CREATE,
            &[
                (&upload.id.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&upload.media_type, Type::TEXT),
                (&upload.size, Type::INT8),
                (&upload.filename, Type::TEXT),
                (&upload.now, Type::TIMESTAMPTZ),
                (&format!("uploads|owner|{}", owner.as_str()), Type::TEXT),
                (&day.start, Type::TIMESTAMPTZ),
                (&day.end, Type::TIMESTAMPTZ),
                (&bytes_a_day, Type::INT8),
                (&later(upload.now, UNUSED), Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    Ok(if row.is_some_and(|row| row.get("is_there")) {
        Uploading::Accepted
    } else {
        Uploading::Spent {
            retry_after: day.wait(upload.now),
        }
    })
}

const FIND: &str = "\
SELECT id, media_type, size, filename FROM uploads
WHERE id = ANY($1) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $3)";

/// Those of the uploads that are the owner's, in any order.
///
/// # Errors
/// Any [`Error`].
pub async fn uploads(
    db: &Db,
    owner: &OwnerId,
    ids: &[UploadId],
    now: Timestamp,
) -> Result<Vec<Upload>, Error> {
    let ids: Vec<&str> = ids.iter().map(UploadId::as_str).collect();
    let params = [
        (&ids as _, Type::TEXT_ARRAY),
        (&owner.as_str() as _, Type::TEXT),
        (&now as _, Type::TIMESTAMPTZ),
    ];
    let rows = db.query_idempotent(FIND, &params).await?;
    Ok(rows.iter().map(Upload::from_row).collect())
}

// Of an erasure all that there was when it was asked for; of a deletion of all chats, what is used
// in none any more.
const DOOMED: &str = "\
SELECT id FROM uploads
WHERE owner_id = $1 AND created_at <= $2 AND ($3 OR NOT EXISTS (SELECT FROM chat_uploads u WHERE u.upload_id = uploads.id))
ORDER BY created_at LIMIT $4";

/// Ids of uploads of which the job's request wants nothing left, a batch of them: their objects go
/// first, then [`forget`] their rows.
///
/// # Errors
/// Any [`Error`].
pub async fn doomed(
    db: &Db,
    job: &Job,
    kind: JobKind,
    owner: &OwnerId,
) -> Result<Vec<String>, Error> {
    let rows = db
        .query_idempotent(
            DOOMED,
            &[
                (&owner.as_str(), Type::TEXT),
                (&job.created_at, Type::TIMESTAMPTZ),
                (&(kind == JobKind::EraseUser), Type::BOOL),
                (&BATCH, Type::INT8),
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get("id")).collect())
}

// While the URL for an object's bytes is good, they may come again: then the row stays until the
// purge looks for them, and is nobody's.
const FORGET: &str = "\
WITH used AS (
    DELETE FROM chat_uploads WHERE upload_id = ANY($1)
), gone AS (
    DELETE FROM uploads WHERE id = ANY($1) AND created_at <= $2 RETURNING id
), nobodys AS (
    UPDATE uploads SET owner_id = '', filename = NULL, expires_at = TIMESTAMPTZ 'epoch'
    WHERE id = ANY($1) AND created_at > $2 RETURNING id
)
SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM nobodys) AS n";

/// Forgets uploads whose objects are deleted, and notes how many in the job's progress.
///
/// # Errors
/// [`StepError`]; then nothing of the batch was forgotten, unless the outcome is unknown.
pub async fn forget(
    db: &Db,
    job: &Job,
    receipt: &Receipt,
    ids: &[String],
    now: Timestamp,
) -> Result<Option<Receipt>, StepError> {
    let over = earlier(now, SignedDuration::try_from(UPLOAD_LIFE).unwrap_or(UNUSED));
    let pace = Pace::default(); // its size is that of a request to the bucket
    step(
        db,
        job,
        receipt,
        "uploads",
        &pace,
        |transaction, _| async move {
            let params = [
                (&ids as _, Type::TEXT_ARRAY),
                (&over as _, Type::TIMESTAMPTZ),
            ];
            let row = transaction.query_opt(FORGET, &params).await?;
            let count: i64 = row.map_or(0, |row| row.get("n"));
            Ok(if count == 0 {
                Vec::new()
            } else {
                vec![("uploads", count)]
            })
        },
    )
    .await
}

const ENDED: &str = "SELECT id FROM uploads WHERE expires_at <= $1 AND created_at <= $1 ORDER BY expires_at LIMIT $2";

/// Ids of uploads that have ended, a batch of them, whoever owned them: their objects go first,
/// then [`delete_uploads`] their rows.
///
/// # Errors
/// Any [`Error`].
pub async fn ended_uploads(db: &Db, now: Timestamp) -> Result<Vec<String>, Error> {
    let params = [
        (&earlier(now, GRACE) as _, Type::TIMESTAMPTZ),
        (&BATCH as _, Type::INT8),
    ];
    let rows = db.query_idempotent(ENDED, &params).await?;
    Ok(rows.iter().map(|row| row.get("id")).collect())
}

/// Deletes the rows of uploads whose objects are deleted, and says how many.
///
/// # Errors
/// Any [`Error`].
pub async fn delete_uploads(db: &Db, ids: &[String]) -> Result<u64, Error> {
    let sql = "DELETE FROM uploads WHERE id = ANY($1) AND expires_at IS NOT NULL";
    let params = [(&ids as _, Type::TEXT_ARRAY)];
    db.execute_idempotent(sql, &params).await
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_sub(by).unwrap_or(Timestamp::MIN)
}
