//! The chat domain: its types, which can only be made from checked input, and every SQL statement of the chat schema.
//!
//! # Promises
//! 1. Every statement carries the owner. Someone else's chat and a missing one look the same: `None`.
//! 2. Every function here is one statement, one flight.
//! 3. Every write has the effect of once when it is run twice, so it survives lost connections: ids and times are
//!    fixed before the first attempt.

mod chats;
mod cursor;
pub mod erasure;
mod ids;
pub mod jobs;
mod limits;
mod message;
mod messages;
mod outbox;
mod secret;
pub mod upkeep;
mod values;

pub use chats::{
    Changes, Chat, ChatPage, Conversation, Created, NewChat, change, create, delete, get, list,
};
pub use cursor::Cursor;
pub use ids::{ChatId, MessageId, OwnerId};
pub use limits::{Admission, Limit, Visitor, admit};
pub use message::{
    MAX_METADATA_BYTES, MAX_PARTS, MAX_PARTS_BYTES, MAX_TEXT_CHARS, Message, Metadata, NewMessage,
    Parts, Role,
};
pub use messages::{Appended, MAX_MESSAGES, append};
pub use outbox::{
    JobKind, Receipt, anonymous_payload, discard, insert, new_job_id, owner_payload, receipt,
};
pub use secret::{NoRandomness, derived_text, random_text};
pub use values::{DEFAULT_TITLE, Invalid, MAX_TITLE_CHARS, Title, Visibility, microseconds};
