//! Cutting a simple query.

use dsql_dialect::{Piece, split};
use proptest::prelude::*;

fn texts(sql: &str) -> Vec<&str> {
    split(sql)
        .iter()
        .filter(|piece| !piece.is_empty())
        .map(|piece| piece.text(sql))
        .collect()
}

#[test]
fn semicolons_inside_quotes_and_comments_do_not_cut() {
    assert_eq!(
        texts(
            "SELECT 'a;''b'; SELECT E'\\';' ;SELECT $x$;$$;$x$;SELECT \"a;b\"\"\"; /* ; /* ; */ ; */ SELECT 1 -- ;\n; -- ;"
        ),
        [
            "SELECT 'a;''b'",
            "SELECT E'\\';'",
            "SELECT $x$;$$;$x$",
            "SELECT \"a;b\"\"\"",
            "SELECT 1"
        ]
    );
}

#[test]
fn semicolons_inside_parentheses_and_routine_bodies_do_not_cut() {
    let rule = "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)";
    let function = "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END";
    assert_eq!(
        texts(&format!("{rule}; {function}; SELECT 3")),
        [rule, function, "SELECT 3"]
    );
    assert_eq!(texts("BEGIN; SELECT 1; END"), ["BEGIN", "SELECT 1", "END"]);
}

#[test]
fn empty_statements_are_pieces_without_a_body() {
    assert_eq!(texts(";; SELECT 1;;"), ["SELECT 1"]);
    assert!(split(";;").iter().all(Piece::is_empty));
    assert!(split("").iter().all(Piece::is_empty));
    assert_eq!(split("").len(), 1);
    assert!(split("-- only a comment").iter().all(Piece::is_empty));
}

#[test]
fn a_comment_without_an_end_is_a_statement_for_postgresql_to_refuse() {
    assert_eq!(texts("SELECT 1; /* x"), ["SELECT 1", "/* x"]);
}

proptest! {
    #[test]
    fn pieces_join_to_the_input(sql in "[a-z0-9 ;'\"$\\\\/*\\-\n()Eeé]{0,80}") {
        let pieces = split(&sql);
        let joined: String = pieces.iter().map(|piece| &sql[piece.range.clone()]).collect();
        prop_assert_eq!(&joined, &sql);
        for piece in &pieces {
            prop_assert!(piece.range.start <= piece.body.start && piece.body.end <= piece.range.end);
        }
    }

    #[test]
    fn statements_joined_by_semicolons_come_back(statements in prop::collection::vec(
        prop::sample::select(vec!["SELECT 1", "SELECT ';'", "SELECT $a$;$a$", "INSERT INTO \"a;b\" VALUES (1)", "BEGIN", "END", "SELECT CASE WHEN a THEN 1 END"]), 1..8)) {
        let sql = statements.join("; ");
        prop_assert_eq!(texts(&sql), statements);
    }
}
