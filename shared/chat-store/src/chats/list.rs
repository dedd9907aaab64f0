//! The list of an owner's chats, and the search in their titles.

use dsql::{Db, Error, Row, Type};
use jiff::Timestamp;

use crate::chats::Chat;
use crate::chats::cursor::Cursor;
use crate::fold::{containing, fold};
use crate::ids::{ChatId, OwnerId};
use crate::key::{key, made_from};

/// Titles that one statement folds: an owner has rarely as many from before titles were folded.
const FOLDED_AT_ONCE: i64 = 500;

/// A page of chats, the last changed first.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatPage {
    /// The chats.
    pub items: Vec<Chat>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// Which chats to list.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    /// Those that are archived, or those that are not.
    pub archived: bool,
    /// What their titles contain, without regard to case.
    pub search: Option<&'a str>,
    /// Where the page begins.
    pub after: Option<&'a Cursor>,
    /// The chat after which it begins, for whoever has no cursor; after a chat that is gone there
    /// is nothing.
    pub behind: Option<&'a ChatId>,
    /// How many at most.
    pub limit: u16,
}

// A title from before titles were folded is found by every search, until it is folded too.
const LIST: &str = concat!(
    "WITH ",
    key!("$8", "$1"),
    "
SELECT c.id AS key, COALESCE(public_id, c.id) AS id, title, visibility, pinned, archived, created_at, updated_at, expires_at,
    title_folded IS NULL AS is_unfolded
FROM chats c
WHERE owner_id = $1 AND (expires_at IS NULL OR expires_at > $7) AND archived = $2 AND (updated_at, c.id) < ($3, $4)
    AND ($8::text IS NULL OR (updated_at, c.id) < (SELECT updated_at, id FROM chats WHERE id = (SELECT id FROM key)))
    AND ($5::text IS NULL OR title_folded LIKE $5 OR title_folded IS NULL)
ORDER BY updated_at DESC, c.id DESC LIMIT $6"
);

/// Lists a page of the owner's chats. One round trip, and two more for each 500 titles of the
/// owner's that no search has met since titles are folded.
///
/// # Errors
/// Any [`Error`].
pub async fn list(
    db: &Db,
    owner: &OwnerId,
    listing: Listing<'_>,
    now: Timestamp,
) -> Result<ChatPage, Error> {
    let start = Cursor::start();
    let after = listing.after.unwrap_or(&start);
    let pattern = listing.search.map(containing);
    let params = [
        (&owner.as_str() as _, Type::TEXT),
        (&listing.archived as _, Type::BOOL),
        (&after.updated_at as _, Type::TIMESTAMPTZ),
        (&after.id as _, Type::TEXT),
        (&pattern as _, Type::TEXT),
        (&(i64::from(listing.limit) + 1) as _, Type::INT8),
        (&now as _, Type::TIMESTAMPTZ),
        (&listing.behind.map(ChatId::as_str) as _, Type::TEXT),
    ];
    let mut rows = db.query_idempotent(LIST, &params).await?;
    if listing.search.is_some() && rows.iter().any(|row| row.get("is_unfolded")) {
        fold_titles(db, owner).await?;
        rows = db.query_idempotent(LIST, &params).await?;
    }
    let items: Vec<Chat> = rows
        .iter()
        .take(usize::from(listing.limit))
        .map(Chat::from_row)
        .collect();
    let more = rows.len() > items.len();
    let last = items.len().checked_sub(1).and_then(|last| rows.get(last));
    let next = last.filter(|_| more).map(|row| Cursor {
        updated_at: row.get("updated_at"),
        id: made_from(row.get("key")).to_owned(),
    });
    Ok(ChatPage { items, next })
}

const UNFOLDED: &str =
    "SELECT id, title FROM chats WHERE owner_id = $1 AND title_folded IS NULL LIMIT $2";

const FOLD: &str = "\
UPDATE chats SET title_folded = f.folded FROM unnest($2::text[], $3::text[], $4::text[]) AS f (id, title, folded)
WHERE chats.id = f.id AND chats.title = f.title AND owner_id = $1 AND title_folded IS NULL";

/// Folds the titles that are not yet.
async fn fold_titles(db: &Db, owner: &OwnerId) -> Result<(), Error> {
    loop {
        let params = [
            (&owner.as_str() as _, Type::TEXT),
            (&FOLDED_AT_ONCE as _, Type::INT8),
        ];
        let rows = db.query_idempotent(UNFOLDED, &params).await?;
        let text = |row: &Row, name: &str| row.get::<_, String>(name);
        let ids: Vec<String> = rows.iter().map(|row| text(row, "id")).collect();
        let titles: Vec<String> = rows.iter().map(|row| text(row, "title")).collect();
        let folded: Vec<String> = titles.iter().map(|title| fold(title)).collect();
        let params = [
            (&owner.as_str() as _, Type::TEXT),
            (&ids as _, Type::TEXT_ARRAY),
            (&titles as _, Type::TEXT_ARRAY),
            (&folded as _, Type::TEXT_ARRAY),
        ];
        let changed = db.execute_idempotent(FOLD, &params).await?;
        // A title that was changed meanwhile is folded by whoever changed it.
        if changed == 0 || i64::try_from(rows.len()).is_ok_and(|found| found < FOLDED_AT_ONCE) {
            return Ok(());
        }
    }
}
