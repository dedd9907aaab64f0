//! Messages as the AI SDK's `UIMessage`: id, role, parts, metadata. Of what a client sends a model is shown text and small
//! inline files; parts of other types are kept for the client, as they are, and shown to nobody else.

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
/// Most bytes in a message's metadata, as JSON.
pub const MAX_METADATA_BYTES: usize = 2 * 1024;
/// Longest name of a file, in characters.
const MAX_FILENAME_CHARS: usize = 255;
/// Longest type of a part, in bytes.
pub(crate) const MAX_TYPE_BYTES: usize = 64;
/// What a file may be. SVG and HTML are not among them, because they can carry script.
pub const FILE_TYPES: [&str; 9] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "application/pdf",
    "application/json",
    "text/plain",
    "text/markdown",
    "text/csv",
];

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
    /// Takes 1 to [`MAX_PARTS`] parts that say something: of the types `text` and `file` without keys that are not theirs,
    /// of other types as they are.
    ///
    /// # Errors
    /// Not a list of parts, too many, too long, too large, blank, or a file of another type or by another URL than `data:`.
    pub fn parse(value: &Value) -> Result<Self, Invalid> {
        let Some(parts) = value.as_array() else {
            return Err(Invalid::Malformed("parts must be an array"));
        };
        if parts.is_empty() || parts.len() > MAX_PARTS {
            return Err(Invalid::NotAllowed("a message has 1 to 20 parts"));
        }
        let parts: Vec<Value> = parts.iter().map(part).collect::<Result<_, _>>()?;
        if !parts.iter().any(says_something) {
            return Err(Invalid::NotAllowed("the message is blank"));
        }
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
            if text.chars().count() > MAX_TEXT_CHARS {
                return Err(Invalid::NotAllowed(
                    "a text part has at most 16000 characters",
                ));
            }
            Ok(json!({"type": "text", "text": text}))
        }
        Some("file") => {
            let (media_type, url) = text("mediaType")
                .zip(text("url"))
                .ok_or(Invalid::Malformed("a file part has a mediaType and a url"))?;
            let data = url
                .strip_prefix("data:")
                .and_then(|rest| rest.strip_prefix(media_type))
                .and_then(|rest| rest.strip_prefix(";base64,"));
            let is_base64 = |data: &str| {
                !data.is_empty()
                    && data
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
            };
            if !FILE_TYPES.contains(&media_type) || !data.is_some_and(is_base64) {
                return Err(Invalid::NotAllowed(
                    "a file is an image (PNG, JPEG, GIF, WebP), a PDF or a text (plain, Markdown, CSV, JSON) in a base64 \
                     data: URL",
                ));
            }
            let mut file = json!({"type": "file", "mediaType": media_type, "url": url});
            if let (Some(name), Some(fields)) = (text("filename"), file.as_object_mut()) {
                if name.chars().count() > MAX_FILENAME_CHARS {
                    return Err(Invalid::NotAllowed("a filename has at most 255 characters"));
                }
                fields.insert("filename".to_owned(), name.into());
            }
            Ok(file)
        }
        Some(name) if name.is_empty() || name.len() > MAX_TYPE_BYTES => {
            Err(Invalid::NotAllowed("a part's type has 1 to 64 bytes"))
        }
        Some(_) => Ok(part.clone()),
    }
}

/// Whether a part is more than blanks.
pub(crate) fn says_something(part: &Value) -> bool {
    let text = |key: &str| part.get(key).and_then(Value::as_str);
    match text("type") {
        Some("step-start") => false,
        Some("text" | "reasoning") => text("text").is_some_and(|text| !text.trim().is_empty()),
        _ => true,
    }
}

/// What the client notes about a message, as the JSON object that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata(String);

impl Metadata {
    /// # Errors
    /// Not an object, or more than [`MAX_METADATA_BYTES`].
    pub fn parse(value: &Value) -> Result<Self, Invalid> {
        if !value.is_object() {
            return Err(Invalid::Malformed("metadata must be an object"));
        }
        let text = value.to_string();
        if text.len() > MAX_METADATA_BYTES {
            return Err(Invalid::NotAllowed(
                "a message's metadata may have 2048 bytes",
            ));
        }
        Ok(Self(text))
    }

    /// The JSON.
    pub fn as_str(&self) -> &str {
        &self.0
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
    /// What the client noted.
    pub metadata: Option<Metadata>,
}

/// A stored message, in the form the AI SDK reads: what the client sent is what it gets back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// Unique within the chat.
    pub id: String,
    /// `user` or `assistant`.
    pub role: String,
    /// The parts as they were stored.
    pub parts: Value,
    /// What was noted; absent if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

impl Message {
    pub(crate) fn from_stored(
        id: String,
        role: String,
        parts: &str,
        metadata: Option<&str>,
    ) -> Self {
        Self {
            id,
            role,
            parts: serde_json::from_str(parts).unwrap_or_else(|_| json!([])),
            metadata: metadata.and_then(|text| serde_json::from_str(text).ok()),
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
            json!([{"type": "text", "text": " \n\t\u{2003}"}, {"type": "step-start"}]),
            json!([{"type": "text", "text": "a".repeat(16_001)}]),
            json!([{"type": ""}]),
            json!([{"type": "x".repeat(65)}]),
            json!([{"type": "file", "mediaType": "image/png", "url": "https://example.com/a.png"}]),
            json!([{"type": "file", "mediaType": "text/html", "url": "data:text/html,x"}]),
            json!([{"type": "file", "mediaType": "image/svg+xml", "url": "data:image/svg+xml;base64,PHN2Zz4="}]),
            json!([{"type": "file", "mediaType": "image/png", "url": "data:image/pngx;base64,AAAA"}]),
            json!([{"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,<b>"}]),
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

    #[test]
    fn parts_of_other_types_are_kept_as_they_are() {
        let parts = json!([
            {"type": "text", "text": ""},
            {"type": "data-place", "id": "p", "data": {"lat": 1.5, "lon": null}},
            {"type": "tool-x", "toolCallId": "1", "state": "output-available", "output": [1]},
        ]);
        let kept: Value = serde_json::from_str(Parts::parse(&parts).unwrap().as_str()).unwrap();
        assert_eq!(kept, parts);
    }

    #[test]
    fn a_small_inline_file_is_kept() {
        let part = json!([{"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA==", "filename": "a.png"}]);
        assert_eq!(
            serde_json::from_str::<Value>(Parts::parse(&part).unwrap().as_str()).unwrap(),
            part
        );
        for media_type in FILE_TYPES {
            let url = format!("data:{media_type};base64,AA==");
            let file = json!([{"type": "file", "mediaType": media_type, "url": url}]);
            assert!(Parts::parse(&file).is_ok(), "{media_type}");
        }
    }

    #[test]
    fn metadata_is_a_small_object() {
        assert_eq!(
            Metadata::parse(&json!({"client": "t"})).unwrap().as_str(),
            r#"{"client":"t"}"#
        );
        assert!(Metadata::parse(&json!("x")).is_err());
        assert!(Metadata::parse(&json!({"x": "a".repeat(2048)})).is_err());
    }

    proptest! {
        #[test]
        fn no_text_of_a_part_is_changed(text in ".{0,200}[^\\s]") {
            let parts = Parts::parse(&json!([{"type": "text", "text": text.clone()}])).unwrap();
            let read: Value = serde_json::from_str(parts.as_str()).unwrap();
            prop_assert_eq!(read[0]["text"].as_str().unwrap(), text);
        }
    }
}
