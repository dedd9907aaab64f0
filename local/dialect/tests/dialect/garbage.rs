//! Inputs that nobody meant: nothing panics, overflows the stack or takes for ever.

use dsql_dialect::{Kind, Verdict, classify, split};
use proptest::prelude::*;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn words_in_any_order_are_read(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        let sql = words.join(" ");
        for piece in split(&sql) {
            let _ = classify(piece.text(&sql));
        }
        let _ = classify(&sql);
    }

    #[test]
    fn any_text_is_read(sql in any::<String>()) {
        let _ = classify(&sql);
        let _ = split(&sql);
    }
}

#[test]
fn deep_nesting_is_read_without_overflow() {
    let deep = 40_000;
    for sql in [
        format!("SELECT {}1{}", "(".repeat(deep), ")".repeat(deep)),
        format!("SELECT {}", "(".repeat(deep)),
        format!("SELECT {}1", "NOT ".repeat(deep)),
        format!("SELECT 1{}", " OR a".repeat(deep)),
        format!("SELECT {}1", "f(".repeat(3_000)),
        format!("SELECT {}1", "CASE WHEN ".repeat(3_000)),
        format!(
            "{}1{}",
            "SELECT * FROM (SELECT ".repeat(1_500),
            ")".repeat(1_500)
        ),
        "[".repeat(deep),
    ] {
        let statement = classify(&sql);
        assert!(!matches!(statement.verdict, Verdict::Refuse(_)));
    }
}

#[test]
fn a_statement_too_deep_to_read_is_still_known_by_its_head() {
    let deep = format!("TRUNCATE t {}", "(".repeat(40_000));
    let Verdict::Refuse(refusal) = classify(&deep).verdict else {
        panic!()
    };
    assert!(refusal.ask_first.is_some());
    assert_eq!(refusal.message, "unsupported statement: Truncate");
}

#[test]
fn a_large_insert_is_read_on_the_callers_stack() {
    let rows: Vec<_> = (0..3_000)
        .map(|n| format!("({n}, 'text {n}', now())"))
        .collect();
    let sql = format!("INSERT INTO t (a, b, c) VALUES {}", rows.join(", "));
    assert!(matches!(classify(&sql).kind, Kind::Dml(_)));
}
