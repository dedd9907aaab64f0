//! Opening a turn: the one statement that stores the visitor's message, makes the row of the reply
//! and takes the chat's lock, or says why it does not. A plain send is one round trip. An edit or a
//! regeneration is two: the first finds what is stored, the second sets it aside, unless the chat
//! has changed in between. Nothing is deleted: what is set aside is a branch (`branches`).

mod request_key;
mod statement;
pub(crate) mod stored;

pub use request_key::{ToKey, TurnKey, reply_to_key};
pub use stored::{Stored, StoredMessage, StoredReply, Target, Tip};

use dsql::{Db, Error, Row, Type};
use jiff::Timestamp;

use crate::ids::{ChatId, MessageId, OwnerId, StreamId, UploadId};
use crate::key;
use crate::limits::{Bucket, Window};
use crate::message::{Message, Metadata, NewMessage};
use crate::messages::{MAX_MESSAGES, MAX_ROWS};
use crate::spending::{Budget, Budgets, shards};
use crate::titles;
use crate::uploads::MAX_CHAT_UPLOADS;
use crate::values::{DEFAULT_TITLE, Title};
use statement::OPEN;

/// Most messages of a chat that a model is shown.
pub(crate) const MAX_HISTORY: i64 = 60;
/// Most bytes of parts that a model is shown.
pub(crate) const MAX_HISTORY_BYTES: i64 = 1024 * 1024;

/// Parts of a reply that has no content yet: what the client has after `start` and `start-step`.
pub const EMPTY_REPLY: &str = r#"[{"type":"step-start"}]"#;

/// Where a turn goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Behind everything, unless the message is stored already.
    End,
    /// At the beginning, of a chat that has nothing on its path.
    First,
    /// Nowhere: only tell what is stored about the message and `target`.
    Look {
        /// The message that the client names besides its own.
        target: Option<MessageId>,
    },
    /// At the stored message: everything on the path with a higher `seq` is set aside, and so is
    /// the message with its old parts if it has other parts now.
    Behind {
        /// The last `seq` that stays.
        cut: i64,
        /// [`Stored::next_seq`] when that was decided.
        expected: i64,
    },
    /// As a new message after an older one: everything on the path with a higher `seq` is set
    /// aside.
    After {
        /// The last `seq` that stays.
        cut: i64,
        /// [`Stored::next_seq`] when that was decided.
        expected: i64,
    },
}

impl Place {
    /// Whether it is only looked at; the target; the last `seq` that stays, and the next one.
    fn parameters(&self) -> (bool, Option<&MessageId>, Option<i64>, Option<i64>) {
        match self {
            Self::End | Self::First => (false, None, None, None),
            Self::Look { target } => (true, target.as_ref(), None, None),
            Self::Behind { cut, expected } | Self::After { cut, expected } => {
                (false, None, Some(*cut), Some(*expected))
            }
        }
    }
}

/// What an owner may still do; checked in the statement that opens.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// Turns of the owner, and of the address if it is known, in the running window.
    pub buckets: Vec<Bucket>,
    /// The window that the buckets count.
    pub window: Window,
    /// The day's tokens; a turn that may cost more than is left of one of them is refused.
    pub tokens: Budgets,
    /// Replies of the owner that may be written at once.
    pub concurrent: i64,
}

/// Tokens of a text that nobody has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uncounted {
    /// On average.
    pub likely: i64,
    /// By any tokenizer: one a byte.
    pub most: i64,
}

/// What a turn may cost, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtMost {
    /// Read, without what was said before: the message, and what stands before every conversation.
    pub question: Uncounted,
    /// Read of what was said before, of which there may be less.
    pub history: Uncounted,
    /// Written.
    pub reply: i64,
}

/// A turn to open. Ids and times are fixed before the first attempt.
#[derive(Debug, Clone)]
pub struct NewTurn<'a> {
    /// The chat; made if there is none.
    pub chat: &'a ChatId,
    /// The visitor's message.
    pub message: &'a NewMessage,
    /// The uploads that it names, of which the owner's are used in the chat from then on.
    pub uploads: &'a [UploadId],
    /// Where it goes.
    pub place: Place,
    /// The messages that the client shows before it, in their order: the last few will do.
    pub shown: &'a [MessageId],
    /// The id that the message's old parts get, if an edit replaces them.
    pub replaced: &'a MessageId,
    /// The reply's id.
    pub reply: &'a MessageId,
    /// The lock's id.
    pub stream: &'a StreamId,
    /// The model that answers.
    pub model: &'a str,
    /// What is noted about the reply from its start.
    pub reply_metadata: &'a str,
    /// The title, while the chat has none.
    pub title: &'a Title,
    /// The id of the job that has a model make a better title, if one shall: promised with the
    /// first message.
    pub title_job: Option<&'a str>,
    /// When a chat that is made here is deleted.
    pub expires_at: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
    /// When the lock is void, unless a checkpoint has renewed it by then.
    pub lease_until: Timestamp,
    /// What it may cost: reserved if it is opened.
    pub at_most: AtMost,
    /// What the owner may do.
    pub allowance: &'a Allowance,
}

/// How opening a turn ended. Nothing was written unless it is [`Opening::Opened`].
#[derive(Debug, Clone, PartialEq)]
pub enum Opening {
    /// The reply is the caller's to write.
    Opened {
        /// The chat's key, by which its writer knows it.
        chat: ChatId,
        /// What was said before, oldest first, without the visitor's message; a reply that is taken
        /// over is part of it.
        history: Vec<Message>,
        /// Whether the chat got its title now.
        is_titled_now: bool,
    },
    /// The message is stored already, or the client shows another path than the chat's, or nothing
    /// of it ([`Place::First`]), or the place was [`Place::Look`].
    Stored(Box<Stored>),
    /// The chat has expired, or was claimed by another account.
    Foreign,
    /// An earlier attempt has opened it, in the chat of this key, and the reply was ended since.
    Ended(ChatId),
    /// A reply is being written in this chat.
    Busy,
    /// What was to be replaced has changed since.
    Changed,
    /// The chat has [`MAX_MESSAGES`] messages on its path, or [`MAX_ROWS`] in all.
    Full,
    /// The chat would use more than [`MAX_CHAT_UPLOADS`].
    TooManyUploads,
    /// Too many replies of this owner are being written.
    Crowded,
    /// Too many turns in this window.
    RateLimited,
    /// It may cost more than is left of a budget of the day.
    Spent(Budget),
}

/// Opens a turn. The same turn again, after a lost answer, is opened once.
///
/// # Errors
/// Any [`Error`].
pub async fn open(db: &Db, owner: &OwnerId, turn: &NewTurn<'_>) -> Result<Opening, Error> {
    let (is_look, target, cut, expected) = turn.place.parameters();
    let shown = texts(turn.shown, MessageId::as_str);
    let allowance = turn.allowance;
    let (first, second) = (allowance.buckets.first(), allowance.buckets.get(1));
    let (budgets, at_most) = (&allowance.tokens, &turn.at_most);
    let address = budgets.address.as_ref();
    let rows = db
        .query_idempotent(
            OPEN,
            &[
                (&turn.chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&turn.message.id.as_str(), Type::TEXT),
                (&turn.message.parts.as_str(), Type::TEXT),
                (
                    &turn.message.metadata.as_ref().map(Metadata::as_str),
                    Type::TEXT,
                ),
                (&turn.reply.as_str(), Type::TEXT),
                (&turn.stream.as_str(), Type::TEXT),
                (&turn.now, Type::TIMESTAMPTZ),
                (&turn.lease_until, Type::TIMESTAMPTZ),
                (&turn.model, Type::TEXT),
                (&turn.reply_metadata, Type::TEXT),
                (&turn.title.as_str(), Type::TEXT),
                (&DEFAULT_TITLE, Type::TEXT),
                (&turn.expires_at, Type::TIMESTAMPTZ),
                (&is_look, Type::BOOL),
                (&target.map(MessageId::as_str), Type::TEXT),
                (&cut, Type::INT8),
                (&expected, Type::INT8),
                (&MAX_MESSAGES, Type::INT8),
                (&allowance.window.start, Type::TIMESTAMPTZ),
                (&allowance.window.end, Type::TIMESTAMPTZ),
                (&first.map(|bucket| bucket.key.as_str()), Type::TEXT),
                (&first.map(|bucket| bucket.most), Type::INT8),
                (&second.map(|bucket| bucket.key.as_str()), Type::TEXT),
                (&second.map(|bucket| bucket.most), Type::INT8),
                (&budgets.day.start, Type::TIMESTAMPTZ),
                (&allowance.concurrent, Type::INT8),
                (&budgets.owner.most, Type::INT8),
                (&MAX_HISTORY, Type::INT8),
                (&MAX_HISTORY_BYTES, Type::INT8),
                (&EMPTY_REPLY, Type::TEXT),
                (&turn.title_job, Type::TEXT),
                (&titles::payload(owner, turn.chat).to_string(), Type::TEXT),
                (&shown, Type::TEXT_ARRAY),
                (&turn.replaced.as_str(), Type::TEXT),
                (&!matches!(turn.place, Place::Behind { .. }), Type::BOOL),
                (&MAX_ROWS, Type::INT8),
                (&budgets.owner.key.as_str(), Type::TEXT),
                (&address.map(|bucket| bucket.key.as_str()), Type::TEXT),
                (&address.map(|bucket| bucket.most), Type::INT8),
                (&budgets.deployment.key.as_str(), Type::TEXT),
                (&shards(), Type::TEXT_ARRAY),
                (&budgets.deployment.most, Type::INT8),
                (&budgets.day.end, Type::TIMESTAMPTZ),
                (&at_most.question.likely, Type::INT8),
                (&at_most.history.likely, Type::INT8),
                (&at_most.reply, Type::INT8),
                (&turn.title.folded(), Type::TEXT),
                (&at_most.question.most, Type::INT8),
                (&at_most.history.most, Type::INT8),
                (&key::apart(owner, turn.chat), Type::TEXT),
                (&texts(turn.uploads, UploadId::as_str), Type::TEXT_ARRAY),
                (&MAX_CHAT_UPLOADS, Type::INT8),
                (&(turn.place == Place::First), Type::BOOL),
            ],
        )
        .await?;
    let verdict = rows.first().map(|row| row.get::<_, &str>("verdict"));
    let chat = rows.first().and_then(key::of_row);
    let chat = chat.unwrap_or_else(|| turn.chat.clone());
    Ok(match (verdict, rows.first()) {
        (Some("open" | "again"), Some(first)) => {
            let title: Option<&str> = first.get("title");
            Opening::Opened {
                chat,
                is_titled_now: title.is_none_or(|title| title == DEFAULT_TITLE),
                history: history(&rows, turn.message.id.as_str()),
            }
        }
        (Some("stored"), Some(first)) => Opening::Stored(Box::new(Stored::from_row(first))),
        (Some("foreign"), _) => Opening::Foreign,
        (Some("ended"), _) => Opening::Ended(chat),
        (Some("busy"), _) => Opening::Busy,
        (Some("full"), _) => Opening::Full,
        (Some("laden"), _) => Opening::TooManyUploads,
        (Some("crowded"), _) => Opening::Crowded,
        (Some("limited"), _) => Opening::RateLimited,
        (Some(verdict), _) => Budget::of_verdict(verdict).map_or(Opening::Changed, Opening::Spent),
        (None, _) => Opening::Changed,
    })
}

fn texts<T>(ids: &[T], text: fn(&T) -> &str) -> Vec<&str> {
    ids.iter().map(text).collect()
}

fn history(rows: &[Row], without: &str) -> Vec<Message> {
    rows.iter()
        .filter_map(|row| {
            let id: String = row.get::<_, Option<String>>("message_id")?;
            (id != without).then(|| {
                Message::from_stored(id, row.get("role"), row.get("parts"), row.get("metadata"))
            })
        })
        .collect()
}
