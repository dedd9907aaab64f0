//! The version of the catalog: how a session learns that another one changed it (OC001).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::CommandTag;

/// Counts committed changes of the catalog.
#[derive(Debug)]
pub(crate) struct Schema {
    version: AtomicU64,
    /// Whether a session is told of the changes of others.
    is_watched: bool,
}

/// The version that a session knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known(u64);

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Schema {
    pub(crate) fn new(is_watched: bool) -> Self {
        Self {
            version: AtomicU64::new(0),
            is_watched,
        }
    }

    /// The newest version.
    pub(crate) fn current(&self) -> Known {
        Known(self.version.load(Ordering::Acquire))
    }

    /// A session that knows `known` committed a change; what it knows then.
    pub(crate) fn change(&self, known: Known) -> Known {
        let before = self.version.fetch_add(1, Ordering::AcqRel);
        if known.0 == before {
            Known(before + 1)
        } else {
            known
        }
    }

    /// Whether somebody else changed the catalog since. Says so once: `known` is up to date
    /// afterwards.
    pub(crate) fn is_stale(&self, known: &mut Known) -> bool {
        let current = self.current();
        let is_stale = *known != current;
        *known = current;
        is_stale && self.is_watched
    }
}

/// Whether a command changed the catalog.
pub(crate) fn is_change(tag: &CommandTag) -> bool {
    matches!(
        tag.words().next(),
        Some(
            b"CREATE"
                | b"ALTER"
                | b"DROP"
                | b"GRANT"
                | b"REVOKE"
                | b"COMMENT"
                | b"AWS"
                | b"REASSIGN"
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_news_to_others_once() {
        let schema = Schema::new(true);
        let (mut own, mut other) = (schema.current(), schema.current());
        own = schema.change(own);
        assert!(!schema.is_stale(&mut own));
        assert!(schema.is_stale(&mut other));
        assert!(!schema.is_stale(&mut other));
    }

    #[test]
    fn a_change_of_ones_own_does_not_hide_that_of_another() {
        let schema = Schema::new(true);
        let (mut own, other) = (schema.current(), schema.current());
        schema.change(other);
        own = schema.change(own);
        assert!(schema.is_stale(&mut own));
    }

    #[test]
    fn command_tags_tell_what_changes_the_catalog() {
        for tag in ["CREATE TABLE", "GRANT", "AWS IAM GRANT", "DROP INDEX"] {
            assert!(is_change(&CommandTag::new(tag)), "{tag}");
        }
        for tag in ["SELECT 1", "INSERT 0 1", "COMMIT", "CALL", ""] {
            assert!(!is_change(&CommandTag::new(tag)), "{tag}");
        }
    }
}
