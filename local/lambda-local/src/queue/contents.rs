//! Owns the contents of the queues: the messages, and how they change as time passes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use uuid::Uuid;

use super::message::{MAX_BYTES, md5_of, md5_of_attributes};
use super::{NewMessage, QueueError, QueueId, Receive, Received, Sent};
use crate::application::Queue;
use crate::clock;

/// Most messages in flight of one queue, as the service has it.
const MAX_IN_FLIGHT: usize = 120_000;
/// Most messages of one queue: a limit of this store.
const MAX_MESSAGES: usize = 200_000;
/// Most bytes of all messages together: a limit of this store.
const MAX_STORED_BYTES: usize = 256 * 1024 * 1024;
/// Who sends, in every message: credentials are not looked at.
const SENDER_ID: &str = "AROALOCAL:lambda-local";

/// Every queue.
#[derive(Debug)]
pub(super) struct Contents {
    queues: Vec<Messages>,
    stored_bytes: usize,
}

/// One queue.
#[derive(Debug)]
struct Messages {
    settings: Queue,
    created_at: Timestamp,
    /// Oldest first.
    list: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    id: Uuid,
    content: NewMessage,
    sent_at: Timestamp,
    visible_at: Timestamp,
    first_received_at: Option<Timestamp>,
    /// Across all queues.
    receives: u32,
    /// Since it came into this queue.
    receives_here: u32,
    /// Of its last receive.
    receipt: Option<Uuid>,
    /// ARN of the queue that gave it up.
    dead_letter_source: Option<String>,
}

/// What a receive found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) received: Vec<Received>,
    /// When the next message becomes visible.
    pub(super) next: Option<Timestamp>,
    /// Messages went to the dead letters.
    pub(super) has_moved: bool,
}

impl Contents {
    /// Empty queues.
    pub(super) fn new(queues: &[Queue], now: Timestamp) -> Self {
        let queues = queues.iter().map(|settings| Messages {
            settings: settings.clone(),
            created_at: now,
            list: VecDeque::new(),
        });
        Self {
            queues: queues.collect(),
            stored_bytes: 0,
        }
    }

    /// What the template says of each.
    pub(super) fn settings(&self) -> impl Iterator<Item = &Queue> {
        self.queues.iter().map(|queue| &queue.settings)
    }

    pub(super) fn send(
        &mut self,
        queue: QueueId,
        message: NewMessage,
        now: Timestamp,
    ) -> Result<Sent, QueueError> {
        let size_bytes = message.size_bytes();
        if self.stored_bytes + size_bytes > MAX_STORED_BYTES {
            return Err(QueueError::Full("256 MiB is their limit together"));
        }
        let queue = self.queue(queue)?;
        if queue.list.len() >= MAX_MESSAGES {
            return Err(QueueError::Full("200,000 messages is the limit of one"));
        }
        let delay = message.delay.unwrap_or(queue.settings.delay);
        let id = Uuid::new_v4();
        let sent = Sent {
            message_id: id.to_string(),
            md5_of_body: md5_of(&message.body),
            md5_of_attributes: md5_of_attributes(&message.attributes),
        };
        queue.list.push_back(Message {
            id,
            content: message,
            sent_at: now,
            visible_at: clock::after(now, delay),
            first_received_at: None,
            receives: 0,
            receives_here: 0,
            receipt: None,
            dead_letter_source: None,
        });
        self.stored_bytes += size_bytes;
        Ok(sent)
    }

    pub(super) fn delete(
        &mut self,
        queue: QueueId,
        receipt_handle: &str,
    ) -> Result<(), QueueError> {
        let (id, receipt) = parse_handle(receipt_handle)?;
        let list = &mut self.queue(queue)?.list;
        let place = list.iter().position(|message| message.is(id, receipt));
        if let Some(message) = place.and_then(|place| list.remove(place)) {
            self.stored_bytes -= message.size_bytes();
        }
        Ok(())
    }

    pub(super) fn change_visibility(
        &mut self,
        queue: QueueId,
        receipt_handle: &str,
        visibility: Duration,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        let (id, receipt) = parse_handle(receipt_handle)?;
        let list = &mut self.queue(queue)?.list;
        let Some(message) = list.iter_mut().find(|message| message.is(id, receipt)) else {
            return Err(QueueError::InvalidParameter(format!(
                "Value {receipt_handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change."
            )));
        };
        if message.visible_at <= now {
            return Err(QueueError::MessageNotInflight);
        }
        message.visible_at = clock::after(now, visibility);
        Ok(())
    }

    pub(super) fn purge(&mut self, queue: QueueId) -> Result<(), QueueError> {
        let purged = std::mem::take(&mut self.queue(queue)?.list);
        self.stored_bytes -= purged.iter().map(Message::size_bytes).sum::<usize>();
        Ok(())
    }

    pub(super) fn attributes(
        &mut self,
        queue: QueueId,
        now: Timestamp,
    ) -> Result<BTreeMap<&'static str, String>, QueueError> {
        self.expire(queue, now)?;
        Ok(self.queue(queue)?.attributes(now))
    }

    fn queue(&mut self, queue: QueueId) -> Result<&mut Messages, QueueError> {
        self.queues
            .get_mut(queue.place())
            .ok_or(QueueError::QueueDoesNotExist)
    }

    /// Takes what is visible now.
    pub(super) fn receive(
        &mut self,
        queue: QueueId,
        receive: Receive,
        now: Timestamp,
    ) -> Result<Found, QueueError> {
        self.expire(queue, now)?;
        let has_moved = self.give_up(queue, now)?;
        let queue = self.queue(queue)?;
        let visibility = receive
            .visibility
            .unwrap_or(queue.settings.visibility_timeout);
        let in_flight = queue.list.iter().filter(|m| m.is_in_flight(now)).count();
        if in_flight >= MAX_IN_FLIGHT {
            return Err(QueueError::OverLimit(MAX_IN_FLIGHT));
        }
        let received: Vec<Received> = queue
            .list
            .iter_mut()
            .filter(|message| message.visible_at <= now)
            .take(receive.limit)
            .map(|message| message.receive(now, visibility))
            .collect();
        let next = queue.list.iter().map(|message| message.visible_at);
        Ok(Found {
            received,
            next: next.filter(|at| *at > now).min(),
            has_moved,
        })
    }

    /// Drops what is older than the queue keeps messages.
    fn expire(&mut self, queue: QueueId, now: Timestamp) -> Result<(), QueueError> {
        let queue = self.queue(queue)?;
        let retention = queue.settings.retention;
        let mut freed_bytes = 0;
        queue.list.retain(|message| {
            let is_kept = clock::after(message.sent_at, retention) > now;
            if !is_kept {
                freed_bytes += message.size_bytes();
            }
            is_kept
        });
        self.stored_bytes -= freed_bytes;
        Ok(())
    }

    /// Moves what was received too often to the dead letters, as the service does at the next
    /// receive.
    fn give_up(&mut self, queue: QueueId, now: Timestamp) -> Result<bool, QueueError> {
        let source = self.queue(queue)?;
        let Some(redrive) = source.settings.redrive.clone() else {
            return Ok(false);
        };
        let arn = source.settings.arn.clone();
        let is_given_up = |message: &Message| {
            message.visible_at <= now && message.receives_here >= redrive.max_receive_count
        };
        if !source.list.iter().any(is_given_up) {
            return Ok(false);
        }
        let messages = std::mem::take(&mut source.list);
        let (given_up, kept): (VecDeque<_>, _) = messages.into_iter().partition(is_given_up);
        source.list = kept;
        let dead_letters = self
            .queues
            .iter_mut()
            .find(|queue| queue.settings.arn == redrive.dead_letter_arn);
        let Some(dead_letters) = dead_letters else {
            tracing::error!(
                "the dead-letter queue {} is not of this stack: {} messages are dropped",
                redrive.dead_letter_arn,
                given_up.len()
            );
            self.stored_bytes -= given_up.iter().map(Message::size_bytes).sum::<usize>();
            return Ok(false);
        };
        for message in given_up {
            tracing::warn!(message.id = %message.id, "the message {} went to the dead letters after {} receives", message.id, message.receives_here);
            dead_letters.list.push_back(Message {
                receives_here: 0,
                receipt: None,
                visible_at: now,
                dead_letter_source: Some(arn.clone()),
                ..message
            });
        }
        Ok(true)
    }
}

impl Messages {
    fn attributes(&self, now: Timestamp) -> BTreeMap<&'static str, String> {
        let settings = &self.settings;
        let count = |is_it: &dyn Fn(&&Message) -> bool| self.list.iter().filter(is_it).count();
        let is_new = |message: &&Message| message.visible_at > now && message.receipt.is_none();
        let numbers = [
            (
                "ApproximateNumberOfMessages",
                count(&|m| m.visible_at <= now),
            ),
            ("ApproximateNumberOfMessagesDelayed", count(&is_new)),
            (
                "ApproximateNumberOfMessagesNotVisible",
                count(&|m| m.is_in_flight(now)),
            ),
        ];
        let seconds = [
            ("DelaySeconds", settings.delay),
            ("MessageRetentionPeriod", settings.retention),
            ("ReceiveMessageWaitTimeSeconds", Duration::ZERO),
            ("VisibilityTimeout", settings.visibility_timeout),
        ];
        let created_at = self.created_at.as_second().to_string();
        let mut attributes = BTreeMap::from([
            ("CreatedTimestamp", created_at.clone()),
            ("LastModifiedTimestamp", created_at),
            ("MaximumMessageSize", MAX_BYTES.to_string()),
            ("QueueArn", settings.arn.clone()),
            ("SqsManagedSseEnabled", "true".to_owned()),
        ]);
        attributes.extend(numbers.map(|(name, number)| (name, number.to_string())));
        attributes.extend(seconds.map(|(name, time)| (name, time.as_secs().to_string())));
        if let Some(redrive) = &settings.redrive {
            let policy = serde_json::json!({
                "deadLetterTargetArn": redrive.dead_letter_arn,
                "maxReceiveCount": redrive.max_receive_count,
            });
            attributes.insert("RedrivePolicy", policy.to_string());
        }
        attributes
    }
}

impl Message {
    /// Whether a handle names it, and is of its last receive.
    fn is(&self, id: Uuid, receipt: Uuid) -> bool {
        self.id == id && self.receipt == Some(receipt)
    }

    fn size_bytes(&self) -> usize {
        self.content.size_bytes()
    }

    fn is_in_flight(&self, now: Timestamp) -> bool {
        self.visible_at > now && self.receipt.is_some()
    }

    fn receive(&mut self, now: Timestamp, visibility: Duration) -> Received {
        let receipt = Uuid::new_v4();
        self.receipt = Some(receipt);
        self.visible_at = clock::after(now, visibility);
        self.receives += 1;
        self.receives_here += 1;
        let first = *self.first_received_at.get_or_insert(now);
        let mut system_attributes = BTreeMap::from([
            (
                "ApproximateFirstReceiveTimestamp",
                first.as_millisecond().to_string(),
            ),
            ("ApproximateReceiveCount", self.receives.to_string()),
            ("SenderId", SENDER_ID.to_owned()),
            ("SentTimestamp", self.sent_at.as_millisecond().to_string()),
        ]);
        let optional = [
            ("AWSTraceHeader", &self.content.trace_header),
            ("DeadLetterQueueSourceArn", &self.dead_letter_source),
            ("MessageGroupId", &self.content.group_id),
        ];
        for (name, value) in optional {
            system_attributes.extend(value.clone().map(|value| (name, value)));
        }
        Received {
            message_id: self.id.to_string(),
            receipt_handle: STANDARD.encode(format!("{} {receipt}", self.id)),
            body: self.content.body.clone(),
            attributes: self.content.attributes.clone(),
            system_attributes,
            visible_at: self.visible_at,
        }
    }
}

fn parse_handle(handle: &str) -> Result<(Uuid, Uuid), QueueError> {
    let read = || {
        let text = String::from_utf8(STANDARD.decode(handle).ok()?).ok()?;
        let (id, receipt) = text.split_once(' ')?;
        Some((id.parse().ok()?, receipt.parse().ok()?))
    };
    read().ok_or_else(|| QueueError::ReceiptHandleIsInvalid(handle.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Queues;

    #[test]
    fn the_store_is_full_at_256_mib_until_something_is_deleted() {
        let settings = Queue {
            logical_id: "Jobs".to_owned(),
            name: "jobs".to_owned(),
            arn: "arn:aws:sqs:eu-central-1:111122223333:jobs".to_owned(),
            visibility_timeout: Duration::from_secs(30),
            retention: Duration::from_secs(60),
            delay: Duration::ZERO,
            redrive: None,
        };
        let now = Timestamp::UNIX_EPOCH;
        let mut contents = Contents::new(std::slice::from_ref(&settings), now);
        let jobs = Queues::new(&[settings], clock::Clock::wall()).by_name("jobs");
        let jobs = jobs.unwrap();
        contents.stored_bytes = MAX_STORED_BYTES - 3;
        contents.send(jobs, NewMessage::new("abc"), now).unwrap();
        let full = contents.send(jobs, NewMessage::new("d"), now);
        assert!(matches!(full, Err(QueueError::Full(_))), "{full:?}");
        let receive = Receive {
            limit: 1,
            visibility: None,
            wait: Duration::ZERO,
        };
        let found = contents.receive(jobs, receive, now).unwrap();
        let handle = &found.received[0].receipt_handle;
        contents.delete(jobs, handle).unwrap();
        contents.send(jobs, NewMessage::new("d"), now).unwrap();
    }
}
