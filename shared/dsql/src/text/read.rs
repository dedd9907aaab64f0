//! What is worth being tried in a `READ ONLY` transaction. The server has the last word: nothing here has to be right, only
//! seldom wrong.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use super::{TextRequest, TextRole};

/// SQLSTATE of a statement that would write in such a transaction.
pub(super) const REFUSED: &str = "25006";
/// A setting whose value such a transaction changes.
const OWN_MODE: &str = "transaction_read_only";
/// Requests remembered.
const MAX_KNOWN: usize = 1_000;

/// Requests that looked like reads and were refused as writes: they are not tried again. By their hashes: a mistake costs the
/// other request no more than its try.
#[derive(Debug, Default)]
pub(super) struct Writers(Mutex<HashSet<u64>>);

impl Writers {
    pub(super) fn contains(&self, role: &TextRole, request: &TextRequest<'_>) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !known.is_empty() && known.contains(&hash(role, request))
    }

    pub(super) fn add(&self, role: &TextRole, request: &TextRequest<'_>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(hash(role, request));
    }
}

fn hash(role: &TextRole, request: &TextRequest<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    role.name.hash(&mut hasher);
    for statement in request.statements {
        statement.sql.hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether a statement begins like one that reads, and no word of it, outside quotes and comments, is one that writes.
pub(super) fn looks_like_read(sql: &str) -> bool {
    let [first, _] = crate::leading_words(sql);
    let reads = matches!(
        first.as_str(),
        "" | "select" | "with" | "values" | "table" | "show" | "explain"
    );
    reads && !crate::lead::words(sql).any(is_write) && !super::run::mentions(sql, &[OWN_MODE])
}

fn is_write(word: &str) -> bool {
    ["insert", "update", "delete", "merge", "into"]
        .iter()
        .any(|verb| word.eq_ignore_ascii_case(verb))
}

#[cfg(test)]
mod tests {
    use super::looks_like_read;

    #[test]
    fn what_may_write_is_not_taken_for_a_read() {
        for sql in [
            "select 1",
            "(select 1)",
            "",
            "WITH a AS (SELECT 1) TABLE a",
            "SELECT * FROM log WHERE verb = 'delete' AND \"update\" -- into",
            "SELECT /* insert /* nested */ */ updated FROM t",
            "SELECT place_order($1)",
        ] {
            assert!(looks_like_read(sql), "{sql}");
        }
        for sql in [
            "WITH a AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT 1",
            "select * from t for update",
            "SELECT 'it''s' INTO t",
            "CREATE TABLE t (a int)",
            "SELECT current_setting('transaction_read_only')",
        ] {
            assert!(!looks_like_read(sql), "{sql}");
        }
    }
}
