//! Replies that a page still waits for: it was shown the chat while the reply was being written, or
//! its stream broke before the end. Only such a reply is streamed again once it has ended. A page
//! that has it already would show it twice: the older clients of the AI SDK add what is replayed to
//! the message that they hold.

use std::time::Duration;

use dsql::{Db, Error, Type};
use jiff::Timestamp;

use crate::ids::{ChatId, MessageId, OwnerId};
use crate::key::key;
use crate::message::Message;
use crate::replies::generations::Active;
use crate::turns::stored::StoredReply;

/// How long after its end a reply is streamed again.
pub const REPLAY_WINDOW: Duration = Duration::from_secs(5 * 60);

/// What a page that resumes gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Resumable {
    /// A reply that is being written.
    Active(Active),
    /// A reply that has ended, and that the page does not have.
    Ended(StoredReply),
}

const RESUMABLE: &str = concat!(
    "WITH ",
    key!(),
    ", active AS (
    SELECT message_id, lease_until <= $3 AS has_passed FROM generations WHERE chat_id = (SELECT id FROM key) AND owner_id = $2
), last AS (
    SELECT id FROM messages WHERE chat_id = (SELECT id FROM key) AND aside_since IS NULL ORDER BY seq DESC LIMIT 1
)
SELECT m.id, m.role, m.parts, m.metadata, m.status, m.finish_reason, m.checkpoint_at, a.has_passed
FROM active a JOIN messages m ON m.chat_id = (SELECT id FROM key) AND m.id = a.message_id
UNION ALL
SELECT m.id, m.role, m.parts, m.metadata, m.status, m.finish_reason, m.checkpoint_at, NULL
FROM last JOIN messages m ON m.chat_id = (SELECT id FROM key) AND m.id = last.id JOIN chats c ON c.id = (SELECT id FROM key)
WHERE NOT EXISTS (SELECT FROM active) AND c.owner_id = $2 AND (c.expires_at IS NULL OR c.expires_at > $3)
    AND m.role = 'assistant' AND m.status <> 'streaming' AND m.checkpoint_at > $4
    AND CASE WHEN $5::text IS NULL THEN m.awaited_at IS NOT NULL ELSE m.id <> $5 END"
);

/// Finds what there is to resume in the owner's chat: the reply being written, else the last one,
/// if it has ended within [`REPLAY_WINDOW`] and a page waits for it, or the page says that the last
/// message it `shows` is another one.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn resumable(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    shows: Option<&str>,
    now: Timestamp,
) -> Result<Option<Resumable>, Error> {
    let since = now.checked_sub(REPLAY_WINDOW).unwrap_or(Timestamp::MIN);
    let row = db
        .query_opt_idempotent(
            RESUMABLE,
            &[
                (&chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
                (&since, Type::TIMESTAMPTZ),
                (&shows, Type::TEXT),
            ],
        )
        .await?;
    Ok(row.map(|row| {
        let message = Message::from_stored(
            row.get("id"),
            row.get("role"),
            row.get("parts"),
            row.get("metadata"),
        );
        match row.get("has_passed") {
            Some(has_passed) => Resumable::Active(Active {
                message,
                checkpoint_at: row.get("checkpoint_at"),
                has_passed,
            }),
            None => Resumable::Ended(StoredReply {
                message,
                status: row.get("status"),
                finish_reason: row.get("finish_reason"),
            }),
        }
    }))
}

const MARK: &str = concat!(
    "WITH ",
    key!("$1", "$3"),
    "
UPDATE messages SET awaited_at = $4
WHERE chat_id = (SELECT id FROM key) AND id = $2 AND EXISTS (SELECT FROM chats WHERE id = (SELECT id FROM key) AND owner_id = $3)
    AND (awaited_at IS NOT NULL OR $4::timestamptz IS NOT NULL)"
);

async fn mark(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    reply: &MessageId,
    awaited_at: Option<Timestamp>,
) -> Result<(), Error> {
    db.execute_idempotent(
        MARK,
        &[
            (&chat.as_str(), Type::TEXT),
            (&reply.as_str(), Type::TEXT),
            (&owner.as_str(), Type::TEXT),
            (&awaited_at, Type::TIMESTAMPTZ),
        ],
    )
    .await
    .map(|_| ())
}

/// Notes that a page waits for a reply of the owner's chat.
///
/// # Errors
/// Any [`Error`].
pub async fn awaited(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    reply: &MessageId,
    now: Timestamp,
) -> Result<(), Error> {
    mark(db, owner, chat, reply, Some(now)).await
}

/// Notes that the page which waited for a reply of the owner's chat has it.
///
/// # Errors
/// Any [`Error`].
pub async fn delivered(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    reply: &MessageId,
) -> Result<(), Error> {
    mark(db, owner, chat, reply, None).await
}
