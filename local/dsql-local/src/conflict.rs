//! Conflicts, and one limit, in the service's words: this is where a conflict becomes 40001.
//! PostgreSQL notices some of them by itself, under its own names: a row or a catalog entry that
//! another transaction changed.

use dsql_dialect::StateRule;

use crate::wire::{ErrorAnswer, ErrorResponse};

/// Why a COPY is broken off for a session that waits.
pub(crate) const GIVES_WAY: &str = "dsql-local gives way to another transaction";

/// Where our own routines are.
const OURS: &str = " dsql_";

/// Another transaction changed the same data: 40001 OC000.
pub(crate) fn data() -> ErrorAnswer {
    StateRule::DataConflict.refusal().into()
}

/// Another transaction changed the catalog: 40001 OC001.
pub(crate) fn schema() -> ErrorAnswer {
    StateRule::SchemaConflict.refusal().into()
}

/// An error of PostgreSQL as DSQL would answer it.
pub(crate) fn translate(error: ErrorResponse) -> ErrorResponse {
    let text = error.field(b'M').unwrap_or_default();
    let answer = match error.sqlstate() {
        // serialization failure, deadlock
        Some(b"40001" | b"40P01") => data(),
        Some(b"57014") if text.ends_with(GIVES_WAY.as_bytes()) => data(),
        // Two changes of one catalog entry: "tuple concurrently updated" (or deleted).
        Some(b"XX000") if text.starts_with(b"tuple concurrently ") => schema(),
        // Two creations of one name that did not see each other: IF NOT EXISTS does not help.
        Some(b"23505") if error.field(b's') == Some(b"pg_catalog") => schema(),
        // A row of an index above what fits on a page: PostgreSQL allows 2,704 bytes.
        Some(b"54000") if text.starts_with(b"index row ") => StateRule::KeySize.refusal().into(),
        _ => return without_our_own(error),
    };
    (&answer).into()
}

/// An error inside a routine of ours, without the fields that tell of it.
fn without_our_own(error: ErrorResponse) -> ErrorResponse {
    const KEPT: &[u8] = b"SVCMDHstcdn";
    let context = error.field(b'W').unwrap_or_default();
    let is_ours = context
        .windows(OURS.len())
        .any(|window| window == OURS.as_bytes());
    if !is_ours {
        return error;
    }
    let kept = KEPT
        .iter()
        .filter_map(|&code| Some((code, error.field(code)?)));
    ErrorResponse::of(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fields: &[(u8, &str)]) -> ErrorResponse {
        ErrorResponse::of(fields.iter().map(|(code, text)| (*code, text.as_bytes())))
    }

    #[test]
    fn conflicts_that_postgresql_notices_have_the_services_code_and_text() {
        for (fields, expected) in [
            (
                vec![
                    (b'C', "40001"),
                    (b'M', "could not serialize access due to concurrent update"),
                ],
                data(),
            ),
            (vec![(b'C', "40P01"), (b'M', "deadlock detected")], data()),
            (
                vec![
                    (b'S', "ERROR"),
                    (b'C', "XX000"),
                    (b'M', "tuple concurrently updated"),
                ],
                schema(),
            ),
            (
                vec![
                    (b'C', "23505"),
                    (b'M', "duplicate key"),
                    (b's', "pg_catalog"),
                ],
                schema(),
            ),
        ] {
            assert_eq!(translate(error(&fields)), ErrorResponse::from(&expected));
        }
    }

    #[test]
    fn other_errors_and_garbage_stay_as_they_are() {
        for fields in [
            vec![(b'C', "23505"), (b'M', "duplicate key"), (b's', "public")],
            vec![(b'C', "XX000"), (b'M', "server unavailable")],
            vec![],
        ] {
            let error = error(&fields);
            assert_eq!(translate(error.clone()), error);
        }
        let inside = error(&[
            (b'C', "42P01"),
            (b'M', "relation \"t\" does not exist"),
            (b'W', "PL/pgSQL function dsql_create_index(text) line 1"),
        ]);
        let outside = error(&[(b'C', "42P01"), (b'M', "relation \"t\" does not exist")]);
        assert_eq!(translate(inside), outside);
    }
}
