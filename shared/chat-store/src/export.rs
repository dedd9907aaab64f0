//! Export: all of an owner's chats as lines of JSON, branches included, read in pages of bounded
//! size. The last line says how many there were; an export without it was cut off.

use std::collections::{HashSet, VecDeque};

use dsql::{Db, Error, Row, Type};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ids::OwnerId;
use crate::values::Visibility;

/// The format that `meta` names.
pub const EXPORT_VERSION: u32 = 1;
/// A page holds about this many bytes of parts.
const PAGE_BYTES: i64 = 1024 * 1024;
/// It reads no more messages, so that a chat of large ones is not read whole for each page.
const MESSAGES_PER_PAGE: i64 = 100;
const CHATS_PER_PAGE: usize = 50;
/// The keys that are found at once: no index has an owner's chats in their order, so finding some
/// reads all of them.
const KEYS_AT_ONCE: i64 = 10_000;

/// An export under way.
#[derive(Debug)]
pub struct Export {
    owner: OwnerId,
    now: Timestamp,
    stage: Stage,
    /// Keys of the chats that come next, in order.
    ahead: VecDeque<String>,
    chats: u64,
    messages: u64,
}

#[derive(Debug)]
enum Stage {
    Begin,
    /// Behind the chat with this key.
    Chats(String),
    /// In the chat that `waiting` ends with, after this `seq`.
    Messages {
        waiting: Vec<Waiting>,
        after: i64,
        written: Written,
    },
    Votes {
        waiting: Vec<Waiting>,
        written: Written,
    },
    End,
}

/// The messages of a chat that are written already. A reply that is being written is not among
/// them, and may have ended by the time that others name it.
#[derive(Debug, Default)]
struct Written {
    ids: HashSet<String>,
    /// The last one on the path.
    last: Option<String>,
}

impl Written {
    /// What a message follows that says so itself, or else would follow.
    fn parent(&self, named: Option<String>) -> Option<String> {
        match named {
            Some(id) if !self.ids.contains(&id) => self.last.clone(),
            named => named,
        }
    }
}

/// A chat that is written next.
#[derive(Debug)]
struct Waiting {
    key: String,
    id: String,
    line: String,
}

// By key: updated_at moves while an export runs. The first row has the keys of all.
const FIRST_CHATS: &str = "\
WITH next AS (
    SELECT id FROM chats
    WHERE owner_id = $1 AND id > $2 AND (expires_at IS NULL OR expires_at > $3) ORDER BY id LIMIT $4
)
SELECT c.id AS key, COALESCE(public_id, c.id) AS id, title, visibility, pinned, archived, created_at, updated_at, expires_at,
    CASE WHEN row_number() OVER (ORDER BY c.id) = 1 THEN (SELECT array_agg(id ORDER BY id) FROM next) END AS keys
FROM chats c WHERE c.id IN (SELECT id FROM next ORDER BY id LIMIT $5) AND owner_id = $1 ORDER BY c.id";

const CHATS: &str = "\
SELECT c.id AS key, COALESCE(public_id, c.id) AS id, title, visibility, pinned, archived, created_at, updated_at, expires_at
FROM chats c
WHERE c.id = ANY($2) AND owner_id = $1 AND (expires_at IS NULL OR expires_at > $3) ORDER BY c.id";

const MESSAGES: &str = "\
SELECT id, seq, parent_id, is_aside, role, parts, metadata, created_at FROM (
    SELECT id, seq, parent_id, is_aside, role, parts, metadata, created_at,
        sum(octet_length(parts)) OVER (ORDER BY seq) - octet_length(parts) AS bytes_before
    FROM (
        SELECT id, seq, parent_id, aside_since IS NOT NULL AS is_aside, role, parts, metadata, created_at FROM messages
        WHERE chat_id = $1 AND seq > $3 AND status <> 'streaming'
            AND EXISTS (SELECT FROM chats WHERE id = $1 AND owner_id = $2)
        ORDER BY seq LIMIT $5
    ) next
) page WHERE bytes_before < $4 ORDER BY seq";

const VOTES: &str = "\
SELECT v.message_id, v.is_upvoted, v.comment FROM chats c JOIN votes v ON v.chat_id = c.id
WHERE c.id = $1 AND c.owner_id = $2 ORDER BY v.message_id";

impl Export {
    /// An export of everything that is the owner's.
    pub fn new(owner: OwnerId, now: Timestamp) -> Self {
        Self {
            owner,
            now,
            stage: Stage::Begin,
            ahead: VecDeque::new(),
            chats: 0,
            messages: 0,
        }
    }

    /// The next lines, each with its line break; `None` after the last. At most one round trip, and
    /// one more for each 50 chats that were deleted meanwhile. May be asked again after an error:
    /// nothing is lost or repeated.
    ///
    /// # Errors
    /// Any [`Error`] but an unknown outcome.
    pub async fn next(&mut self, db: &Db) -> Result<Option<String>, Error> {
        let mut lines = String::new();
        match &mut self.stage {
            Stage::Begin => {
                push(
                    &mut lines,
                    &json!({"type": "meta", "version": EXPORT_VERSION, "exportedAt": self.now}),
                );
                self.stage = Stage::Chats(String::new());
            }
            Stage::Chats(after) => {
                let after = after.clone();
                let mut waiting = self.page_of_chats(db, after).await?;
                waiting.reverse();
                self.enter(waiting, None, &mut lines);
            }
            Stage::Messages {
                waiting,
                after,
                written,
            } => {
                let Some(Waiting { key, id, .. }) = waiting.last() else {
                    self.stage = Stage::End;
                    return Ok(Some(lines));
                };
                let rows = db
                    .query_idempotent(
                        MESSAGES,
                        &[
                            (&key.as_str(), Type::TEXT),
                            (&self.owner.as_str(), Type::TEXT),
                            (&*after, Type::INT8),
                            (&PAGE_BYTES, Type::INT8),
                            (&MESSAGES_PER_PAGE, Type::INT8),
                        ],
                    )
                    .await?;
                for row in &rows {
                    let message: String = row.get("id");
                    let parent = written.parent(row.get("parent_id"));
                    push(&mut lines, &line_of_message(row, id, parent.as_deref()));
                    self.messages += 1;
                    *after = row.get("seq");
                    if !row.get::<_, bool>("is_aside") {
                        written.last = Some(message.clone());
                    }
                    written.ids.insert(message);
                }
                if rows.is_empty() {
                    let (waiting, written) = (std::mem::take(waiting), std::mem::take(written));
                    self.stage = Stage::Votes { waiting, written };
                }
            }
            Stage::Votes { waiting, written } => {
                let Some(Waiting { key, id, .. }) = waiting.last() else {
                    self.stage = Stage::End;
                    return Ok(Some(lines));
                };
                let rows = db
                    .query_idempotent(
                        VOTES,
                        &[
                            (&key.as_str(), Type::TEXT),
                            (&self.owner.as_str(), Type::TEXT),
                        ],
                    )
                    .await?;
                for row in &rows {
                    let message: &str = row.get("message_id");
                    if !written.ids.contains(message) {
                        continue;
                    }
                    push(
                        &mut lines,
                        &json!({
                            "type": "vote",
                            "chatId": id,
                            "messageId": message,
                            "isUpvoted": row.get::<_, bool>("is_upvoted"),
                            "comment": row.get::<_, Option<&str>>("comment"),
                        }),
                    );
                }
                let mut waiting = std::mem::take(waiting);
                let last = waiting.pop().map(|chat| chat.key);
                self.enter(waiting, last, &mut lines);
            }
            Stage::End => return Ok(None),
        }
        Ok(Some(lines))
    }

    /// The next chats after the key `after`; none after the last.
    async fn page_of_chats(&mut self, db: &Db, mut after: String) -> Result<Vec<Waiting>, Error> {
        while !self.ahead.is_empty() {
            let keys: Vec<&str> = self
                .ahead
                .iter()
                .take(CHATS_PER_PAGE)
                .map(String::as_str)
                .collect();
            let params = [
                (&self.owner.as_str() as _, Type::TEXT),
                (&keys as _, Type::TEXT_ARRAY),
                (&self.now as _, Type::TIMESTAMPTZ),
            ];
            let rows = db.query_idempotent(CHATS, &params).await?;
            let asked = keys.len();
            after = self.ahead.drain(..asked).next_back().unwrap_or(after);
            if !rows.is_empty() {
                return Ok(rows.iter().map(Waiting::from_row).collect());
            }
        }
        let params = [
            (&self.owner.as_str() as _, Type::TEXT),
            (&after.as_str() as _, Type::TEXT),
            (&self.now as _, Type::TIMESTAMPTZ),
            (&KEYS_AT_ONCE as _, Type::INT8),
            (&i64::try_from(CHATS_PER_PAGE).unwrap_or(1) as _, Type::INT8),
        ];
        let rows = db.query_idempotent(FIRST_CHATS, &params).await?;
        let keys: Option<Vec<String>> = rows.first().and_then(|row| row.get("keys"));
        self.ahead = keys
            .unwrap_or_default()
            .into_iter()
            .skip(rows.len())
            .collect();
        Ok(rows.iter().map(Waiting::from_row).collect())
    }

    /// Goes on with the last of `waiting`; when there is none, with the page after `last`, or to
    /// the end.
    fn enter(&mut self, waiting: Vec<Waiting>, last: Option<String>, lines: &mut String) {
        if let Some(chat) = waiting.last() {
            lines.push_str(&chat.line);
            self.chats += 1;
            self.stage = Stage::Messages {
                waiting,
                after: -1,
                written: Written::default(),
            };
        } else if let Some(last) = last {
            self.stage = Stage::Chats(last);
        } else {
            push(
                lines,
                &json!({"type": "end", "chats": self.chats, "messages": self.messages}),
            );
            self.stage = Stage::End;
        }
    }
}

fn line_of_message(row: &Row, chat: &str, parent: Option<&str>) -> Value {
    let mut line = json!({
        "type": "message",
        "chatId": chat,
        "id": row.get::<_, &str>("id"),
        "seq": row.get::<_, i64>("seq"),
        "parentId": parent,
        "isCurrent": !row.get::<_, bool>("is_aside"),
        "role": row.get::<_, &str>("role"),
        "parts": parsed(row.get("parts")).unwrap_or_else(|| json!([])),
        "createdAt": row.get::<_, Timestamp>("created_at"),
    });
    let metadata = row.get::<_, Option<&str>>("metadata").and_then(parsed);
    if let (Some(metadata), Some(fields)) = (metadata, line.as_object_mut()) {
        fields.insert("metadata".to_owned(), metadata);
    }
    line
}

impl Waiting {
    fn from_row(row: &Row) -> Self {
        let id: String = row.get("id");
        let mut line = String::new();
        push(
            &mut line,
            &json!({
                "type": "chat",
                "id": id,
                "title": row.get::<_, &str>("title"),
                "visibility": Visibility::told(row.get("visibility")),
                "pinned": row.get::<_, bool>("pinned"),
                "archived": row.get::<_, bool>("archived"),
                "createdAt": row.get::<_, Timestamp>("created_at"),
                "updatedAt": row.get::<_, Timestamp>("updated_at"),
                "expiresAt": row.get::<_, Option<Timestamp>>("expires_at"),
            }),
        );
        let key = row.get("key");
        Self { key, id, line }
    }
}

fn parsed(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn push(lines: &mut String, line: &Value) {
    lines.push_str(&line.to_string());
    lines.push('\n');
}
