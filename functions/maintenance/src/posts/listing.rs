//! What a listing says, in whatever form: posts, or sitemaps that list them.

/// Longest listing.
pub(super) const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Entries that are read of a listing, posts or sitemaps.
pub(super) const MAX_ENTRIES: usize = 10_000;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Listing {
    Posts {
        posts: Vec<Post>,
        /// Whether the listing is complete, as a sitemap is and a feed is not.
        is_whole: bool,
    },
    /// The addresses of sitemaps.
    Sitemaps(Vec<String>),
}

/// A post, as far as its listing says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Post {
    /// As it is listed.
    pub(super) url: String,
    /// Empty if the listing has none.
    pub(super) title: String,
    /// When it was changed, as it is listed.
    pub(super) changed: Option<String>,
    /// What it says, in HTML, if the listing has all of it.
    pub(super) content: Option<String>,
}
