//! The chat domain: its types, which can only be made from checked input, and every SQL statement
//! of the chat schema.
//!
//! Types are at the root; what is done with them is in the module of its subject: `chats::get`,
//! `turns::open`, `replies::close`, `jobs::enqueue`.
//!
//! # Promises
//! 1. Every statement carries the owner, or the chat's lock if it is the writer's of a reply.
//!    Someone else's chat and a missing one look the same: `None`.
//! 2. A function that takes a [`dsql::Db`] is one statement, one round trip, unless it says
//!    otherwise; one that takes a transaction is part of its caller's.
//! 3. Every write has the effect of once when it is run twice, so it survives lost connections: ids
//!    and times are fixed before the first attempt.
//! 4. A chat whose `expires_at` has passed is as missing, even before it is deleted.
//! 5. Rows are added to a chat only together with a write to the chat's own row, its root: no row
//!    outlives its chat.

/// The schema that holds the tables: the `search_path` of whoever runs the statements of this
/// crate, which name no schema. Nobody but the functions' roles may use it, and nobody but `admin`
/// creates anything in it.
pub const SCHEMA: &str = "chats";

mod blank;
pub mod branches;
pub mod chats;
pub mod erasure;
mod export;
mod fold;
#[cfg(test)]
mod fuzz;
pub mod idempotency;
mod ids;
pub mod import;
pub mod jobs;
mod key;
pub mod limits;
mod message;
pub mod messages;
pub mod posts;
mod released;
pub mod replies;
mod root;
mod secret;
mod sent_upload;
pub mod shares;
pub mod spending;
pub mod titles;
pub mod turns;
pub mod upkeep;
pub mod uploads;
pub mod usage;
mod values;
pub mod votes;

pub use blank::is_blank;
pub use branches::{Branch, Pruned, Siblings, Switched};
pub use chats::{
    Changes, Chat, ChatPage, Conversation, Created, Cursor, Ends, Forked, Listing, NewChat,
};
pub use export::{EXPORT_VERSION, Export};
pub use idempotency::{IdempotencyKey, MAX_KEY_BYTES, Once, SavedResponse};
pub use ids::{ChatId, MessageId, OwnerId, StreamId, UploadId};
pub use jobs::{JobKind, Receipt};
pub use limits::{Admission, Bucket, Limit, Visitor, Window};
pub use message::{
    FILE_TYPES, MAX_FILENAME_CHARS, MAX_METADATA_BYTES, MAX_PARTS, MAX_PARTS_BYTES, MAX_TEXT_CHARS,
    Message, Metadata, NewMessage, Parts, Role, StoredParts,
};
pub use messages::{Appended, Cut, CutOff, MAX_MESSAGES, MAX_ROWS};
pub use replies::{
    Active, Asking, Closing, Continuation, Ended, Held, LEASE, Progress, REPLAY_WINDOW, Reopened,
    Reply, Resumable, SoFar, Stopped,
};
pub use secret::{NoRandomness, random_text};
pub use sent_upload::{SentUpload, upload_of};
pub use shares::{MAX_SHARES, Share, ShareId, ShareToken, Shared};
pub use spending::{Budget, Budgets, Likely, Spender, TitleUsage, TokenLimits};
pub use titles::Untitled;
pub use turns::{
    Allowance, AtMost, EMPTY_REPLY, NewTurn, Opening, Place, Stored, StoredMessage, StoredReply,
    Target, Tip, ToKey, TurnKey, Uncounted,
};
pub use usage::DailyUsage;
pub use values::{
    DEFAULT_TITLE, GUEST_DAYS, Invalid, MAX_RETENTION_HOURS, MAX_TITLE_CHARS, Title, Visibility,
    day, expiry, is_kept, microseconds, time,
};
pub use votes::{Comment, MAX_COMMENT_CHARS, Vote, Voted};
