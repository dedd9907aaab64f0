//! What the kinds of jobs do. Each goes in steps of one transaction that also writes the job's
//! progress, stops when its time is up, and begins where the last step ended.

use std::time::{Duration, SystemTime};

use chat_store::erasure::{self, Receipt, StepError};
use chat_store::jobs::Job;
use chat_store::{JobKind, OwnerId, anonymous_payload, microseconds};
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

#[derive(Debug, Deserialize)]
struct Payload {
    owner: String,
}

/// Works on `job` until it is done or `until` is near.
pub(crate) async fn work(dsql: &Dsql, job: &Job, until: SystemTime) -> Outcome {
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
    let erased = erase(dsql, job, kind, &owner, &mut receipt, until).await;
    let reason = match erased {
        Ok(true) => return Outcome::Done,
        Err(StepError::LeaseLost) => return Outcome::LeaseLost,
        Ok(false) | Err(StepError::Database(dsql::Error::Deadline { .. })) => {
            "the time was up".to_owned()
        }
        Err(StepError::Database(error)) => error.report(),
    };
    // Attempts are counted from the last step on: a job that gets on is never given up.
    if receipt == begun_with {
        failed(reason)
    } else {
        tracing::info!(job.id = %job.id, "the job {} was interrupted: {reason}", job.id);
        Outcome::Interrupted
    }
}

/// False: the time is up.
async fn erase(
    dsql: &Dsql,
    job: &Job,
    kind: JobKind,
    owner: &OwnerId,
    receipt: &mut Receipt,
    until: SystemTime,
) -> Result<bool, StepError> {
    let db = dsql.until(until);
    loop {
        if dsql.clock().now() + STEP > until {
            return Ok(false);
        }
        let mut more = erasure::erase_chats(&db, job, receipt, owner).await?;
        if more.is_none() && kind == JobKind::EraseUser {
            more = erasure::erase_traces(&db, job, receipt, owner).await?;
        }
        match more {
            Some(sum) => *receipt = sum,
            None => break,
        }
    }
    let kept = anonymous_payload(&job.id, owner).to_string();
    let now = microseconds(dsql.clock().now());
    *receipt = erasure::finish(&db, job, receipt, &kept, now).await?;
    Ok(true)
}
