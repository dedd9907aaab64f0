//! Writing a reply: its checkpoints, its end, and the refusal before it began. Only the holder of
//! the chat's lock writes, with one exception: a reply that was stopped is given the words that its
//! writer had sent by then. A writer is known by the chat and its lock alone, so a claim of the
//! chat does not disturb it. Each function is one round trip.

mod awaited;
mod continuation;
pub(crate) mod generations;

pub use awaited::{REPLAY_WINDOW, Resumable, awaited, delivered, resumable};
pub use continuation::{Asking, Continuation, Reopened, asking, reopen};
pub use generations::{Active, Progress, Stopped, interrupt, poll, reap, stop};

use std::time::Duration;

use dsql::{Db, Error, Type};
use jiff::Timestamp;

use crate::ids::{ChatId, MessageId, StreamId};
use crate::spending::given_back;
use crate::values::day_of;

/// How long a writer that says nothing keeps its lock.
pub const LEASE: Duration = Duration::from_secs(8);

/// When a lock that is taken or renewed at `now` is void.
pub fn lease_until(now: Timestamp) -> Timestamp {
    now.checked_add(LEASE).unwrap_or(Timestamp::MAX)
}

/// A reply that is being written, and the lock that its writer holds.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The chat.
    pub chat: ChatId,
    /// The reply's message.
    pub message: MessageId,
    /// The lock.
    pub stream: StreamId,
}

/// Whether the writer still holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Yes, for another [`LEASE`].
    Yes,
    /// No: the visitor stopped the reply.
    Stopped,
    /// No: the lease had passed, and the reply was ended in its writer's place.
    Interrupted,
    /// No: the reply is gone, and perhaps its chat.
    Gone,
}

impl Held {
    fn lost(status: Option<&str>) -> Self {
        match status {
            Some("stopped") => Self::Stopped,
            Some("interrupted") => Self::Interrupted,
            _ => Self::Gone,
        }
    }
}

// Whoever takes the lock away writes both rows too: one of the two meets a conflict, runs again,
// and sees the other.
const CHECKPOINT: &str = "\
WITH beat AS (
    UPDATE generations SET lease_until = $8 WHERE chat_id = $1 AND stream_id = $2 RETURNING chat_id
), saved AS (
    UPDATE messages SET parts = $4, checkpoint_at = $5, input_tokens = $6, output_tokens = $7
    WHERE chat_id = $1 AND id = $3 AND status = 'streaming' AND $4::text IS NOT NULL
        AND EXISTS (SELECT FROM beat)
)
SELECT EXISTS (SELECT FROM beat) AS is_held,
    (SELECT status FROM messages WHERE chat_id = $1 AND id = $3) AS status";

/// A reply so far.
#[derive(Debug, Clone, Copy)]
pub struct SoFar<'a> {
    /// Its parts.
    pub parts: &'a str,
    /// Tokens read, roughly: what is counted if nobody lives to [`close`] it.
    pub input_tokens: i64,
    /// Tokens written, roughly.
    pub output_tokens: i64,
}

/// Renews the lease, stores what there is of a reply, if that is given, and tells whether to go on.
///
/// # Errors
/// Any [`Error`].
pub async fn checkpoint(
    db: &Db,
    reply: &Reply,
    so_far: Option<SoFar<'_>>,
    now: Timestamp,
) -> Result<Held, Error> {
    let row = db
        .query_opt_idempotent(
            CHECKPOINT,
            &[
                (&reply.chat.as_str(), Type::TEXT),
                (&reply.stream.as_str(), Type::TEXT),
                (&reply.message.as_str(), Type::TEXT),
                (&so_far.map(|so_far| so_far.parts), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
                (&so_far.map(|so_far| so_far.input_tokens), Type::INT8),
                (&so_far.map(|so_far| so_far.output_tokens), Type::INT8),
                (&lease_until(now), Type::TIMESTAMPTZ),
            ],
        )
        .await?;
    Ok(match row {
        Some(row) if row.get("is_held") => Held::Yes,
        Some(row) => Held::lost(row.get("status")),
        None => Held::Gone,
    })
}

/// How a reply ends.
#[derive(Debug, Clone, Copy)]
pub struct Closing<'a> {
    /// Its parts.
    pub parts: &'a str,
    /// What is noted about it.
    pub metadata: &'a str,
    /// `complete`, `stopped`, `interrupted` or `error`.
    pub status: &'a str,
    /// Why the model ended.
    pub finish_reason: Option<&'a str>,
    /// The model that answered.
    pub model: &'a str,
    /// Tokens read, as they are shown.
    pub input_tokens: i64,
    /// Tokens written, as they are shown.
    pub output_tokens: i64,
    /// Whether its client left before the end, so that a page may come back for it.
    pub is_unheard: bool,
    /// Tokens that are counted: never less than were used.
    pub spent: i64,
    /// Now.
    pub now: Timestamp,
}

/// How a reply has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As its writer says.
    Stored,
    /// The visitor had stopped it: it stays stopped, with its last words.
    Stopped,
    /// The lease had passed, and the reply was ended in its writer's place: its last checkpoint
    /// stays.
    Interrupted,
    /// The reply is gone, and perhaps its chat.
    Gone,
}

// A stop has counted what the last checkpoint said: what came after it is the difference, and
// nothing the second time.
const CLOSE: &str = concat!(
    "\
WITH released AS (
    DELETE FROM generations WHERE chat_id = $1 AND stream_id = $2 RETURNING owner_id
), found AS (
    SELECT c.owner_id, m.status, COALESCE(m.input_tokens, 0) AS input_tokens, COALESCE(m.output_tokens, 0) AS output_tokens
    FROM messages m JOIN chats c ON c.id = m.chat_id WHERE m.chat_id = $1 AND m.id = $3
), ended AS (
    UPDATE messages SET parts = $4,
        metadata = CASE status WHEN 'stopped'
            THEN ($5::jsonb - 'finishReason' || '{\"status\":\"stopped\"}'::jsonb)::text ELSE $5 END,
        status = CASE status WHEN 'stopped' THEN status ELSE $6 END,
        finish_reason = CASE status WHEN 'stopped' THEN NULL ELSE $7 END,
        input_tokens = $9, output_tokens = $10, checkpoint_at = $11,
        awaited_at = CASE WHEN $13::bool AND status = 'streaming' THEN $11 ELSE awaited_at END
    WHERE chat_id = $1 AND id = $3
        AND (status = 'stopped' OR status = 'streaming' AND EXISTS (SELECT FROM released))
    RETURNING status
), spent AS (
    INSERT INTO usage_daily AS u (owner_id, day, model, requests, input_tokens, output_tokens)
    SELECT owner_id, $12, $8, 1, $9, $10 FROM released
    UNION ALL
    SELECT owner_id, $12, $8, 0, GREATEST($9 - input_tokens, 0), GREATEST($10 - output_tokens, 0) FROM found
    WHERE status = 'stopped' AND ($9 > input_tokens OR $10 > output_tokens)
    ON CONFLICT (owner_id, day, model) DO UPDATE SET requests = u.requests + excluded.requests,
        input_tokens = u.input_tokens + excluded.input_tokens,
        output_tokens = u.output_tokens + excluded.output_tokens
), ",
    given_back!("$2", "$14"),
    "
SELECT status FROM ended
UNION ALL
SELECT status FROM found WHERE NOT EXISTS (SELECT FROM ended)"
);

/// Ends a reply: its last parts, its status, the lock, the day's usage, and what was reserved for
/// it. A reply that was stopped is given its last parts and the rest of its usage; one that was
/// ended otherwise, or is gone, is left as it is.
///
/// # Errors
/// Any [`Error`].
pub async fn close(db: &Db, reply: &Reply, closing: &Closing<'_>) -> Result<Ended, Error> {
    let row = db
        .query_opt_idempotent(
            CLOSE,
            &[
                (&reply.chat.as_str(), Type::TEXT),
                (&reply.stream.as_str(), Type::TEXT),
                (&reply.message.as_str(), Type::TEXT),
                (&closing.parts, Type::TEXT),
                (&closing.metadata, Type::TEXT),
                (&closing.status, Type::TEXT),
                (&closing.finish_reason, Type::TEXT),
                (&closing.model, Type::TEXT),
                (&closing.input_tokens, Type::INT8),
                (&closing.output_tokens, Type::INT8),
                (&closing.now, Type::TIMESTAMPTZ),
                (&day_of(closing.now), Type::DATE),
                (&closing.is_unheard, Type::BOOL),
                (&closing.spent, Type::INT8),
            ],
        )
        .await?;
    Ok(match row.as_ref().map(|row| row.get::<_, &str>("status")) {
        Some("stopped") => Ended::Stopped,
        Some(status) if status == closing.status => Ended::Stored,
        Some("interrupted") => Ended::Interrupted,
        _ => Ended::Gone,
    })
}

// The chat's row is written so that a turn which opens after the reply meanwhile conflicts.
const ABANDON: &str = concat!(
    "\
WITH released AS (
    DELETE FROM generations WHERE chat_id = $1 AND stream_id = $2
), ",
    given_back!("$2", "$4"),
    ", gone AS (
    DELETE FROM messages WHERE chat_id = $1 AND id = $3 RETURNING id, parent_id, seq
), chat AS (
    UPDATE chats SET next_seq = next_seq + 1 WHERE id = $1 AND EXISTS (SELECT FROM gone)
)
UPDATE messages m SET parent_id = gone.parent_id FROM gone WHERE m.chat_id = $1 AND m.seq > gone.seq AND m.parent_id = gone.id"
);

/// Takes back the row of a reply of which nobody has seen anything, and the lock if it is still
/// held. The visitor's message stays, and what was said after a stop follows it then; for the reply
/// `spent` tokens are counted.
///
/// # Errors
/// Any [`Error`].
pub async fn abandon(db: &Db, reply: &Reply, spent: i64) -> Result<(), Error> {
    db.execute_idempotent(
        ABANDON,
        &[
            (&reply.chat.as_str(), Type::TEXT),
            (&reply.stream.as_str(), Type::TEXT),
            (&reply.message.as_str(), Type::TEXT),
            (&spent, Type::INT8),
        ],
    )
    .await
    .map(|_| ())
}
