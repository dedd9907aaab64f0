//! Statements about messages.

use dsql::{Db, Error, Type};
use jiff::Timestamp;

use crate::ids::{ChatId, OwnerId};
use crate::message::{Metadata, NewMessage};

/// Most messages in one chat.
pub const MAX_MESSAGES: i64 = 500;

/// How appending a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is stored, now or by an earlier attempt.
    Stored,
    /// Its id belongs to a message with other content.
    IdTaken,
    /// The chat has [`MAX_MESSAGES`] already.
    Full,
}

const APPEND: &str = "\
WITH chat AS (
    UPDATE chats SET next_seq = next_seq + 1, updated_at = GREATEST(updated_at, $6)
    WHERE id = $1 AND owner_id = $2
        AND NOT EXISTS (SELECT FROM messages WHERE chat_id = $1 AND id = $3)
        AND (next_seq < $7 OR (SELECT count(*) FROM messages WHERE chat_id = $1) < $7)
    RETURNING next_seq - 1 AS seq
), message AS (
    INSERT INTO messages (chat_id, id, seq, role, parts, metadata, status, created_at)
    SELECT $1, $3, seq, $4, $5, $8, 'complete', $6 FROM chat
)
SELECT 1 AS rank, 'stored' AS outcome FROM chat
UNION ALL
SELECT 2, CASE WHEN m.role = $4 AND m.parts = $5 THEN 'stored' ELSE 'taken' END
FROM messages m JOIN chats c ON c.id = m.chat_id
WHERE m.chat_id = $1 AND m.id = $3 AND c.owner_id = $2
UNION ALL
SELECT 3, 'full' FROM chats
WHERE id = $1 AND owner_id = $2 AND next_seq >= $7 AND (SELECT count(*) FROM messages WHERE chat_id = $1) >= $7
ORDER BY rank LIMIT 1";

/// Appends a message to the owner's chat; `None` if there is no such chat.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
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
            ],
        )
        .await?;
    Ok(row.map(|row| match row.get::<_, &str>("outcome") {
        "taken" => Appended::IdTaken,
        "full" => Appended::Full,
        _ => Appended::Stored,
    }))
}
