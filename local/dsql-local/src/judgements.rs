//! A cache of what the dialect says about a text. That depends only on the text and on what the
//! session has set, so a text is read once for all sessions. The least recently used texts are
//! forgotten.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use dsql_dialect::Session;
use lru::LruCache;

use crate::dialect;
use crate::statement::Statement;

/// How many texts are kept for each state of a session.
const MAX_TEXTS: NonZeroUsize = NonZeroUsize::new(2048).expect("is not zero");
/// A longer text is read each time: it is hardly the same twice.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// What the dialect says of texts, the one used last in front.
type Texts = LruCache<Box<str>, Arc<Statement>>;

/// What the dialect says of the texts that came lately.
#[derive(Debug, Default)]
pub(crate) struct Judgements {
    kept: Mutex<HashMap<Session, Texts>>,
}

impl Judgements {
    /// Reads one statement by DSQL's rules, unless it was read before.
    pub(crate) fn read(&self, sql: &str, session: &Session) -> Arc<Statement> {
        if sql.len() > MAX_TEXT_BYTES {
            return Arc::new(dialect::read(sql, session));
        }
        if let Some(known) = self.with(session, |texts| texts.get(sql).cloned()) {
            return known;
        }
        let statement = Arc::new(dialect::read(sql, session));
        self.with(session, |texts| texts.put(sql.into(), statement.clone()));
        statement
    }

    fn with<T>(&self, session: &Session, then: impl FnOnce(&mut Texts) -> T) -> T {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = kept
            .entry(session.clone())
            .or_insert_with(|| LruCache::new(MAX_TEXTS));
        then(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_once_for_each_state_of_a_session() {
        let judgements = Judgements::default();
        let plain = Session::default();
        let allowing = Session {
            sync_create_index: true,
            ..Session::default()
        };
        let sql = "CREATE INDEX i ON t (a)";
        let first = judgements.read(sql, &plain);
        assert!(Arc::ptr_eq(&first, &judgements.read(sql, &plain)));
        assert_ne!(first.verdict, judgements.read(sql, &allowing).verdict);
    }

    #[test]
    fn what_was_used_least_lately_is_forgotten() {
        let judgements = Judgements::default();
        let session = Session::default();
        let first = judgements.read("SELECT 1", &session);
        for number in 0..MAX_TEXTS.get() {
            judgements.read(&format!("SHOW a{number}"), &session);
        }
        assert!(!Arc::ptr_eq(&first, &judgements.read("SELECT 1", &session)));
    }
}
