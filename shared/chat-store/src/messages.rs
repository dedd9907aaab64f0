//! Statements about messages.

use dsql::{Db, Error, Type};
use jiff::Timestamp;

use crate::ids::{ChatId, MessageId, OwnerId};
use crate::key::key;
use crate::message::{Metadata, NewMessage};
use crate::replies::generations::settled;
use crate::root::root;

/// Most messages on the path of a chat, which is what is read.
pub const MAX_MESSAGES: i64 = 500;
/// Most messages of a chat in all, those that were set aside included: it is deleted in one
/// transaction of 3,000 rows.
pub const MAX_ROWS: i64 = 1_000;

/// How appending a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is stored, now or by an earlier attempt.
    Stored,
    /// Its id belongs to a message with other content.
    IdTaken,
    /// The chat has [`MAX_MESSAGES`] on its path or [`MAX_ROWS`] in all.
    Full,
}

const APPEND: &str = concat!(
    root!(
        of (),
        "next_seq = next_seq + 1, updated_at = GREATEST(updated_at, $6)",
        "id = (SELECT id FROM key) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $6)
        AND NOT EXISTS (SELECT FROM messages WHERE chat_id = (SELECT id FROM key) AND id = $3)
        AND (next_seq < $7 OR EXISTS (
            SELECT FROM messages WHERE chat_id = (SELECT id FROM key) HAVING count(*) < $9 AND count(*) FILTER (WHERE aside_since IS NULL) < $7
        ))",
        "next_seq - 1 AS seq"
    ),
    ", message AS (
    INSERT INTO messages (chat_id, id, seq, parent_id, role, parts, metadata, status, created_at)
    SELECT (SELECT id FROM key), $3, seq, (
        SELECT id FROM messages WHERE chat_id = (SELECT id FROM key) AND aside_since IS NULL ORDER BY seq DESC LIMIT 1
    ), $4, $5, $8, 'complete', $6 FROM chat
)
SELECT 1 AS rank, 'stored' AS outcome FROM chat
UNION ALL
SELECT 2, CASE WHEN m.role = $4 AND m.parts = $5 THEN 'stored' ELSE 'taken' END
FROM messages m JOIN chats c ON c.id = m.chat_id
WHERE m.chat_id = (SELECT id FROM key) AND m.id = $3 AND c.owner_id = $2
    AND (c.expires_at IS NULL OR c.expires_at > $6)
UNION ALL
SELECT 3, 'full' FROM chats
WHERE id = (SELECT id FROM key) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $6) AND next_seq >= $7
    AND EXISTS (
        SELECT FROM messages WHERE chat_id = (SELECT id FROM key) HAVING count(*) >= $9 OR count(*) FILTER (WHERE aside_since IS NULL) >= $7
    )
ORDER BY rank LIMIT 1"
);

/// Appends a message to the owner's chat; `None` if there is no such chat.
///
/// # Errors
/// Any [`Error`].
pub async fn append(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    message: &NewMessage,
    now: Timestamp,
) -> Result<Option<Appended>, Error> {
    let row = db
        .query_opt_idempotent(
            APPEND,
            &[
                (&chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&message.id.as_str(), Type::TEXT),
                (&message.role.as_str(), Type::TEXT),
                (&message.parts.as_str(), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
                (&MAX_MESSAGES, Type::INT8),
                (&message.metadata.as_ref().map(Metadata::as_str), Type::TEXT),
                (&MAX_ROWS, Type::INT8),
            ],
        )
        .await?;
    Ok(row.map(|row| match row.get::<_, &str>("outcome") {
        "taken" => Appended::IdTaken,
        "full" => Appended::Full,
        _ => Appended::Stored,
    }))
}

/// From where a chat is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Behind a message of the visitor's, which is about to be edited.
    Edit,
    /// From a reply on, or after a message of the visitor's, so that it is answered again.
    Regenerate,
}

/// How cutting a chat ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutOff {
    /// Nothing is there any more from that place on.
    Done,
    /// A reply is being written.
    Busy,
    /// An edit names a reply.
    NotTheirs,
}

// At most 500 messages. The chat's row is written, and its counter too: a turn that opens meanwhile
// conflicts, one that was placed before is placed again.
const CUT: &str = concat!(
    "WITH ",
    key!(),
    ", chat AS (
    SELECT id, EXISTS (SELECT FROM generations WHERE chat_id = (SELECT id FROM key) AND lease_until > $5) AS busy FROM chats
    WHERE id = (SELECT id FROM key) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $5)
), target AS (
    SELECT role, CASE WHEN role = 'assistant' THEN seq ELSE seq + 1 END AS first FROM messages
    WHERE chat_id IN (SELECT id FROM chat WHERE NOT busy) AND id = $3 AND (role = 'user' OR NOT $4) AND aside_since IS NULL
), gone AS (
    UPDATE messages SET aside_since = $5,
        metadata = CASE status WHEN 'streaming'
            THEN (COALESCE(metadata, '{}')::jsonb || '{\"status\":\"interrupted\"}'::jsonb)::text ELSE metadata END,
        status = CASE status WHEN 'streaming' THEN 'interrupted' ELSE status END
    WHERE chat_id = (SELECT id FROM key) AND aside_since IS NULL AND seq >= (SELECT first FROM target) RETURNING id
), g AS (
    DELETE FROM generations WHERE chat_id = (SELECT id FROM key) AND message_id IN (SELECT id FROM gone)
    RETURNING chat_id, message_id, owner_id
), ",
    settled!("g"),
    ", touched AS (
    UPDATE chats SET next_seq = next_seq + 1, updated_at = GREATEST(updated_at, $5)
    WHERE id = (SELECT id FROM key) AND owner_id = $2 AND EXISTS (SELECT FROM target)
)
SELECT busy, EXISTS (SELECT FROM target) AS found,
    EXISTS (SELECT FROM messages WHERE chat_id = (SELECT id FROM key) AND id = $3 AND role = 'assistant') AS is_reply
FROM chat"
);

/// Sets the owner's messages aside from a place on (`branches`); `None` if there is no such chat. A
/// message that is not there (any more) cuts nothing.
///
/// # Errors
/// Any [`Error`].
pub async fn cut(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    message: &MessageId,
    cut: Cut,
    now: Timestamp,
) -> Result<Option<CutOff>, Error> {
    let row = db
        .query_opt_idempotent(
            CUT,
            &[
                (&chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&message.as_str(), Type::TEXT),
                (&(cut == Cut::Edit), Type::BOOL),
                (&now, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    Ok(row.map(|row| {
        let (busy, found, is_reply) = (row.get("busy"), row.get("found"), row.get("is_reply"));
        match (busy, found, is_reply) {
            (true, _, _) => CutOff::Busy,
            (false, false, true) if cut == Cut::Edit => CutOff::NotTheirs,
            _ => CutOff::Done,
        }
    }))
}
