//! A turn with an `Idempotency-Key`: the id of its reply is made of the key and the request, so
//! that the same request again finds the reply, and another one with the same key is known for what
//! it is.

use dsql::{Db, Error, Type};

use crate::ids::{ChatId, MessageId, OwnerId};
use crate::key::key;
use crate::message::Message;
use crate::secret::sha256_hex;
use crate::turns::stored::StoredReply;
use crate::values::Invalid;

/// Characters of each hash in a reply's id, which has 64 at most.
const HASH_CHARS: usize = 28;

/// The key of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnKey {
    /// What the ids of all replies to this key begin with.
    prefix: String,
    reply: MessageId,
}

/// What is stored for a key.
#[derive(Debug, Clone, PartialEq)]
pub enum ToKey {
    /// The reply to this request; it may still be written.
    Reply(Box<StoredReply>),
    /// The reply to another request.
    OtherRequest,
}

impl TurnKey {
    /// `key` is the header; `request` is what must be the same when it is used again.
    ///
    /// # Errors
    /// Anything but 1 to 64 visible ASCII characters.
    pub fn new(owner: &OwnerId, key: &str, request: &[&[u8]]) -> Result<Self, Invalid> {
        crate::idempotency::check(key)?;
        let short = |parts: &[&[u8]]| {
            let mut hash = sha256_hex(parts);
            hash.truncate(HASH_CHARS);
            hash
        };
        let prefix = format!("k{}-", short(&[owner.as_str().as_bytes(), key.as_bytes()]));
        let reply = MessageId::parse(&format!("{prefix}{}", short(request)))?;
        Ok(Self { prefix, reply })
    }

    /// The id of the reply.
    pub fn reply(&self) -> &MessageId {
        &self.reply
    }
}

const FIND: &str = concat!(
    "WITH ",
    key!(),
    "
SELECT m.id, m.role, m.parts, m.metadata, m.status, m.finish_reason
FROM messages m JOIN chats c ON c.id = m.chat_id
WHERE m.chat_id = (SELECT id FROM key) AND c.owner_id = $2 AND starts_with(m.id, $3)
ORDER BY m.id = $4 DESC LIMIT 1"
);

/// The reply that the chat has for a key, if there is one.
///
/// # Errors
/// Any [`Error`] but an unknown outcome.
pub async fn reply_to_key(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    key: &TurnKey,
) -> Result<Option<ToKey>, Error> {
    let row = db
        .query_opt_idempotent(
            FIND,
            &[
                (&chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&key.prefix.as_str(), Type::TEXT),
                (&key.reply.as_str(), Type::TEXT),
            ],
        )
        .await?;
    Ok(row.map(|row| {
        let id: String = row.get("id");
        if id != key.reply.as_str() {
            return ToKey::OtherRequest;
        }
        ToKey::Reply(Box::new(StoredReply {
            message: Message::from_stored(
                id,
                row.get("role"),
                row.get("parts"),
                row.get("metadata"),
            ),
            status: row.get("status"),
            finish_reason: row.get("finish_reason"),
        }))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_request_has_the_same_reply_and_another_one_is_told_by_its_key() {
        let owner = OwnerId::parse("o").unwrap();
        let key =
            |key: &str, request: &str| TurnKey::new(&owner, key, &[request.as_bytes()]).unwrap();
        assert_eq!(key("k", "a"), key("k", "a"));
        assert_eq!(key("k", "a").prefix, key("k", "b").prefix);
        assert_ne!(key("k", "a").reply, key("k", "b").reply);
        assert_ne!(key("k", "a").prefix, key("l", "a").prefix);
        assert!(TurnKey::new(&owner, "", &[]).is_err());
        assert!(TurnKey::new(&owner, &"k".repeat(65), &[]).is_err());
    }
}
