//! Going on with a reply that has ended because it asks its visitor something: whether tools may be
//! called. Two round trips: the first reads what is asked, the second takes the chat's lock, if
//! that is still the question, and makes the reply one that is being written again. What is
//! answered is answered once: the parts are exchanged for those with the answers. Only a reply that
//! a model wrote here asks anything: one that a client or an import brought could ask for whatever
//! it likes.

use dsql::{Db, Error, Type};
use jiff::Timestamp;
use serde_json::Value;

use crate::ids::{ChatId, MessageId, OwnerId};
use crate::key::{self, key};
use crate::limits::beyond_turns;
use crate::message::Message;
use crate::replies::Reply;
use crate::replies::generations::settled;
use crate::spending::{Budget, Likely, beyond_budgets, shards};
use crate::turns::{Allowance, MAX_HISTORY, MAX_HISTORY_BYTES};

/// A reply that a visitor goes on with.
#[derive(Debug, Clone, PartialEq)]
pub enum Asking {
    /// It has ended, and nothing was said since.
    Ended {
        /// The chat's key, by which its writer knows it.
        chat: ChatId,
        /// The reply.
        reply: Message,
        /// Its parts as they are stored.
        parts: String,
        /// What was said before, oldest first.
        history: Vec<Message>,
    },
    /// It is being written.
    Busy,
    /// It is not there, or not the last any more, or has ended otherwise.
    Other,
}

const READ: &str = concat!(
    "WITH ",
    key!(),
    ", chat AS (
    SELECT id FROM chats WHERE id = (SELECT id FROM key) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $4)
), reply AS (
    SELECT m.id, m.seq, m.status FROM chat c JOIN messages m ON m.chat_id = c.id
    WHERE m.id = $3 AND m.role = 'assistant' AND m.model IS NOT NULL AND m.aside_since IS NULL
        AND NOT EXISTS (SELECT FROM messages l WHERE l.chat_id = (SELECT id FROM key) AND l.seq > m.seq AND l.aside_since IS NULL)
), page AS (
    SELECT id, seq, role, parts, metadata, octet_length(parts) AS bytes FROM messages
    WHERE chat_id = (SELECT id FROM key) AND seq <= (SELECT seq FROM reply) AND aside_since IS NULL ORDER BY seq DESC LIMIT $5
), shown AS (
    SELECT id, seq, role, parts, metadata, sum(bytes) OVER (ORDER BY seq DESC) AS bytes FROM page
)
SELECT c.id AS key, r.status, s.id AS message_id, s.role, s.parts, s.metadata
FROM chat c LEFT JOIN reply r ON true LEFT JOIN shown s ON s.bytes <= $6 OR s.id = $3
ORDER BY s.seq"
);

/// Reads the reply `message` with what was said before it; `None` if there is no such chat.
///
/// # Errors
/// Any [`Error`].
pub async fn asking(
    db: &Db,
    owner: &OwnerId,
    chat: &ChatId,
    message: &MessageId,
    now: Timestamp,
) -> Result<Option<Asking>, Error> {
    let rows = db
        .query_idempotent(
            READ,
            &[
                (&chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&message.as_str(), Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
                (&MAX_HISTORY, Type::INT8),
                (&MAX_HISTORY_BYTES, Type::INT8),
            ],
        )
        .await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let key = key::of_row(first).unwrap_or_else(|| chat.clone());
    match first.get::<_, Option<&str>>("status") {
        Some("streaming") => return Ok(Some(Asking::Busy)),
        Some("complete") => {}
        _ => return Ok(Some(Asking::Other)),
    }
    let parts = rows
        .last()
        .and_then(|row| row.get::<_, Option<String>>("parts"));
    let mut history: Vec<Message> = rows
        .iter()
        .filter_map(|row| {
            let id: String = row.get::<_, Option<String>>("message_id")?;
            let (parts, metadata) = (row.get("parts"), row.get("metadata"));
            Some(Message::from_stored(id, row.get("role"), parts, metadata))
        })
        .collect();
    Ok(Some(match (history.pop(), parts) {
        (Some(reply), Some(parts)) => Asking::Ended {
            chat: key,
            reply,
            parts,
            history,
        },
        _ => Asking::Other,
    }))
}

/// A reply to go on with.
#[derive(Debug, Clone)]
pub struct Continuation<'a> {
    /// The reply, and the lock to take.
    pub reply: &'a Reply,
    /// Its parts as they were read.
    pub before: &'a str,
    /// Its parts with the visitor's answers.
    pub parts: &'a str,
    /// What is noted about it from now on.
    pub metadata: &'a Value,
    /// The model that answers.
    pub model: &'a str,
    /// What the next step may cost: reserved if it goes on.
    pub cost: Likely,
    /// Now.
    pub now: Timestamp,
    /// When the lock is void, unless a checkpoint has renewed it by then.
    pub lease_until: Timestamp,
    /// What the owner may do.
    pub allowance: &'a Allowance,
}

/// How going on with a reply ended. Nothing was written unless it is [`Reopened::Done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reopened {
    /// The reply is the caller's to write.
    Done,
    /// A reply is being written in this chat.
    Busy,
    /// What was read has changed since.
    Changed,
    /// Too many replies of this owner are being written.
    Crowded,
    /// Too many turns in this window.
    RateLimited,
    /// It may cost more than is left of a budget of the day.
    Spent(Budget),
}

const REOPEN: &str = concat!(
    "\
WITH mine AS (
    SELECT id FROM chats WHERE id = $1 AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $8)
), generation AS (
    SELECT chat_id, message_id, owner_id, stream_id, lease_until > $8 AS is_live FROM generations WHERE chat_id = $1
), question AS (
    SELECT m.seq FROM messages m
    WHERE m.chat_id = $1 AND m.id = $3 AND m.status = 'complete' AND m.model IS NOT NULL AND m.aside_since IS NULL
        AND m.parts = $5
        AND NOT EXISTS (SELECT FROM messages l WHERE l.chat_id = $1 AND l.seq > m.seq AND l.aside_since IS NULL)
), spent AS (
    SELECT key, n FROM rate_buckets WHERE key = ANY($23::text[] || ARRAY[$19, $20]) AND window_start = $22
), verdict AS (
    SELECT CASE
        WHEN NOT EXISTS (SELECT FROM mine) THEN 'changed'
        WHEN EXISTS (SELECT FROM generation WHERE stream_id = $4) THEN 'again'
        WHEN EXISTS (SELECT FROM generation WHERE is_live) THEN 'busy'
        WHEN NOT EXISTS (SELECT FROM question) THEN 'changed'
        ",
    beyond_turns!(("$2", "$12"), "$8", "$13", ("$15", "$16"), ("$17", "$18")),
    beyond_budgets!("$25", ("$19", "$27"), ("$20", "$28"), ("$23", "$29")),
    "ELSE 'open' END AS verdict
), touched AS (
    UPDATE chats SET updated_at = GREATEST(updated_at, $8)
    WHERE id = $1 AND owner_id = $2 AND (SELECT verdict FROM verdict) = 'open' RETURNING id
), taken_over AS (
    SELECT chat_id, message_id, owner_id FROM generation, touched
), ",
    settled!("taken_over"),
    ", interrupted AS (
    UPDATE messages SET status = 'interrupted',
        metadata = (COALESCE(metadata, '{}')::jsonb || '{\"status\":\"interrupted\"}'::jsonb)::text
    WHERE chat_id = $1 AND id = (SELECT message_id FROM taken_over) AND status = 'streaming'
), reopened AS (
    UPDATE messages SET status = 'streaming', parts = $6, metadata = $7, finish_reason = NULL, model = $10,
        input_tokens = $11, output_tokens = 0, checkpoint_at = $8, awaited_at = NULL
    WHERE chat_id = $1 AND id = $3 AND EXISTS (SELECT FROM touched)
), locked AS (
    INSERT INTO generations (chat_id, message_id, stream_id, owner_id, lease_until) SELECT $1, $3, $4, $2, $9 FROM touched
    ON CONFLICT (chat_id) DO UPDATE SET message_id = excluded.message_id, stream_id = excluded.stream_id,
        owner_id = excluded.owner_id, lease_until = excluded.lease_until
), counted AS (
    INSERT INTO rate_buckets (key, window_start, n, expires_at)
    SELECT b.key, b.window_start, b.n, b.expires_at
    FROM (VALUES ($15, $13, 1, $14), ($17, $13, 1, $14), ($19, $22, $26, $24), ($20, $22, $26, $24), ($21, $22, $26, $24))
        AS b (key, window_start, n, expires_at), touched
    WHERE b.key IS NOT NULL
    ON CONFLICT (key, window_start) DO UPDATE SET n = rate_buckets.n + excluded.n
), reserved AS (
    INSERT INTO reservations (id, tokens, day, owner_key, address_key, deployment_key, expires_at)
    SELECT $4, $26, $22, $19, $20, $21, $24 FROM touched
)
SELECT verdict FROM verdict"
);

/// Takes the chat's lock and makes the reply one that is being written. The same again, after a
/// lost answer, is done once.
///
/// # Errors
/// Any [`Error`].
pub async fn reopen(
    db: &Db,
    owner: &OwnerId,
    continuation: &Continuation<'_>,
) -> Result<Reopened, Error> {
    let (reply, allowance) = (continuation.reply, continuation.allowance);
    let mut buckets = allowance.buckets.iter();
    let (first, second) = (buckets.next(), buckets.next());
    let budgets = &allowance.tokens;
    let address = budgets.address.as_ref();
    let row = db
        .query_opt_idempotent(
            REOPEN,
            &[
                (&reply.chat.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
                (&reply.message.as_str(), Type::TEXT),
                (&reply.stream.as_str(), Type::TEXT),
                (&continuation.before, Type::TEXT),
                (&continuation.parts, Type::TEXT),
                (&continuation.metadata.to_string(), Type::TEXT),
                (&continuation.now, Type::TIMESTAMPTZ),
                (&continuation.lease_until, Type::TIMESTAMPTZ),
                (&continuation.model, Type::TEXT),
                (&continuation.cost.likely, Type::INT8),
                (&allowance.concurrent, Type::INT8),
                (&allowance.window.start, Type::TIMESTAMPTZ),
                (&allowance.window.end, Type::TIMESTAMPTZ),
                (&first.map(|bucket| bucket.key.as_str()), Type::TEXT),
                (&first.map(|bucket| bucket.most), Type::INT8),
                (&second.map(|bucket| bucket.key.as_str()), Type::TEXT),
                (&second.map(|bucket| bucket.most), Type::INT8),
                (&budgets.owner.key.as_str(), Type::TEXT),
                (&address.map(|bucket| bucket.key.as_str()), Type::TEXT),
                (&budgets.deployment.key.as_str(), Type::TEXT),
                (&budgets.day.start, Type::TIMESTAMPTZ),
                (&shards(), Type::TEXT_ARRAY),
                (&budgets.day.end, Type::TIMESTAMPTZ),
                (&continuation.cost.likely, Type::INT8),
                (&continuation.cost.most, Type::INT8),
                (&budgets.owner.most, Type::INT8),
                (&address.map_or(i64::MAX, |bucket| bucket.most), Type::INT8),
                (&budgets.deployment.most, Type::INT8),
            ],
        )
        .await?;
    Ok(
        match row.as_ref().map(|row| row.get::<_, &str>("verdict")) {
            Some("open" | "again") => Reopened::Done,
            Some("busy") => Reopened::Busy,
            Some("crowded") => Reopened::Crowded,
            Some("limited") => Reopened::RateLimited,
            verdict => verdict
                .and_then(Budget::of_verdict)
                .map_or(Reopened::Changed, Reopened::Spent),
        },
    )
}
