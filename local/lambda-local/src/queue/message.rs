//! Owns one message: what a sender may put into it, its size, and the MD5 digests that SDKs check.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use md5::{Digest as _, Md5};

use super::QueueError;

/// Most bytes of a message: body and attributes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// Longest delay of a message.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(900);
/// Most attributes of a message.
const MAX_ATTRIBUTES: usize = 10;
/// Longest name or type of an attribute.
const MAX_NAME_CHARS: usize = 256;

/// What a sender adds to a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, perhaps with a suffix such as `Number.int`.
    pub data_type: String,
    /// Its value.
    pub value: AttributeValue,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// Of `String` and `Number`.
    Text(String),
    /// Of `Binary`.
    Binary(Bytes),
}

impl AttributeValue {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// A message as it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewMessage {
    /// At least one character.
    pub body: String,
    /// By name.
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// `AWSTraceHeader`.
    pub trace_header: Option<String>,
    /// `MessageGroupId`, which a standard queue only hands on.
    pub group_id: Option<String>,
    /// When absent, the queue's own.
    pub delay: Option<Duration>,
}

impl NewMessage {
    /// A message that is only a body.
    pub fn new(body: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    /// Bytes that count against the limit of a message.
    pub(crate) fn size_bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, attribute)| {
            name.len() + attribute.data_type.len() + attribute.value.bytes().len()
        });
        self.body.len() + attributes.sum::<usize>()
    }

    pub(crate) fn check(&self) -> Result<(), QueueError> {
        if self.body.is_empty() {
            return Err(QueueError::MissingParameter("MessageBody"));
        }
        if !self.body.chars().all(is_allowed) {
            return Err(QueueError::InvalidMessageContents);
        }
        if self.size_bytes() > MAX_BYTES {
            return Err(QueueError::InvalidParameter(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {MAX_BYTES} bytes."
            )));
        }
        if self.delay.is_some_and(|delay| delay > MAX_DELAY) {
            return Err(QueueError::InvalidParameter(
                "Value for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900."
                    .to_owned(),
            ));
        }
        if self.attributes.len() > MAX_ATTRIBUTES {
            return Err(QueueError::InvalidParameter(format!(
                "Number of message attributes [{}] exceeds the allowed maximum [{MAX_ATTRIBUTES}].",
                self.attributes.len()
            )));
        }
        self.attributes
            .iter()
            .try_for_each(|(name, attribute)| check_attribute(name, attribute))
    }
}

fn check_attribute(name: &str, attribute: &MessageAttribute) -> Result<(), QueueError> {
    let invalid = |reason: &str| {
        Err(QueueError::InvalidParameter(format!(
            "The message attribute '{name}' is invalid: {reason}"
        )))
    };
    let is_name_char = |char: char| char.is_ascii_alphanumeric() || "_-.".contains(char);
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(is_name_char) {
        return invalid("its name must have 1 to 256 letters, digits, '_', '-' and '.'.");
    }
    if attribute.data_type.len() > MAX_NAME_CHARS {
        return invalid("its type must have at most 256 characters.");
    }
    let data_type = attribute.data_type.as_str();
    let base = data_type
        .split_once('.')
        .map_or(data_type, |(base, _)| base);
    match (base, &attribute.value) {
        ("String" | "Number", AttributeValue::Text(text)) => {
            if text.is_empty() {
                return invalid("its value must not be empty.");
            }
            if !text.chars().all(is_allowed) {
                return invalid("its value has characters that are not allowed.");
            }
            if base == "Number" && text.parse::<f64>().is_err() {
                return invalid("its value is no number.");
            }
            Ok(())
        }
        ("Binary", AttributeValue::Binary(bytes)) if bytes.is_empty() => {
            invalid("its value must not be empty.")
        }
        ("Binary", AttributeValue::Binary(_)) => Ok(()),
        ("String" | "Number" | "Binary", _) => invalid("its value does not fit its type."),
        _ => invalid("its type must be String, Number or Binary, perhaps with a suffix."),
    }
}

/// The characters of XML 1.0, which the service began with.
fn is_allowed(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// A message as one receiver got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The same at every receive.
    pub message_id: String,
    /// Of this receive: what deletes it.
    pub receipt_handle: String,
    /// The body.
    pub body: String,
    /// What the sender added, by name.
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// What the service adds, such as `ApproximateReceiveCount`, by name.
    pub system_attributes: BTreeMap<&'static str, String>,
    /// When others see it again.
    pub visible_at: Timestamp,
}

impl Received {
    /// MD5 of the body, in hex.
    pub fn md5_of_body(&self) -> String {
        md5_of(&self.body)
    }

    /// Bytes it adds to a batch.
    pub(crate) fn size_bytes(&self) -> usize {
        self.body.len()
            + self
                .attributes
                .iter()
                .map(|(name, attribute)| name.len() + attribute.value.bytes().len())
                .sum::<usize>()
    }
}

/// MD5 of a text, in hex.
pub(crate) fn md5_of(text: &str) -> String {
    hex(Md5::new_with_prefix(text))
}

/// MD5 over attributes as SDKs compute it: sorted by name, each part behind its length. `None`
/// without attributes.
pub(crate) fn md5_of_attributes(attributes: &BTreeMap<String, MessageAttribute>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    let mut add = |part: &[u8], kind: Option<u8>| {
        digest.update(kind.as_slice());
        // No part is longer than a message.
        digest.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        digest.update(part);
    };
    for (name, attribute) in attributes {
        let kind = match attribute.value {
            AttributeValue::Text(_) => 1,
            AttributeValue::Binary(_) => 2,
        };
        add(name.as_bytes(), None);
        add(attribute.data_type.as_bytes(), None);
        add(attribute.value.bytes(), Some(kind));
    }
    Some(hex(digest))
}

/// MD5 over the one attribute of the system that a sender may set.
pub(crate) fn md5_of_trace_header(trace_header: String) -> Option<String> {
    let attribute = MessageAttribute {
        data_type: "String".to_owned(),
        value: AttributeValue::Text(trace_header),
    };
    md5_of_attributes(&BTreeMap::from([("AWSTraceHeader".to_owned(), attribute)]))
}

fn hex(digest: Md5) -> String {
    hex::encode(digest.finalize())
}
