//! The `maintenance` function: scheduled work, started by schedules whose input says which task.
//! Every task stops before the deadline, and does the rest in its next run; it may run twice at
//! once. What changes rows goes in batches of one transaction.
//!
//! | Variable | |
//! |---|---|
//! | `JOBS_QUEUE_URL`, `JOBS_DLQ_URL` | the queue of `jobs` and its dead-letter queue; without them nothing is relayed |
//! | `HYPERDRIVE_CONFIGS` | logins and their Hyperdrive configurations, `blog=<id>,shop=<id>`; without it no token is written |
//! | `CLOUDFLARE_ACCOUNT_ID`, `CLOUDFLARE_API_TOKEN` | the account of those, and a token of its API that may write them |
//! | `UPLOADS_BUCKET` | the bucket of uploads (see `bucket`); without it none are deleted |
//! | `BLOG_FEED` | a feed or a sitemap of the blog whose posts are indexed; without it none are |
//!
//! Besides these, the variables of `dsql`; `DSQL_ROLE` is `maintenance`.

mod cloudflare;
#[cfg(test)]
mod fuzz;
mod hyperdrive;
mod posts;
mod relay;
mod tasks;
mod uploads;

use std::time::Duration;

use bucket::Bucket;
use dsql::Dsql;
use lambda_runtime::{Diagnostic, LambdaEvent};
use runtime::{BLOG_FEED, HYPERDRIVE_REFRESHED, Metrics, POSTS_INDEXED};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing::Instrument as _;

pub use crate::hyperdrive::{
    CLOUDFLARE_ACCOUNT_ID, CLOUDFLARE_API_TOKEN, CLOUDFLARE_API_URL, HYPERDRIVE_CONFIGS, Hyperdrive,
};
pub use crate::posts::Blog;
pub use crate::relay::{JOBS_DLQ_URL, JOBS_QUEUE_URL, Queue, RelayError};
pub use crate::uploads::UploadsError;

/// Where the platform tells no deadline (direct calls to a function under a local emulator).
const WITHOUT_DEADLINE: Duration = Duration::from_secs(60);

/// What every invocation needs.
#[derive(Debug)]
pub struct App {
    dsql: Dsql,
    queue: Option<Queue>,
    hyperdrive: Option<Hyperdrive>,
    blog: Option<Blog>,
    bucket: Option<Bucket>,
    metrics: Metrics,
}

impl App {
    /// An app on this database, which relays to `queue`, writes tokens into `hyperdrive` and
    /// indexes the posts of `blog`, if they are there.
    pub fn new(
        dsql: Dsql,
        queue: Option<Queue>,
        hyperdrive: Option<Hyperdrive>,
        blog: Option<Blog>,
        metrics: Metrics,
    ) -> Self {
        Self {
            dsql,
            queue,
            hyperdrive,
            blog,
            bucket: None,
            metrics,
        }
    }

    /// With the bucket of uploads, if there is one: those that have ended are deleted from it.
    #[must_use]
    pub fn with_bucket(mut self, bucket: Option<Bucket>) -> Self {
        self.bucket = bucket;
        self
    }
}

/// What a schedule asks for: `{"task": "purge"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Delete what has expired: chats (guests' among them), idempotency keys, rate buckets,
    /// finished jobs, uploads that no message names.
    Purge,
    /// End replies whose function died: their lease has passed.
    Reap,
    /// Fold daily usage of past months into monthly sums.
    RollUpUsage,
    /// Send due jobs to the queue and given-up ones to the dead-letter queue.
    Relay,
    /// Write fresh tokens into the configurations of Cloudflare Hyperdrive.
    RefreshHyperdrive,
    /// Bring the index of the blog's posts up to date.
    IndexPosts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    task: Task,
}

impl Event {
    /// Only an object is one: what derives its reading would take an array of the fields, too.
    fn read(event: Value) -> Result<Self, serde_json::Error> {
        let fields: Map<String, Value> = serde_json::from_value(event)?;
        serde_json::from_value(Value::Object(fields))
    }
}

/// What a run may fail with.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The event names no task.
    #[error(
        "the event is not {{\"task\": \"purge\" | \"reap\" | \"roll-up-usage\" | \"relay\" | \"refresh-hyperdrive\" | \"index-posts\"}}: {0}"
    )]
    UnknownTask(#[from] serde_json::Error),
    /// The relay has no queue.
    #[error("{JOBS_QUEUE_URL} and {JOBS_DLQ_URL} are not set: there is no queue to relay to")]
    NoQueue,
    /// There is nothing to write tokens into.
    #[error("{HYPERDRIVE_CONFIGS} is not set: there is no configuration to write a token into")]
    NoHyperdrive,
    /// There is no blog to index.
    #[error("{BLOG_FEED} is not set: there are no posts to index")]
    NoBlog,
    /// The relay ended early.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// Uploads that have ended are left.
    #[error(transparent)]
    Uploads(#[from] UploadsError),
    /// The database.
    #[error("{}", .0.report())]
    Database(#[from] dsql::Error),
}

impl From<MaintenanceError> for Diagnostic {
    fn from(error: MaintenanceError) -> Self {
        let error_type = match &error {
            MaintenanceError::UnknownTask(_) => "UnknownTask",
            MaintenanceError::NoQueue => "NoQueue",
            MaintenanceError::NoHyperdrive => "NoHyperdrive",
            MaintenanceError::NoBlog => "NoBlog",
            MaintenanceError::Relay(RelayError::Queue(_)) => "Queue",
            MaintenanceError::Uploads(UploadsError::Bucket(_)) => "Bucket",
            MaintenanceError::Relay(RelayError::Database(_))
            | MaintenanceError::Uploads(UploadsError::Database(_))
            | MaintenanceError::Database(_) => "Database",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Runs one task and reports what it did.
///
/// # Errors
/// The event names no task, or the database or the queue failed; what was done before stays.
pub async fn handle(app: &App, event: LambdaEvent<Value>) -> Result<Value, MaintenanceError> {
    let request_id = event.context.request_id.clone();
    let deadline = runtime::known_deadline(event.context.deadline())
        .unwrap_or_else(|| app.dsql.clock().now() + WITHOUT_DEADLINE);
    let span = tracing::info_span!("invocation", requestId = %request_id);
    let report = async {
        let Event { task } = Event::read(event.payload)?;
        let mut report = match task {
            Task::Purge => {
                let mut report = tasks::purge(&app.dsql, deadline).await?;
                if let Some(bucket) = &app.bucket {
                    uploads::purge(&app.dsql, bucket, deadline, &mut report).await?;
                }
                report
            }
            Task::Reap => tasks::reap(&app.dsql, deadline).await?,
            Task::RollUpUsage => tasks::roll_up_usage(&app.dsql, deadline).await?,
            Task::Relay => {
                let queue = app.queue.as_ref().ok_or(MaintenanceError::NoQueue)?;
                relay::run(&app.dsql, queue, deadline).await?
            }
            Task::RefreshHyperdrive => {
                let hyperdrive = app.hyperdrive.as_ref();
                let hyperdrive = hyperdrive.ok_or(MaintenanceError::NoHyperdrive)?;
                let refreshed = hyperdrive.refresh(&app.dsql, deadline).await;
                app.metrics.report_count(
                    app.dsql.clock().now(),
                    &request_id,
                    (HYPERDRIVE_REFRESHED, u64::from(refreshed.is_whole())),
                );
                refreshed.report()
            }
            Task::IndexPosts => {
                let blog = app.blog.as_ref().ok_or(MaintenanceError::NoBlog)?;
                let indexed = posts::index(blog, &app.dsql, deadline).await?;
                app.metrics.report_count(
                    app.dsql.clock().now(),
                    &request_id,
                    (POSTS_INDEXED, u64::from(indexed.is_whole())),
                );
                indexed.report()
            }
        };
        tracing::info!(task = ?task, "{task:?}: {report}");
        if let Some(fields) = report.as_object_mut() {
            fields.insert("requestId".to_owned(), json!(request_id));
        }
        Ok(report)
    }
    .instrument(span)
    .await;
    app.metrics
        .report(app.dsql.clock().now(), &request_id, app.dsql.stats());
    report
}
