//! The `maintenance` function: what time makes necessary, started by schedules whose input says which task. Every task goes
//! in batches of one transaction, stops before the deadline, and does the rest in its next run; it may run twice at once.

mod relay;
mod tasks;

use std::time::Duration;

use api::Metrics;
use dsql::Dsql;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::Instrument as _;

pub use crate::relay::{JOBS_DLQ_URL, JOBS_QUEUE_URL, Queue};

/// Where the platform tells no deadline (direct calls to a function under a local emulator).
const WITHOUT_DEADLINE: Duration = Duration::from_secs(60);

/// What every invocation needs.
#[derive(Debug)]
pub struct App {
    dsql: Dsql,
    queue: Option<Queue>,
    metrics: Metrics,
}

impl App {
    /// An app on this database, which relays to `queue` if there is one.
    pub fn new(dsql: Dsql, queue: Option<Queue>, metrics: Metrics) -> Self {
        Self {
            dsql,
            queue,
            metrics,
        }
    }
}

/// What a schedule asks for: `{"task": "purge"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Delete what has expired: chats (guests' among them), idempotency keys, rate buckets, finished jobs.
    Purge,
    /// End replies whose function died: their lease has passed.
    Reap,
    /// Fold daily usage of past months into monthly sums.
    RollUpUsage,
    /// Send due jobs to the queue and given-up ones to the dead-letter queue.
    Relay,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    task: Task,
}

/// What a run may fail with.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The event names no task.
    #[error(
        "the event is not {{\"task\": \"purge\" | \"reap\" | \"roll-up-usage\" | \"relay\"}}: {0}"
    )]
    UnknownTask(#[from] serde_json::Error),
    /// The relay has no queue.
    #[error("{JOBS_QUEUE_URL} and {JOBS_DLQ_URL} are not set: there is no queue to relay to")]
    NoQueue,
    /// The queue.
    #[error("the queue did not take the jobs: {0}")]
    Queue(String),
    /// The database.
    #[error("{}", .0.report())]
    Database(#[from] dsql::Error),
}

impl From<MaintenanceError> for Diagnostic {
    fn from(error: MaintenanceError) -> Self {
        let error_type = match &error {
            MaintenanceError::UnknownTask(_) => "UnknownTask",
            MaintenanceError::NoQueue => "NoQueue",
            MaintenanceError::Queue(_) => "Queue",
            MaintenanceError::Database(_) => "Database",
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
    let deadline = api::known_deadline(event.context.deadline())
        .unwrap_or_else(|| app.dsql.clock().now() + WITHOUT_DEADLINE);
    let span = tracing::info_span!("invocation", requestId = %request_id);
    let report = async {
        let Event { task } = serde_json::from_value(event.payload)?;
        let mut report = match task {
            Task::Purge => tasks::purge(&app.dsql, deadline).await?,
            Task::Reap => tasks::reap(&app.dsql, deadline).await?,
            Task::RollUpUsage => tasks::roll_up_usage(&app.dsql, deadline).await?,
            Task::Relay => {
                let queue = app.queue.as_ref().ok_or(MaintenanceError::NoQueue)?;
                relay::run(&app.dsql, queue, deadline).await?
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
