//! Writing the index. A run holds the lease of the listing until it ends or its function does. Each
//! statement stays far below the limits of a transaction; what a run that died has left is cleared
//! by the next one that meets the post.

use dsql::{BatchLimits, Db, Error, Type, Weight, batches};
use jiff::Timestamp;
use uuid::Uuid;

use super::LISTING;
use super::words::counted;
use crate::secret::sha256_hex;

/// Most posts that are indexed.
pub const MAX_POSTS: usize = 1_000;
/// Most passages of a post.
pub const MAX_PASSAGES: usize = 40;

/// Most rows that one statement deletes.
const DELETED: i64 = 1_500;
/// A row with its share of an index besides its texts.
const ROW_BYTES: usize = 200;
/// Rows of one statement: each has an entry in an index beside it.
const LIMITS: BatchLimits = BatchLimits {
    rows: 1_500,
    bytes: 4 * 1024 * 1024,
};

/// By what a server is asked whether something has changed (RFC 9110).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`, as it was sent.
    pub etag: Option<String>,
    /// `Last-Modified`, as it was sent.
    pub last_modified: Option<String>,
}

/// A post that is known.
#[derive(Debug, Clone)]
pub struct Known {
    /// Follows from the address.
    id: String,
    /// Where it is.
    pub url: String,
    /// What the listing said of its version when it was read.
    pub stamp: Option<String>,
    /// Those of its page.
    pub validators: Validators,
    /// Of what is indexed of it.
    pub digest: Option<String>,
    /// When it is looked at again in any case.
    pub check_at: Timestamp,
    leftover: Option<String>,
}

impl Known {
    /// Whether a run that died has left something of it.
    pub fn is_untidy(&self) -> bool {
        self.leftover.is_some()
    }
}

/// What is noted of a post that was looked at.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What the listing says of its version.
    pub stamp: Option<String>,
    /// Those of its page.
    pub validators: Validators,
    /// When it is looked at again in any case.
    pub check_at: Timestamp,
}

/// What a post says now.
#[derive(Debug)]
pub struct NewText<'a> {
    /// Where it is.
    pub url: &'a str,
    /// What it is called.
    pub title: &'a str,
    /// What it says; those beyond [`MAX_PASSAGES`] are left out.
    pub passages: &'a [String],
    /// What is noted of it.
    pub checked: &'a Checked,
}

impl NewText<'_> {
    /// Of the title and the text: equal ones need no writing.
    pub fn digest(&self) -> String {
        let parts = self.passages.iter().map(String::as_bytes);
        let parts: Vec<_> = std::iter::once(self.title.as_bytes())
            .chain(parts)
            .collect();
        sha256_hex(&parts)
    }
}

/// By what two versions of a post are told apart, of whatever length and characters what a listing
/// says of them is.
pub fn digest(content: &str) -> String {
    sha256_hex(&[content.as_bytes()])
}

fn id_of(url: &str) -> String {
    sha256_hex(&[url.as_bytes()])
}

// Run again, it meets its own lease.
const BEGIN: &str = "\
INSERT INTO post_listings AS l (id, url, passages, words, run_id, lease_until) VALUES ($1, $2, 0, 0, $3, $4)
ON CONFLICT (id) DO UPDATE SET run_id = $3, lease_until = $4, url = $2,
    etag = CASE WHEN l.url = $2 THEN l.etag END, last_modified = CASE WHEN l.url = $2 THEN l.last_modified END
WHERE l.lease_until <= $5 OR l.run_id = $3
RETURNING etag, last_modified";

/// Takes the lease of the listing at `url` for the run `run`; says by what the listing was known,
/// if another listing is not meanwhile under way.
///
/// # Errors
/// Any [`Error`].
pub async fn begin(
    db: &Db,
    url: &str,
    run: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Validators>, Error> {
    let params = [
        (&LISTING as _, Type::TEXT),
        (&url as _, Type::TEXT),
        (&run as _, Type::TEXT),
        (&until as _, Type::TIMESTAMPTZ),
        (&now as _, Type::TIMESTAMPTZ),
    ];
    let row = db.query_opt_idempotent(BEGIN, &params).await?;
    Ok(row.map(|row| Validators {
        etag: row.get(0),
        last_modified: row.get(1),
    }))
}

const FINISH: &str = "\
UPDATE post_listings SET etag = $3, last_modified = $4, lease_until = $5,
    (passages, words) = (SELECT coalesce(sum(passages), 0), coalesce(sum(words), 0)::bigint FROM posts)
WHERE id = $1 AND run_id = $2";

/// Ends the run: counts what there is, gives the lease back, and notes by what the listing is
/// known, once all of it is indexed.
///
/// # Errors
/// Any [`Error`].
pub async fn finish(db: &Db, run: &str, listing: &Validators, now: Timestamp) -> Result<(), Error> {
    let params = [
        (&LISTING as _, Type::TEXT),
        (&run as _, Type::TEXT),
        (&listing.etag as _, Type::TEXT),
        (&listing.last_modified as _, Type::TEXT),
        (&now as _, Type::TIMESTAMPTZ),
    ];
    db.execute_idempotent(FINISH, &params).await?;
    Ok(())
}

const KNOWN: &str = "\
SELECT id, url, stamp, etag, last_modified, digest, check_at, leftover_id FROM posts ORDER BY check_at, id";

/// All posts that are known, those first that are looked at first.
///
/// # Errors
/// Any [`Error`].
pub async fn known(db: &Db) -> Result<Vec<Known>, Error> {
    let rows = db.query_idempotent(KNOWN, &[]).await?;
    let known = rows.iter().map(|row| Known {
        id: row.get(0),
        url: row.get(1),
        stamp: row.get(2),
        validators: Validators {
            etag: row.get(3),
            last_modified: row.get(4),
        },
        digest: row.get(5),
        check_at: row.get(6),
        leftover: row.get(7),
    });
    Ok(known.collect())
}

const TOUCH: &str = "\
INSERT INTO posts AS p (id, url, title, stamp, etag, last_modified, passages, words, check_at)
VALUES ($1, $2, '', $3, $4, $5, 0, 0, $6)
ON CONFLICT (id) DO UPDATE SET stamp = $3, etag = $4, last_modified = $5, check_at = $6";

/// Notes that a post was looked at, and leaves its text.
///
/// # Errors
/// Any [`Error`].
pub async fn touch(db: &Db, url: &str, checked: &Checked) -> Result<(), Error> {
    let id = id_of(url);
    let params = [
        (&id as _, Type::TEXT),
        (&url as _, Type::TEXT),
        (&checked.stamp as _, Type::TEXT),
        (&checked.validators.etag as _, Type::TEXT),
        (&checked.validators.last_modified as _, Type::TEXT),
        (&checked.check_at as _, Type::TIMESTAMPTZ),
    ];
    db.execute_idempotent(TOUCH, &params).await?;
    Ok(())
}

// What is written and not yet read is a leftover, until it takes its place.
const ANNOUNCE: &str = "\
INSERT INTO posts AS p (id, url, title, leftover_id, passages, words, check_at) VALUES ($1, $2, '', $3, 0, 0, $4)
ON CONFLICT (id) DO UPDATE SET leftover_id = $3 WHERE p.leftover_id IS NULL OR p.leftover_id = $3";

const PASSAGES: &str = "\
INSERT INTO post_passages (text_id, n, text) SELECT $1, n, text FROM unnest($2::integer[], $3::text[]) AS passage (n, text)
ON CONFLICT (text_id, n) DO NOTHING";

const WORDS: &str = "\
INSERT INTO post_words (word, text_id, n, times, length)
SELECT word, $1, n, times, length FROM unnest($2::text[], $3::integer[], $4::integer[], $5::integer[])
    AS w (word, n, times, length)
ON CONFLICT (word, text_id, n) DO NOTHING";

const PUBLISH: &str = "\
UPDATE posts SET title = $3, digest = $4, stamp = $5, etag = $6, last_modified = $7, check_at = $8, passages = $9,
    words = $10, text_id = $2, leftover_id = text_id
WHERE id = $1 AND leftover_id = $2
RETURNING leftover_id";

/// A word in a passage.
struct WordRow {
    word: String,
    n: i32,
    times: i32,
    length: i32,
}

/// Writes the text of a post in the place of the one before. Several round trips.
///
/// # Errors
/// Any [`Error`].
///
/// # Cancel safety
/// The text is the old one or the new one; another call goes on.
pub async fn put(db: &Db, text: &NewText<'_>) -> Result<(), Error> {
    let id = id_of(text.url);
    let text_id = Uuid::new_v4().simple().to_string();
    let checked = text.checked;
    let params = [
        (&id as _, Type::TEXT),
        (&text.url as _, Type::TEXT),
        (&text_id as _, Type::TEXT),
        (&checked.check_at as _, Type::TIMESTAMPTZ),
    ];
    db.execute_idempotent(ANNOUNCE, &params).await?;
    let passages: Vec<(i32, &str)> = (0..)
        .zip(text.passages.iter().map(String::as_str))
        .take(MAX_PASSAGES)
        .collect();
    let (mut rows, mut words) = (Vec::new(), 0_i64);
    for (n, passage) in &passages {
        let (n, (counts, length)) = (*n, counted(&[text.title, passage]));
        words += i64::from(length);
        let row = |(word, times)| WordRow {
            word,
            n,
            times,
            length,
        };
        rows.extend(counts.into_iter().map(row));
    }
    let (numbers, texts): (Vec<i32>, Vec<&str>) = passages.iter().copied().unzip();
    let params = [
        (&text_id as _, Type::TEXT),
        (&numbers as _, Type::INT4_ARRAY),
        (&texts as _, Type::TEXT_ARRAY),
    ];
    db.execute_idempotent(PASSAGES, &params).await?;
    let weigh = |row: &WordRow| Weight {
        rows: 1,
        bytes: row.word.len() + ROW_BYTES,
    };
    for batch in batches(&rows, LIMITS, weigh) {
        write_words(db, &text_id, batch).await?;
    }
    let count = i32::try_from(passages.len()).unwrap_or(i32::MAX);
    let digest = text.digest();
    let params = [
        (&id as _, Type::TEXT),
        (&text_id as _, Type::TEXT),
        (&text.title as _, Type::TEXT),
        (&digest as _, Type::TEXT),
        (&checked.stamp as _, Type::TEXT),
        (&checked.validators.etag as _, Type::TEXT),
        (&checked.validators.last_modified as _, Type::TEXT),
        (&checked.check_at as _, Type::TIMESTAMPTZ),
        (&count as _, Type::INT4),
        (&words as _, Type::INT8),
    ];
    let published = db.query_opt_idempotent(PUBLISH, &params).await?;
    let replaced: Option<String> = published.and_then(|row| row.get(0));
    clear(db, &id, replaced.as_deref()).await
}

async fn write_words(db: &Db, text_id: &str, rows: &[WordRow]) -> Result<(), Error> {
    let words: Vec<&str> = rows.iter().map(|row| row.word.as_str()).collect();
    let column = |of: fn(&WordRow) -> i32| rows.iter().map(of).collect::<Vec<_>>();
    let (numbers, times) = (column(|row| row.n), column(|row| row.times));
    let lengths = column(|row| row.length);
    let params = [
        (&text_id as _, Type::TEXT),
        (&words as _, Type::TEXT_ARRAY),
        (&numbers as _, Type::INT4_ARRAY),
        (&times as _, Type::INT4_ARRAY),
        (&lengths as _, Type::INT4_ARRAY),
    ];
    db.execute_idempotent(WORDS, &params).await?;
    Ok(())
}

/// Deletes what a run that died has left of a post: its next text is written after that.
///
/// # Errors
/// Any [`Error`].
pub async fn tidy(db: &Db, post: &Known) -> Result<(), Error> {
    clear(db, &post.id, post.leftover.as_deref()).await
}

const DELETE_WORDS: &str = "\
DELETE FROM post_words w USING (SELECT word, text_id, n FROM post_words WHERE text_id = $1 LIMIT $2) gone
WHERE w.word = gone.word AND w.text_id = gone.text_id AND w.n = gone.n";

const DELETE_PASSAGES: &str = "DELETE FROM post_passages WHERE text_id = $1";

const CLEARED: &str = "UPDATE posts SET leftover_id = NULL WHERE id = $1 AND leftover_id = $2";

/// Deletes a text that is not read any more.
async fn clear(db: &Db, id: &str, leftover: Option<&str>) -> Result<(), Error> {
    let Some(text_id) = leftover else {
        return Ok(());
    };
    let params = [(&text_id as _, Type::TEXT), (&DELETED as _, Type::INT8)];
    while db.execute_idempotent(DELETE_WORDS, &params).await? > 0 {}
    let params = [(&text_id as _, Type::TEXT)];
    db.execute_idempotent(DELETE_PASSAGES, &params).await?;
    let params = [(&id as _, Type::TEXT), (&text_id as _, Type::TEXT)];
    db.execute_idempotent(CLEARED, &params).await?;
    Ok(())
}

// Nobody meets the text from here on; a run that dies before the row is deleted leaves one that is
// due at once.
const RETIRE: &str = "\
UPDATE posts SET leftover_id = text_id, text_id = NULL, digest = NULL, passages = 0, words = 0, check_at = $2
WHERE id = $1 AND leftover_id IS NULL
RETURNING leftover_id";

const DELETE: &str = "DELETE FROM posts WHERE id = $1 AND text_id IS NULL AND leftover_id IS NULL";

/// Forgets a post. Several round trips.
///
/// # Errors
/// Any [`Error`].
///
/// # Cancel safety
/// The post is there or is not found any more; another call goes on.
pub async fn remove(db: &Db, post: &Known, now: Timestamp) -> Result<(), Error> {
    tidy(db, post).await?;
    let params = [(&post.id as _, Type::TEXT), (&now as _, Type::TIMESTAMPTZ)];
    let row = db.query_opt_idempotent(RETIRE, &params).await?;
    let leftover: Option<String> = row.and_then(|row| row.get(0));
    clear(db, &post.id, leftover.as_deref()).await?;
    let params = [(&post.id as _, Type::TEXT)];
    db.execute_idempotent(DELETE, &params).await?;
    Ok(())
}
