//! Owns what Lambda's event source mapping does: receives messages in batches, invokes the function
//! with them, and deletes those that it took. A message that failed is left alone and becomes
//! visible after its visibility timeout.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{AttributeValue, QueueId, Queues, Receive, Received};
use crate::application::{Application, QueueSource};
use crate::clock;
use crate::invoker::{InvokeError, Invoker};

/// Batches at once where the template gives no `MaximumConcurrency`: what Lambda begins with.
const DEFAULT_CONCURRENCY: usize = 5;
/// Most messages of one receive, as for every client of the service.
const RECEIVE_LIMIT: usize = 10;
/// Bodies of one batch; Lambda's limit of an event is 6 MB, and JSON makes them larger.
const MAX_BATCH_BYTES: usize = 5 * 1024 * 1024;
/// A poller looks again after this, whatever happens.
const POLL: Duration = Duration::from_secs(20);
/// First and longest wait before an invocation that found no container is tried again.
const THROTTLED_WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The running event sources; dropping it ends them and what they invoked.
#[derive(Debug)]
pub struct EventSources {
    _tasks: JoinSet<()>,
}

/// Why event sources do not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The queue of an event is not of this stack.
    #[error(
        "the event {event} of {function} names the queue {queue_arn}, which the template does not have"
    )]
    UnknownQueue {
        /// Logical id of the function.
        function: String,
        /// Key of the event.
        event: String,
        /// What it names.
        queue_arn: String,
    },
}

impl EventSources {
    /// Starts every enabled `SQS` event of the application.
    ///
    /// # Errors
    /// An event names a queue that the store does not have.
    pub fn start(
        application: &Application,
        queues: &Queues,
        invoker: &Invoker,
    ) -> Result<Self, SourceError> {
        let mut tasks = JoinSet::new();
        for function in &application.functions {
            for settings in function.queue_sources.iter().filter(|s| s.is_enabled) {
                let queue = queues.by_arn(&settings.queue_arn);
                let queue = queue.ok_or_else(|| SourceError::UnknownQueue {
                    function: function.logical_id.clone(),
                    event: settings.name.clone(),
                    queue_arn: settings.queue_arn.clone(),
                })?;
                let source = Arc::new(Source {
                    settings: settings.clone(),
                    function_arn: function.arn.clone(),
                    queue,
                    queues: queues.clone(),
                    invoker: invoker.clone(),
                });
                tasks.spawn(source.run());
            }
        }
        Ok(Self { _tasks: tasks })
    }
}

/// One event source mapping.
struct Source {
    settings: QueueSource,
    function_arn: String,
    queue: QueueId,
    queues: Queues,
    invoker: Invoker,
}

impl Source {
    async fn run(self: Arc<Self>) {
        let concurrency = self.settings.maximum_concurrency;
        let slots = Arc::new(Semaphore::new(concurrency.unwrap_or(DEFAULT_CONCURRENCY)));
        let mut batches = JoinSet::new();
        loop {
            // Before the receive: a message waits in the queue, not in a batch that nobody works
            // on.
            let slot = Arc::clone(&slots).acquire_owned().await;
            let slot = slot.expect("nobody closes the semaphore");
            let batch = self.collect().await;
            while batches.try_join_next().is_some() {}
            if batch.is_empty() {
                continue;
            }
            let source = Arc::clone(&self);
            batches.spawn(async move {
                source.deliver(batch).await;
                drop(slot);
            });
        }
    }

    /// Receives a batch: what is there with the first message, and what comes within the window.
    async fn collect(&self) -> Vec<Received> {
        let clock = self.queues.clock();
        let mut batch: Vec<Received> = Vec::new();
        let mut size_bytes = 0;
        let mut window_end = None;
        while batch.len() < self.settings.batch_size && size_bytes < MAX_BATCH_BYTES {
            let wait = match window_end {
                None => POLL,
                Some(end) => {
                    Duration::try_from(clock.now().duration_until(end)).unwrap_or_default()
                }
            };
            let receive = Receive {
                limit: RECEIVE_LIMIT.min(self.settings.batch_size - batch.len()),
                visibility: None,
                wait,
            };
            let received = match self.queues.receive(self.queue, receive).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!("the event source of {} waits: {error}", self.function_arn);
                    clock.sleep_until(clock::after(clock.now(), POLL)).await;
                    continue;
                }
            };
            if received.is_empty() {
                break;
            }
            window_end.get_or_insert(clock::after(clock.now(), self.settings.batching_window));
            size_bytes += received.iter().map(Received::size_bytes).sum::<usize>();
            batch.extend(received);
        }
        batch
    }

    async fn deliver(&self, batch: Vec<Received>) {
        let function = &self.function_arn;
        let event = Bytes::from(self.event(&batch).to_string());
        let failed = match self.invoke(event, &batch).await {
            Ok(answer) if self.settings.reports_item_failures => failed_items(&answer, &batch)
                .unwrap_or_else(|problem| {
                    tracing::error!(
                        "a batch of {} messages failed: {function} {problem}",
                        batch.len()
                    );
                    batch.iter().map(|m| m.message_id.as_str()).collect()
                }),
            Ok(_) => HashSet::new(),
            Err(error) => {
                tracing::warn!(
                    "a batch of {} messages failed: {function}: {error}",
                    batch.len()
                );
                return;
            }
        };
        for message in &batch {
            if failed.contains(message.message_id.as_str()) {
                continue;
            }
            if let Err(error) = self.queues.delete(self.queue, &message.receipt_handle) {
                tracing::error!(message.id = %message.message_id, "the message {} stays: {error}", message.message_id);
            }
        }
    }

    /// Invokes the function; without a free container again, until a message of the batch becomes
    /// visible.
    async fn invoke(&self, event: Bytes, batch: &[Received]) -> Result<Bytes, InvokeError> {
        let clock = self.queues.clock();
        let until = batch.iter().map(|message| message.visible_at).min();
        let (mut wait, longest) = THROTTLED_WAITS;
        loop {
            let outcome = self.invoker.invoke(&self.function_arn, event.clone()).await;
            let again_at = clock::after(clock.now(), wait);
            if outcome != Err(InvokeError::Throttled) || until.is_none_or(|until| again_at >= until)
            {
                return outcome;
            }
            clock.sleep_until(again_at).await;
            wait = (wait * 2).min(longest);
        }
    }

    /// The event as Lambda builds it.
    fn event(&self, batch: &[Received]) -> Value {
        let arn = &self.settings.queue_arn;
        let region = arn.split(':').nth(3).unwrap_or_default();
        let records = batch.iter().map(|message| {
            let mut record = json!({
                "messageId": message.message_id,
                "receiptHandle": message.receipt_handle,
                "body": message.body,
                "attributes": message.system_attributes,
                "messageAttributes": event_attributes(message),
                "md5OfBody": message.md5_of_body(),
                "eventSource": "aws:sqs",
                "eventSourceARN": arn,
                "awsRegion": region,
            });
            let md5 = super::message::md5_of_attributes(&message.attributes);
            if let (Some(md5), Value::Object(record)) = (md5, &mut record) {
                record.insert("md5OfMessageAttributes".to_owned(), md5.into());
            }
            record
        });
        json!({"Records": records.collect::<Vec<_>>()})
    }
}

/// Attributes as an event spells them: not as the API does.
fn event_attributes(message: &Received) -> Value {
    let attributes = message.attributes.iter().map(|(name, attribute)| {
        let (key, value) = match &attribute.value {
            AttributeValue::Text(text) => ("stringValue", text.clone()),
            AttributeValue::Binary(bytes) => ("binaryValue", STANDARD.encode(bytes)),
        };
        let fields = json!({
            key: value,
            "stringListValues": [],
            "binaryListValues": [],
            "dataType": attribute.data_type,
        });
        (name.clone(), fields)
    });
    Value::Object(attributes.collect::<Map<_, _>>())
}

/// Reads which items of a batch failed, as Lambda does under `ReportBatchItemFailures`. Nothing,
/// `null`, no list and an empty list say that none did; a problem is a reason to take the whole
/// batch for failed.
fn failed_items<'a>(
    answer: &[u8],
    batch: &'a [Received],
) -> Result<HashSet<&'a str>, &'static str> {
    if answer.trim_ascii().is_empty() {
        return Ok(HashSet::new());
    }
    let answer: Value = serde_json::from_slice(answer).map_err(|_| "answered no JSON")?;
    let failures = match &answer {
        Value::Null => return Ok(HashSet::new()),
        Value::Object(fields) => match fields.get("batchItemFailures") {
            None | Some(Value::Null) => return Ok(HashSet::new()),
            Some(Value::Array(failures)) => failures,
            Some(_) => return Err("answered batchItemFailures that are no list"),
        },
        _ => return Err("answered no object"),
    };
    let failed = failures.iter().map(|failure| {
        let id = failure.get("itemIdentifier").and_then(Value::as_str);
        let id = id.filter(|id| !id.is_empty());
        let id = id.ok_or("answered a failure without itemIdentifier")?;
        let message = batch.iter().find(|message| message.message_id == id);
        let message = message.ok_or("answered an itemIdentifier that is not in the batch")?;
        Ok(message.message_id.as_str())
    });
    failed.collect()
}
