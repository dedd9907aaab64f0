//! The search: by words, ranked by BM25, which weighs a word by how few passages have it, and a
//! passage by how often and in how little text it has the word. DSQL has no search in texts, so the
//! rank is made of what is stored with each word.

use dsql::{Db, Error, Type};

use super::LISTING;
use super::words::asked;

/// Most passages of an answer.
pub const MAX_FOUND: usize = 5;
/// Passages of one post among them.
const MAX_OF_POST: i64 = 2;
/// Passages of which the best are chosen: those of more than two posts, however long.
const MAX_RANKED: i64 = 100;
/// Most rows that are read for a word. One in more passages says little of any.
const MAX_ROWS: i64 = 1_000;

/// A passage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The post's address.
    pub url: String,
    /// The post's title.
    pub title: String,
    /// What the passage says.
    pub text: String,
}

// The usual constants of BM25: 1.2 for how fast a word that comes again counts less, 0.75 for the
// length.
const SEARCH: &str = "\
WITH met AS (
    SELECT asked.n AS asked, w.text_id, w.n, sum(w.times)::float8 AS times, max(w.length)::float8 AS length
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (first, last, n), LATERAL (
        SELECT text_id, n, times, length FROM post_words WHERE word >= asked.first AND word <= asked.last
        ORDER BY word LIMIT $3
    ) w
    GROUP BY asked.n, w.text_id, w.n
), weighed AS (
    SELECT text_id, n, times, length, count(*) OVER (PARTITION BY asked)::float8 AS matching FROM met
), whole AS (
    SELECT coalesce(sum(passages), 0)::float8 AS passages, coalesce(sum(words), 0)::float8 AS words FROM post_listings
    WHERE id = $6
), ranked AS (
    SELECT w.text_id, w.n, sum(ln(1 + (greatest(whole.passages, matching) - matching + 0.5) / (matching + 0.5))
        * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * length * whole.passages / greatest(whole.words, 1)))) AS rank
    FROM weighed w, whole GROUP BY w.text_id, w.n ORDER BY rank DESC, w.text_id, w.n LIMIT $7
), placed AS (
    SELECT p.url, p.title, r.text_id, r.n, r.rank, row_number() OVER (PARTITION BY p.id ORDER BY r.rank DESC, r.n) AS place
    FROM ranked r, LATERAL (SELECT id, url, title FROM posts WHERE text_id = r.text_id LIMIT 1) p
), best AS (
    SELECT url, title, text_id, n, rank FROM placed WHERE place <= $4 ORDER BY rank DESC, url, n LIMIT $5
)
SELECT b.url, b.title, s.text FROM best b JOIN post_passages s ON s.text_id = b.text_id AND s.n = b.n
ORDER BY b.rank DESC, b.url, b.n";

/// The passages that a question's words stand in, the best first.
///
/// # Errors
/// Any [`Error`].
pub async fn search(db: &Db, question: &str) -> Result<Vec<Found>, Error> {
    let (first, last) = asked(question);
    if first.is_empty() {
        return Ok(Vec::new());
    }
    let limit = i64::try_from(MAX_FOUND).unwrap_or(i64::MAX);
    let params = [
        (&first as _, Type::TEXT_ARRAY),
        (&last as _, Type::TEXT_ARRAY),
        (&MAX_ROWS as _, Type::INT8),
        (&MAX_OF_POST as _, Type::INT8),
        (&limit as _, Type::INT8),
        (&LISTING as _, Type::TEXT),
        (&MAX_RANKED as _, Type::INT8),
    ];
    let rows = db.query_idempotent(SEARCH, &params).await?;
    let found = rows.iter().map(|row| Found {
        url: row.get(0),
        title: row.get(1),
        text: row.get(2),
    });
    Ok(found.collect())
}
