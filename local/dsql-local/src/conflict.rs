//! Conflicts and one limit in the service's words. PostgreSQL notices some of them by itself, under its own names: a row or a catalog
//! entry that another transaction changed. On DSQL all of these are SQLSTATE 40001.

use dsql_dialect::StateRule;

use crate::wire::{ErrorAnswer, Message, error_field};

/// Why a COPY is broken off for a session that waits.
pub(crate) const GIVES_WAY: &str = "dsql-local gives way to another transaction";

/// Where our own routines are.
const OURS: &str = "dsql_internal.";

/// Another transaction changed the same data.
pub(crate) fn data() -> ErrorAnswer {
    ErrorAnswer::error("40001", "change conflicts with another transaction (OC000)")
}

/// Another transaction changed the catalog.
pub(crate) fn schema() -> ErrorAnswer {
    ErrorAnswer::error(
        "40001",
        "schema has been updated by another transaction (OC001)",
    )
}

/// An error of PostgreSQL as DSQL would answer it.
pub(crate) fn translate(message: Message) -> Message {
    let field = |code| error_field(&message, code);
    let text = field(b'M').unwrap_or_default();
    let answer = match field(b'C') {
        // serialization failure, deadlock
        Some(b"40001" | b"40P01") => data(),
        Some(b"57014") if text.ends_with(GIVES_WAY.as_bytes()) => data(),
        // Two changes of one catalog entry: "tuple concurrently updated" (or deleted).
        Some(b"XX000") if text.starts_with(b"tuple concurrently ") => schema(),
        // Two creations of one name that did not see each other: IF NOT EXISTS does not help.
        Some(b"23505") if field(b's') == Some(b"pg_catalog") => schema(),
        // A row of an index above what fits on a page: PostgreSQL allows 2,704 bytes.
        Some(b"54000") if text.starts_with(b"index row ") => StateRule::KeySize.refusal().into(),
        _ => return without_our_own(message),
    };
    answer.message()
}

/// An error inside a routine of ours, without the fields that tell of it.
fn without_our_own(message: Message) -> Message {
    const KEPT: &[u8] = b"SVCMDHstcdn";
    let context = error_field(&message, b'W').unwrap_or_default();
    let is_ours = context
        .windows(OURS.len())
        .any(|window| window == OURS.as_bytes());
    if !is_ours {
        return message;
    }
    let mut body = Vec::new();
    for &code in KEPT {
        if let Some(text) = error_field(&message, code) {
            body.push(code);
            body.extend_from_slice(text);
            body.push(0);
        }
    }
    body.push(0);
    Message::new(message.tag, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fields: &[(u8, &str)]) -> Message {
        let mut body = Vec::new();
        for (code, text) in fields {
            body.push(*code);
            body.extend(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        Message::new(b'E', body)
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
            assert_eq!(translate(error(&fields)).body, expected.message().body);
        }
    }

    #[test]
    fn other_errors_and_garbage_stay_as_they_are() {
        for fields in [
            vec![(b'C', "23505"), (b'M', "duplicate key"), (b's', "public")],
            vec![(b'C', "XX000"), (b'M', "server unavailable")],
            vec![],
        ] {
            let message = error(&fields);
            assert_eq!(translate(message.clone()).body, message.body);
        }
        let inside = error(&[
            (b'C', "42P01"),
            (b'M', "relation \"t\" does not exist"),
            (
                b'W',
                "PL/pgSQL function dsql_internal.create_index(text) line 1",
            ),
        ]);
        let outside = error(&[(b'C', "42P01"), (b'M', "relation \"t\" does not exist")]);
        assert_eq!(translate(inside).body, outside.body);
        let cut = Message::new(b'E', b"CXX000".to_vec());
        assert_eq!(translate(cut.clone()).body, cut.body);
    }
}
