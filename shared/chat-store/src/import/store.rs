//! Writes an import: chats, then messages, then votes, each in batches far below the row cap. Ids
//! follow from the seed and from those in the file, so that an import that was interrupted and is
//! sent again meets its own rows, and a part of one meets those of the parts before it.

use dsql::{BatchLimits, Db, Error, Type, Weight, batches};
use jiff::Timestamp;
use serde::Serialize;

use super::chat::{ImportedChat, ImportedMessage, ImportedVote};
use super::parse::Import;
use crate::ids::OwnerId;
use crate::message::Metadata;
use crate::messages::{MAX_MESSAGES, MAX_ROWS};
use crate::root::root;
use crate::secret::sha256_hex;
use crate::votes::Comment;

const LIMITS: BatchLimits = BatchLimits {
    rows: 1_000,
    bytes: 4 * 1024 * 1024,
};
/// A row's share of a transaction besides its texts, that of its chat's row included.
const ROW_BYTES: usize = 256;
/// Half of a SHA-256: unique, and within an id's 64 characters.
const ID_CHARS: usize = 32;

/// What an import made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The new chats, in the file's order.
    pub ids: Vec<String>,
    /// How many.
    pub chats: usize,
    /// How many messages they have.
    pub messages: usize,
    /// How many messages had nothing that can be kept.
    pub skipped: usize,
}

const CHATS: &str = "\
INSERT INTO chats (id, owner_id, title, title_folded, visibility, pinned, archived, next_seq, expires_at, created_at,
    updated_at)
SELECT id, $1, title, title_folded, 'private', pinned, archived, next_seq, $2, created_at, updated_at
FROM unnest($3::text[], $4::text[], $5::boolean[], $6::boolean[], $7::bigint[], $8::timestamptz[], $9::timestamptz[],
    $10::text[]) AS chat (id, title, pinned, archived, next_seq, created_at, updated_at, title_folded)
ON CONFLICT (id) DO NOTHING";

// A chat takes its messages up to the most that a chat may have, those of earlier parts among them,
// or none of the batch. What follows a message that an earlier part has left out follows the last one
// before it on the path.
const MESSAGES: &str = concat!(
    root!(
        "next_seq = GREATEST(next_seq, given.last + 1)
    FROM (
        SELECT m.chat_id, array_agg(m.id) AS ids, count(*) FILTER (WHERE m.is_current) AS current, max(m.seq) AS last
        FROM unnest($2::text[], $3::text[], $4::bigint[], $10::boolean[]) AS m (chat_id, id, seq, is_current)
        GROUP BY m.chat_id
    ) given",
        "chats.id = given.chat_id AND owner_id = $1 AND EXISTS (
        SELECT FROM (
            SELECT count(*) AS rows, count(*) FILTER (WHERE aside_since IS NULL) AS current FROM messages x
            WHERE x.chat_id = chats.id AND x.id <> ALL(given.ids)
        ) there
        WHERE there.rows + cardinality(given.ids) <= $12 AND there.current + given.current <= $13
    )",
        "chats.id"
    ),
    ", stored AS (
INSERT INTO messages (chat_id, id, seq, parent_id, aside_since, role, parts, metadata, status, created_at)
SELECT chat.id, m.id, m.seq, CASE WHEN m.earlier_than IS NULL THEN m.parent_id ELSE (
        SELECT x.id FROM messages x
        WHERE x.chat_id = chat.id AND x.seq < m.earlier_than AND (x.id = m.parent_id OR x.aside_since IS NULL)
        ORDER BY x.id = m.parent_id DESC, x.seq DESC LIMIT 1
    ) END, CASE WHEN NOT m.is_current THEN $11 END, m.role, m.parts, m.metadata, 'complete',
    m.created_at
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::text[],
    $10::boolean[], $14::bigint[]) AS m (chat_id, id, seq, role, parts, metadata, created_at, parent_id, is_current,
    earlier_than)
JOIN chat ON chat.id = m.chat_id
ON CONFLICT (chat_id, id) DO NOTHING
)
SELECT count(*) FROM unnest($2::text[]) AS m (chat_id) WHERE NOT EXISTS (SELECT FROM chat WHERE chat.id = m.chat_id)"
);

const VOTES: &str = concat!(
    root!("owner_id = $1 AND id = ANY($3)"),
    "
INSERT INTO votes (chat_id, message_id, owner_id, is_upvoted, comment, created_at)
SELECT chat.id, v.message_id, $1, v.is_upvoted, v.comment, $2
FROM unnest($3::text[], $4::text[], $5::boolean[], $6::text[]) AS v (chat_id, message_id, is_upvoted, comment)
JOIN chat ON chat.id = v.chat_id
JOIN messages m ON m.chat_id = chat.id AND m.id = v.message_id AND m.role = 'assistant'
ON CONFLICT (chat_id, message_id) DO NOTHING"
);

/// Why an import is not stored to its end.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It goes on with a chat that is not there, or that would have too many messages.
    #[error("a chat that it goes on with is in no part before it, or would have too many messages")]
    NotTaken,
    /// The database.
    #[error("{}", .0.report())]
    Database(#[from] Error),
}

/// Stores the import as new chats of `owner`, which end at `expires_at` if that is given; a part
/// also goes on with those of the parts before it.
///
/// # Errors
/// [`StoreError`]. Batches before it are stored; the same seed goes on after them.
pub async fn store(
    db: &Db,
    owner: &OwnerId,
    import: &Import,
    seed: &str,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Imported, StoreError> {
    let chats: Vec<(String, &ImportedChat)> = import
        .chats
        .iter()
        .map(|chat| {
            let mut id = sha256_hex(&[seed.as_bytes(), chat.id.as_bytes()]);
            id.truncate(ID_CHARS);
            (id, chat)
        })
        .collect();
    let (continued, new): (Vec<_>, Vec<_>) = chats
        .iter()
        .cloned()
        .partition(|(_, chat)| chat.is_continued);
    for batch in batches(&new, LIMITS, |(_, chat)| Weight {
        rows: 1,
        bytes: ROW_BYTES + 2 * chat.title.as_str().len(),
    }) {
        store_chats(db, owner, batch, expires_at, now).await?;
    }
    let mut messages = Vec::new();
    let mut votes = Vec::new();
    for (id, chat) in &chats {
        messages.extend(chat.messages.iter().map(|message| (id.as_str(), message)));
        votes.extend(chat.votes.iter().map(|vote| (id.as_str(), vote)));
    }
    for batch in batches(&messages, LIMITS, |(_, message)| Weight {
        rows: 1,
        bytes: ROW_BYTES + message.parts.len(),
    }) {
        let refused = store_messages(db, owner, batch, now).await?;
        // A new chat refuses nothing, unless it was deleted meanwhile.
        if refused > 0 && !continued.is_empty() {
            return Err(StoreError::NotTaken);
        }
    }
    for batch in batches(&votes, LIMITS, |_| Weight {
        rows: 1,
        bytes: 2 * ROW_BYTES,
    }) {
        store_votes(db, owner, batch, now).await?;
    }
    Ok(Imported {
        chats: new.len(),
        messages: messages.len(),
        skipped: import.skipped,
        ids: new.into_iter().map(|(id, _)| id).collect(),
    })
}

async fn store_chats(
    db: &Db,
    owner: &OwnerId,
    batch: &[(String, &ImportedChat)],
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Error> {
    let ids: Vec<&str> = batch.iter().map(|(id, _)| id.as_str()).collect();
    let titles: Vec<&str> = batch.iter().map(|(_, chat)| chat.title.as_str()).collect();
    let folded: Vec<String> = batch.iter().map(|(_, chat)| chat.title.folded()).collect();
    let pinned: Vec<bool> = batch.iter().map(|(_, chat)| chat.pinned).collect();
    let archived: Vec<bool> = batch.iter().map(|(_, chat)| chat.archived).collect();
    let next_seqs: Vec<i64> = batch
        .iter()
        .map(|(_, chat)| chat.messages.iter().map(|m| m.seq + 1).max().unwrap_or(0))
        .collect();
    // A time to come would stay on top of the list.
    let past = |time: Option<Timestamp>| time.unwrap_or(now).min(now);
    let created: Vec<Timestamp> = batch
        .iter()
        .map(|(_, chat)| past(chat.created_at))
        .collect();
    let updated: Vec<Timestamp> = batch
        .iter()
        .map(|(_, chat)| past(chat.updated_at))
        .collect();
    db.execute_idempotent(
        CHATS,
        &[
            (&owner.as_str(), Type::TEXT),
            (&expires_at, Type::TIMESTAMPTZ),
            (&ids, Type::TEXT_ARRAY),
            (&titles, Type::TEXT_ARRAY),
            (&pinned, Type::BOOL_ARRAY),
            (&archived, Type::BOOL_ARRAY),
            (&next_seqs, Type::INT8_ARRAY),
            (&created, Type::TIMESTAMPTZ_ARRAY),
            (&updated, Type::TIMESTAMPTZ_ARRAY),
            (&folded, Type::TEXT_ARRAY),
        ],
    )
    .await
    .map(|_| ())
}

/// How many of them no chat took.
async fn store_messages(
    db: &Db,
    owner: &OwnerId,
    batch: &[(&str, &ImportedMessage)],
    now: Timestamp,
) -> Result<i64, Error> {
    let chats: Vec<&str> = batch.iter().map(|(chat, _)| *chat).collect();
    let ids: Vec<&str> = batch.iter().map(|(_, m)| m.id.as_str()).collect();
    let seqs: Vec<i64> = batch.iter().map(|(_, m)| m.seq).collect();
    let roles: Vec<&str> = batch.iter().map(|(_, m)| m.role.as_str()).collect();
    let parts: Vec<&str> = batch.iter().map(|(_, m)| m.parts.as_str()).collect();
    let metadata: Vec<Option<&str>> = batch
        .iter()
        .map(|(_, m)| m.metadata.as_ref().map(Metadata::as_str))
        .collect();
    let created: Vec<Timestamp> = batch
        .iter()
        .map(|(_, m)| m.created_at.unwrap_or(now).min(now))
        .collect();
    let parents: Vec<Option<&str>> = batch.iter().map(|(_, m)| m.parent.id.as_deref()).collect();
    let earlier: Vec<Option<i64>> = batch.iter().map(|(_, m)| m.parent.earlier_than).collect();
    let current: Vec<bool> = batch.iter().map(|(_, m)| m.is_current).collect();
    let row = db
        .query_opt_idempotent(
            MESSAGES,
            &[
                (&owner.as_str(), Type::TEXT),
                (&chats, Type::TEXT_ARRAY),
                (&ids, Type::TEXT_ARRAY),
                (&seqs, Type::INT8_ARRAY),
                (&roles, Type::TEXT_ARRAY),
                (&parts, Type::TEXT_ARRAY),
                (&metadata, Type::TEXT_ARRAY),
                (&created, Type::TIMESTAMPTZ_ARRAY),
                (&parents, Type::TEXT_ARRAY),
                (&current, Type::BOOL_ARRAY),
                (&now, Type::TIMESTAMPTZ),
                (&MAX_ROWS, Type::INT8),
                (&MAX_MESSAGES, Type::INT8),
                (&earlier, Type::INT8_ARRAY),
            ],
        )
        .await?;
    Ok(row.map_or(0, |row| row.get(0)))
}

async fn store_votes(
    db: &Db,
    owner: &OwnerId,
    batch: &[(&str, &ImportedVote)],
    now: Timestamp,
) -> Result<(), Error> {
    let chats: Vec<&str> = batch.iter().map(|(chat, _)| *chat).collect();
    let messages: Vec<&str> = batch.iter().map(|(_, v)| v.message_id.as_str()).collect();
    let up: Vec<bool> = batch.iter().map(|(_, v)| v.is_upvoted).collect();
    let comments: Vec<Option<&str>> = batch
        .iter()
        .map(|(_, v)| v.comment.as_ref().map(Comment::as_str))
        .collect();
    db.execute_idempotent(
        VOTES,
        &[
            (&owner.as_str(), Type::TEXT),
            (&now, Type::TIMESTAMPTZ),
            (&chats, Type::TEXT_ARRAY),
            (&messages, Type::TEXT_ARRAY),
            (&up, Type::BOOL_ARRAY),
            (&comments, Type::TEXT_ARRAY),
        ],
    )
    .await
    .map(|_| ())
}
