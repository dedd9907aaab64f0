//! The relay from the outbox to the queue. A job is first marked as sent and then sent: what is
//! lost in between is sent again later, and what is sent twice is done once, because a job is
//! claimed by its row.

use std::time::{Duration, SystemTime};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Region};
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use chat_store::jobs::{self, Due};
use dsql::Dsql;
use https::Connector;
use runtime::{ConfigError, Lookup};
use serde_json::{Value, json};

use crate::tasks::has_time;

/// Why the relay ended early; what was sent before is recorded.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The queue.
    #[error("the queue did not take the jobs: {0}")]
    Queue(String),
    /// The database.
    #[error("{}", .0.report())]
    Database(#[from] dsql::Error),
}

/// The queue that triggers `jobs`: its URL.
pub const JOBS_QUEUE_URL: &str = "JOBS_QUEUE_URL";
/// Its dead-letter queue: its URL.
pub const JOBS_DLQ_URL: &str = "JOBS_DLQ_URL";
/// Another endpoint of SQS, as the AWS tools name it; for tests.
const AWS_ENDPOINT_URL_SQS: &str = "AWS_ENDPOINT_URL_SQS";
const AWS_REGION: &str = "AWS_REGION";

/// Most entries of one `SendMessageBatch`.
const BATCH: i64 = 10;
/// A job that nobody began is sent again after this.
const RESEND_AFTER: Duration = Duration::from_secs(600);
/// One request to the queue, its retries included.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// The queue and its dead-letter queue.
#[derive(Debug)]
pub struct Queue {
    client: Client,
    jobs: String,
    dead: String,
}

impl Queue {
    /// Reads the URLs; `None` if neither is set.
    ///
    /// # Errors
    /// One of them is missing, or the region is.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Option<Self>, ConfigError> {
        let (jobs, dead) = match (lookup(JOBS_QUEUE_URL), lookup(JOBS_DLQ_URL)) {
            (Some(jobs), Some(dead)) => (jobs, dead),
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(ConfigError::new(JOBS_DLQ_URL, "is not set")),
            (None, Some(_)) => return Err(ConfigError::new(JOBS_QUEUE_URL, "is not set")),
        };
        let region =
            lookup(AWS_REGION).ok_or_else(|| ConfigError::new(AWS_REGION, "is not set"))?;
        let mut config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(EnvironmentVariableCredentialsProvider::new())
            .http_client(Connector::from(https::Client::new()))
            .retry_config(RetryConfig::standard())
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_timeout(SEND_LIMIT)
                    .build(),
            );
        if let Some(endpoint) = lookup(AWS_ENDPOINT_URL_SQS) {
            config = config.endpoint_url(endpoint);
        }
        Ok(Some(Self {
            client: Client::from_conf(config.build()),
            jobs,
            dead,
        }))
    }

    /// Sends up to ten messages and returns the places of those that were not taken, with the
    /// queue's words.
    async fn send(&self, url: &str, bodies: &[Value]) -> Result<Vec<(usize, String)>, RelayError> {
        let entries = bodies.iter().enumerate().map(|(place, body)| {
            SendMessageBatchRequestEntry::builder()
                .id(place.to_string())
                .message_body(body.to_string())
                .build()
                .expect("id and body are set")
        });
        let answer = self
            .client
            .send_message_batch()
            .queue_url(url)
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .map_err(|error| RelayError::Queue(DisplayErrorContext(error).to_string()))?;
        let refused = answer.failed().iter().filter_map(|failed| {
            let words = failed.message().unwrap_or_else(|| failed.code());
            Some((failed.id().parse().ok()?, words.to_owned()))
        });
        Ok(refused.collect())
    }
}

/// Sends what is due, and reports what was given up.
pub(crate) async fn run(
    dsql: &Dsql,
    queue: &Queue,
    deadline: SystemTime,
) -> Result<Value, RelayError> {
    let db = dsql.until(deadline);
    let (mut sent, mut refused, mut dead) = (0_usize, 0_usize, 0_usize);
    let mut complete = true;
    loop {
        if !has_time(dsql, deadline) {
            complete = false;
            break;
        }
        let now = dsql.clock().now();
        let due = jobs::take_due(&db, now, now + RESEND_AFTER, BATCH).await?;
        if due.is_empty() {
            break;
        }
        let bodies: Vec<Value> = due
            .iter()
            .map(|job| json!({"jobId": job.id, "kind": job.kind}))
            .collect();
        let failed = match queue.send(&queue.jobs, &bodies).await {
            Ok(failed) => failed,
            Err(error) => {
                // Whether they were sent is not known; twice is harmless, never would not be.
                jobs::make_due(&db, &ids(&due), dsql.clock().now()).await?;
                return Err(error);
            }
        };
        sent += due.len() - failed.len();
        if !failed.is_empty() {
            refused += failed.len();
            for (_, words) in &failed {
                tracing::warn!("the queue refused a job: {words}");
            }
            let back: Vec<String> = failed
                .iter()
                .filter_map(|(place, _)| due.get(*place).map(|job| job.id.clone()))
                .collect();
            jobs::make_due(&db, &back, dsql.clock().now()).await?;
            break; // the next run tries again: not in a circle
        }
    }
    while has_time(dsql, deadline) {
        let given_up = jobs::failed(&db, BATCH).await?;
        if given_up.is_empty() {
            break;
        }
        let bodies: Vec<Value> = given_up
            .iter()
            .map(|job| json!({"jobId": job.id, "kind": job.kind, "attempts": job.attempts, "reason": job.reason}))
            .collect();
        let failed = queue.send(&queue.dead, &bodies).await?;
        let reported: Vec<String> = given_up
            .iter()
            .enumerate()
            .filter(|(place, _)| !failed.iter().any(|(refused, _)| refused == place))
            .map(|(_, job)| job.id.clone())
            .collect();
        jobs::mark_reported(&db, &reported).await?;
        dead += reported.len();
        if reported.len() < given_up.len() {
            break;
        }
    }
    Ok(
        json!({"task": "relay", "sent": sent, "refused": refused, "deadLettered": dead, "complete": complete}),
    )
}

fn ids(due: &[Due]) -> Vec<String> {
    due.iter().map(|job| job.id.clone()).collect()
}
