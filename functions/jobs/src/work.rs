//! What the kinds of jobs do. Each goes in steps of one transaction that also writes the job's
//! progress, stops when its time is up, and begins where the last step ended.

use std::time::{Duration, SystemTime};

use bucket::{Bucket, BucketError};
use chat_store::erasure::{self, Pace, Receipt, StepError};
use chat_store::jobs::{self, Job};
use chat_store::{JobKind, OwnerId, microseconds, uploads};
use dsql::Dsql;
use serde::Deserialize;

/// Longest reason that is kept, in characters.
const REASON_CHARS: usize = 500;
/// A step is not begun with less time than this.
const STEP: Duration = Duration::from_secs(2);

/// How a run of a job ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All is done, and written down.
    Done,
    /// It came further before its time was up, or the database refused a step for now; the next run
    /// goes on.
    Interrupted,
    /// Somebody else has the job.
    LeaseLost,
    /// It may succeed another time.
    Failed(String),
    /// It never will.
    Poisoned(String),
}

/// A failure with its reason, which may succeed another time.
pub(crate) fn failed(reason: impl Into<String>) -> Outcome {
    Outcome::Failed(reason.into().chars().take(REASON_CHARS).collect())
}

/// Why an erasure does not get on.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("the objects of uploads are not deleted: {0}")]
    Bucket(BucketError),
    #[error("there are uploads, and UPLOADS_BUCKET is not set: their objects cannot be deleted")]
    NoBucket,
}

impl From<dsql::Error> for Stopped {
    fn from(error: dsql::Error) -> Self {
        Self::Step(error.into())
    }
}

#[derive(Debug, Deserialize)]
struct Payload {
    owner: String,
}

/// Works on `job` until it is done or `until` is near.
pub(crate) async fn work(
    dsql: &Dsql,
    bucket: Option<&Bucket>,
    job: &Job,
    until: SystemTime,
) -> Outcome {
    let kind = match job.kind.as_str() {
        kind if kind == JobKind::EraseUser.as_str() => JobKind::EraseUser,
        kind if kind == JobKind::DeleteAllChats.as_str() => JobKind::DeleteAllChats,
        other => return Outcome::Poisoned(format!("unknown kind {other:?}")),
    };
    // The payload names a person: what is wrong with it is told without it.
    let payload = serde_json::from_str(&job.payload);
    let Some(owner) = payload
        .ok()
        .and_then(|Payload { owner }| OwnerId::parse(&owner).ok())
    else {
        return Outcome::Poisoned("the payload has no \"owner\"".to_owned());
    };
    let begun_with = Receipt::of(job);
    let mut receipt = begun_with.clone();
    let erasure = Erasure {
        dsql,
        bucket,
        job,
        kind,
        owner: &owner,
        until,
    };
    let erased = erasure.run(&mut receipt).await;
    let reason = match erased {
        Ok(true) => return Outcome::Done,
        Err(Stopped::Step(StepError::LeaseLost)) => return Outcome::LeaseLost,
        Ok(false) | Err(Stopped::Step(StepError::Database(dsql::Error::Deadline { .. }))) => {
            "the time was up".to_owned()
        }
        Err(Stopped::Step(StepError::Database(error))) => error.report(),
        Err(error) => error.to_string(),
    };
    // Attempts are counted from the last step on: a job that gets on is never given up.
    if receipt == begun_with {
        failed(reason)
    } else {
        tracing::info!(job.id = %job.id, "the job {} was interrupted: {reason}", job.id);
        Outcome::Interrupted
    }
}

/// What is erased, with what, and until when.
struct Erasure<'a> {
    dsql: &'a Dsql,
    bucket: Option<&'a Bucket>,
    job: &'a Job,
    kind: JobKind,
    owner: &'a OwnerId,
    until: SystemTime,
}

impl Erasure<'_> {
    /// False: the time is up.
    async fn run(&self, receipt: &mut Receipt) -> Result<bool, Stopped> {
        let (db, job, owner) = (self.dsql.until(self.until), self.job, self.owner);
        let pace = Pace::default();
        loop {
            if self.dsql.clock().now() + STEP > self.until {
                return Ok(false);
            }
            let mut more = erasure::erase_chats(&db, job, receipt, owner, &pace).await?;
            if more.is_none() {
                more = self.erase_uploads(receipt).await?;
            }
            if more.is_none() && self.kind == JobKind::EraseUser {
                more = erasure::erase_traces(&db, job, receipt, owner, &pace).await?;
            }
            match more {
                Some(sum) => *receipt = sum,
                None => break,
            }
        }
        let kept = jobs::anonymous_payload(&job.id, owner).to_string();
        let now = microseconds(self.dsql.clock().now());
        *receipt = erasure::finish(&db, job, receipt, &kept, now).await?;
        Ok(true)
    }

    /// A batch of uploads: the objects, then the rows that lead to them. `None` when none is left.
    async fn erase_uploads(&self, receipt: &Receipt) -> Result<Option<Receipt>, Stopped> {
        let db = self.dsql.until(self.until);
        let ids = uploads::doomed(&db, self.job, self.kind, self.owner).await?;
        if ids.is_empty() {
            return Ok(None);
        }
        let bucket = self.bucket.ok_or(Stopped::NoBucket)?;
        let now = self.dsql.clock().now();
        let left = self.until.duration_since(now).unwrap_or_default();
        let deleted = bucket.delete(&ids, left, now).await;
        deleted.map_err(Stopped::Bucket)?;
        let now = microseconds(self.dsql.clock().now());
        Ok(uploads::forget(&db, self.job, receipt, &ids, now).await?)
    }
}
