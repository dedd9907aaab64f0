//! A chat of an import, and what is kept of its messages and votes: of a visitor what a visitor may
//! send, of a reply what it is rendered from; a message with nothing left is skipped.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bounded_json::Fields;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::ids::MessageId;
use crate::message::{
    Files, MAX_TYPE_BYTES, Metadata, Parts, Role, SentPart, says_something, sent_parts,
};
use crate::messages::{MAX_MESSAGES, MAX_ROWS};
use crate::values::{self, Invalid, MAX_TITLE_CHARS, Title};
use crate::votes::Comment;

/// Highest place of a message that a part may give.
const MAX_SEQ: i64 = i32::MAX as i64;
/// Most bytes of a reply's parts: as many as one value of the database, since a reply that is there
/// was stored.
const MAX_REPLY_BYTES: usize = 1024 * 1024;

const NO_PARENT: Invalid = Invalid::Malformed("its parentId names no message above it");

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
    /// What stands for a message that is not here: for one of which nothing is kept what it
    /// followed, for one in an earlier part itself and the first place here that follows it.
    elsewhere: HashMap<String, Parent>,
}

/// What a message follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) id: Option<String>,
    /// It is in an earlier part. If that has left it out, or without an id, it is the last message
    /// of the path before this place.
    pub(crate) earlier_than: Option<i64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImportedMessage {
    pub(crate) id: String,
    /// Its place in the chat.
    pub(crate) seq: i64,
    pub(crate) parent: Parent,
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

/// What of a line, or of an array's message, is looked at.
pub(super) const NAMES: &[&str] = &[
    "type",
    "version",
    "id",
    "chatId",
    "messageId",
    "parentId",
    "title",
    "pinned",
    "archived",
    "createdAt",
    "updatedAt",
    "role",
    "seq",
    "isCurrent",
    "parts",
    "content",
    "metadata",
    "isUpvoted",
    "comment",
    "chats",
    "messages",
];

/// A field, if it is a text.
pub(super) fn text(line: &Fields<'_>, name: &'static str) -> Option<String> {
    line.text(name).ok()?
}

/// A field, if it is a whole number.
pub(super) fn number(line: &Fields<'_>, name: &'static str) -> Option<u64> {
    line.number(name).ok()?
}

fn boolean(line: &Fields<'_>, name: &'static str) -> Option<bool> {
    line.boolean(name).ok()?
}

/// A time, if it is given as a text.
fn time(line: &Fields<'_>, name: &'static str) -> Result<Option<Timestamp>, Invalid> {
    text(line, name).as_deref().map(values::time).transpose()
}

pub(super) fn vote(line: &Fields<'_>) -> Result<ImportedVote, Invalid> {
    let message_id = text(line, "messageId").unwrap_or_default();
    let comment = text(line, "comment");
    Ok(ImportedVote {
        message_id: MessageId::parse(&message_id)?.as_str().to_owned(),
        is_upvoted: boolean(line, "isUpvoted").ok_or(Invalid::Malformed("a vote has isUpvoted"))?,
        comment: comment.as_deref().map(Comment::parse).transpose()?,
    })
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
            elsewhere: HashMap::new(),
        }
    }

    pub(super) fn read(id: &str, line: &Fields<'_>) -> Result<Self, Invalid> {
        let title = text(line, "title")
            .map(|title| Title::parse(&title))
            .transpose()?;
        let is = |name| boolean(line, name).unwrap_or_default();
        Ok(Self {
            pinned: is("pinned"),
            archived: is("archived"),
            created_at: time(line, "createdAt")?,
            updated_at: time(line, "updatedAt")?,
            ..Self::new(id.to_owned(), title.unwrap_or_default())
        })
    }

    /// Takes a message; false: nothing of it is kept.
    pub(super) fn take(&mut self, fields: &Fields<'_>, extent: Extent) -> Result<bool, Invalid> {
        let seq = match extent {
            Extent::Whole => i64::try_from(self.messages.len()).ok(),
            Extent::Part => number(fields, "seq")
                .and_then(|seq| i64::try_from(seq).ok())
                .filter(|seq| *seq <= MAX_SEQ),
        };
        let seq = seq.ok_or(Invalid::Malformed(
            "a message of a part has the \"seq\" that its export gives it",
        ))?;
        let role = match text(fields, "role").as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some(_) => {
                self.leave_out(fields, seq);
                return Ok(false);
            }
            None => return Err(Invalid::Malformed("a message has a role")),
        };
        let id = match text(fields, "id").as_deref() {
            Some("") | None => format!("imported-{seq}"),
            Some(id) => MessageId::parse(id)?.as_str().to_owned(),
        };
        let Some(parts) = parts(fields, role)? else {
            self.leave_out(fields, seq);
            return Ok(false);
        };
        let metadata = fields.value("metadata");
        let metadata = metadata
            .map(|metadata| Metadata::parse(metadata.get()))
            .transpose()?;
        if !self.ids.insert(id.clone()) {
            return Err(Invalid::NotAllowed("a message with this id is above it"));
        }
        let is_current = boolean(fields, "isCurrent") != Some(false);
        let parent = self.parent(fields, &id, seq)?;
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
            parent,
            is_current,
            role,
            parts,
            metadata,
            created_at: time(fields, "createdAt")?,
        });
        Ok(true)
    }

    /// Keeps nothing of a message but what it followed, which those that follow it follow then.
    fn leave_out(&mut self, fields: &Fields<'_>, seq: i64) {
        let Some(id) = text(fields, "id") else {
            return;
        };
        let before = self.parent(fields, &id, seq);
        let before = before.unwrap_or_else(|_| self.above(seq));
        self.elsewhere.insert(id, before);
    }

    /// What the message `id` at `seq` follows: what it says itself, as far as that is kept, or else
    /// what is above it.
    fn parent(&mut self, fields: &Fields<'_>, id: &str, seq: i64) -> Result<Parent, Invalid> {
        let Some(named) = text(fields, "parentId") else {
            return match fields.value("parentId") {
                Some(_) => Err(NO_PARENT),
                None if fields.is_null("parentId") => Ok(Parent::default()),
                None => Ok(self.above(seq)),
            };
        };
        if let Some(before) = self.elsewhere.get(&named) {
            return Ok(before.clone());
        }
        let is_here = self.ids.contains(&named);
        if named == id || !is_here && (!self.is_continued || MessageId::parse(&named).is_err()) {
            return Err(NO_PARENT);
        }
        let parent = Parent {
            earlier_than: (!is_here).then_some(seq),
            id: Some(named.clone()),
        };
        if !is_here {
            self.elsewhere.insert(named, parent.clone());
        }
        Ok(parent)
    }

    /// The end of the path so far.
    fn above(&self, seq: i64) -> Parent {
        let last = self.last_current();
        Parent {
            earlier_than: (last.is_none() && self.is_continued).then_some(seq),
            id: last.map(|message| message.id.clone()),
        }
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

/// The parts of a message as they are stored; `None`: nothing of them is kept.
fn parts(fields: &Fields<'_>, role: Role) -> Result<Option<String>, Invalid> {
    let given = match (fields.value("parts"), text(fields, "content")) {
        (Some(parts), _) => Cow::Borrowed(parts.get()),
        (None, Some(text)) => Cow::Owned(json!([{"type": "text", "text": text}]).to_string()),
        _ => return Err(Invalid::Malformed("parts must be an array")),
    };
    let mut sent = Vec::new();
    sent_parts(&given, |raw| {
        sent.extend(SentPart::read(raw));
        Ok(())
    })?;
    let is_user = role == Role::User;
    let kept: Vec<Value> = sent
        .iter()
        .filter_map(|part| if is_user { part.whole() } else { kept(part) })
        .collect();
    if !kept.iter().any(says_something) {
        return Ok(None);
    }
    let parts = if is_user {
        Parts::of(&sent, Files::Imported)?.as_str().to_owned()
    } else {
        Value::Array(kept).to_string()
    };
    if parts.len() > MAX_REPLY_BYTES {
        return Err(Invalid::TooLarge("a reply's parts may have 1048576 bytes"));
    }
    Ok(Some(parts))
}

/// A part of a reply as it is kept: what a reply is rendered from.
fn kept(part: &SentPart<'_>) -> Option<Value> {
    match part.kind.as_str() {
        // Checked like a visitor's: no foreign URL comes in this way.
        "file" => part.checked(Files::Inline).ok(),
        "step-start" => Some(json!({"type": "step-start"})),
        kind @ ("text" | "reasoning") => {
            let noted = part.fields.value("providerMetadata");
            let noted = noted.filter(|noted| noted.get().starts_with('{'));
            // Reasoning that only its provider can read has no text.
            let is_hidden = kind == "reasoning" && noted.is_some();
            let text = part
                .text("text")
                .filter(|text| is_hidden || !text.is_empty())?;
            let mut fields = Map::new();
            fields.insert("type".to_owned(), kind.into());
            fields.insert("text".to_owned(), text.into());
            if let Some(id) = part.text("id") {
                fields.insert("id".to_owned(), id.into());
            }
            if part.fields.value("state").is_some() {
                fields.insert("state".to_owned(), "done".into());
            }
            if let Some(noted) = noted {
                let noted = serde_json::from_str(noted.get()).ok()?;
                fields.insert("providerMetadata".to_owned(), noted);
            }
            Some(Value::Object(fields))
        }
        kind => (kind.len() <= MAX_TYPE_BYTES).then(|| part.whole())?,
    }
}
