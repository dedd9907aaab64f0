//! Owns what requests carry, as the JSON protocol of SQS spells it, and the rules of batches.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::message::MAX_BYTES;
use super::{AttributeValue, MessageAttribute, NewMessage, QueueError, Received};

/// Most entries of a batch.
const MAX_ENTRIES: usize = 10;
/// Longest id of an entry.
const MAX_ID_CHARS: usize = 80;

/// An attribute on the wire, in both directions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireAttribute {
    #[serde(default)]
    data_type: String,
    string_value: Option<String>,
    binary_value: Option<String>,
}

/// `SendMessage`, and an entry of its batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SendEntry {
    #[serde(default)]
    id: String,
    #[serde(default)]
    message_body: String,
    delay_seconds: Option<i64>,
    #[serde(default)]
    message_attributes: BTreeMap<String, WireAttribute>,
    #[serde(default)]
    message_system_attributes: BTreeMap<String, WireAttribute>,
    message_group_id: Option<String>,
    message_deduplication_id: Option<String>,
}

impl SendEntry {
    pub(crate) fn into_message(self) -> Result<NewMessage, QueueError> {
        if self.message_deduplication_id.is_some() {
            return Err(QueueError::InvalidParameter(
                "The request include parameter that is not valid for this queue type: MessageDeduplicationId."
                    .to_owned(),
            ));
        }
        let mut trace_header = None;
        for (name, attribute) in self.message_system_attributes {
            if name != "AWSTraceHeader" {
                return Err(QueueError::InvalidParameter(format!(
                    "The message system attribute '{name}' is not known: only AWSTraceHeader is."
                )));
            }
            trace_header = attribute.string_value;
        }
        let attributes = self.message_attributes.into_iter().map(|(name, wire)| {
            let attribute = wire.read(&name)?;
            Ok((name, attribute))
        });
        Ok(NewMessage {
            attributes: attributes.collect::<Result<_, QueueError>>()?,
            body: self.message_body,
            trace_header,
            group_id: self.message_group_id,
            delay: self
                .delay_seconds
                .map(|seconds| duration("DelaySeconds", seconds))
                .transpose()?,
        })
    }
}

impl WireAttribute {
    fn read(self, name: &str) -> Result<MessageAttribute, QueueError> {
        let invalid = |reason: &str| {
            QueueError::InvalidParameter(format!(
                "The message attribute '{name}' is invalid: {reason}"
            ))
        };
        let value = match (self.string_value, self.binary_value) {
            (Some(text), None) => AttributeValue::Text(text),
            (None, Some(base64)) => {
                let bytes = STANDARD.decode(base64);
                let bytes = bytes.map_err(|_| invalid("its BinaryValue is not base64."))?;
                AttributeValue::Binary(Bytes::from(bytes))
            }
            _ => return Err(invalid("it must have one of StringValue and BinaryValue.")),
        };
        Ok(MessageAttribute {
            data_type: self.data_type,
            value,
        })
    }
}

/// `DeleteMessage` and `ChangeMessageVisibility`, and an entry of their batches.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReceiptEntry {
    #[serde(default)]
    id: String,
    receipt_handle: Option<String>,
    visibility_timeout: Option<i64>,
}

impl ReceiptEntry {
    pub(crate) fn receipt_handle(&self) -> Result<&str, QueueError> {
        self.receipt_handle
            .as_deref()
            .ok_or(QueueError::MissingParameter("ReceiptHandle"))
    }

    pub(crate) fn visibility(&self) -> Result<Duration, QueueError> {
        let seconds = self
            .visibility_timeout
            .ok_or(QueueError::MissingParameter("VisibilityTimeout"))?;
        duration("VisibilityTimeout", seconds)
    }
}

/// `ReceiveMessage`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReceiveRequest {
    pub(crate) max_number_of_messages: Option<i64>,
    pub(crate) visibility_timeout: Option<i64>,
    pub(crate) wait_time_seconds: Option<i64>,
    /// The name of `message_system_attribute_names` before 2024.
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
}

impl ReceiveRequest {
    /// A message with the attributes that were asked for.
    pub(crate) fn answer(&self, message: &Received) -> Value {
        let mut answer = json!({
            "MessageId": message.message_id,
            "ReceiptHandle": message.receipt_handle,
            "MD5OfBody": message.md5_of_body(),
            "Body": message.body,
        });
        let wanted = [&self.attribute_names, &self.message_system_attribute_names];
        let is_wanted = |name: &str| {
            let mut names = wanted.into_iter().flatten();
            names.any(|wanted| wanted == "All" || wanted == name)
        };
        let system: Map<String, Value> = message
            .system_attributes
            .iter()
            .filter(|(name, _)| is_wanted(name))
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let attributes: BTreeMap<String, MessageAttribute> = message
            .attributes
            .iter()
            .filter(|(name, _)| self.wants(name))
            .map(|(name, attribute)| (name.clone(), attribute.clone()))
            .collect();
        let Value::Object(fields) = &mut answer else {
            return answer;
        };
        if !system.is_empty() {
            fields.insert("Attributes".to_owned(), system.into());
        }
        if let Some(md5) = super::message::md5_of_attributes(&attributes) {
            fields.insert("MD5OfMessageAttributes".to_owned(), md5.into());
            fields.insert("MessageAttributes".to_owned(), wire(&attributes));
        }
        answer
    }

    /// By name, `All`, `.*`, or the beginning of a name before `.*`.
    fn wants(&self, name: &str) -> bool {
        self.message_attribute_names.iter().any(|wanted| {
            wanted == "All"
                || wanted == name
                || wanted
                    .strip_suffix(".*")
                    .is_some_and(|prefix| name.starts_with(prefix))
        })
    }
}

fn wire(attributes: &BTreeMap<String, MessageAttribute>) -> Value {
    let attributes = attributes.iter().map(|(name, attribute)| {
        let (key, value) = match &attribute.value {
            AttributeValue::Text(text) => ("StringValue", text.clone()),
            AttributeValue::Binary(bytes) => ("BinaryValue", STANDARD.encode(bytes)),
        };
        let fields = json!({"DataType": attribute.data_type, key: value});
        (name.clone(), fields)
    });
    Value::Object(attributes.collect())
}

/// An entry of a batch.
pub(crate) trait Entry {
    /// What names it in the answer.
    fn id(&self) -> &str;

    /// Bytes it adds to the batch.
    fn size_bytes(&self) -> usize {
        0
    }
}

impl Entry for SendEntry {
    fn id(&self) -> &str {
        &self.id
    }

    fn size_bytes(&self) -> usize {
        let attributes = self.message_attributes.iter().map(|(name, attribute)| {
            let value = attribute.string_value.as_ref().map_or(0, String::len);
            // Base64 has four characters for three bytes.
            let binary = attribute.binary_value.as_ref().map_or(0, String::len) / 4 * 3;
            name.len() + attribute.data_type.len() + value + binary
        });
        self.message_body.len() + attributes.sum::<usize>()
    }
}

impl Entry for ReceiptEntry {
    fn id(&self) -> &str {
        &self.id
    }
}

/// What must hold for a batch as a whole.
pub(crate) fn check_batch<E: Entry>(entries: &[E]) -> Result<(), QueueError> {
    if entries.is_empty() {
        return Err(QueueError::EmptyBatchRequest);
    }
    if entries.len() > MAX_ENTRIES {
        return Err(QueueError::TooManyEntriesInBatchRequest(entries.len()));
    }
    let is_id_char = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
    let mut ids = HashSet::new();
    for id in entries.iter().map(Entry::id) {
        if id.is_empty() || id.len() > MAX_ID_CHARS || !id.chars().all(is_id_char) {
            return Err(QueueError::InvalidBatchEntryId);
        }
        if !ids.insert(id) {
            return Err(QueueError::BatchEntryIdsNotDistinct(id.to_owned()));
        }
    }
    let size_bytes: usize = entries.iter().map(Entry::size_bytes).sum();
    if size_bytes > MAX_BYTES {
        return Err(QueueError::BatchRequestTooLong(size_bytes));
    }
    Ok(())
}

/// A number of seconds that is not negative.
pub(crate) fn duration(name: &str, seconds: i64) -> Result<Duration, QueueError> {
    let seconds = u64::try_from(seconds).map_err(|_| out_of_range(name, seconds, "0 or more"))?;
    Ok(Duration::from_secs(seconds))
}

pub(crate) fn out_of_range(name: &str, value: i64, range: &str) -> QueueError {
    QueueError::InvalidParameter(format!(
        "Value {value} for parameter {name} is invalid. Reason: Must be {range}, if provided."
    ))
}
