//! Messages as the AI SDK's `UIMessage`: id, role, parts, metadata. Of what a client sends, a model
//! sees text and small inline files; parts of other types are kept unchanged for the client, and
//! nobody else sees them.

use bounded_json::{Fields, RawValue, Stopped, count_values, items};
use serde::Serialize;
use serde_json::{Value, json};

use crate::blank::is_blank;
use crate::ids::MessageId;
use crate::sent_upload::{SentUpload, UPLOADS, upload_of};
use crate::values::Invalid;

/// Most parts in one message.
pub const MAX_PARTS: usize = 20;
/// Longest text part, in characters.
pub const MAX_TEXT_CHARS: usize = 16_000;
/// Most bytes in a message's parts, as JSON.
pub const MAX_PARTS_BYTES: usize = 256 * 1024;
/// Most values in a message's parts: a tree of them is never larger than some megabytes.
const MAX_PARTS_VALUES: usize = 10_000;
/// Most bytes in a message's metadata, as JSON.
pub const MAX_METADATA_BYTES: usize = 2 * 1024;
/// Longest name of a file, in characters.
pub const MAX_FILENAME_CHARS: usize = 255;
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

/// Which files a message may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    /// In `data:` URLs.
    Inline,
    /// Uploads too.
    Uploads,
    /// Uploads too, each by its path: whose host it was is nothing to go by.
    Imported,
}

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
    /// Takes 1 to [`MAX_PARTS`] parts that say something: of the types `text` and `file` without
    /// keys that are not theirs, of other types as they are.
    ///
    /// # Errors
    /// Not a list of parts, too many, too long, too large, blank, or a file of another type or by
    /// another URL than `data:`.
    pub fn parse(json: &str) -> Result<Self, Invalid> {
        Self::with_files(json, Files::Inline)
    }

    /// The same, with files that may be uploads: whose they are and at which host is not looked at.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with_uploads(json: &str) -> Result<Self, Invalid> {
        Self::with_files(json, Files::Uploads)
    }

    fn with_files(json: &str, files: Files) -> Result<Self, Invalid> {
        let mut parts = Vec::new();
        sent_parts(json, |raw| {
            let part = SentPart::read(raw);
            parts.push(part.ok_or(Invalid::Malformed("a part is an object with a type"))?);
            within(parts.len())
        })?;
        Self::of(&parts, files)
    }

    pub(crate) fn of(parts: &[SentPart<'_>], files: Files) -> Result<Self, Invalid> {
        if parts.is_empty() {
            return Err(Invalid::NotAllowed(PART_COUNT));
        }
        within(parts.len())?;
        let parts = parts.iter().map(|part| part.checked(files));
        let parts: Vec<Value> = parts.collect::<Result<_, _>>()?;
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

    /// The uploads that they name.
    pub fn uploads(&self) -> Vec<SentUpload> {
        // Most messages have none, and their tree is not built for that.
        if !self.0.contains(UPLOADS) {
            return Vec::new();
        }
        let parts: Vec<Value> = serde_json::from_str(&self.0).unwrap_or_default();
        let upload = |part: &Value| {
            let text = |name: &str| part.get(name).and_then(Value::as_str);
            let (id, host) = upload_of(text("url")?).filter(|_| text("type") == Some("file"))?;
            Some(SentUpload {
                id,
                media_type: text("mediaType")?.to_owned(),
                host: host.map(str::to_owned),
            })
        };
        parts.iter().filter_map(upload).collect()
    }
}

const PART_COUNT: &str = "a message has 1 to 20 parts";

fn within(parts: usize) -> Result<(), Invalid> {
    if parts > MAX_PARTS {
        return Err(Invalid::NotAllowed(PART_COUNT));
    }
    Ok(())
}

/// Hands the parts in `json` to `each`, one by one, if they are not too much for a tree.
pub(crate) fn sent_parts<'a>(
    json: &'a str,
    each: impl FnMut(&'a RawValue) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    if count_values(json) > MAX_PARTS_VALUES {
        return Err(Invalid::NotAllowed(
            "a message's parts may hold 10000 values",
        ));
    }
    items(json, each).map_err(|stopped| match stopped {
        Stopped::NotAnArray(_) => Invalid::Malformed("parts must be an array"),
        Stopped::Item(invalid) => invalid,
    })
}

/// A part as it was sent: an object with a type.
#[derive(Debug)]
pub(crate) struct SentPart<'a> {
    raw: &'a RawValue,
    /// Its type.
    pub(crate) kind: String,
    /// What of it is looked at.
    pub(crate) fields: Fields<'a>,
}

impl<'a> SentPart<'a> {
    pub(crate) fn read(raw: &'a RawValue) -> Option<Self> {
        let names = &[
            "type",
            "text",
            "mediaType",
            "url",
            "filename",
            "id",
            "state",
            "providerMetadata",
        ];
        let fields = Fields::of(raw, names)?;
        let kind = fields.text("type").ok()??;
        Some(Self { raw, kind, fields })
    }

    /// A field that is a text.
    pub(crate) fn text(&self, name: &'static str) -> Option<String> {
        self.fields.text(name).ok()?
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Option<Value> {
        serde_json::from_str(self.raw.get()).ok()
    }

    /// What a visitor may send of it.
    pub(crate) fn checked(&self, files: Files) -> Result<Value, Invalid> {
        match self.kind.as_str() {
            "text" => self.checked_text(),
            "file" => self.checked_file(files),
            name if name.is_empty() || name.len() > MAX_TYPE_BYTES => {
                Err(Invalid::NotAllowed("a part's type has 1 to 64 bytes"))
            }
            _ => self
                .whole()
                .ok_or(Invalid::NotAllowed("a part nests too deep")),
        }
    }

    fn checked_text(&self) -> Result<Value, Invalid> {
        let text = self
            .text("text")
            .ok_or(Invalid::Malformed("a text part has a text"))?;
        if text.chars().count() > MAX_TEXT_CHARS {
            return Err(Invalid::NotAllowed(
                "a text part has at most 16000 characters",
            ));
        }
        Ok(json!({"type": "text", "text": text}))
    }

    fn checked_file(&self, files: Files) -> Result<Value, Invalid> {
        let (media_type, url) = self
            .text("mediaType")
            .zip(self.text("url"))
            .ok_or(Invalid::Malformed("a file part has a mediaType and a url"))?;
        let data = url
            .strip_prefix("data:")
            .and_then(|rest| rest.strip_prefix(media_type.as_str()))
            .and_then(|rest| rest.strip_prefix(";base64,"));
        let is_base64 = |data: &str| {
            !data.is_empty()
                && data
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
        };
        let upload = match files {
            Files::Inline => None,
            Files::Uploads => upload_of(&url).map(|_| url.clone()),
            Files::Imported => upload_of(&url).map(|(id, _)| format!("{UPLOADS}{}", id.as_str())),
        };
        let is_there = upload.is_some() || data.is_some_and(is_base64);
        if !FILE_TYPES.contains(&media_type.as_str()) || !is_there {
            return Err(Invalid::NotAllowed(
                "a file is an image (PNG, JPEG, GIF, WebP), a PDF or a text (plain, Markdown, CSV, JSON) in a base64 \
                 data: URL",
            ));
        }
        let url = upload.unwrap_or(url);
        let mut file = json!({"type": "file", "mediaType": media_type, "url": url});
        if let (Some(name), Some(fields)) = (self.text("filename"), file.as_object_mut()) {
            if name.chars().count() > MAX_FILENAME_CHARS {
                return Err(Invalid::NotAllowed("a filename has at most 255 characters"));
            }
            fields.insert("filename".to_owned(), name.into());
        }
        Ok(file)
    }
}

/// Whether a part is more than blanks.
pub(crate) fn says_something(part: &Value) -> bool {
    let text = |key: &str| part.get(key).and_then(Value::as_str);
    match text("type") {
        Some("step-start") => false,
        Some("text" | "reasoning") => text("text").is_some_and(|text| !is_blank(text)),
        _ => true,
    }
}

/// What the client notes about a message, as the JSON object that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata(String);

impl Metadata {
    /// # Errors
    /// Not an object, or more than [`MAX_METADATA_BYTES`].
    pub fn parse(json: &str) -> Result<Self, Invalid> {
        const ESCAPE_BYTES: usize = 6; // a character written as \uXXXX
        let too_large = Invalid::NotAllowed("a message's metadata may have 2048 bytes");
        if !json.trim_start().starts_with('{') {
            return Err(Invalid::Malformed("metadata must be an object"));
        }
        if json.len() > ESCAPE_BYTES * MAX_METADATA_BYTES {
            return Err(too_large);
        }
        let value: Value = serde_json::from_str(json)
            .map_err(|_| Invalid::Malformed("metadata must be an object"))?;
        let text = value.to_string();
        if text.len() > MAX_METADATA_BYTES {
            return Err(too_large);
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

/// Parts that are passed on as they were stored: of a page of messages no tree is built.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct StoredParts(Box<RawValue>);

impl StoredParts {
    /// Takes what is stored; what is no JSON counts as no parts.
    pub fn parse(json: &str) -> Self {
        Self(serde_json::from_str(json).unwrap_or_else(|_| no_parts()))
    }

    /// The parts of one message, as a tree.
    pub fn read(&self) -> Value {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }
}

fn no_parts() -> Box<RawValue> {
    serde_json::value::to_raw_value(&[(); 0]).expect("an empty array is JSON")
}

impl PartialEq for StoredParts {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// A stored message, in the form the AI SDK reads: what the client sent is what it gets back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// Unique within the chat.
    pub id: String,
    /// `user` or `assistant`.
    pub role: String,
    /// The parts as they were stored.
    pub parts: StoredParts,
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
            parts: StoredParts::parse(parts),
            metadata: metadata.and_then(|text| serde_json::from_str(text).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(parts: &Value) -> Result<Parts, Invalid> {
        Parts::parse(&parts.to_string())
    }

    #[test]
    fn parts_keep_what_is_theirs_and_drop_the_rest() {
        let parts =
            parsed(&json!([{"type": "text", "text": "hi", "state": "done", "x": 1}])).unwrap();
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
            json!([{"type": "text", "text": "\u{feff}\u{200b} \u{200d}"}]),
            json!([{"type": "text", "text": "\u{3164}\u{2800}\u{fe0f}\u{e0001}\u{202e}"}]),
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
            assert!(parsed(&parts).is_err(), "{parts}");
        }
        let many = json!([{"type": "data-x", "data": vec![0; MAX_PARTS_VALUES]}]);
        assert!(matches!(parsed(&many), Err(Invalid::NotAllowed(_))));
        let large = json!(vec![
            json!({"type": "text", "text": "ä".repeat(16_000)});
            20
        ]);
        assert!(matches!(parsed(&large), Err(Invalid::TooLarge(_))));
    }

    #[test]
    fn parts_of_other_types_are_kept_as_they_are() {
        let parts = json!([
            {"type": "text", "text": ""},
            {"type": "data-place", "id": "p", "data": {"lat": 1.5, "lon": null}},
            {"type": "tool-x", "toolCallId": "1", "state": "output-available", "output": [1]},
        ]);
        let kept: Value = serde_json::from_str(parsed(&parts).unwrap().as_str()).unwrap();
        assert_eq!(kept, parts);
    }

    #[test]
    fn a_small_inline_file_is_kept() {
        let part = json!([{"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA==", "filename": "a.png"}]);
        assert_eq!(
            serde_json::from_str::<Value>(parsed(&part).unwrap().as_str()).unwrap(),
            part
        );
        for media_type in FILE_TYPES {
            let url = format!("data:{media_type};base64,AA==");
            let file = json!([{"type": "file", "mediaType": media_type, "url": url}]);
            assert!(parsed(&file).is_ok(), "{media_type}");
        }
    }

    #[test]
    fn metadata_is_a_small_object() {
        assert_eq!(
            Metadata::parse(r#"{ "client": "t"}"#).unwrap().as_str(),
            r#"{"client":"t"}"#
        );
        assert!(Metadata::parse("\"x\"").is_err());
        let long = json!({"x": "a".repeat(2048)}).to_string();
        assert!(Metadata::parse(&long).is_err());
    }

    proptest! {
        #[test]
        fn no_text_of_a_part_is_changed(text in ".{0,200}[a-z]") {
            let parts = parsed(&json!([{"type": "text", "text": text.clone()}])).unwrap();
            let read: Value = serde_json::from_str(parts.as_str()).unwrap();
            prop_assert_eq!(read[0]["text"].as_str().unwrap(), text);
        }
    }
}
