//! Writing a reply: its checkpoints, its end, and the refusal before it began. Only the holder of the chat's lock writes,
//! and only while the lock is its own; each function is one flight.

use dsql::{Db, Error, Type};
use jiff::Timestamp;

use crate::ids::{ChatId, MessageId, OwnerId, StreamId};
use crate::turn::day;

/// A reply that is being written, and the lock that its writer holds.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The chat.
    pub chat: ChatId,
    /// The reply's message.
    pub message: MessageId,
    /// The lock.
    pub stream: StreamId,
}

/// Whether the writer still holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Yes.
    Yes,
    /// Yes, and the visitor wants the reply to end here.
    StopRequested,
    /// No: the chat is gone, or the lease had passed and someone took over.
    No,
}

const CHECKPOINT: &str = "\
WITH generation AS (
    SELECT stop_requested FROM generations WHERE chat_id = $1 AND stream_id = $2 AND owner_id = $3
), saved AS (
    UPDATE messages SET parts = $5, checkpoint_at = $6, input_tokens = $7, output_tokens = $8
    WHERE chat_id = $1 AND id = $4 AND status = 'streaming' AND $5::text IS NOT NULL
        AND EXISTS (SELECT FROM generation)
)
SELECT stop_requested FROM generation";

/// A reply so far.
#[derive(Debug, Clone, Copy)]
pub struct SoFar<'a> {
    /// Its parts.
    pub parts: &'a str,
    /// Tokens read, roughly: what is counted if nobody lives to [`close`] it.
    pub input_tokens: i64,
    /// Tokens written, roughly.
    pub output_tokens: i64,
}

/// Stores what there is of a reply, if that is given, and tells whether to go on.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn checkpoint(
    db: &Db,
    owner: &OwnerId,
    reply: &Reply,
    so_far: Option<SoFar<'_>>,
    now: Timestamp,
) -> Result<Held, Error> {
    let row = db
        .query_opt_idempotent(
            CHECKPOINT,
            &[
                (&reply.chat.as_str(), Type::TEXT),
                (&reply.stream.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&reply.message.as_str(), Type::TEXT),
                (&so_far.map(|so_far| so_far.parts), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
                (&so_far.map(|so_far| so_far.input_tokens), Type::INT8),
                (&so_far.map(|so_far| so_far.output_tokens), Type::INT8),
            ],
        )
        .await?;
    Ok(match row.map(|row| row.get("stop_requested")) {
        None => Held::No,
        Some(true) => Held::StopRequested,
        Some(false) => Held::Yes,
    })
}

/// How a reply ends.
#[derive(Debug, Clone, Copy)]
pub struct Closing<'a> {
    /// Its parts.
    pub parts: &'a str,
    /// What is noted about it.
    pub metadata: &'a str,
    /// `complete`, `stopped`, `interrupted` or `error`.
    pub status: &'a str,
    /// Why the model ended.
    pub finish_reason: Option<&'a str>,
    /// The model that answered.
    pub model: &'a str,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Now.
    pub now: Timestamp,
}

const CLOSE: &str = "\
WITH released AS (
    DELETE FROM generations WHERE chat_id = $1 AND stream_id = $2 AND owner_id = $3 RETURNING message_id
), ended AS (
    UPDATE messages SET parts = $5, metadata = $6, status = $7, finish_reason = $8,
        input_tokens = $10, output_tokens = $11, checkpoint_at = $12
    WHERE chat_id = $1 AND id = $4 AND status = 'streaming' AND EXISTS (SELECT FROM released)
    RETURNING status
), spent AS (
    INSERT INTO usage_daily AS u (owner_id, day, model, requests, input_tokens, output_tokens)
    SELECT $3, $13, $9, 1, $10, $11 FROM released
    ON CONFLICT (owner_id, day, model) DO UPDATE SET requests = u.requests + 1,
        input_tokens = u.input_tokens + excluded.input_tokens,
        output_tokens = u.output_tokens + excluded.output_tokens
)
SELECT status = $7 AS is_ours FROM ended
UNION ALL
SELECT m.status = $7 FROM messages m JOIN chats c ON c.id = m.chat_id
WHERE m.chat_id = $1 AND m.id = $4 AND c.owner_id = $3 AND NOT EXISTS (SELECT FROM released)";

/// Ends a reply: its last parts, its status, the lock, the day's usage. False: the lock was not held any more, and nothing
/// was written.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn close(
    db: &Db,
    owner: &OwnerId,
    reply: &Reply,
    closing: &Closing<'_>,
) -> Result<bool, Error> {
    let row = db
        .query_opt_idempotent(
            CLOSE,
            &[
                (&reply.chat.as_str(), Type::TEXT),
                (&reply.stream.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&reply.message.as_str(), Type::TEXT),
                (&closing.parts, Type::TEXT),
                (&closing.metadata, Type::TEXT),
                (&closing.status, Type::TEXT),
                (&closing.finish_reason, Type::TEXT),
                (&closing.model, Type::TEXT),
                (&closing.input_tokens, Type::INT8),
                (&closing.output_tokens, Type::INT8),
                (&closing.now, Type::TIMESTAMPTZ),
                (&day(closing.now), Type::DATE),
            ],
        )
        .await?;
    Ok(row.is_some_and(|row| row.get("is_ours")))
}

const ABANDON: &str = "\
WITH released AS (
    DELETE FROM generations WHERE chat_id = $1 AND stream_id = $2 AND owner_id = $3 RETURNING message_id
)
DELETE FROM messages WHERE chat_id = $1 AND id = $4 AND id IN (SELECT message_id FROM released)";

/// Takes back the row of a reply that never began, and the lock. The visitor's message stays.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn abandon(db: &Db, owner: &OwnerId, reply: &Reply) -> Result<(), Error> {
    db.execute_idempotent(
        ABANDON,
        &[
            (&reply.chat.as_str(), Type::TEXT),
            (&reply.stream.as_str(), Type::TEXT),
            (&owner.as_str(), Type::TEXT),
            (&reply.message.as_str(), Type::TEXT),
        ],
    )
    .await
    .map(|_| ())
}
