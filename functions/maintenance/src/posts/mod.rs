//! The index of the blog's own posts, which a model searches. Each run reads the listing (a feed or
//! a sitemap), then the posts that are new, changed, or not looked at for a week, up to a limit;
//! the next run goes on where this one ended.
//!
//! # Promises
//! 1. Nothing is asked but the host of the listing, over `https`; a redirect or a link that leads
//!    elsewhere is not followed.
//! 2. What a server sends is read up to a limit of size and time, and parsed without recursion and
//!    without its own entities.
//! 3. A server is asked for what it has already sent by its validators (RFC 9110): what has not
//!    changed is not sent again.
//! 4. A post is forgotten when a whole sitemap does not list it any more, or its page is gone or
//!    asks not to be indexed. A feed lists the newest posts alone: of the others it says nothing.
//! 5. What fails keeps its old text, and holds up no other post.

mod blog;
mod config;
#[cfg(test)]
mod fuzz;
mod listing;
mod listing_json;
mod listing_xml;
mod page;
mod passages;
mod run;
mod site;

pub use blog::Blog;
pub(crate) use run::index;
