//! Messages as the AI SDK's `UIMessage`: id, role, parts, metadata. What a client may send is an allow-list: text, and
//! small inline images; everything else (tools, reasoning, data parts, system messages) is made by the server or by nobody.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::ids::MessageId;
use crate::values::Invalid;

/// Most parts in one message.
pub const MAX_PARTS: usize = 20;
/// Longest text part, in characters.
pub const MAX_TEXT_CHARS: usize = 16_000;
/// Most bytes in a message's parts, as JSON.
pub const MAX_PARTS_BYTES: usize = 256 * 1024;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The visitor.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// # Errors
    /// Anything but `user` and `assistant`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "user" => Ok(Self::User),
            "assistant" => Ok(Self::Assistant),
            _ => Err(Invalid::NotAllowed("a role is user or assistant")),
        }
    }

    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A message's content, as the JSON that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts(String);

impl Parts {
    /// Takes 1 to [`MAX_PARTS`] parts of the types `text` and `file`; keys that are not theirs are dropped.
    ///
    /// # Errors
    /// Not a list of parts, too many, too long, too large, or of other types.
    pub fn parse(value: &Value) -> Result<Self, Invalid> {
        let Some(parts) = value.as_array() else {
            return Err(Invalid::Malformed("parts must be an array"));
        };
        if parts.is_empty() || parts.len() > MAX_PARTS {
            return Err(Invalid::NotAllowed("a message has 1 to 20 parts"));
        }
        let parts: Vec<Value> = parts.iter().map(part).collect::<Result<_, _>>()?;
        let text = Value::Array(parts).to_string();
        if text.len() > MAX_PARTS_BYTES {
            return Err(Invalid::TooLarge("a message's parts may have 262144 bytes"));
        }
        Ok(Self(text))
    }

    /// The JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn part(part: &Value) -> Result<Value, Invalid> {
    let text = |key: &str| part.get(key).and_then(Value::as_str);
    match text("type") {
        None => Err(Invalid::Malformed("a part is an object with a type")),
        Some("text") => {
            let text = text("text").ok_or(Invalid::Malformed("a text part has a text"))?;
            if text.is_empty() || text.chars().count() > MAX_TEXT_CHARS {
                return Err(Invalid::NotAllowed("a text part has 1 to 16000 characters"));
            }
            Ok(json!({"type": "text", "text": text}))
        }
        Some("file") => {
            let (media_type, url) = text("mediaType")
                .zip(text("url"))
                .ok_or(Invalid::Malformed("a file part has a mediaType and a url"))?;
            let inline = media_type.starts_with("image/")
                && url
                    .strip_prefix("data:")
                    .is_some_and(|rest| rest.starts_with(media_type));
            if !inline {
                return Err(Invalid::NotAllowed("a file is an image in a data: URL"));
            }
            let mut file = json!({"type": "file", "mediaType": media_type, "url": url});
            if let (Some(name), Some(fields)) = (text("filename"), file.as_object_mut()) {
                fields.insert("filename".to_owned(), name.into());
            }
            Ok(file)
        }
        Some(_) => Err(Invalid::NotAllowed("a part's type is text or file")),
    }
}

/// A message to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Its id; the pair of chat and id makes storing it twice harmless.
    pub id: MessageId,
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Parts,
}

/// A stored message, in the form the AI SDK reads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// Unique within the chat.
    pub id: String,
    /// `user` or `assistant`.
    pub role: String,
    /// The parts as they were stored.
    pub parts: Value,
    /// `createdAt` in milliseconds since 1970, and what the server noted.
    pub metadata: Value,
}

impl Message {
    pub(crate) fn from_stored(
        id: String,
        role: String,
        parts: &str,
        metadata: Option<&str>,
        at: Timestamp,
    ) -> Self {
        let mut metadata = metadata
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_else(|| json!({}));
        if let Some(fields) = metadata.as_object_mut() {
            fields
                .entry("createdAt")
                .or_insert_with(|| at.as_millisecond().into());
        }
        Self {
            id,
            role,
            parts: serde_json::from_str(parts).unwrap_or_else(|_| json!([])),
            metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_keep_what_is_theirs_and_drop_the_rest() {
        let parts = Parts::parse(&json!([{"type": "text", "text": "hi", "state": "done", "x": 1}]))
            .unwrap();
        assert_eq!(parts.as_str(), r#"[{"text":"hi","type":"text"}]"#);
    }

    #[test]
    fn what_a_client_may_not_send_is_refused() {
        for parts in [
            json!({}),
            json!([]),
            json!([1]),
            json!([{"type": "text"}]),
            json!([{"type": "text", "text": ""}]),
            json!([{"type": "text", "text": "a".repeat(16_001)}]),
            json!([{"type": "tool-call", "input": {}}]),
            json!([{"type": "reasoning", "text": "x"}]),
            json!([{"type": "file", "mediaType": "image/png", "url": "https://example.com/a.png"}]),
            json!([{"type": "file", "mediaType": "text/html", "url": "data:text/html,x"}]),
            json!(vec![json!({"type": "text", "text": "a"}); 21]),
        ] {
            assert!(Parts::parse(&parts).is_err(), "{parts}");
        }
        let large = json!(vec![
            json!({"type": "text", "text": "ä".repeat(16_000)});
            20
        ]);
        assert!(matches!(Parts::parse(&large), Err(Invalid::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn no_text_of_a_part_is_changed(text in ".{1,200}") {
            let parts = Parts::parse(&json!([{"type": "text", "text": text.clone()}])).unwrap();
            let read: Value = serde_json::from_str(parts.as_str()).unwrap();
            prop_assert_eq!(read[0]["text"].as_str().unwrap(), text);
        }
    }
}
