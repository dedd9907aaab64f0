//! Branches: a chat's messages are a tree by their parents, of which one path is read. An edit or
//! another answer begins a branch beside what was there, which is set aside, not deleted: so
//! nothing that a client has not seen is lost, whatever it asks for.
//!
//! A message that is off the path has `aside_since`. Along every path `seq` grows.

use dsql::{Db, Error, Row, Type};
use jiff::Timestamp;
use serde::Serialize;

use crate::chats::look_into;
use crate::ids::{ChatId, MessageId, OwnerId};
use crate::key::key;

/// A place where a chat goes on in more than one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Siblings {
    /// The message before; `null` at the chat's beginning.
    pub parent_id: Option<String>,
    /// What follows it, the oldest first.
    pub messages: Vec<Branch>,
}

/// A message that others stand beside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Branch {
    /// The message.
    pub id: String,
    /// `user` or `assistant`.
    pub role: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether the chat's path leads through it.
    pub is_current: bool,
}

const LIST: &str = concat!(
    "WITH ",
    key!(),
    "
SELECT m.id, m.parent_id, m.role, m.created_at, m.aside_since IS NULL AS is_current
FROM chats c LEFT JOIN (
    SELECT id, parent_id, role, created_at, aside_since, seq, count(*) OVER (PARTITION BY parent_id) AS n
    FROM messages WHERE chat_id = (SELECT id FROM key)
) m ON m.n > 1
WHERE c.id = (SELECT id FROM key) AND c.owner_id = $2 AND (c.expires_at IS NULL OR c.expires_at > $3)
ORDER BY m.seq"
);

/// Where the owner's chat goes on in more than one way; `None` if there is no such chat.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn list(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    now: Timestamp,
) -> Result<Option<Vec<Siblings>>, Error> {
    let Some(rows) = look_into(db, owner, chat, LIST, now).await? else {
        return Ok(None);
    };
    let mut forks: Vec<Siblings> = Vec::new();
    for row in &rows {
        let Some(id) = row.get::<_, Option<String>>("id") else {
            continue; // the chat alone
        };
        let branch = Branch {
            id,
            role: row.get("role"),
            created_at: row.get("created_at"),
            is_current: row.get("is_current"),
        };
        let parent_id: Option<String> = row.get("parent_id");
        match forks.iter_mut().find(|fork| fork.parent_id == parent_id) {
            Some(fork) => fork.messages.push(branch),
            None => forks.push(Siblings {
                parent_id,
                messages: vec![branch],
            }),
        }
    }
    Ok(Some(forks))
}

/// How leading the path through a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// It leads there.
    Done,
    /// A reply is being written.
    Busy,
    /// No such chat or message.
    Missing,
}

// The chat's row is written, and its counter too: a turn that opens meanwhile conflicts, one that
// was placed before is placed again.
const SWITCH: &str = concat!(
    "WITH RECURSIVE ",
    key!(),
    ", target AS (
    SELECT m.id, m.parent_id, m.aside_since IS NOT NULL AS is_aside,
        EXISTS (SELECT FROM generations WHERE chat_id = (SELECT id FROM key) AND lease_until > $4) AS is_busy
    FROM chats c JOIN messages m ON m.chat_id = c.id AND m.id = $3
    WHERE c.id = (SELECT id FROM key) AND c.owner_id = $2 AND (c.expires_at IS NULL OR c.expires_at > $4)
), up AS (
    SELECT id, parent_id FROM target
    UNION ALL
    SELECT m.id, m.parent_id FROM up JOIN messages m ON m.chat_id = (SELECT id FROM key) AND m.id = up.parent_id
), down AS (
    SELECT id FROM target
    UNION ALL
    SELECT n.id FROM down CROSS JOIN LATERAL (
        SELECT m.id FROM messages m WHERE m.chat_id = (SELECT id FROM key) AND m.parent_id = down.id ORDER BY m.seq DESC LIMIT 1
    ) n
), chat AS (
    UPDATE chats SET next_seq = next_seq + 1, updated_at = GREATEST(updated_at, $4)
    WHERE id = (SELECT id FROM key) AND owner_id = $2 AND EXISTS (SELECT FROM target WHERE is_aside AND NOT is_busy)
    RETURNING id
), moved AS (
    UPDATE messages SET aside_since = CASE WHEN aside_since IS NULL THEN $4 END
    WHERE chat_id IN (SELECT id FROM chat)
        AND (aside_since IS NULL) <> (id IN (SELECT id FROM up UNION SELECT id FROM down))
)
SELECT is_aside AND is_busy AS is_busy FROM target"
);

/// Runs `sql` for a message of the owner's chat.
async fn about_message(
    db: &Db,
    sql: &'static str,
    (owner, chat, message): (&OwnerId, &ChatId, &MessageId),
    now: Timestamp,
) -> Result<Option<Row>, Error> {
    let params = [
        (&chat.as_str() as _, Type::TEXT),
        (&owner.as_str() as _, Type::TEXT),
        (&message.as_str() as _, Type::TEXT),
        (&now as _, Type::TIMESTAMPTZ),
    ];
    db.query_opt_idempotent(sql, &params).await
}

/// Leads the path of the owner's chat through a message and, from there on, to what was said last.
///
/// # Errors
/// Any [`Error`].
pub async fn switch(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    message: &MessageId,
    now: Timestamp,
) -> Result<Switched, Error> {
    let row = about_message(db, SWITCH, (owner, chat, message), now).await?;
    Ok(match row {
        None => Switched::Missing,
        Some(row) if row.get("is_busy") => Switched::Busy,
        Some(_) => Switched::Done,
    })
}

/// How deleting a branch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pruned {
    /// It is gone.
    Done,
    /// The chat's path leads through it.
    Current,
    /// No such chat or message.
    Missing,
}

// At most 1,000 messages and as many votes. A reply that was stopped may still be given its last
// words: then it is not there.
const PRUNE: &str = concat!(
    "WITH RECURSIVE ",
    key!(),
    ", target AS (
    SELECT m.id, m.aside_since IS NOT NULL AS is_aside
    FROM chats c JOIN messages m ON m.chat_id = c.id AND m.id = $3
    WHERE c.id = (SELECT id FROM key) AND c.owner_id = $2 AND (c.expires_at IS NULL OR c.expires_at > $4)
), branch AS (
    SELECT id FROM target WHERE is_aside
    UNION ALL
    SELECT m.id FROM branch JOIN messages m ON m.chat_id = (SELECT id FROM key) AND m.parent_id = branch.id
), chat AS (
    UPDATE chats SET next_seq = next_seq + 1 WHERE id = (SELECT id FROM key) AND owner_id = $2 AND EXISTS (SELECT FROM branch) RETURNING id
), unvoted AS (
    DELETE FROM votes WHERE chat_id IN (SELECT id FROM chat) AND message_id IN (SELECT id FROM branch)
), gone AS (
    DELETE FROM messages WHERE chat_id IN (SELECT id FROM chat) AND id IN (SELECT id FROM branch)
)
SELECT is_aside FROM target"
);

/// Deletes a message that was set aside, and all that follows it there, with their votes.
///
/// # Errors
/// Any [`Error`].
pub async fn prune(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    message: &MessageId,
    now: Timestamp,
) -> Result<Pruned, Error> {
    let row = about_message(db, PRUNE, (owner, chat, message), now).await?;
    Ok(match row {
        None => Pruned::Missing,
        Some(row) if row.get("is_aside") => Pruned::Done,
        Some(_) => Pruned::Current,
    })
}
