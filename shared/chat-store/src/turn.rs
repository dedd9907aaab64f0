//! Opening a turn: the one statement that stores the visitor's message, makes the row of the reply
//! and takes the chat's lock, or says why it does not. A plain send is one flight. An edit or a
//! regeneration is two: the first finds what is stored, the second sets it aside, unless the chat
//! has changed in between. Nothing is deleted: what is set aside is a branch (`branches`).

use dsql::{Db, Error, Row, Type};
use jiff::Timestamp;

use crate::generations::settled;
use crate::ids::{ChatId, MessageId, OwnerId, StreamId, UploadId};
use crate::key::{self, key_of_new};
use crate::limits::{Bucket, Window, beyond_turns};
use crate::message::{Message, Metadata, NewMessage};
use crate::messages::{MAX_MESSAGES, MAX_ROWS};
use crate::spending::{Budget, Budgets, beyond_budgets, shards};
use crate::stored::Stored;
use crate::title::title_payload;
use crate::uploads::MAX_CHAT_UPLOADS;
use crate::values::{DEFAULT_TITLE, Title};

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
    /// Nowhere: only tell what is stored about the message and `target`.
    Look {
        /// The message that the client names besides its own.
        target: Option<MessageId>,
    },
    /// At the stored message: everything on the path with a higher `seq` is set aside, and so is
    /// the message with its parts of before if they are others now.
    Behind {
        /// The last `seq` that stays.
        cut: i64,
        /// [`Stored::next_seq`] when that was decided.
        expected: i64,
    },
    /// As a new message behind an older one: everything on the path with a higher `seq` is set
    /// aside.
    After {
        /// The last `seq` that stays.
        cut: i64,
        /// [`Stored::next_seq`] when that was decided.
        expected: i64,
    },
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
    /// The id that the message's parts of before get, if an edit replaces them.
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
    /// The message is stored already, or the client shows another path than the chat's, or the
    /// place was [`Place::Look`].
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

const OPEN: &str = concat!(
    "WITH ",
    key_of_new!("$1", "$2", "$51"),
    ", chat AS (
    SELECT owner_id = $2 AND (expires_at IS NULL OR expires_at > $8) AS is_mine, next_seq, title FROM chats WHERE id = (SELECT id FROM key)
), generation AS (
    SELECT chat_id, message_id, owner_id, stream_id, lease_until > $8 AS is_live FROM generations WHERE chat_id = (SELECT id FROM key)
), stored AS (
    SELECT seq, role, parts = $4 AS is_same, aside_since IS NOT NULL AS is_aside FROM messages WHERE chat_id = (SELECT id FROM key) AND id = $3
), tip AS (
    SELECT m.id, m.seq, m.aside_since IS NOT NULL AS is_aside
    FROM unnest($34::text[]) WITH ORDINALITY AS shown (id, n), LATERAL (
        -- Each by its key, which OFFSET keeps: a plan for any number of them would read the whole chat.
        SELECT id, seq, aside_since FROM messages WHERE chat_id = (SELECT id FROM key) AND id = shown.id OFFSET 0
    ) AS m
    WHERE $17::bigint IS NULL ORDER BY shown.n DESC LIMIT 1
), placed AS (
    SELECT CASE
        WHEN EXISTS (SELECT FROM chat WHERE NOT is_mine) THEN 'foreign'
        WHEN EXISTS (SELECT FROM generation WHERE stream_id = $7) THEN 'again'
        WHEN EXISTS (SELECT FROM messages WHERE chat_id = (SELECT id FROM key) AND id = $6) THEN 'ended'
        WHEN EXISTS (SELECT FROM generation WHERE is_live) THEN 'busy'
        WHEN $15::bool OR $17::bigint IS NULL AND (EXISTS (SELECT FROM stored) OR EXISTS (
            SELECT FROM tip WHERE is_aside OR EXISTS (
                SELECT FROM messages m
                WHERE m.chat_id = (SELECT id FROM key) AND m.seq > tip.seq AND m.role = 'user' AND m.aside_since IS NULL
            )
        )) THEN 'stored'
        WHEN $17::bigint IS NOT NULL AND NOT EXISTS (SELECT FROM chat WHERE next_seq = $18)
            OR $17::bigint IS NOT NULL AND $36::bool = EXISTS (SELECT FROM stored) THEN 'changed'
        WHEN EXISTS (SELECT FROM chat WHERE next_seq > $37 - 3)
            AND (SELECT count(*) FROM messages WHERE chat_id = (SELECT id FROM key)) > $37 - 3 THEN 'full'
        WHEN $17::bigint IS NULL AND EXISTS (SELECT FROM chat WHERE next_seq > $19 - 2)
            AND (SELECT count(*) FROM messages WHERE chat_id = (SELECT id FROM key) AND aside_since IS NULL) > $19 - 2 THEN 'full'
        WHEN cardinality($52::text[]) > 0
            AND (SELECT count(*) FROM chat_uploads WHERE chat_id = (SELECT id FROM key)) + cardinality($52) > $53 THEN 'laden'
        ",
    beyond_turns!(("$2", "$27"), "$8", "$20", ("$22", "$23"), ("$24", "$25")),
    "ELSE 'open' END AS verdict
), page AS (
    SELECT id, seq, role, parts, metadata, octet_length(parts) AS bytes FROM messages
    WHERE chat_id = (SELECT id FROM key) AND seq <= COALESCE($17, 9223372036854775807) AND aside_since IS NULL
        AND (SELECT verdict FROM placed) IN ('open', 'again')
        AND (status <> 'streaming' OR id = (SELECT message_id FROM generation WHERE stream_id <> $7))
    ORDER BY seq DESC LIMIT $29
), cost AS (
    SELECT $45 + LEAST($46, (COALESCE(sum(bytes), 0) + 3) / 4) AS input_tokens,
        $49 + LEAST($50, COALESCE(sum(bytes), 0)) + $47 AS tokens FROM page WHERE id <> $3
), spent AS (
    SELECT key, n FROM rate_buckets WHERE key = ANY($42::text[] || ARRAY[$38, $39]) AND window_start = $26
), verdict AS (
    SELECT input_tokens, tokens, CASE
        WHEN verdict <> 'open' THEN verdict
        ",
    beyond_budgets!("input_tokens + $47", ("$38", "$28"), ("$39", "$40"), ("$42", "$43")),
    "ELSE verdict END AS verdict
    FROM placed, cost
), touched AS (
    INSERT INTO chats AS c
        (id, public_id, owner_id, title, title_folded, visibility, pinned, archived, next_seq, expires_at, created_at, updated_at)
    SELECT key.id, NULLIF($1, key.id), $2, $12, $48, 'private', false, false, 2, $14, $8, $8 FROM key, verdict
    WHERE verdict = 'open'
    ON CONFLICT (id) DO UPDATE SET
        next_seq = c.next_seq + 2,
        title = CASE WHEN c.title = $13 THEN $12 ELSE c.title END,
        title_folded = CASE WHEN c.title = $13 THEN $48 ELSE c.title_folded END,
        updated_at = GREATEST(c.updated_at, $8)
    WHERE c.owner_id = $2
    RETURNING c.next_seq
), question AS (
    INSERT INTO messages (chat_id, id, seq, parent_id, role, parts, metadata, status, created_at)
    SELECT (SELECT id FROM key), $3, next_seq - 2, (
        SELECT id FROM messages WHERE chat_id = (SELECT id FROM key) AND aside_since IS NULL AND seq <= COALESCE($17, 9223372036854775807)
        ORDER BY seq DESC LIMIT 1
    ), 'user', $4, $5, 'complete', $8 FROM touched WHERE $17::bigint IS NULL OR $36
), used AS (
    UPDATE uploads SET expires_at = NULL
    WHERE id = ANY($52) AND owner_id = $2 AND (expires_at IS NULL OR expires_at > $8) AND EXISTS (SELECT FROM touched)
    RETURNING id
), named AS (
    INSERT INTO chat_uploads (chat_id, upload_id) SELECT (SELECT id FROM key), used.id FROM used, touched
    ON CONFLICT (chat_id, upload_id) DO NOTHING
), edited AS (
    UPDATE messages SET parts = $4, metadata = $5, seq = (SELECT next_seq - 2 FROM touched), created_at = $8
    WHERE chat_id = (SELECT id FROM key) AND id = $3 AND parts <> $4 AND $17::bigint IS NOT NULL AND EXISTS (SELECT FROM touched)
    RETURNING id
), replaced AS (
    INSERT INTO messages (chat_id, id, seq, parent_id, aside_since, role, parts, metadata, status, created_at)
    SELECT (SELECT id FROM key), $35, m.seq, m.parent_id, $8, m.role, m.parts, m.metadata, m.status, m.created_at
    FROM messages m, edited, touched WHERE m.chat_id = (SELECT id FROM key) AND m.id = $3
), moved AS (
    UPDATE messages SET aside_since = COALESCE(aside_since, $8),
        parent_id = CASE WHEN parent_id = $3 AND EXISTS (SELECT FROM edited) THEN $35 ELSE parent_id END,
        metadata = CASE status WHEN 'streaming'
            THEN (COALESCE(metadata, '{}')::jsonb || '{\"status\":\"interrupted\"}'::jsonb)::text ELSE metadata END,
        status = CASE status WHEN 'streaming' THEN 'interrupted' ELSE status END
    WHERE chat_id = (SELECT id FROM key) AND seq > $17 AND id <> $3 AND EXISTS (SELECT FROM touched)
        AND (aside_since IS NULL OR parent_id = $3 AND EXISTS (SELECT FROM edited))
), taken_over AS (
    SELECT chat_id, message_id, owner_id FROM generation, touched
), ",
    settled!("taken_over"),
    ", interrupted AS (
    UPDATE messages SET status = 'interrupted',
        metadata = (COALESCE(metadata, '{}')::jsonb || '{\"status\":\"interrupted\"}'::jsonb)::text
    WHERE chat_id = (SELECT id FROM key) AND id = (SELECT message_id FROM taken_over) AND status = 'streaming'
        AND ($17::bigint IS NULL OR seq <= $17)
), reply AS (
    INSERT INTO messages (chat_id, id, seq, parent_id, role, parts, metadata, status, model, input_tokens, checkpoint_at,
        created_at)
    SELECT (SELECT id FROM key), $6, next_seq - 1, $3, 'assistant', $31, $11, 'streaming', $10, input_tokens, $8, $8 FROM touched, verdict
), locked AS (
    INSERT INTO generations (chat_id, message_id, stream_id, owner_id, lease_until)
    SELECT (SELECT id FROM key), $6, $7, $2, $9 FROM touched
    ON CONFLICT (chat_id) DO UPDATE SET message_id = excluded.message_id, stream_id = excluded.stream_id,
        owner_id = excluded.owner_id, lease_until = excluded.lease_until
), counted AS (
    INSERT INTO rate_buckets (key, window_start, n, expires_at)
    SELECT b.key, b.window_start, COALESCE(b.n, v.tokens), b.expires_at
    FROM (VALUES ($22, $20, 1, $21), ($24, $20, 1, $21), ($38, $26, NULL::bigint, $44), ($39, $26, NULL, $44), ($41, $26, NULL, $44))
        AS b (key, window_start, n, expires_at), touched, verdict v
    WHERE b.key IS NOT NULL
    ON CONFLICT (key, window_start) DO UPDATE SET n = rate_buckets.n + excluded.n
), reserved AS (
    INSERT INTO reservations (id, tokens, day, owner_key, address_key, deployment_key, expires_at)
    SELECT $7, tokens, $26, $38, $39, $41, $44 FROM touched, verdict
), titling AS (
    INSERT INTO jobs (id, kind, payload, state, attempts, run_after, created_at)
    SELECT $32, 'title', $33, 'pending', 0, $8, $8 FROM touched
    WHERE $32::text IS NOT NULL AND NOT EXISTS (SELECT FROM chat WHERE title <> $13)
    ON CONFLICT (id) DO NOTHING
)
SELECT (SELECT id FROM key) AS key, v.verdict, c.next_seq, c.title, s.seq AS stored_seq, s.role AS stored_role, s.is_same, s.is_aside AS stored_is_aside,
    p.id AS tip_id, p.seq AS tip_seq, p.is_aside AS tip_is_aside,
    n.id AS next_id, n.role AS next_role, n.parts AS next_parts, n.metadata AS next_metadata,
    n.status AS next_status, n.finish_reason AS next_finish_reason,
    n.id IS NOT NULL AND EXISTS (
        SELECT FROM messages f WHERE f.chat_id = (SELECT id FROM key) AND f.seq > s.seq AND f.role = 'user' AND f.aside_since IS NULL
    ) AS is_followed,
    t.seq AS target_seq, t.role AS target_role, t.is_aside AS target_is_aside, t.asked_by,
    h.id AS message_id, h.role, h.parts, h.metadata
FROM verdict v
LEFT JOIN chat c ON v.verdict <> 'foreign'
LEFT JOIN stored s ON v.verdict = 'stored'
LEFT JOIN tip p ON v.verdict = 'stored'
LEFT JOIN LATERAL (
    SELECT m.id, m.role, m.parts, m.metadata, m.status, m.finish_reason
    FROM messages m WHERE m.chat_id = (SELECT id FROM key) AND m.seq > s.seq AND m.aside_since IS NULL ORDER BY m.seq LIMIT 1
) n ON true
LEFT JOIN LATERAL (
    SELECT m.seq, m.role, m.aside_since IS NOT NULL AS is_aside, (
        SELECT q.id FROM messages q WHERE q.chat_id = (SELECT id FROM key) AND q.seq < m.seq AND q.role = 'user' AND q.aside_since IS NULL
        ORDER BY q.seq DESC LIMIT 1
    ) AS asked_by
    FROM messages m WHERE m.chat_id = (SELECT id FROM key) AND m.id = $16 AND v.verdict = 'stored'
) t ON true
LEFT JOIN LATERAL (
    SELECT id, seq, role, parts, metadata, sum(bytes) OVER (ORDER BY seq DESC) AS bytes FROM page
    WHERE v.verdict IN ('open', 'again')
) h ON h.bytes <= $30
ORDER BY h.seq"
);

/// Opens a turn. The same turn again, after a lost answer, is opened once.
///
/// # Errors
/// Any [`Error`].
pub async fn open(db: &Db, owner: &OwnerId, turn: &NewTurn<'_>) -> Result<Opening, Error> {
    let (is_look, target, cut, expected) = match &turn.place {
        Place::End => (false, None, None, None),
        Place::Look { target } => (true, target.as_ref(), None, None),
        Place::Behind { cut, expected } | Place::After { cut, expected } => {
            (false, None, Some(*cut), Some(*expected))
        }
    };
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
                (&title_payload(owner, turn.chat).to_string(), Type::TEXT),
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
