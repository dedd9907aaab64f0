//! The blog: where it lists its posts, and what it lists.

use std::collections::HashSet;

use chat_store::posts::{MAX_POSTS, Validators};
use runtime::{ConfigError, Lookup};
use url::Url;

use super::listing::{Listing, MAX_BYTES, Post};
use super::site::{Fetched, Site, SiteError};
use super::{config, listing_json, listing_xml};

/// Documents of a sitemap index that are read.
const MAX_SITEMAPS: usize = 20;

/// The blog whose posts are indexed.
#[derive(Debug)]
pub struct Blog {
    listing: Url,
    site: Site,
}

/// What the blog lists.
pub(super) struct Listed {
    pub(super) posts: Vec<Post>,
    /// Whether the listing is complete, so that a post not in it no longer exists.
    pub(super) is_whole: bool,
    pub(super) validators: Validators,
}

impl Blog {
    /// Reads the configuration; `None` where no listing is named.
    ///
    /// # Errors
    /// When the address is wrong.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Option<Self>, ConfigError> {
        Ok(config::read(lookup)?.map(|listing| Self {
            site: Site::new(&listing),
            listing,
        }))
    }

    /// Where it lists its posts.
    pub(super) fn listing(&self) -> &str {
        self.listing.as_str()
    }

    /// Its host.
    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    /// What the blog lists; `None` if that is the same as before.
    pub(super) async fn list(&self, before: &Validators) -> Result<Option<Listed>, SiteError> {
        let fetched = self.site.get(&self.listing, before, MAX_BYTES).await?;
        let Fetched::Sent(document) = fetched else {
            return match fetched {
                Fetched::Same => Ok(None),
                _ => Err(SiteError::Gone),
            };
        };
        let (mut posts, mut is_whole, validators) = match read(&document.body)? {
            Listing::Posts { posts, is_whole } => (posts, is_whole, document.validators),
            Listing::Sitemaps(addresses) => {
                let (posts, is_whole) = self.read_sitemaps(&addresses).await;
                // The index may be the same when one of its sitemaps is not.
                (posts, is_whole, <_>::default())
            }
        };
        // What stands on another host is not the blog's.
        posts.retain_mut(|post| match self.site.own(&post.url) {
            Some(url) => {
                post.url = url.into();
                true
            }
            None => false,
        });
        let mut met = HashSet::new();
        posts.retain(|post| met.insert(post.url.clone()));
        if posts.len() > MAX_POSTS {
            tracing::warn!(
                "the blog lists {} posts: {MAX_POSTS} are indexed",
                posts.len()
            );
            posts.truncate(MAX_POSTS);
            is_whole = false;
        }
        if posts.is_empty() {
            return Err(SiteError::Empty);
        }
        Ok(Some(Listed {
            posts,
            is_whole,
            validators,
        }))
    }

    /// The posts of these sitemaps, and whether that is all of them.
    async fn read_sitemaps(&self, addresses: &[String]) -> (Vec<Post>, bool) {
        let mut read = (Vec::new(), addresses.len() <= MAX_SITEMAPS);
        for address in addresses.iter().take(MAX_SITEMAPS) {
            match self.read_sitemap(address).await {
                Ok(posts) => read.0.extend(posts),
                Err(error) => {
                    read.1 = false;
                    let cause = runtime::chain(&error);
                    tracing::warn!(
                        error.cause = cause,
                        "the sitemap {address} was not read: {cause}"
                    );
                }
            }
            if read.0.len() > MAX_POSTS {
                break;
            }
        }
        read
    }

    async fn read_sitemap(&self, address: &str) -> Result<Vec<Post>, SiteError> {
        let url = self.site.own(address).ok_or(SiteError::Elsewhere)?;
        let fetched = self.site.get(&url, &<_>::default(), MAX_BYTES).await?;
        let Fetched::Sent(document) = fetched else {
            return Err(SiteError::Gone);
        };
        match read(&document.body)? {
            Listing::Posts { posts, .. } => Ok(posts),
            Listing::Sitemaps(_) => Err(SiteError::Unreadable("an index within an index")),
        }
    }
}

/// Reads a listing; of which kind it is, it says itself.
pub(super) fn read(body: &[u8]) -> Result<Listing, SiteError> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with('{') {
        return listing_json::read(text);
    }
    listing_xml::read(text)
}
