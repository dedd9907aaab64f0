//! Inputs that nobody meant: nothing overflows the stack or takes unbounded time.

use dsql_dialect::{Kind, Verdict, classify};

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
fn nesting_that_the_parser_takes_a_minute_for_is_not_parsed() {
    let bytes = 64 * 1024;
    for (head, piece, closing) in [
        ("SELECT ", "f(", ")"),
        ("SELECT ", "(", ")"),
        ("SELECT 1", "::int", ""),
        ("SELECT ", "NOT ", ""),
        ("", "EXPLAIN ", ""),
        (
            "SELECT * FROM t",
            " LEFT JOIN LATERAL (SELECT a FROM t",
            ") x ON a",
        ),
        (
            "SELECT * FROM t",
            " LEFT JOIN LATERAL (SELECT a FROM t) x ON a",
            "",
        ),
    ] {
        let times = bytes / (piece.len() + closing.len());
        let sql = format!("{head}{}1{}", piece.repeat(times), closing.repeat(times));
        let verdict = classify(&sql).verdict;
        assert!(!matches!(verdict, Verdict::Refuse(_)), "{head}{piece}");
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
