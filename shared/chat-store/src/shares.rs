//! Shares: read-only snapshots of a chat behind a token, of which only a hash is stored. A snapshot
//! shows no ids, no owner, no reasoning and no tools.
//!
//! Whether a share opens is decided by its chat alone, when it is opened: the chat is public and
//! has not ended. Sharing a chat that is private first deletes the shares of its past, so that only
//! the new one opens. A chat that is public only by its shares is private again when the last of
//! them is ended.

use dsql::{Db, Error, Transaction, Type};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::chats::look_into;
use crate::ids::{ChatId, OwnerId};
use crate::key::key;
use crate::root::root;
use crate::secret::{derived_text, sha256_hex};

/// Most shares of one chat.
pub const MAX_SHARES: i64 = 20;
/// Most bytes of parts in a snapshot: one value of the database may have 1 MiB.
const MAX_SNAPSHOT_BYTES: i64 = 900 * 1024;

/// What opens a share; not in `Debug`, not in the database.
#[derive(Clone, PartialEq, Eq)]
pub struct ShareToken(String);

impl std::fmt::Debug for ShareToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShareToken(..)")
    }
}

impl ShareToken {
    /// A token of 256 bits. With the `Idempotency-Key` of the request it can be made again from the
    /// nonce that is stored, by whoever knows the key; without one the nonce is the token.
    pub fn new(idempotency_key: Option<&str>, nonce: &str) -> Self {
        Self(match idempotency_key {
            Some(key) => derived_text(key, nonce),
            None => nonce.to_owned(),
        })
    }

    /// What a client sent; `None` if it cannot be a token.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 43
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        fits.then(|| Self(text.to_owned()))
    }

    /// The token, for its one answer.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn hash(&self) -> String {
        sha256_hex(&[self.0.as_bytes()])
    }
}

/// How sharing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// The token opens a snapshot now.
    Done,
    /// No such chat.
    Missing,
    /// More than one value of the database holds.
    TooLarge,
    /// [`MAX_SHARES`] are there already.
    TooMany,
}

const READ: &str = concat!(
    "WITH ",
    key!(),
    ", chat AS (
    SELECT id, title, created_at FROM chats
    WHERE id = (SELECT id FROM key) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $3)
), size AS (
    SELECT COALESCE(sum(octet_length(m.parts)), 0) <= $4 AS fits FROM messages m JOIN chat ON m.chat_id = chat.id
        AND m.aside_since IS NULL
)
SELECT fits, title, chat.created_at, m.role, m.parts, m.model IS NOT NULL AS by_model FROM chat CROSS JOIN size
LEFT JOIN messages m ON m.chat_id = chat.id AND m.status <> 'streaming' AND m.aside_since IS NULL AND fits
ORDER BY m.seq"
);

// Writing the chat's row makes two shares at once conflict, so that the count holds. The other
// clauses see the chat as it was before.
const SHARE: &str = concat!(
    root!(
        of ("$2", "$3"),
        "visibility = CASE visibility WHEN 'open' THEN 'open' ELSE 'public' END",
        "id = (SELECT id FROM key) AND owner_id = $3
        AND (visibility = 'private' OR (SELECT count(*) FROM shares WHERE chat_id = (SELECT id FROM key)) < $6)",
        "id"
    ),
    ", past AS (
    DELETE FROM shares
    WHERE chat_id IN (SELECT id FROM chat) AND EXISTS (SELECT FROM chats WHERE id = (SELECT id FROM key) AND visibility = 'private')
)
INSERT INTO shares (token_hash, chat_id, snapshot, created_at) SELECT $1, id, $4, $5 FROM chat"
);

/// Makes the chat public and stores a snapshot of it behind `token`. If the chat was private, its
/// earlier shares are gone.
///
/// # Errors
/// Any [`Error`] of a statement in a transaction.
pub async fn create(
    tx: &Transaction,
    owner: &OwnerId,
    chat: &ChatId,
    token: &ShareToken,
    now: Timestamp,
) -> Result<Shared, Error> {
    let rows = tx
        .query(
            READ,
            &[
                (&chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
                (&MAX_SNAPSHOT_BYTES, Type::INT8),
            ],
        )
        .await?;
    let Some(first) = rows.first() else {
        return Ok(Shared::Missing);
    };
    if !first.get::<_, bool>("fits") {
        return Ok(Shared::TooLarge);
    }
    let messages: Vec<Value> = rows
        .iter()
        .filter_map(|row| {
            let role: Option<&str> = row.get("role");
            public(role?, row.get("parts"), row.get("by_model"))
        })
        .collect();
    let snapshot = json!({
        "title": first.get::<_, &str>("title"),
        "createdAt": first.get::<_, Timestamp>("created_at"),
        "sharedAt": now,
        "messages": messages,
    });
    let made = tx
        .execute(
            SHARE,
            &[
                (&token.hash(), Type::TEXT),
                (&chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&snapshot.to_string(), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
                (&MAX_SHARES, Type::INT8),
            ],
        )
        .await?;
    Ok(if made > 0 {
        Shared::Done
    } else {
        Shared::TooMany
    })
}

/// A message as strangers see it: its texts and files; `None` when it has neither. A reply that no
/// model wrote here, since a client or an import brought it, says so.
pub(crate) fn public(role: &str, parts: &str, is_by_model: bool) -> Option<Value> {
    let parts: Vec<Value> = serde_json::from_str::<Vec<Value>>(parts)
        .ok()?
        .iter()
        .filter_map(|part| match part.get("type")?.as_str()? {
            "text" => Some(json!({"type": "text", "text": part.get("text")?})),
            "file" => Some(json!({
                "type": "file", "mediaType": part.get("mediaType")?, "url": part.get("url")?
            })),
            _ => None,
        })
        .collect();
    if parts.is_empty() {
        return None;
    }
    Some(if role == "assistant" && !is_by_model {
        json!({"role": role, "parts": parts, "writtenBy": "client"})
    } else {
        json!({"role": role, "parts": parts})
    })
}

const UNSHARE: &str = concat!(
    "WITH ",
    key!(),
    ", chat AS (
    UPDATE chats SET visibility = 'private'
    WHERE id = (SELECT id FROM key) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $3) RETURNING id
), gone AS (DELETE FROM shares WHERE chat_id IN (SELECT id FROM chat))
SELECT id FROM chat"
);

/// Makes the chat private and deletes its shares. False: there is no such chat.
///
/// # Errors
/// Any [`Error`].
pub async fn end_all(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    now: Timestamp,
) -> Result<bool, Error> {
    let row = db
        .query_opt_idempotent(
            UNSHARE,
            &[
                (&chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    Ok(row.is_some())
}

/// What a share is known by: not its token, which only its reader has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareId(String);

impl ShareId {
    /// What a list answered; `None` if it cannot be that.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hash =
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then(|| Self(text.to_owned()))
    }
}

/// A share, as its chat's owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// What it is ended by.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
}

const LIST: &str = concat!(
    "WITH ",
    key!(),
    "
SELECT s.token_hash, s.created_at FROM chats c LEFT JOIN shares s ON s.chat_id = c.id
WHERE c.id = (SELECT id FROM key) AND c.owner_id = $2 AND (c.expires_at IS NULL OR c.expires_at > $3)
ORDER BY s.created_at, s.token_hash"
);

/// The shares of the owner's chat, those that open only once it is public again among them, the
/// oldest first; `None` if there is no such chat.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn list(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    now: Timestamp,
) -> Result<Option<Vec<Share>>, Error> {
    let Some(rows) = look_into(db, owner, chat, LIST, now).await? else {
        return Ok(None);
    };
    let shares = rows.iter().filter_map(|row| {
        Some(Share {
            id: row.get::<_, Option<String>>("token_hash")?,
            created_at: row.get("created_at"),
        })
    });
    Ok(Some(shares.collect()))
}

// The other clauses see the shares as they were before. Writing the chat's row makes two of these
// at once conflict, so that the last one is known.
const UNSHARE_ONE: &str = concat!(
    root!(
        of(),
        "visibility = CASE WHEN visibility = 'public' AND NOT EXISTS (
            SELECT FROM shares WHERE chat_id = (SELECT id FROM key) AND token_hash <> $4
        ) THEN 'private' ELSE visibility END",
        "id = (SELECT id FROM key) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $3)",
        "id"
    ),
    ", gone AS (DELETE FROM shares WHERE token_hash = $4 AND chat_id IN (SELECT id FROM chat))
SELECT id FROM chat"
);

/// Ends one share of the owner's chat, if it is there. False: there is no such chat.
///
/// # Errors
/// Any [`Error`].
pub async fn end(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    share: &ShareId,
    now: Timestamp,
) -> Result<bool, Error> {
    let row = db
        .query_opt_idempotent(
            UNSHARE_ONE,
            &[
                (&chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
                (&share.0, Type::TEXT),
            ],
        )
        .await?;
    Ok(row.is_some())
}

const OPEN: &str = "\
SELECT s.snapshot FROM shares s JOIN chats c ON c.id = s.chat_id
WHERE s.token_hash = $1 AND c.visibility <> 'private' AND (c.expires_at IS NULL OR c.expires_at > $2)";

/// The snapshot behind a token, as JSON.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn open(db: &Db, token: &ShareToken, now: Timestamp) -> Result<Option<String>, Error> {
    let row = db
        .query_opt_idempotent(
            OPEN,
            &[(&token.hash(), Type::TEXT), (&now, Type::TIMESTAMPTZ)],
        )
        .await?;
    Ok(row.map(|row| row.get("snapshot")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_shows_texts_and_files_and_nothing_else() {
        let parts = json!([
            {"type": "step-start"},
            {"type": "reasoning", "text": "secret"},
            {"type": "tool-x", "input": "secret"},
            {"type": "text", "text": "hi", "state": "done", "providerMetadata": {"secret": 1}},
        ]);
        assert_eq!(
            public("assistant", &parts.to_string(), true).unwrap(),
            json!({"role": "assistant", "parts": [{"type": "text", "text": "hi"}]})
        );
        assert_eq!(
            public("assistant", r#"[{"type":"step-start"}]"#, true),
            None
        );
    }

    #[test]
    fn a_reply_that_a_client_wrote_is_marked_and_a_question_needs_no_mark() {
        let parts = r#"[{"type":"text","text":"hi"}]"#;
        let written_by = |role, by_model| {
            public(role, parts, by_model)
                .unwrap()
                .get("writtenBy")
                .cloned()
        };
        assert_eq!(written_by("assistant", false), Some(json!("client")));
        assert_eq!(written_by("assistant", true), None);
        assert_eq!(written_by("user", false), None);
    }

    #[test]
    fn a_token_is_not_shown_and_can_only_be_made_again_with_its_key() {
        let nonce = crate::secret::random_text().unwrap();
        let token = ShareToken::new(Some("k"), &nonce);
        assert_eq!(token, ShareToken::new(Some("k"), &nonce));
        assert_ne!(token, ShareToken::new(Some("l"), &nonce));
        assert_eq!(ShareToken::parse(token.expose()), Some(token.clone()));
        assert!(!format!("{token:?}").contains(token.expose()));
        assert_eq!(ShareToken::parse("short"), None);
        assert_ne!(token.hash(), token.expose());
    }
}
