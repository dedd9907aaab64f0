//! Statements about chats.

mod claim;
mod cursor;
mod fork;
mod list;
mod public;

pub use claim::claim;
pub use cursor::Cursor;
pub use fork::{Forked, fork};
pub use list::{ChatPage, Listing, list};
pub use public::read_public;

use dsql::{Db, Error, Row, Type};
use jiff::Timestamp;
use serde::Serialize;

use crate::ids::{ChatId, MessageId, OwnerId};
use crate::key::{apart, key, key_of_new};
use crate::message::{Message, Metadata, NewMessage};
use crate::released::released;
use crate::replies::generations::settled;
use crate::values::{Title, Visibility};

/// The rows of a statement that joins something of a chat's to the chat, which is `$1`, of the
/// owner `$2`, at the time `$3`: the chat alone is a row without the rest, and no row is no such
/// chat.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub(crate) async fn look_into(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    sql: &'static str,
    now: Timestamp,
) -> Result<Option<Vec<Row>>, Error> {
    let params = [
        (&chat.as_str() as _, Type::TEXT),
        (&owner.as_str() as _, Type::TEXT),
        (&now as _, Type::TIMESTAMPTZ),
    ];
    let rows = db.query_idempotent(sql, &params).await?;
    Ok((!rows.is_empty()).then_some(rows))
}

/// A chat without its messages.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chat {
    /// The id.
    pub id: String,
    /// The title.
    pub title: String,
    /// `private` or `public`.
    pub visibility: String,
    /// Kept on top by the page.
    pub pinned: bool,
    /// Left out of the usual list.
    pub archived: bool,
    /// RFC 3339.
    pub created_at: Timestamp,
    /// RFC 3339; the list's order.
    pub updated_at: Timestamp,
    /// RFC 3339; from then on the chat is as missing. `null`: kept.
    pub expires_at: Option<Timestamp>,
}

impl Chat {
    pub(crate) fn from_row(row: &Row) -> Self {
        Self {
            id: row.get("id"),
            title: row.get("title"),
            visibility: Visibility::told(row.get("visibility")).to_owned(),
            pinned: row.get("pinned"),
            archived: row.get("archived"),
            created_at: row.get("created_at"),
            updated_at: row.get("updated_at"),
            expires_at: row.get("expires_at"),
        }
    }
}

/// A chat to create.
#[derive(Debug, Clone)]
pub struct NewChat {
    /// Its id.
    pub id: ChatId,
    /// Its title.
    pub title: Title,
    /// A first message.
    pub message: Option<NewMessage>,
    /// The time, fixed before the first attempt.
    pub created_at: Timestamp,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// How creating a chat ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    /// It exists now.
    Chat(Chat),
    /// The id is in use.
    IdTaken,
}

const CREATE: &str = concat!(
    "WITH ",
    key_of_new!("$1", "$2", "$11"),
    ", chat AS (
    INSERT INTO chats (id, public_id, owner_id, title, title_folded, visibility, pinned, archived, next_seq, created_at,
        updated_at, expires_at)
    SELECT id, NULLIF($1, id), $2, $3, $10, 'private', false, false, CASE WHEN $5::text IS NULL THEN 0 ELSE 1 END, $4, $4, $9
    FROM key
    ON CONFLICT (id) DO NOTHING
    RETURNING title, visibility, pinned, archived, created_at, updated_at, expires_at
), message AS (
    INSERT INTO messages (chat_id, id, seq, role, parts, metadata, status, created_at)
    SELECT key.id, $5, 0, $6, $7, $8, 'complete', $4 FROM chat, key WHERE $5::text IS NOT NULL
)
SELECT $1 AS id, title, visibility, pinned, archived, created_at, updated_at, expires_at FROM chat
UNION ALL
SELECT $1, title, visibility, pinned, archived, created_at, updated_at, expires_at FROM chats
WHERE id = (SELECT id FROM key) AND owner_id = $2 AND title = $3 AND (expires_at IS NULL OR expires_at > $4) AND ($5::text IS NULL OR EXISTS (
    SELECT FROM messages WHERE chat_id = (SELECT id FROM key) AND messages.id = $5 AND role = $6 AND parts = $7
))"
);

/// Creates a chat, with its first message if there is one. The same owner's same request again
/// finds what the first one made, whether it is repeated here, after a lost connection, or by a
/// client that got no answer.
///
/// # Errors
/// Any [`Error`].
pub async fn create(db: &Db, owner: &OwnerId, new: &NewChat) -> Result<Created, Error> {
    let message = new.message.as_ref();
    let row = db
        .query_opt_idempotent(
            CREATE,
            &[
                (&new.id.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&new.title.as_str(), Type::TEXT),
                (&new.created_at, Type::TIMESTAMPTZ),
                (&message.map(|m| m.id.as_str()), Type::TEXT),
                (&message.map(|m| m.role.as_str()), Type::TEXT),
                (&message.map(|m| m.parts.as_str()), Type::TEXT),
                (
                    &message
                        .and_then(|m| m.metadata.as_ref())
                        .map(Metadata::as_str),
                    Type::TEXT,
                ),
                (&new.expires_at, Type::TIMESTAMPTZ),
                (&new.title.folded(), Type::TEXT),
                (&apart(owner, &new.id), Type::TEXT),
            ],
        )
        .await?;
    Ok(row.map_or(Created::IdTaken, |row| Created::Chat(Chat::from_row(&row))))
}

/// A chat with a page of its messages, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// The chat.
    pub chat: Chat,
    /// The reply being written just now, whose message is left out until it is done.
    pub active_stream_id: Option<String>,
    /// That message, also when its writer is gone.
    pub left_out: Option<MessageId>,
    /// Which of the messages a page was waiting for.
    pub awaited: Option<MessageId>,
    /// The last messages before the given place.
    pub messages: Vec<Message>,
    /// Where the page before begins, if there is one.
    pub previous: Option<i64>,
}

/// A page is read up to this many bytes of parts, its last message excepted.
const MAX_PAGE_BYTES: i64 = 4 * 1024 * 1024;
/// A page holds no more than this, its last message excepted, counted as it is sent: JSON within a
/// JSON string, in which every quote and backslash is written twice. An answer may have 6 MB; the
/// rest is for what is not a message.
const MAX_SENT_BYTES: usize = 5 * 1024 * 1024 + 512 * 1024;
/// A message's share of a page besides its parts and metadata.
const MESSAGE_BYTES: usize = 256;

const GET: &str = concat!(
    "WITH ",
    key!(),
    "
SELECT COALESCE(c.public_id, c.id) AS id, c.title, c.visibility, c.pinned, c.archived, c.created_at, c.updated_at,
    c.expires_at, CASE WHEN g.lease_until > $5 THEN g.stream_id END AS stream_id, g.message_id AS left_out,
    m.message_id, m.seq, m.role, m.parts, m.metadata, m.is_awaited, m.found
FROM chats c
LEFT JOIN generations g ON g.chat_id = c.id
LEFT JOIN (
    SELECT message_id, seq, role, parts, metadata, is_awaited, count(*) OVER () AS found,
        sum(octet_length(parts)) OVER (ORDER BY seq DESC) - octet_length(parts) AS bytes_behind
    FROM (
        SELECT id AS message_id, seq, role, parts, metadata, awaited_at IS NOT NULL AS is_awaited FROM messages
        WHERE chat_id = (SELECT id FROM key) AND seq < $3 AND status <> 'streaming' AND aside_since IS NULL ORDER BY seq DESC LIMIT $4
    ) page
) m ON m.bytes_behind < $6
WHERE c.id = (SELECT id FROM key) AND c.owner_id = $2 AND (c.expires_at IS NULL OR c.expires_at > $5)
ORDER BY m.seq DESC"
);

/// Reads a chat and its last `limit` messages with a `seq` below `before`; fewer when they are
/// large as they are sent.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn get(
    db: &Db,
    owner: &OwnerId,
    id: &ChatId,
    before: Option<i64>,
    limit: u16,
    now: Timestamp,
) -> Result<Option<Conversation>, Error> {
    let rows = db
        .query_idempotent(
            GET,
            &[
                (&id.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&before.unwrap_or(i64::MAX), Type::INT8),
                (&(i64::from(limit) + 1), Type::INT8),
                (&now, Type::TIMESTAMPTZ),
                (&MAX_PAGE_BYTES, Type::INT8),
            ],
        )
        .await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let found: i64 = first.get::<_, Option<i64>>("found").unwrap_or(0);
    let mut page: Vec<(i64, Message)> = Vec::new();
    let mut awaited = None;
    let mut sent = 0;
    for row in rows.iter().take(usize::from(limit)) {
        let Some(seq) = row.get::<_, Option<i64>>("seq") else {
            break; // a chat without messages
        };
        let (parts, metadata): (&str, Option<&str>) = (row.get("parts"), row.get("metadata"));
        sent += MESSAGE_BYTES + sent_bytes(parts) + metadata.map_or(0, sent_bytes);
        if sent > MAX_SENT_BYTES && !page.is_empty() {
            break;
        }
        let (id, role): (String, _) = (row.get("message_id"), row.get("role"));
        if awaited.is_none() && row.get("is_awaited") {
            awaited = MessageId::parse(&id).ok();
        }
        page.push((seq, Message::from_stored(id, role, parts, metadata)));
    }
    let more = usize::try_from(found).is_ok_and(|found| found > page.len());
    let previous = page.last().filter(|_| more).map(|(seq, _)| *seq);
    let mut messages: Vec<Message> = page.into_iter().map(|(_, message)| message).collect();
    messages.reverse();
    Ok(Some(Conversation {
        chat: Chat::from_row(first),
        active_stream_id: first.get("stream_id"),
        left_out: first
            .get::<_, Option<&str>>("left_out")
            .and_then(|id| MessageId::parse(id).ok()),
        awaited,
        messages,
        previous,
    }))
}

/// How long JSON is within a JSON string. It holds no bare control characters.
fn sent_bytes(json: &str) -> usize {
    json.len() + json.bytes().filter(|b| matches!(b, b'"' | b'\\')).count()
}

/// When a chat ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// It is kept until it is deleted.
    Never,
    /// From then on it is as missing.
    At(Timestamp),
}

/// What to change about a chat; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The title.
    pub title: Option<Title>,
    /// Who may read it.
    pub visibility: Option<Visibility>,
    /// Kept on top.
    pub pinned: Option<bool>,
    /// Left out of the usual list.
    pub archived: Option<bool>,
    /// When it ends.
    pub ends: Option<Ends>,
}

const CHANGE: &str = concat!(
    "WITH ",
    key!(),
    "
UPDATE chats SET title = COALESCE($3, title), title_folded = COALESCE($10, title_folded), visibility = COALESCE($4, visibility), pinned = COALESCE($5, pinned),
    archived = COALESCE($6, archived), updated_at = GREATEST(updated_at, $7),
    expires_at = CASE WHEN $8 THEN $9 ELSE expires_at END
WHERE id = (SELECT id FROM key) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $7)
RETURNING COALESCE(public_id, id) AS id, title, visibility, pinned, archived, created_at, updated_at, expires_at"
);

/// Changes a chat and returns it as it is then.
///
/// # Errors
/// Any [`Error`].
pub async fn change(
    db: &Db,
    owner: &OwnerId,
    id: &ChatId,
    changes: &Changes,
    now: Timestamp,
) -> Result<Option<Chat>, Error> {
    let expires_at = match changes.ends {
        Some(Ends::At(time)) => Some(time),
        Some(Ends::Never) | None => None,
    };
    let row = db
        .query_opt_idempotent(
            CHANGE,
            &[
                (&id.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&changes.title.as_ref().map(Title::as_str), Type::TEXT),
                (&changes.visibility.map(Visibility::as_str), Type::TEXT),
                (&changes.pinned, Type::BOOL),
                (&changes.archived, Type::BOOL),
                (&now, Type::TIMESTAMPTZ),
                (&changes.ends.is_some(), Type::BOOL),
                (&expires_at, Type::TIMESTAMPTZ),
                (&changes.title.as_ref().map(Title::folded), Type::TEXT),
            ],
        )
        .await?;
    Ok(row.as_ref().map(Chat::from_row))
}

// At most 1,000 messages, as many votes, 100 uploads with their uses and 20 shares: below 3,000
// rows.
const DELETE: &str = concat!(
    "WITH ",
    key!(),
    ", mine AS (SELECT id FROM chats WHERE id = (SELECT id FROM key) AND owner_id = $2),
    v AS (DELETE FROM votes WHERE chat_id IN (SELECT id FROM mine)),
    s AS (DELETE FROM shares WHERE chat_id IN (SELECT id FROM mine)),
    g AS (DELETE FROM generations WHERE chat_id IN (SELECT id FROM mine) RETURNING chat_id, message_id, owner_id),
    ",
    settled!("g"),
    ",
    ",
    released!("IN (SELECT id FROM mine)"),
    ",
    m AS (DELETE FROM messages WHERE chat_id IN (SELECT id FROM mine))
DELETE FROM chats WHERE id IN (SELECT id FROM mine)"
);

/// Deletes a chat and all that belongs to it; what a reply under way has used is counted. False:
/// there is none (any more).
///
/// # Errors
/// Any [`Error`].
pub async fn delete(db: &Db, owner: &OwnerId, id: &ChatId) -> Result<bool, Error> {
    let params = [
        (&id.as_str() as _, Type::TEXT),
        (&owner.as_str() as _, Type::TEXT),
    ];
    match db.execute(DELETE, &params).await {
        // What the lost attempt may have deleted is not missing: it is deleted.
        Err(error) if error.is_outcome_unknown() => {
            db.execute_idempotent(DELETE, &params).await.map(|_| true)
        }
        deleted => deleted.map(|chats| chats > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::sent_bytes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sent_of_a_text_is_counted_to_the_byte(text in "[\"\\\\\\PC\\p{Cc}]{0,60}") {
            let stored = serde_json::json!([{"type": "text", "text": text}]).to_string();
            let sent = serde_json::to_string(&stored).unwrap();
            prop_assert_eq!(sent_bytes(&stored), sent.len() - "\"\"".len());
        }
    }
}
