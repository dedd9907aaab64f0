//! The statement that opens a turn. Four of its clauses are those of other statements too and are
//! written where their rule is, so that it is no file of SQL alone (ADR 34). Its parameters:
//!
//! - `$1`, `$2`, `$51`: the chat as its owner calls it, the owner, and the key that it gets if
//!   that id is taken.
//! - `$3`, `$4`, `$5`: the visitor's message: id, parts, metadata.
//! - `$6`, `$7`, `$9`: the reply's id, the lock's, and when the lock is void.
//! - `$8`: now.
//! - `$10`, `$11`, `$31`: the reply's model, its metadata, and its first parts.
//! - `$12`, `$48`, `$13`: the title while there is none, the same folded, and the title that
//!   counts as none.
//! - `$14`: when a chat that is made here is deleted.
//! - `$15`, `$16`: whether this is only a look, and at which other message.
//! - `$17`, `$18`: the last `seq` that stays, and `next_seq` when that was decided; null at the
//!   end.
//! - `$36`: whether the message is a new one, not an edit.
//! - `$19`, `$37`: most messages on the path, and in all.
//! - `$20`, `$21`: the window of the rate limits, from and to.
//! - `$22`, `$23`, `$24`, `$25`: turns in it, of the owner and of the address: the counter's key,
//!   and the most.
//! - `$26`, `$44`: the day of the budgets, from and to.
//! - `$38`, `$28`, `$39`, `$40`: tokens of the day, of the owner and of the address: key, most.
//! - `$41`, `$42`, `$43`: the deployment's: the key that is counted up, all its keys, the most.
//! - `$27`: replies of the owner that may be written at once.
//! - `$29`, `$30`: most messages, and most bytes of them, that a model is shown.
//! - `$32`, `$33`: the id of the job that makes a title, if one shall, and its payload.
//! - `$34`: the messages that the client shows, oldest first.
//! - `$35`: the id that the old parts get, if an edit replaces them.
//! - `$45`, `$46`: tokens that the question and the history are likely to have.
//! - `$47`, `$49`, `$50`: tokens that the reply, the question and the history have at most.
//! - `$54`: whether the chat has to have nothing on its path.
//! - `$52`, `$53`: the uploads that the message names, and the most that a chat may have.

use crate::key::key_of_new;
use crate::limits::beyond_turns;
use crate::replies::generations::settled;
use crate::spending::beyond_budgets;

pub(super) const OPEN: &str = concat!(
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
        ) OR $54::bool AND EXISTS (
            SELECT FROM messages m WHERE m.chat_id = (SELECT id FROM key) AND m.aside_since IS NULL
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::OPEN;

    fn parameters(text: &str) -> BTreeSet<u8> {
        let behind = text.split('$').skip(1);
        let digits = behind.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        digits.filter_map(|number| number?.parse().ok()).collect()
    }

    #[test]
    fn the_legend_names_every_parameter() {
        let legend = include_str!("statement.rs").split("\nuse ").next().unwrap();
        assert_eq!(parameters(legend), parameters(OPEN));
        assert_eq!(parameters(OPEN).len(), 54);
    }
}
