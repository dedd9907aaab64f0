//! Forking: a new chat that begins as another one did, up to a message.

use dsql::{Error, Transaction, Type};
use jiff::Timestamp;

use crate::chats::Chat;
use crate::ids::{ChatId, MessageId, OwnerId};
use crate::root::root;

/// Most bytes of parts that one transaction copies: it may write 10 MiB, index entries included.
const MAX_COPIED_BYTES: i64 = 6 * 1024 * 1024;

/// How forking ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Forked {
    /// The new chat.
    Chat(Chat),
    /// No such chat or message.
    Missing,
    /// More than can be copied at once.
    TooLarge,
}

// The source is written too: what is copied from a chat must not outlive it unseen.
const FORK: &str = concat!(
    root!(
        of (),
        "next_seq = next_seq",
        "id = (SELECT id FROM key) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $5)
        AND EXISTS (SELECT FROM messages WHERE chat_id = (SELECT id FROM key) AND id = $3 AND status <> 'streaming'
            AND aside_since IS NULL)",
        "id, title, title_folded, expires_at"
    ),
    ", source AS (
    SELECT chat.title, chat.title_folded, chat.expires_at, m.seq FROM chat JOIN messages m ON m.chat_id = (SELECT id FROM key) AND m.id = $3
), size AS (
    SELECT COALESCE(sum(octet_length(parts)), 0) <= $6 AS fits FROM messages
    WHERE chat_id = (SELECT id FROM key) AND seq <= (SELECT seq FROM source) AND aside_since IS NULL
), forked AS (
    INSERT INTO chats (id, owner_id, title, title_folded, visibility, pinned, archived, next_seq, expires_at, created_at,
        updated_at)
    SELECT $4, $2, title, title_folded, 'private', false, false, seq + 1, expires_at, $5, $5 FROM source, size WHERE fits
    RETURNING id, title, visibility, pinned, archived, created_at, updated_at, expires_at
), copied AS (
    INSERT INTO messages (chat_id, id, seq, parent_id, role, parts, metadata, status, finish_reason, model, input_tokens,
        output_tokens, created_at)
    SELECT forked.id, m.id, m.seq, lag(m.id) OVER (ORDER BY m.seq), m.role, m.parts, m.metadata, m.status, m.finish_reason, m.model, m.input_tokens,
        m.output_tokens, m.created_at
    FROM messages m, forked
    WHERE m.chat_id = (SELECT id FROM key) AND m.status <> 'streaming' AND m.seq <= (SELECT seq FROM source)
        AND m.aside_since IS NULL
), used AS (
    INSERT INTO chat_uploads (chat_id, upload_id)
    SELECT forked.id, u.upload_id FROM chat_uploads u, forked WHERE u.chat_id = (SELECT id FROM key)
)
SELECT fits, forked.id IS NOT NULL AS made, forked.id, forked.title, visibility, pinned, archived, created_at, updated_at,
    forked.expires_at
FROM source CROSS JOIN size LEFT JOIN forked ON true"
);

/// Copies the owner's chat up to `message` into the chat `new`.
///
/// # Errors
/// Any [`Error`] of a statement in a transaction.
pub async fn fork(
    tx: &Transaction,
    owner: &OwnerId,
    source: &ChatId,
    message: &MessageId,
    new: &ChatId,
    now: Timestamp,
) -> Result<Forked, Error> {
    let row = tx
        .query_opt(
            FORK,
            &[
                (&source.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&message.as_str(), Type::TEXT),
                (&new.as_str(), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
                (&MAX_COPIED_BYTES, Type::INT8),
            ],
        )
        .await?;
    Ok(match row {
        None => Forked::Missing,
        Some(row) if row.get("made") => Forked::Chat(Chat::from_row(&row)),
        Some(_) => Forked::TooLarge,
    })
}
