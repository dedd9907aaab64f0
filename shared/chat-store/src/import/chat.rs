//! A chat of an import, and what is kept of its messages and votes: of a visitor what a visitor may send, of a reply what it
//! is rendered from; a message with nothing left is skipped.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::ids::MessageId;
use crate::message::{MAX_TYPE_BYTES, Metadata, Parts, Role, says_something};
use crate::messages::{MAX_MESSAGES, MAX_ROWS};
use crate::values::{self, Invalid, MAX_TITLE_CHARS, Title};
use crate::votes::Comment;

/// Highest place of a message that a part may give.
const MAX_SEQ: i64 = i32::MAX as i64;
/// Most bytes of a reply's parts: as many as one value of the database, since a reply that is there was stored.
const MAX_REPLY_BYTES: usize = 1024 * 1024;

/// How much of an export a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    Part,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImportedChat {
    /// In the file; in an array there is none.
    pub(crate) id: String,
    /// Whether it began in an earlier part.
    pub(crate) is_continued: bool,
    pub(crate) title: Title,
    pub(crate) pinned: bool,
    pub(crate) archived: bool,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) updated_at: Option<Timestamp>,
    pub(crate) messages: Vec<ImportedMessage>,
    pub(crate) votes: Vec<ImportedVote>,
    ids: HashSet<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImportedMessage {
    pub(crate) id: String,
    /// Its place in the chat.
    pub(crate) seq: i64,
    pub(crate) parent_id: Option<String>,
    /// Whether the chat's path leads through it.
    pub(crate) is_current: bool,
    pub(crate) role: Role,
    pub(crate) parts: String,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) created_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImportedVote {
    pub(crate) message_id: String,
    pub(crate) is_upvoted: bool,
    pub(crate) comment: Option<Comment>,
}

pub(super) fn vote(line: &Map<String, Value>) -> Result<ImportedVote, Invalid> {
    let message_id = line
        .get("messageId")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let comment = line.get("comment").and_then(Value::as_str);
    Ok(ImportedVote {
        message_id: MessageId::parse(message_id)?.as_str().to_owned(),
        is_upvoted: line
            .get("isUpvoted")
            .and_then(Value::as_bool)
            .ok_or(Invalid::Malformed("a vote has isUpvoted"))?,
        comment: comment
            .map(clear_of_nul)
            .transpose()?
            .map(Comment::parse)
            .transpose()?,
    })
}

fn clear_of_nul(text: &str) -> Result<&str, Invalid> {
    if text.contains('\0') {
        return Err(Invalid::Malformed("a text must not contain NUL characters"));
    }
    Ok(text)
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// A time, if it is given as a text.
fn time(fields: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Invalid> {
    let text = fields.get(name).and_then(Value::as_str);
    text.map(values::time).transpose()
}

impl ImportedChat {
    pub(super) fn new(id: String, title: Title) -> Self {
        Self {
            id,
            is_continued: false,
            title,
            pinned: false,
            archived: false,
            created_at: None,
            updated_at: None,
            messages: Vec::new(),
            votes: Vec::new(),
            ids: HashSet::new(),
        }
    }

    pub(super) fn read(id: &str, line: &Map<String, Value>) -> Result<Self, Invalid> {
        let title = line.get("title").and_then(Value::as_str);
        let title = title
            .map(clear_of_nul)
            .transpose()?
            .map(Title::parse)
            .transpose()?;
        let is = |name| line.get(name).and_then(Value::as_bool).unwrap_or_default();
        Ok(Self {
            pinned: is("pinned"),
            archived: is("archived"),
            created_at: time(line, "createdAt")?,
            updated_at: time(line, "updatedAt")?,
            ..Self::new(id.to_owned(), title.unwrap_or_default())
        })
    }

    /// Takes a message; false: nothing of it is kept.
    pub(super) fn take(
        &mut self,
        fields: &Map<String, Value>,
        extent: Extent,
    ) -> Result<bool, Invalid> {
        let role = match fields.get("role").and_then(Value::as_str) {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some(_) => return Ok(false),
            None => return Err(Invalid::Malformed("a message has a role")),
        };
        let seq = match extent {
            Extent::Whole => i64::try_from(self.messages.len()).ok(),
            Extent::Part => fields
                .get("seq")
                .and_then(Value::as_i64)
                .filter(|seq| (0..=MAX_SEQ).contains(seq)),
        };
        let seq = seq.ok_or(Invalid::Malformed(
            "a message of a part has the \"seq\" that its export gives it",
        ))?;
        let id = match fields.get("id").and_then(Value::as_str) {
            Some("") | None => format!("imported-{seq}"),
            Some(id) => MessageId::parse(id)?.as_str().to_owned(),
        };
        let given = match (fields.get("parts"), fields.get("content")) {
            (Some(parts), _) => parts.as_array().cloned(),
            (None, Some(Value::String(text))) => Some(vec![json!({"type": "text", "text": text})]),
            _ => None,
        };
        let given = given.ok_or(Invalid::Malformed("parts must be an array"))?;
        let kept: Vec<Value> = given.iter().filter_map(|part| kept(part, role)).collect();
        if !kept.iter().any(says_something) {
            return Ok(false);
        }
        let parts = match role {
            Role::User => Parts::parse(&Value::Array(kept))?.as_str().to_owned(),
            Role::Assistant => Value::Array(kept).to_string(),
        };
        if parts.len() > MAX_REPLY_BYTES {
            return Err(Invalid::TooLarge("a reply's parts may have 1048576 bytes"));
        }
        let metadata = match fields.get("metadata") {
            None | Some(Value::Null) => None,
            Some(value) => Some(Metadata::parse(value)?),
        };
        let nul = |text: &str| serde_json::from_str(text).is_ok_and(|value| has_nul(&value));
        if nul(&parts)
            || metadata
                .as_ref()
                .is_some_and(|metadata| nul(metadata.as_str()))
        {
            return Err(Invalid::Malformed("a text must not contain NUL characters"));
        }
        if !self.ids.insert(id.clone()) {
            return Err(Invalid::NotAllowed("a message with this id is above it"));
        }
        let is_current = fields.get("isCurrent").and_then(Value::as_bool) != Some(false);
        let parent_id = match fields.get("parentId") {
            Some(Value::String(parent)) if self.has_above(parent) && *parent != id => {
                Some(parent.clone())
            }
            Some(Value::Null) => None,
            Some(_) => {
                return Err(Invalid::Malformed("its parentId names no message above it"));
            }
            None => self.last_current().map(|before| before.id.clone()),
        };
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let current = self.messages.iter().filter(|m| m.is_current).count();
        if is_current && count(current) >= MAX_MESSAGES {
            return Err(Invalid::NotAllowed("a chat has at most 500 messages"));
        }
        if count(self.messages.len()) >= MAX_ROWS {
            return Err(Invalid::NotAllowed(
                "a chat has at most 1000 messages with all its branches",
            ));
        }
        self.messages.push(ImportedMessage {
            id,
            seq,
            parent_id,
            is_current,
            role,
            parts,
            metadata,
            created_at: time(fields, "createdAt")?,
        });
        Ok(true)
    }

    /// Whether a message is above the next one; what an earlier part has is not known here.
    fn has_above(&self, id: &str) -> bool {
        self.ids.contains(id) || self.is_continued && MessageId::parse(id).is_ok()
    }

    /// The last message of the path so far.
    fn last_current(&self) -> Option<&ImportedMessage> {
        self.messages.iter().rfind(|message| message.is_current)
    }

    /// The beginning of the first text.
    pub(super) fn title_from_text(&self) -> Option<Title> {
        let first = self.messages.first()?;
        let parts: Vec<Value> = serde_json::from_str(&first.parts).ok()?;
        let text = parts.iter().find_map(|part| part.get("text")?.as_str())?;
        let short: String = text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(MAX_TITLE_CHARS)
            .collect();
        Title::parse(&short).ok()
    }
}

/// A part as it is kept: of a visitor what a visitor may send, of a reply also what it is rendered from.
fn kept(part: &Value, role: Role) -> Option<Value> {
    let kind = part.get("type")?.as_str()?;
    let is_reply = role == Role::Assistant;
    match kind {
        _ if !is_reply => Some(part.clone()),
        "file" => {
            // Checked like a visitor's: no foreign URL comes in this way.
            let checked = Parts::parse(&Value::Array(vec![part.clone()])).ok()?;
            serde_json::from_str::<Vec<Value>>(checked.as_str())
                .ok()?
                .pop()
        }
        "step-start" if is_reply => Some(json!({"type": "step-start"})),
        "text" | "reasoning" if is_reply => {
            let text = part.get("text")?.as_str().filter(|text| !text.is_empty())?;
            let mut fields = Map::new();
            fields.insert("type".to_owned(), kind.into());
            fields.insert("text".to_owned(), text.into());
            if let Some(id) = part.get("id").and_then(Value::as_str) {
                fields.insert("id".to_owned(), id.into());
            }
            if part.get("state").is_some() {
                fields.insert("state".to_owned(), "done".into());
            }
            if let Some(noted) = part.get("providerMetadata").filter(|n| n.is_object()) {
                fields.insert("providerMetadata".to_owned(), noted.clone());
            }
            Some(Value::Object(fields))
        }
        _ => (kind.len() <= MAX_TYPE_BYTES).then(|| part.clone()),
    }
}
