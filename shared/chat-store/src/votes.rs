//! Statements about votes: at most one for each reply. A vote belongs to its chat, and so to the
//! chat's owner.

use dsql::{Db, Error, Type};
use jiff::Timestamp;
use serde::Serialize;

use crate::chats::look_into;
use crate::ids::{ChatId, MessageId, OwnerId};
use crate::key::key;
use crate::root::root;
use crate::values::Invalid;

/// Longest comment, in characters.
pub const MAX_COMMENT_CHARS: usize = 1_000;

/// A vote as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Vote {
    /// The chat.
    pub chat_id: String,
    /// The reply.
    pub message_id: String,
    /// Up or down.
    pub is_upvoted: bool,
    /// Why.
    pub comment: Option<String>,
}

/// What a visitor says beside a vote: 1 to 1,000 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment(String);

impl Comment {
    /// # Errors
    /// Empty, or longer than [`MAX_COMMENT_CHARS`].
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > MAX_COMMENT_CHARS {
            return Err(Invalid::NotAllowed("a comment has 1 to 1000 characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How voting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voted {
    /// It counts, or is taken back.
    Done,
    /// The message is not a reply.
    NotAReply,
}

const LIST: &str = concat!(
    "WITH ",
    key!(),
    "
SELECT CASE WHEN v.chat_id IS NOT NULL THEN COALESCE(c.public_id, c.id) END AS chat_id, v.message_id, v.is_upvoted, v.comment
FROM chats c LEFT JOIN votes v ON v.chat_id = c.id
WHERE c.id = (SELECT id FROM key) AND c.owner_id = $2 AND (c.expires_at IS NULL OR c.expires_at > $3)
ORDER BY v.created_at, v.message_id LIMIT 500"
);

/// The votes in the owner's chat; `None` if there is no such chat.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn list(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    now: Timestamp,
) -> Result<Option<Vec<Vote>>, Error> {
    let Some(rows) = look_into(db, owner, chat, LIST, now).await? else {
        return Ok(None);
    };
    let votes = rows.iter().filter_map(|row| {
        Some(Vote {
            chat_id: row.get::<_, Option<String>>("chat_id")?,
            message_id: row.get("message_id"),
            is_upvoted: row.get("is_upvoted"),
            comment: row.get("comment"),
        })
    });
    Ok(Some(votes.collect()))
}

const VOTE: &str = concat!(
    root!(
        of (),
        "id = (SELECT id FROM key) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $6)
        AND EXISTS (SELECT FROM messages WHERE chat_id = (SELECT id FROM key) AND id = $3 AND status <> 'streaming')"
    ),
    ", message AS (
    SELECT m.role FROM chat JOIN messages m ON m.chat_id = (SELECT id FROM key) AND m.id = $3
), cast_vote AS (
    INSERT INTO votes (chat_id, message_id, owner_id, is_upvoted, comment, created_at)
    SELECT chat.id, $3, $2, $4, $5, $6 FROM chat, message WHERE role = 'assistant' AND $4::boolean IS NOT NULL
    ON CONFLICT (chat_id, message_id) DO UPDATE SET owner_id = excluded.owner_id, is_upvoted = excluded.is_upvoted,
        comment = excluded.comment
), taken_back AS (
    DELETE FROM votes
    WHERE chat_id = (SELECT id FROM key) AND message_id = $3 AND $4::boolean IS NULL AND EXISTS (SELECT FROM message)
)
SELECT role FROM message"
);

/// Casts a vote on a reply, or takes it back when `is_upvoted` is absent; `None` if there is no
/// such message.
///
/// # Errors
/// Any [`Error`].
pub async fn cast(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    message: &MessageId,
    is_upvoted: Option<bool>,
    comment: Option<&Comment>,
    now: Timestamp,
) -> Result<Option<Voted>, Error> {
    let row = db
        .query_opt_idempotent(
            VOTE,
            &[
                (&chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&message.as_str(), Type::TEXT),
                (&is_upvoted, Type::BOOL),
                (&comment.map(Comment::as_str), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    Ok(row.map(|row| match row.get::<_, &str>("role") {
        "assistant" => Voted::Done,
        _ => Voted::NotAReply,
    }))
}
