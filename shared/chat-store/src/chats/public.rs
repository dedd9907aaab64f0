//! What others than the owner see of a chat that its owner has made public: its path as it is now,
//! of which a reader learns no more than of a share. A chat that is only shared is not among them.

use dsql::{Db, Error, Type};
use jiff::Timestamp;
use serde_json::json;

use crate::chats::{Chat, Conversation};
use crate::ids::ChatId;
use crate::message::{Message, StoredParts};
use crate::messages::MAX_MESSAGES;
use crate::shares::public;

/// Most bytes of parts that are shown, from the end.
const MAX_BYTES: i64 = 1024 * 1024;

const READ: &str = "\
WITH key AS (
    SELECT id FROM (
        SELECT id, created_at FROM chats WHERE id = $1 AND visibility = 'open'
        UNION ALL
        SELECT id, created_at FROM chats WHERE public_id = $1 AND visibility = 'open'
    ) shown ORDER BY created_at, id LIMIT 1
)
SELECT $1 AS id, c.title, c.visibility, false AS pinned, false AS archived, c.created_at, c.updated_at, c.expires_at,
    m.seq, m.role, m.parts, m.by_model
FROM chats c LEFT JOIN (
    SELECT seq, role, parts, model IS NOT NULL AS by_model, sum(octet_length(parts)) OVER (ORDER BY seq DESC) AS bytes
    FROM messages WHERE chat_id = (SELECT id FROM key) AND status <> 'streaming' AND aside_since IS NULL
    ORDER BY seq DESC LIMIT $3
) m ON m.bytes <= $4
WHERE c.id = (SELECT id FROM key) AND c.visibility = 'open' AND (c.expires_at IS NULL OR c.expires_at > $2)
ORDER BY m.seq";

/// Reads a chat that its owner has made public, whoever asks.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn read_public(
    db: &Db,
    chat: &ChatId,
    now: Timestamp,
) -> Result<Option<Conversation>, Error> {
    let rows = db
        .query_idempotent(
            READ,
            &[
                (&chat.as_str(), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
                (&MAX_MESSAGES, Type::INT8),
                (&MAX_BYTES, Type::INT8),
            ],
        )
        .await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let messages = rows.iter().filter_map(|row| {
        let (seq, role): (i64, &str) = (row.get::<_, Option<_>>("seq")?, row.get("role"));
        let shown = public(role, row.get("parts"), row.get("by_model"))?;
        let written_by = shown.get("writtenBy");
        Some(Message {
            id: format!("public-{seq}"),
            role: role.to_owned(),
            parts: StoredParts::parse(&shown.get("parts")?.to_string()),
            metadata: written_by.map(|who| json!({"writtenBy": who})),
        })
    });
    Ok(Some(Conversation {
        chat: Chat::from_row(first),
        active_stream_id: None,
        left_out: None,
        awaited: None,
        messages: messages.collect(),
        previous: None,
    }))
}
