//! What an import file says, checked: the same caps as for what is posted. Of a message, parts that only the server makes
//! are dropped, except what a reply is rendered from; a message with nothing left is skipped.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::ids::MessageId;
use crate::message::{MAX_TYPE_BYTES, Metadata, Parts, Role, says_something};
use crate::messages::{MAX_MESSAGES, MAX_ROWS};
use crate::values::{Invalid, MAX_TITLE_CHARS, Title};
use crate::votes::Comment;

/// Most chats in one import.
pub const MAX_IMPORTED_CHATS: usize = 1_000;
/// Most bytes of a reply's parts.
const MAX_REPLY_BYTES: usize = 512 * 1024;
/// Most parts of a reply.
const MAX_REPLY_PARTS: usize = 200;

/// Why a file is refused, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct InvalidImport {
    /// Counted from 1; in an array, the message.
    pub line: usize,
    /// What is wrong there.
    pub reason: Invalid,
}

/// A file that can be stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Import {
    pub(crate) chats: Vec<ImportedChat>,
    pub(crate) skipped: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImportedChat {
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

/// Reads a file: lines of JSON as an export has them, or one array of messages.
///
/// # Errors
/// The first line that is not accepted; an export that was cut off.
pub fn parse(text: &str) -> Result<Import, InvalidImport> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with('[') {
        array(text)
    } else {
        lines(text)
    }
}

fn at(line: usize) -> impl Fn(Invalid) -> InvalidImport {
    move |reason| InvalidImport { line, reason }
}

fn malformed(line: usize, text: &'static str) -> InvalidImport {
    at(line)(Invalid::Malformed(text))
}

fn array(text: &str) -> Result<Import, InvalidImport> {
    let messages: Vec<Value> = serde_json::from_str(text)
        .map_err(|error| malformed(error.line(), "it is not a JSON array"))?;
    let mut import = Import::default();
    let mut chat = ImportedChat::new(Title::default());
    for (n, message) in messages.iter().enumerate() {
        let message = message
            .as_object()
            .ok_or_else(|| malformed(n + 1, "a message is an object"))?;
        import.skipped += usize::from(!chat.take(message).map_err(at(n + 1))?);
    }
    if let Some(title) = chat.title_from_text() {
        chat.title = title;
    }
    if !chat.messages.is_empty() {
        import.chats.push(chat);
    }
    Ok(import)
}

fn lines(text: &str) -> Result<Import, InvalidImport> {
    let mut import = Import::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    let (mut chats, mut messages, mut ended) = (0_u64, 0_u64, false);
    let mut last = 1;
    for (n, line) in text
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.trim()))
    {
        last = n;
        if line.is_empty() {
            continue;
        }
        let Ok(Value::Object(line)) = serde_json::from_str(line) else {
            return Err(malformed(n, "it is not a JSON object"));
        };
        if ended {
            return Err(malformed(n, "there is something behind the end"));
        }
        match line.get("type").and_then(Value::as_str) {
            Some("meta") if line.get("version").and_then(Value::as_u64) != Some(1) => {
                return Err(at(n)(Invalid::NotAllowed("only version 1 can be read")));
            }
            Some("chat") => {
                let id = line.get("id").and_then(Value::as_str).unwrap_or_default();
                if places.insert(id.to_owned(), import.chats.len()).is_some() {
                    return Err(malformed(n, "a chat with this id is above it"));
                }
                if import.chats.len() >= MAX_IMPORTED_CHATS {
                    return Err(at(n)(Invalid::NotAllowed(
                        "an import has at most 1000 chats",
                    )));
                }
                import.chats.push(ImportedChat::read(&line).map_err(at(n))?);
                chats += 1;
            }
            Some("message") => {
                let taken = chat_of(&line, &places, &mut import.chats)
                    .and_then(|chat| chat.take(&line))
                    .map_err(at(n))?;
                import.skipped += usize::from(!taken);
                messages += 1;
            }
            Some("vote") => {
                let vote = vote(&line).map_err(at(n))?;
                chat_of(&line, &places, &mut import.chats)
                    .map_err(at(n))?
                    .votes
                    .push(vote);
            }
            Some("end") => {
                let says = |name| line.get(name).and_then(Value::as_u64);
                if says("chats") != Some(chats) || says("messages") != Some(messages) {
                    return Err(at(n)(Invalid::NotAllowed(
                        "the end counts other chats or messages",
                    )));
                }
                ended = true;
            }
            None => return Err(malformed(n, "a line has a type")),
            Some(_) => {} // of a later version
        }
    }
    if !ended {
        return Err(at(last)(Invalid::NotAllowed(
            "the export was cut off: it has no end line",
        )));
    }
    Ok(import)
}

fn chat_of<'a>(
    line: &Map<String, Value>,
    places: &HashMap<String, usize>,
    chats: &'a mut [ImportedChat],
) -> Result<&'a mut ImportedChat, Invalid> {
    let id = line
        .get("chatId")
        .and_then(Value::as_str)
        .unwrap_or_default();
    places
        .get(id)
        .and_then(|place| chats.get_mut(*place))
        .ok_or(Invalid::Malformed("its chatId names no chat above it"))
}

fn vote(line: &Map<String, Value>) -> Result<ImportedVote, Invalid> {
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

fn time(fields: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    fields.get(name)?.as_str()?.parse().ok()
}

impl ImportedChat {
    fn new(title: Title) -> Self {
        Self {
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

    fn read(line: &Map<String, Value>) -> Result<Self, Invalid> {
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
            created_at: time(line, "createdAt"),
            updated_at: time(line, "updatedAt"),
            ..Self::new(title.unwrap_or_default())
        })
    }

    /// Takes a message; false: nothing of it is kept.
    fn take(&mut self, fields: &Map<String, Value>) -> Result<bool, Invalid> {
        let role = match fields.get("role").and_then(Value::as_str) {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some(_) => return Ok(false),
            None => return Err(Invalid::Malformed("a message has a role")),
        };
        let id = match fields.get("id").and_then(Value::as_str) {
            Some("") | None => format!("imported-{}", self.messages.len()),
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
            Role::Assistant if kept.len() > MAX_REPLY_PARTS => {
                return Err(Invalid::NotAllowed("a reply has at most 200 parts"));
            }
            Role::Assistant => Value::Array(kept).to_string(),
        };
        if parts.len() > MAX_REPLY_BYTES {
            return Err(Invalid::TooLarge("a reply's parts may have 524288 bytes"));
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
            Some(Value::String(parent)) if self.ids.contains(parent) && *parent != id => {
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
            parent_id,
            is_current,
            role,
            parts,
            metadata,
            created_at: time(fields, "createdAt"),
        });
        Ok(true)
    }

    /// The last message of the path so far.
    fn last_current(&self) -> Option<&ImportedMessage> {
        self.messages.iter().rfind(|message| message.is_current)
    }

    /// The beginning of the first text.
    fn title_from_text(&self) -> Option<Title> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_array_of_messages_is_one_chat_named_by_its_first_text() {
        let import = parse(
            &json!([
                {"id": "s", "role": "system", "parts": [{"type": "text", "text": "be nice"}]},
                {"id": "u1", "role": "user", "parts": [{"type": "text", "text": " Hello\n there "}]},
                {"role": "assistant", "parts": [
                    {"type": "step-start"},
                    {"type": "reasoning", "text": "hm", "id": "r0", "state": "done"},
                    {"type": "tool-x", "input": {}},
                    {"type": "text", "text": "Hi", "state": "done"}
                ]},
                {"role": "user", "content": "old form"},
            ])
            .to_string(),
        )
        .unwrap();
        let chat = &import.chats[0];
        assert_eq!(chat.title.as_str(), "Hello there");
        assert_eq!((import.skipped, chat.messages.len()), (1, 3));
        let reply: Value = serde_json::from_str(&chat.messages[1].parts).unwrap();
        assert_eq!(
            reply,
            json!([
                {"type": "step-start"},
                {"type": "reasoning", "text": "hm", "id": "r0", "state": "done"},
                {"type": "tool-x", "input": {}},
                {"type": "text", "text": "Hi", "state": "done"}
            ])
        );
    }

    #[test]
    fn an_export_that_was_cut_off_or_does_not_add_up_is_refused_with_its_line() {
        let meta = r#"{"type":"meta","version":1}"#;
        let chat = r#"{"type":"chat","id":"c","title":"T"}"#;
        let message = r#"{"type":"message","chatId":"c","id":"m","role":"user","parts":[{"type":"text","text":"x"}]}"#;
        let end = r#"{"type":"end","chats":1,"messages":1}"#;
        assert!(parse(&[meta, chat, message, end].join("\n")).is_ok());
        for (lines, line) in [
            (vec![meta, chat, message], 3),
            (vec![meta, message, end], 2),
            (vec![meta, chat, end], 3),
            (vec![meta, chat, chat, end], 3),
            (vec![meta, chat, message, message, end], 4),
            (vec![r#"{"type":"meta","version":2}"#, end], 1),
            (vec!["nonsense"], 1),
            (vec![""], 1),
        ] {
            assert_eq!(
                parse(&lines.join("\n")).unwrap_err().line,
                line,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn caps_hold_for_files_too() {
        let many = json!(vec![json!({"role": "user", "content": "x"}); 501]).to_string();
        assert_eq!(parse(&many).unwrap_err().line, 501);
        let long = json!([{"role": "user", "content": "x".repeat(16_001)}]).to_string();
        assert!(parse(&long).is_err());
        let nul = r#"[{"role":"assistant","content":"a\u0000b"}]"#;
        assert!(parse(nul).is_err());
        let about_nul = r#"[{"role":"assistant","content":"write \\u0000"}]"#;
        assert!(parse(about_nul).is_ok());
        let url = r#"[{"role":"user","parts":[{"type":"file","mediaType":"image/png","url":"https://a.example/x.png"}]}]"#;
        assert!(parse(url).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,300}", tail in r#"[\[\]{}":,a-z0-9\n]{0,200}"#) {
            let _ = parse(&text);
            let _ = parse(&format!("[{tail}"));
            let _ = parse(&format!("{{\"type\":\"message\"{tail}"));
        }
    }
}
