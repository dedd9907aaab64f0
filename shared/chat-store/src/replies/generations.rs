//! Replies under way, seen from other containers: following them, stopping them, and ending those
//! whose writer is gone.

use dsql::{Db, Error, Type};
use jiff::Timestamp;
use serde_json::Value;

use crate::ids::{ChatId, MessageId, OwnerId, StreamId};
use crate::key::key;
use crate::message::Message;

/// Counts what the replies of the CTE `$ended` (`chat_id`, `message_id`, `owner_id`) have used by
/// their last checkpoint, which is all that is known when the writer does not end them itself.
/// Whoever deletes the lock of a reply says this in the same statement, so that it is counted once.
macro_rules! settled {
    ($ended:literal) => {
        concat!(
            "settled AS (
    INSERT INTO usage_daily AS u (owner_id, day, model, requests, input_tokens, output_tokens)
    SELECT e.owner_id, (COALESCE(m.checkpoint_at, m.created_at) AT TIME ZONE 'UTC')::date, COALESCE(m.model, ''),
        count(*), COALESCE(sum(m.input_tokens), 0)::bigint, COALESCE(sum(m.output_tokens), 0)::bigint
    FROM ",
            $ended,
            " e JOIN messages m ON m.chat_id = e.chat_id AND m.id = e.message_id AND m.status = 'streaming'
    GROUP BY 1, 2, 3
    ON CONFLICT (owner_id, day, model) DO UPDATE SET requests = u.requests + excluded.requests,
        input_tokens = u.input_tokens + excluded.input_tokens,
        output_tokens = u.output_tokens + excluded.output_tokens
)"
        )
    };
}
pub(crate) use settled;

/// The reply being written in a chat.
#[derive(Debug, Clone, PartialEq)]
pub struct Active {
    /// The reply so far.
    pub message: Message,
    /// When that was stored.
    pub checkpoint_at: Option<Timestamp>,
    /// Whether its writer must be gone.
    pub has_passed: bool,
}

/// A reply, looked at again.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// `complete`, `streaming`, `stopped`, `interrupted` or `error`.
    pub status: String,
    /// Why the model ended.
    pub finish_reason: Option<String>,
    /// Its parts, unless they are still those of the last look.
    pub parts: Option<Value>,
    /// What is noted about it.
    pub metadata: Option<Value>,
    /// When the parts were stored.
    pub checkpoint_at: Option<Timestamp>,
    /// Whether it still streams although its writer must be gone.
    pub has_passed: bool,
    /// Whether a page is noted to wait for it.
    pub is_awaited: bool,
}

impl Progress {
    /// Whether the reply was stopped, and its writer has not stored its last words yet: with them
    /// it notes the usage.
    pub fn awaits_last_words(&self) -> bool {
        self.status == "stopped"
            && self
                .metadata
                .as_ref()
                .is_none_or(|metadata| metadata.get("usage").is_none())
    }
}

const POLL: &str = concat!(
    "WITH ",
    key!("$1", "$3"),
    "
SELECT m.status, m.finish_reason, m.metadata, m.checkpoint_at, m.awaited_at IS NOT NULL AS is_awaited,
    CASE WHEN m.checkpoint_at IS DISTINCT FROM $4 THEN m.parts END AS parts,
    m.status = 'streaming' AND g.lease_until IS NOT NULL AND g.lease_until <= $5 AS has_passed
FROM messages m JOIN chats c ON c.id = m.chat_id LEFT JOIN generations g ON g.chat_id = m.chat_id
WHERE m.chat_id = (SELECT id FROM key) AND m.id = $2 AND c.owner_id = $3"
);

/// Looks again at a reply whose parts were last stored at `seen`. `None`: it is gone.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn poll(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    message: &MessageId,
    seen: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Progress>, Error> {
    let row = db
        .query_opt_idempotent(
            POLL,
            &[
                (&chat.as_str(), Type::TEXT),
                (&message.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&seen, Type::TIMESTAMPTZ),
                (&now, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    let json = |text: &str| serde_json::from_str(text).ok();
    Ok(row.map(|row| Progress {
        status: row.get("status"),
        finish_reason: row.get("finish_reason"),
        parts: row.get::<_, Option<&str>>("parts").and_then(json),
        metadata: row.get::<_, Option<&str>>("metadata").and_then(json),
        checkpoint_at: row.get("checkpoint_at"),
        has_passed: row.get("has_passed"),
        is_awaited: row.get("is_awaited"),
    }))
}

/// What became of a wish to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The reply has ended, and the chat is free. Its writer sees it at its next checkpoint.
    Now,
    /// There is no such reply under way.
    NothingToStop,
}

const STOP: &str = concat!(
    "WITH ",
    key!(),
    ", chat AS (
    SELECT id FROM chats WHERE id = (SELECT id FROM key) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $4)
), released AS (
    DELETE FROM generations WHERE chat_id IN (SELECT id FROM chat) AND ($3::text IS NULL OR stream_id = $3)
    RETURNING chat_id, message_id, owner_id
), ",
    settled!("released"),
    ", stopped AS (
    UPDATE messages SET status = 'stopped',
        metadata = (COALESCE(metadata, '{}')::jsonb || '{\"status\":\"stopped\"}'::jsonb)::text
    WHERE chat_id = (SELECT id FROM key) AND status = 'streaming' AND id IN (SELECT message_id FROM released)
)
SELECT EXISTS (SELECT FROM released) AS is_stopped FROM chat"
);

/// Ends the chat's reply, if it is the reply `stream`, and frees the chat, whether or not the
/// writer lives. What the last checkpoint holds stays; a living writer adds what it has sent since.
/// `None`: there is no such chat.
///
/// # Errors
/// Any [`Error`].
pub async fn stop(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    stream: Option<&StreamId>,
    now: Timestamp,
) -> Result<Option<Stopped>, Error> {
    let row = db
        .query_opt_idempotent(
            STOP,
            &[
                (&chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&stream.map(StreamId::as_str), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    Ok(row.map(|row| {
        if row.get("is_stopped") {
            Stopped::Now
        } else {
            Stopped::NothingToStop
        }
    }))
}

const INTERRUPT: &str = concat!(
    "WITH ",
    key!(),
    ", released AS (
    DELETE FROM generations WHERE chat_id = (SELECT id FROM key) AND owner_id = $2 AND lease_until <= $3
    RETURNING chat_id, message_id, owner_id
), ",
    settled!("released"),
    "
UPDATE messages SET status = 'interrupted',
    metadata = (COALESCE(metadata, '{}')::jsonb || '{\"status\":\"interrupted\"}'::jsonb)::text
WHERE chat_id = (SELECT id FROM key) AND status = 'streaming' AND id IN (SELECT message_id FROM released)"
);

/// Ends the chat's reply if its lease has passed, and counts what it used.
///
/// # Errors
/// Any [`Error`].
pub async fn interrupt(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    now: Timestamp,
) -> Result<(), Error> {
    db.execute_idempotent(
        INTERRUPT,
        &[
            (&chat.as_str(), Type::TEXT),
            (&owner.as_str(), Type::TEXT),
            (&now, Type::TIMESTAMPTZ),
        ],
    )
    .await
    .map(|_| ())
}

// One row for each reply being written now, of all owners: there are never many.
const REAP: &str = concat!(
    "\
WITH passed AS (
    DELETE FROM generations WHERE chat_id IN (
        SELECT chat_id FROM generations WHERE lease_until <= $1 ORDER BY lease_until LIMIT $2
    ) AND lease_until <= $1
    RETURNING chat_id, message_id, owner_id
), ",
    settled!("passed"),
    "
UPDATE messages m SET status = 'interrupted',
    metadata = (COALESCE(m.metadata, '{}')::jsonb || '{\"status\":\"interrupted\"}'::jsonb)::text
FROM passed WHERE m.chat_id = passed.chat_id AND m.id = passed.message_id AND m.status = 'streaming'"
);

/// Ends at most `limit` (900 or fewer: each may change three rows) replies, whoever owns them,
/// whose lease has passed, and counts what they used; for the scheduled reaper. Returns how many;
/// fewer than `limit` means that none is left.
///
/// # Errors
/// Any [`Error`].
pub async fn reap(db: &Db, now: Timestamp, limit: u16) -> Result<u64, Error> {
    db.execute_idempotent(
        REAP,
        &[
            (&now, Type::TIMESTAMPTZ),
            (&i64::from(limit.min(900)), Type::INT8),
        ],
    )
    .await
}
