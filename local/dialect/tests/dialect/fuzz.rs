//! Fuzz targets: mutated statements. None makes the reader panic, and what it says of one does not
//! hang on blanks and comments. What a server does with them: the target of the same name in
//! `dsql-local`.

use dsql_dialect::{Effect, Kind, Verdict, classify, split};
use fuzzing::{Corpus, Seen, Strategy, check, prop_assert, prop_assert_eq};

/// Pieces of statements that DSQL takes, refuses, or has of its own.
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "(",
    ")",
    ",",
    ";",
    "CREATE",
    "TABLE",
    "INDEX",
    "ASYNC",
    "ON",
    "t",
    "a",
    "'x'",
    "$1",
    "::",
    "int",
    "[",
    "]",
    "ALTER",
    "ADD",
    "COLUMN",
    "STORAGE",
    "PLAIN",
    "GENERATED",
    "ALWAYS",
    "AS",
    "IDENTITY",
    "CACHE",
    "5",
    "AWS",
    "IAM",
    "GRANT",
    "TO",
    "SET",
    "LOCAL",
    "TRANSACTION",
    "ISOLATION",
    "LEVEL",
    "BEGIN",
    "CASE",
    "WHEN",
    "END",
    "GROUP",
    "BY",
    "ALL",
    "FOR",
    "SHARE",
    "CALL",
    "sys",
    ".",
    "wait_for_job",
    "EXPLAIN",
    "ANALYZE",
    "WITH",
    "INSERT",
    "INTO",
    "VALUES",
    "UPDATE",
    "DELETE",
    "NOT",
    "NULL",
    "PRIMARY",
    "KEY",
    "numeric",
    "$$",
    "--",
    "/*",
    "*/",
    "\"",
    "'",
    "E'\\",
    "U&\"",
    "DROP",
    "TYPE",
    "FUNCTION",
    "LANGUAGE",
    "sql",
    "=",
    "-",
    "\u{0}",
    "é",
    "COPY",
];

fn statements() -> impl Strategy<Value = String> {
    let probes: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../../../tests/conformance/probes.json")).unwrap();
    let recorded: Vec<String> = probes
        .iter()
        .flat_map(|probe| probe["steps"].as_array().unwrap())
        .filter_map(|step| step["sql"].as_str().map(str::to_owned))
        .collect();
    Corpus::new(recorded).words(WORDS).text()
}

#[test]
fn what_is_said_of_a_statement_does_not_hang_on_blanks_and_comments() {
    check("a statement", statements(), |sql| {
        let said = classify(&sql);
        let again = classify(&format!("/* ; */\n\t-- '\n{sql}"));
        prop_assert_eq!(
            std::mem::discriminant(&said.kind),
            std::mem::discriminant(&again.kind)
        );
        prop_assert_eq!(said.effect, again.effect);
        match (said.verdict, again.verdict) {
            (Verdict::Refuse(said), Verdict::Refuse(again)) => {
                prop_assert_eq!(said.sqlstate, again.sqlstate);
                prop_assert_eq!(said.message, again.message);
                Ok(Seen::Refused)
            }
            (Verdict::Rewrite(said), Verdict::Rewrite(again)) => {
                prop_assert_eq!(said.edits.len(), again.edits.len());
                for offset in 0..=said.sql.len() {
                    prop_assert!(said.original_offset(offset) <= sql.len());
                }
                Ok(Seen::Accepted)
            }
            (Verdict::Accept, Verdict::Accept) => Ok(Seen::Accepted),
            (said, again) => {
                prop_assert!(false, "{said:?} and {again:?}");
                Ok(Seen::Refused)
            }
        }
    });
}

#[test]
fn what_is_accepted_is_what_it_looks_like() {
    check("an accepted statement", statements(), |sql| {
        let pieces = split(&sql);
        let joined: String = pieces
            .iter()
            .map(|piece| &sql[piece.range.clone()])
            .collect();
        prop_assert_eq!(&joined, &sql);
        let mut seen = Seen::Refused;
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            let statement = classify(piece.text(&sql));
            if matches!(statement.verdict, Verdict::Refuse(_)) || statement.unsure {
                continue;
            }
            seen = Seen::Accepted;
            prop_assert!(!matches!(statement.kind, Kind::Savepoint), "{sql}");
            let writes = matches!(
                &statement.kind,
                Kind::Dml(_) | Kind::Ddl(_) | Kind::CreateIndex(_)
            );
            prop_assert!(!writes || statement.effect.writes(), "{:?}", statement.kind);
            let is_read = matches!(statement.kind, Kind::Show(_) | Kind::Empty);
            prop_assert!(
                !is_read || statement.effect == Effect::Read,
                "{:?}",
                statement.kind
            );
        }
        Ok(seen)
    });
}
