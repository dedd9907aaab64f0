//! The first words of a statement and the dialect's parser agree on what controls a transaction and
//! what copies.

use dsql_dialect::{Kind, classify, split};
use fuzzing::{Corpus, Seen, check, prop_assert};
use serde_json::json;

use crate::request::{Asked, Output};

const OUTPUT: Output = Output {
    raw_text: true,
    array_mode: false,
};

#[test]
fn transaction_control_and_copy_are_seen_where_the_dialects_parser_sees_them() {
    let corpus = Corpus::new([
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "/* a /* b */ */ ;\n-- c\n Start TRANSACTION read only",
        "commit and chain",
        "END WORK;",
        "ROLLBACK TO SAVEPOINT a",
        "abort; SELECT 1",
        "SAVEPOINT a",
        "release savepoint a",
        "PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'x'",
        "PREPARE p AS SELECT 1",
        "COPY t FROM STDIN",
        "SELECT 'BEGIN', \"commit\", $$end$$ FROM t -- rollback",
        "WITH c AS (SELECT 1) INSERT INTO t SELECT * FROM c",
        "(SELECT E'\\'' /* ; */)",
    ])
    .words([
        "BEGIN ",
        "COMMIT",
        "end",
        "copy ",
        "/*",
        "*/",
        "--",
        "\n",
        "\r",
        "\x0b",
        "\x0c",
        "\u{a0}",
        "\u{feff}",
        "U&\"",
        "E'",
        "$a$",
        "_",
        "1",
        "\"begin\"",
    ]);
    check("leading words", corpus.text(), |sql| {
        if sql.contains('\0') {
            return Ok(Seen::Refused);
        }
        let body = json!({"queries": [{"query": sql}]}).to_string();
        let refused = Asked::parse(body.as_bytes(), OUTPUT).err();
        let pieces: Vec<_> = split(&sql)
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect();
        let Some(first) = pieces.first() else {
            prop_assert!(refused.is_none(), "nothing is refused");
            return Ok(Seen::Refused);
        };
        let statement = classify(first.text(&sql));
        let is_seen = matches!(
            statement.kind,
            Kind::Begin { .. } | Kind::Commit | Kind::Rollback | Kind::Savepoint | Kind::Copy(_)
        );
        if is_seen && !statement.unsure {
            prop_assert!(refused.is_some(), "{:?} is taken", statement.kind);
            return Ok(Seen::Accepted);
        }
        // What is no statement at all may look like one from its first word.
        prop_assert!(
            refused.is_none() || statement.unsure,
            "{:?} is refused",
            statement.kind
        );
        Ok(Seen::Refused)
    });
}
