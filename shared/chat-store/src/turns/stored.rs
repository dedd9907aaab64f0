//! What a chat holds about a message that a client sends again, and about what the client shows
//! besides: what decides where a turn belongs.

use dsql::Row;
use serde_json::Value;

use crate::ids::MessageId;
use crate::message::Message;

/// What is stored about a message that a client sends again.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The chat's counter; for [`Place::Behind`](crate::Place::Behind).
    pub next_seq: i64,
    /// The message itself, if it is stored.
    pub message: Option<StoredMessage>,
    /// What the chat has next after it.
    pub next: Option<StoredReply>,
    /// Whether the visitor has said more after it.
    pub is_followed: bool,
    /// The message that the client named besides.
    pub target: Option<Target>,
    /// The last message that the client shows and the chat has.
    pub tip: Option<Tip>,
}

/// Where a client's view ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// The message.
    pub id: MessageId,
    /// Its place.
    pub seq: i64,
    /// Whether it is off the chat's path.
    pub is_aside: bool,
}

/// A stored message, as far as it decides about a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its place.
    pub seq: i64,
    /// `user` or `assistant`.
    pub role: String,
    /// Whether its parts are those of the message sent.
    pub is_same: bool,
    /// Whether it is off the chat's path.
    pub is_aside: bool,
}

/// A stored reply.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredReply {
    /// The message.
    pub message: Message,
    /// `complete`, `streaming`, `stopped`, `interrupted` or `error`.
    pub status: String,
    /// Why the model ended.
    pub finish_reason: Option<String>,
}

/// The message that a client named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its place.
    pub seq: i64,
    /// `user` or `assistant`.
    pub role: String,
    /// The last message of the visitor before it.
    pub asked_by: Option<String>,
    /// Whether it is off the chat's path.
    pub is_aside: bool,
}

impl Stored {
    pub(crate) fn from_row(row: &Row) -> Self {
        Self {
            next_seq: row.get::<_, Option<i64>>("next_seq").unwrap_or(0),
            message: row
                .get::<_, Option<i64>>("stored_seq")
                .map(|seq| StoredMessage {
                    seq,
                    role: row.get("stored_role"),
                    is_same: row.get("is_same"),
                    is_aside: row.get("stored_is_aside"),
                }),
            next: row
                .get::<_, Option<String>>("next_id")
                .map(|id| StoredReply {
                    message: Message::from_stored(
                        id,
                        row.get("next_role"),
                        row.get("next_parts"),
                        row.get("next_metadata"),
                    ),
                    status: row.get("next_status"),
                    finish_reason: row.get("next_finish_reason"),
                }),
            is_followed: row.get::<_, Option<bool>>("is_followed").unwrap_or(false),
            target: row.get::<_, Option<i64>>("target_seq").map(|seq| Target {
                seq,
                role: row.get("target_role"),
                asked_by: row.get("asked_by"),
                is_aside: row.get("target_is_aside"),
            }),
            tip: row
                .get::<_, Option<&str>>("tip_id")
                .and_then(|id| MessageId::parse(id).ok())
                .map(|id| Tip {
                    id,
                    seq: row.get("tip_seq"),
                    is_aside: row.get("tip_is_aside"),
                }),
        }
    }
}

impl StoredReply {
    /// What was noted about it.
    pub fn metadata(&self) -> Option<&Value> {
        self.message.metadata.as_ref()
    }
}
