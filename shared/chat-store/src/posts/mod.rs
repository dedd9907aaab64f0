//! The blog's own posts, so that a model can be told what they say: their texts, cut into passages,
//! and which word stands in which passage. One run at a time writes them; everybody may read. They
//! are public and have no owner.
//!
//! A post's text is written under an id of its own, and takes the place of the one before in one
//! statement: a search meets the old text or the new one, whatever a run is doing or has left
//! undone.

mod index;
mod search;
mod words;

pub use index::{
    Checked, Known, MAX_PASSAGES, MAX_POSTS, NewText, Validators, begin, digest, finish, known,
    put, remove, tidy, touch,
};
pub use search::{Found, MAX_FOUND, search};

/// The id of the listing: there is one.
const LISTING: &str = "blog";
