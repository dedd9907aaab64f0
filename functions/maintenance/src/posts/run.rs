//! One run: what is listed is compared with what is known, and what differs is read, as far as the
//! time suffices.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use chat_store::microseconds;
use chat_store::posts::{
    Checked, Known, MAX_PASSAGES, MAX_POSTS, NewText, Validators, begin, digest, finish, known,
    put, remove, tidy, touch,
};
use dsql::{Db, Dsql, Error};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::blog::{Blog, Listed};
use super::listing::Post;
use super::page::{self, Page};
use super::passages;
use super::site::{Document, Fetched, SiteError};

/// Posts that one run reads.
const MAX_READ: usize = 100;
/// Longest page.
const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;
/// A post is not begun with less time than this: what it is fetched in, and what it is stored in.
const MARGIN: Duration = Duration::from_secs(15);
/// Every post is looked at again after so long.
const RECHECK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// One that could not be read is tried again after so long.
const RETRY: SignedDuration = SignedDuration::from_hours(6);

/// What a run did.
#[derive(Debug, Default)]
pub(crate) struct Indexed {
    /// Whether another run was under way.
    is_busy: bool,
    /// Why the listing was not read.
    unread: Option<String>,
    listed: usize,
    written: usize,
    unchanged: usize,
    removed: usize,
    failed: usize,
    /// Whether nothing is left to be done.
    is_complete: bool,
}

impl Indexed {
    /// Whether the index follows the blog.
    pub(crate) fn is_whole(&self) -> bool {
        self.unread.is_none()
    }

    pub(crate) fn report(&self) -> Value {
        json!({
            "task": "index-posts", "listed": self.listed, "written": self.written, "unchanged": self.unchanged,
            "removed": self.removed, "failed": self.failed, "complete": self.is_complete, "busy": self.is_busy,
            "unread": self.unread,
        })
    }
}

/// What became of one post.
enum Outcome {
    Written,
    Unchanged,
    Removed,
    Failed,
}

/// A post that is due.
struct Due<'a> {
    url: &'a str,
    /// As it is listed, if it is.
    post: Option<&'a Post>,
    known: Option<&'a Known>,
}

/// A run under way.
struct Run<'a> {
    blog: &'a Blog,
    db: Db,
    now: Timestamp,
}

/// Brings the index up to date, as far as the time suffices.
///
/// # Errors
/// The database's. What was done before stays.
pub(crate) async fn index(
    blog: &Blog,
    dsql: &Dsql,
    deadline: SystemTime,
) -> Result<Indexed, Error> {
    let run = Run {
        blog,
        db: dsql.until(deadline),
        now: microseconds(dsql.clock().now()),
    };
    let id = Uuid::new_v4().simple().to_string();
    let url = blog.listing();
    let until = microseconds(deadline);
    let Some(before) = begin(&run.db, url, &id, run.now, until).await? else {
        return Ok(Indexed {
            is_busy: true,
            ..Indexed::default()
        });
    };
    let mut indexed = Indexed::default();
    let has_time = || dsql.clock().now() + MARGIN <= deadline;
    let after = run.go_through(&before, &mut indexed, has_time).await?;
    finish(&run.db, &id, &after, run.now).await?;
    Ok(indexed)
}

impl Run<'_> {
    /// Returns by what the listing is known from now on.
    async fn go_through(
        &self,
        before: &Validators,
        indexed: &mut Indexed,
        has_time: impl Fn() -> bool,
    ) -> Result<Validators, Error> {
        let known = known(&self.db).await?;
        for post in known.iter().filter(|post| post.is_untidy()) {
            tidy(&self.db, post).await?;
        }
        let listed = match self.blog.list(before).await {
            Ok(listed) => listed,
            Err(error) => {
                let cause = runtime::chain(&error);
                tracing::error!(
                    error.cause = cause,
                    "the blog's listing was not read: {cause}"
                );
                indexed.unread = Some(cause);
                return Ok(Validators::default());
            }
        };
        let (gone, due) = self.sort(listed.as_ref(), &known);
        indexed.is_complete = due.len() <= MAX_READ;
        for post in gone {
            if !has_time() {
                indexed.is_complete = false;
                break;
            }
            remove(&self.db, post, self.now).await?;
            indexed.removed += 1;
        }
        indexed.listed = listed
            .as_ref()
            .map_or(known.len(), |listed| listed.posts.len());
        for post in due.iter().take(MAX_READ) {
            if !has_time() {
                indexed.is_complete = false;
                break;
            }
            let count = match self.look_at(post).await? {
                Outcome::Written => &mut indexed.written,
                Outcome::Unchanged => &mut indexed.unchanged,
                Outcome::Removed => &mut indexed.removed,
                Outcome::Failed => &mut indexed.failed,
            };
            *count += 1;
        }
        // What is not all read is listed once more.
        Ok(match listed {
            _ if !indexed.is_complete => Validators::default(),
            Some(listed) => listed.validators,
            None => before.clone(),
        })
    }

    /// The posts that are gone, and those that are due: what is new or changed first, then what was
    /// not looked at for long.
    fn sort<'a>(
        &self,
        listed: Option<&'a Listed>,
        known: &'a [Known],
    ) -> (Vec<&'a Known>, Vec<Due<'a>>) {
        let by_url: HashMap<&str, &Known> =
            known.iter().map(|post| (post.url.as_str(), post)).collect();
        let posts = listed
            .map(|listed| listed.posts.as_slice())
            .unwrap_or_default();
        let mut on_list = HashMap::new();
        let (mut changed, mut room) = (Vec::new(), MAX_POSTS.saturating_sub(known.len()));
        for post in posts {
            on_list.insert(post.url.as_str(), post);
            let known = by_url.get(post.url.as_str()).copied();
            let is_changed = match known {
                Some(known) => known.stamp != stamp(post),
                None => room > 0,
            };
            if known.is_none() {
                room = room.saturating_sub(1);
            }
            if is_changed {
                changed.push(Due {
                    url: &post.url,
                    post: Some(post),
                    known,
                });
            }
        }
        let is_whole = listed.is_some_and(|listed| listed.is_whole);
        let is_gone = |post: &&Known| {
            let is_listed = on_list.contains_key(post.url.as_str());
            !self.blog.site().is_own(&post.url) || is_whole && !is_listed
        };
        let gone: Vec<&Known> = known.iter().filter(is_gone).collect();
        let met: HashSet<&str> = changed
            .iter()
            .map(|due| due.url)
            .chain(gone.iter().map(|post| post.url.as_str()))
            .collect();
        let old = known.iter().filter(|post| post.check_at <= self.now);
        let old = old.filter(|post| !met.contains(post.url.as_str()));
        let old = old.map(|known| Due {
            url: &known.url,
            post: on_list.get(known.url.as_str()).copied(),
            known: Some(known),
        });
        let old: Vec<Due<'_>> = old.collect();
        changed.extend(old);
        (gone, changed)
    }

    /// Looks at one post.
    async fn look_at(&self, due: &Due<'_>) -> Result<Outcome, Error> {
        match self.read(due).await {
            Ok(Read::Same) => {
                let validators = due.known.map(|known| known.validators.clone());
                let checked = self.checked(due, validators.unwrap_or_default(), RECHECK);
                touch(&self.db, due.url, &checked).await?;
                Ok(Outcome::Unchanged)
            }
            Ok(Read::Gone) => {
                let Some(known) = due.known else {
                    // It is listed all the same: it is asked for again when its turn comes.
                    let checked = self.checked(due, Validators::default(), RECHECK);
                    touch(&self.db, due.url, &checked).await?;
                    return Ok(Outcome::Removed);
                };
                remove(&self.db, known, self.now).await?;
                Ok(Outcome::Removed)
            }
            Ok(Read::Text(page, validators)) => self.store(due, &page, validators).await,
            Err(error) => {
                let (url, cause) = (due.url, runtime::chain(&error));
                tracing::warn!(
                    post.url = url,
                    error.cause = cause,
                    "the post {url} was not read: {cause}"
                );
                let validators = due.known.map(|known| known.validators.clone());
                let checked = self.checked(due, validators.unwrap_or_default(), RETRY);
                touch(&self.db, due.url, &checked).await?;
                Ok(Outcome::Failed)
            }
        }
    }

    async fn store(
        &self,
        due: &Due<'_>,
        page: &Page,
        validators: Validators,
    ) -> Result<Outcome, Error> {
        let mut passages = passages::cut(&page.text);
        passages.truncate(MAX_PASSAGES);
        let checked = self.checked(due, validators, RECHECK);
        let text = NewText {
            url: due.url,
            title: &page.title,
            passages: &passages,
            checked: &checked,
        };
        let before = due.known.and_then(|known| known.digest.as_deref());
        if before == Some(&text.digest()) {
            touch(&self.db, due.url, &checked).await?;
            return Ok(Outcome::Unchanged);
        }
        put(&self.db, &text).await?;
        Ok(Outcome::Written)
    }

    /// What the post says: as it is listed, or on its page.
    async fn read(&self, due: &Due<'_>) -> Result<Read, SiteError> {
        let listed = due
            .post
            .and_then(|post| Some((post, post.content.as_deref()?)));
        if let Some((post, content)) = listed {
            let mut page = page::read(content);
            name(&mut page, post);
            return Ok(Read::Text(page, Validators::default()));
        }
        let url = self.blog.site().own(due.url).ok_or(SiteError::Elsewhere)?;
        let before = due.known.filter(|known| known.digest.is_some());
        let before = before.map(|known| known.validators.clone());
        let before = before.unwrap_or_default();
        let fetched = self.blog.site().get(&url, &before, MAX_PAGE_BYTES).await?;
        let Document {
            body,
            media_type,
            validators,
        } = match fetched {
            Fetched::Same => return Ok(Read::Same),
            Fetched::Gone => return Ok(Read::Gone),
            Fetched::Sent(document) => document,
        };
        if !matches!(media_type.as_str(), "text/html" | "application/xhtml+xml") {
            return Err(SiteError::Unreadable("no HTML"));
        }
        let mut page = page::read(&String::from_utf8_lossy(&body));
        if page.is_hidden {
            return Ok(Read::Gone);
        }
        if let Some(post) = due.post {
            name(&mut page, post);
        }
        Ok(Read::Text(page, validators))
    }

    fn checked(&self, due: &Due<'_>, validators: Validators, after: SignedDuration) -> Checked {
        let known = due.known.and_then(|known| known.stamp.clone());
        Checked {
            stamp: due.post.map_or(known, stamp),
            validators,
            check_at: self.now.saturating_add(after).unwrap_or(Timestamp::MAX),
        }
    }
}

/// What a post was found to be.
enum Read {
    Same,
    Gone,
    Text(Page, Validators),
}

/// The listing's title comes before the page's.
fn name(page: &mut Page, post: &Post) {
    if !post.title.is_empty() {
        page.title = page::shortened(&post.title);
    }
}

/// By what a listing tells a post's version.
fn stamp(post: &Post) -> Option<String> {
    let said = post.content.as_deref().or(post.changed.as_deref());
    said.map(digest)
}
