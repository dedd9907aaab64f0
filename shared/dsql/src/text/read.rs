//! Which statements are tried in a `READ ONLY` transaction first. The server decides in the end: a
//! guess here may be wrong, but should seldom be.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use super::request::{Begin, TextRequest, TextRole};
use super::words::mentions;
use crate::lead::looks_like_read;

/// SQLSTATE of a statement that would write in such a transaction.
pub(super) const REFUSED: &str = "25006";
/// A setting whose value such a transaction changes.
const OWN_MODE: &str = "transaction_read_only";
/// Requests remembered.
const MAX_KNOWN: usize = 1_000;

/// Requests that looked like reads and were refused as writes: they are not tried again. By their
/// hashes: a mistake costs the other request no more than its try.
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

/// The same in a transaction in which the server lets nothing write, if it looks as if that were
/// enough.
pub(super) fn as_read_only<'a>(request: &TextRequest<'a>) -> Option<TextRequest<'a>> {
    let is_read = !request.statements.is_empty()
        && request.last.is_none()
        && !request.harmless
        && request.statements.iter().all(|one| worth_trying(&one.sql));
    is_read.then(|| TextRequest {
        begin: Some(Begin {
            read_only: true,
            ..request.begin.unwrap_or_default()
        }),
        harmless: true,
        only_reads: true,
        ..*request
    })
}

/// Whether a statement is worth the try: it looks like a read, and does not ask for what the try
/// would change.
fn worth_trying(sql: &str) -> bool {
    looks_like_read(sql) && !mentions(sql, &[OWN_MODE])
}

#[cfg(test)]
mod tests {
    use super::worth_trying;

    #[test]
    fn what_asks_for_the_mode_of_its_transaction_is_not_tried_in_another() {
        assert!(worth_trying("SELECT place_order($1)"));
        assert!(!worth_trying(
            "SELECT current_setting('transaction_read_only')"
        ));
    }
}
