//! The chat domain: its types, which can only be made from checked input, and every SQL statement
//! of the chat schema.
//!
//! # Promises
//! 1. Every statement carries the owner, or the chat's lock if it is the writer's of a reply.
//!    Someone else's chat and a missing one look the same: `None`.
//! 2. A function that takes a [`dsql::Db`] is one statement, one flight, unless it says otherwise;
//!    one that takes a transaction is part of its caller's.
//! 3. Every write has the effect of once when it is run twice, so it survives lost connections: ids
//!    and times are fixed before the first attempt.
//! 4. A chat whose `expires_at` has passed is as missing, even before it is deleted.
//! 5. Rows are added to a chat only together with a write to the chat's own row, its root: no row
//!    outlives its chat.

/// The schema that holds the tables: the `search_path` of whoever runs the statements of this
/// crate, which name no schema. Nobody but the functions' roles may use it, and nobody but `admin`
/// creates anything in it.
pub const SCHEMA: &str = "chats";

mod awaited;
mod blank;
mod branches;
mod chats;
mod claim;
mod continuation;
mod cursor;
pub mod erasure;
mod export;
mod fold;
mod fork;
#[cfg(test)]
mod fuzz;
mod generations;
mod idempotency;
mod ids;
pub mod import;
pub mod jobs;
mod key;
mod limits;
mod list;
mod message;
mod messages;
mod outbox;
pub mod posts;
mod public;
mod released;
mod reply;
mod root;
mod secret;
mod sent_upload;
mod shares;
mod spending;
mod stored;
mod title;
mod turn;
mod turn_key;
pub mod upkeep;
pub mod uploads;
mod usage;
mod values;
mod votes;

pub use awaited::{REPLAY_WINDOW, Resumable, awaited, delivered, resumable};
pub use blank::is_blank;
pub use branches::{Branch, Pruned, Siblings, Switched, branches, prune, switch};
pub use chats::{Changes, Chat, Conversation, Created, Ends, NewChat, change, create, delete, get};
pub use claim::claim;
pub use continuation::{Asking, Continuation, Reopened, asking, reopen};
pub use cursor::Cursor;
pub use export::{EXPORT_VERSION, Export};
pub use fork::{Forked, fork};
pub use generations::{Active, Progress, Stopped, interrupt, poll, reap, stop};
pub use idempotency::{
    IdempotencyKey, MAX_KEY_BYTES, Once, SavedResponse, given, given_parts, once,
};
pub use ids::{ChatId, MessageId, OwnerId, StreamId, UploadId};
pub use limits::{Admission, Bucket, Limit, Visitor, Window, admit};
pub use list::{ChatPage, Listing, list};
pub use message::{
    FILE_TYPES, MAX_FILENAME_CHARS, MAX_METADATA_BYTES, MAX_PARTS, MAX_PARTS_BYTES, MAX_TEXT_CHARS,
    Message, Metadata, NewMessage, Parts, Role, StoredParts,
};
pub use messages::{Appended, Cut, CutOff, MAX_MESSAGES, MAX_ROWS, append, cut};
pub use outbox::{
    JobKind, Receipt, anonymous_payload, discard, insert, new_job_id, owner_payload, receipt,
};
pub use public::read_public;
pub use reply::{
    Closing, Ended, Held, LEASE, Reply, SoFar, abandon, checkpoint, close, lease_until,
};
pub use secret::{NoRandomness, random_text};
pub use sent_upload::{SentUpload, upload_of};
pub use shares::{
    MAX_SHARES, Share, ShareId, ShareToken, Shared, open_share, share, shares, unshare, unshare_one,
};
pub use spending::{
    Budget, Budgets, Likely, Spender, TitleUsage, TokenLimits, reserve_step, reserve_title, settle,
    settle_title,
};
pub use stored::{Stored, StoredMessage, StoredReply, Target, Tip};
pub use title::{Untitled, finish_title, first_title, title_from, title_payload, untitled};
pub use turn::{Allowance, AtMost, EMPTY_REPLY, NewTurn, Opening, Place, Uncounted, open};
pub use turn_key::{ToKey, TurnKey, reply_to_key};
pub use usage::{DailyUsage, usage};
pub use values::{
    DEFAULT_TITLE, GUEST_DAYS, Invalid, MAX_RETENTION_HOURS, MAX_TITLE_CHARS, Title, Visibility,
    day, expiry, is_kept, microseconds, time,
};
pub use votes::{Comment, MAX_COMMENT_CHARS, Vote, Voted, vote, votes};
