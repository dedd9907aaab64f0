//! The `jobs` function: processes the jobs that the queue names. A message carries a job's id and
//! nothing else; what to do and how far it came is in the job's row, so a message may come twice,
//! late, or after its job is done. A message that cannot be taken goes back to the queue alone; a
//! job that fails goes back to its row, and after its last attempt to the dead-letter queue. Called
//! directly, it processes one job (`{"jobId": …}`) or all that are due (`{"run": "due"}`).

mod event;
#[cfg(test)]
mod fuzz;
#[cfg(feature = "titles")]
mod titles;
mod work;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use bucket::Bucket;
use chat_store::JobKind;
use chat_store::jobs::{self, Claim, Job, MAX_JOB_ATTEMPTS};
use dsql::{Db, Dsql};
use futures_util::FutureExt as _;
use lambda_runtime::{Diagnostic, LambdaEvent};
use runtime::Metrics;
use serde_json::{Value, json};
use tracing::Instrument as _;

use crate::event::Event;
use crate::work::{Outcome, work};

/// Kept back before Lambda's deadline, to write down how far a job came.
const TIME_TO_STOP: Duration = Duration::from_secs(5);
/// A job is not begun with less time than this.
const TIME_TO_START: Duration = Duration::from_secs(5);
/// A lease outlives the invocation by this, so that nobody takes a job from a worker that may still
/// write.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// Where the platform tells no deadline (direct calls to a function under a local emulator).
const WITHOUT_DEADLINE: Duration = Duration::from_secs(60);
/// The first wait before a failed job is tried again; it doubles with each attempt.
const FIRST_RETRY: Duration = Duration::from_secs(30);

/// What every invocation needs.
#[derive(Debug)]
pub struct App {
    dsql: Dsql,
    metrics: Metrics,
    bucket: Option<Bucket>,
    #[cfg(feature = "titles")]
    titles: Option<titles::TitleModel>,
}

impl App {
    /// An app on this database that reports these metrics.
    pub fn new(dsql: Dsql, metrics: Metrics) -> Self {
        Self {
            dsql,
            metrics,
            bucket: None,
            #[cfg(feature = "titles")]
            titles: None,
        }
    }

    /// With the bucket of uploads, if there is one.
    #[must_use]
    pub fn with_bucket(mut self, bucket: Option<Bucket>) -> Self {
        self.bucket = bucket;
        self
    }

    /// With a model that makes titles, and what it may cost from the configuration; without one
    /// chats keep their first line.
    ///
    /// # Errors
    /// When a variable is wrong; the error names it.
    #[cfg(feature = "titles")]
    pub fn with_titles(
        mut self,
        provider: model::Provider,
        lookup: runtime::Lookup<'_>,
    ) -> Result<Self, runtime::ConfigError> {
        self.titles = Some(titles::TitleModel {
            provider,
            pseudonyms: runtime::Pseudonyms::from_lookup(lookup)?,
            tokens_per_day: runtime::tokens_per_day_all(lookup)?,
        });
        Ok(self)
    }

    async fn work(&self, job: &Job, request_id: &str, until: SystemTime) -> Outcome {
        if job.kind == JobKind::Title.as_str() {
            return self.title(job, request_id, until).await;
        }
        work(&self.dsql, self.bucket.as_ref(), job, until).await
    }

    #[cfg(feature = "titles")]
    async fn title(&self, job: &Job, request_id: &str, until: SystemTime) -> Outcome {
        let titles = titles::Titles {
            dsql: &self.dsql,
            model: self.titles.as_ref(),
            metrics: &self.metrics,
            request_id,
        };
        titles.work(job, until).await
    }

    #[cfg(not(feature = "titles"))]
    #[expect(
        clippy::unused_async,
        reason = "the other build of it waits for a model"
    )]
    async fn title(&self, _: &Job, _: &str, _: SystemTime) -> Outcome {
        Outcome::Poisoned("this build makes no titles".to_owned())
    }
}

/// What an invocation may fail with. A failing message of a batch is no failure of the invocation.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// The event is not one that this function knows.
    #[error(
        "the event is neither a batch of the queue (\"Records\"), nor {{\"jobId\": …}}, nor {{\"run\": \"due\"}}: {0}"
    )]
    UnknownEvent(String),
    /// A job that was asked for directly was not taken.
    #[error("{0}")]
    NotTaken(String),
}

impl From<JobsError> for Diagnostic {
    fn from(error: JobsError) -> Self {
        let error_type = match &error {
            JobsError::UnknownEvent(_) => "UnknownEvent",
            JobsError::NotTaken(_) => "NotTaken",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Why a message goes back to the queue.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the message is not {{\"jobId\": …}}: {0}")]
    Malformed(String),
    #[error("there is no job {0}")]
    Unknown(String),
    #[error("{}", .0.report())]
    Database(#[from] dsql::Error),
    #[error("a panic, see the log")]
    Panic,
}

/// Processes one batch, and answers which messages the queue shall deliver again.
///
/// # Errors
/// The event is unknown, or a job that was asked for directly was not taken.
pub async fn handle(app: &App, event: LambdaEvent<Value>) -> Result<Value, JobsError> {
    let request_id = event.context.request_id.clone();
    let span = tracing::info_span!("invocation", requestId = %request_id);
    let deadline = runtime::known_deadline(event.context.deadline())
        .unwrap_or_else(|| app.dsql.clock().now() + WITHOUT_DEADLINE);
    let run = Run {
        app,
        request_id: &request_id,
        deadline,
    };
    let answer = run.answer(event.payload).instrument(span).await;
    app.metrics
        .report(app.dsql.clock().now(), &request_id, app.dsql.stats());
    answer
}

/// One invocation.
struct Run<'a> {
    app: &'a App,
    request_id: &'a str,
    deadline: SystemTime,
}

impl Run<'_> {
    async fn answer(&self, event: Value) -> Result<Value, JobsError> {
        let not_taken = |refusal: Refusal| JobsError::NotTaken(refusal.to_string());
        let messages = match event::read(event).map_err(JobsError::UnknownEvent)? {
            Event::Batch(messages) => messages,
            Event::Job(id) => {
                let outcome = self.one(id).await.map_err(not_taken)?;
                return Ok(json!({"outcome": outcome}));
            }
            Event::Due => return self.due().await.map_err(not_taken),
        };
        let mut failures = Vec::new();
        for event::Delivered { id, body } in messages {
            // Each alone: a panic must not take the batch with it.
            let taken = AssertUnwindSafe(self.delivered(&body)).catch_unwind().await;
            match taken.unwrap_or(Err(Refusal::Panic)) {
                Ok(_) => {}
                Err(refusal) => {
                    tracing::error!(message.id = %id, "the message {id} goes back to the queue: {refusal}");
                    // Without an id the queue delivers the whole batch again, which is right:
                    // nothing else names it.
                    failures.push(json!({"itemIdentifier": id}));
                }
            }
        }
        Ok(json!({"batchItemFailures": failures}))
    }

    /// Processes what is due without a queue, one job after the other, as long as there is time.
    async fn due(&self) -> Result<Value, Refusal> {
        let (app, deadline) = (self.app, self.deadline);
        let mut outcomes = Vec::new();
        loop {
            let now = app.dsql.clock().now();
            if now + TIME_TO_START + TIME_TO_STOP > deadline {
                break;
            }
            let taken = jobs::take_due(&app.dsql.until(deadline), now, now, 1).await?;
            let Some(job) = taken.into_iter().next() else {
                break;
            };
            let outcome = self.one(job.id).await?;
            outcomes.push(outcome);
        }
        Ok(json!({"outcomes": outcomes}))
    }

    async fn delivered(&self, body: &str) -> Result<&'static str, Refusal> {
        let id = event::named(body).map_err(Refusal::Malformed)?;
        self.one(id).await
    }

    /// Takes one message: claims its job, works on it, and writes down how that ended.
    async fn one(&self, id: String) -> Result<&'static str, Refusal> {
        let (app, deadline) = (self.app, self.deadline);
        let clock = app.dsql.clock();
        let until = deadline.checked_sub(TIME_TO_STOP).unwrap_or(deadline);
        let db = app.dsql.until(deadline);
        if clock.now() + TIME_TO_START > until {
            // Not begun: due again at once, without having failed.
            jobs::make_due(&db, &[id], clock.now()).await?;
            return Ok("postponed");
        }
        let job = match jobs::claim(&db, &id, clock.now(), deadline + LEASE_MARGIN).await? {
            Claim::Job(job) => job,
            Claim::GivenUp { kind } => {
                tracing::error!(job.id = %id, job.kind = %kind, "the job {id} is given up: it killed every worker that took it");
                return Ok("given up");
            }
            Claim::Over => return Ok("over"),
            Claim::Busy => return Ok("busy"),
            Claim::Unknown => return Err(Refusal::Unknown(id)),
        };
        let outcome = AssertUnwindSafe(app.work(&job, self.request_id, until))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Outcome::Failed("a panic, see the log".to_owned()));
        end(&db, &job, outcome, clock.now()).await
    }
}

async fn end(
    db: &Db,
    job: &Job,
    outcome: Outcome,
    now: SystemTime,
) -> Result<&'static str, Refusal> {
    let (id, kind, attempts) = (&job.id, &job.kind, job.attempts);
    match outcome {
        Outcome::Done => {
            tracing::info!(job.id = %id, job.kind = %kind, "the job {id} is done");
            Ok("done")
        }
        Outcome::Interrupted => {
            tracing::info!(job.id = %id, job.kind = %kind, "the job {id} goes on in the next invocation");
            jobs::give_back(db, job, now).await?;
            Ok("continued")
        }
        Outcome::LeaseLost => {
            tracing::warn!(job.id = %id, job.kind = %kind, "another worker has the job {id}");
            Ok("busy")
        }
        Outcome::Failed(reason) if attempts < MAX_JOB_ATTEMPTS => {
            tracing::warn!(job.id = %id, job.kind = %kind, attempts, "the job {id} failed and is tried again: {reason}");
            let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0);
            jobs::retry_later(db, job, now + FIRST_RETRY * 2_u32.pow(doublings.min(10))).await?;
            Ok("retried")
        }
        Outcome::Failed(reason) | Outcome::Poisoned(reason) => {
            tracing::error!(job.id = %id, job.kind = %kind, attempts, "the job {id} is given up: {reason}");
            jobs::give_up(db, job, &reason).await?;
            Ok("given up")
        }
    }
}
