//! What PostgreSQL gets in place of a statement.

use dsql_dialect::{Rewritten, Session, Verdict, classify_in};

fn rewritten(sql: &str, postgres_major: u16) -> Option<Rewritten> {
    let session = Session {
        postgres_major,
        ..Session::default()
    };
    match classify_in(sql, &session).verdict {
        Verdict::Rewrite(rewritten) => Some(rewritten),
        Verdict::Accept => None,
        Verdict::Refuse(refusal) => panic!("{sql}: {refusal}"),
    }
}

fn text(sql: &str, postgres_major: u16) -> String {
    rewritten(sql, postgres_major).map_or_else(|| sql.to_owned(), |rewritten| rewritten.sql)
}

#[test]
fn async_becomes_blanks_and_moves_nothing() {
    assert_eq!(
        text("CREATE INDEX ASYNC i ON t (a)", 16),
        "CREATE INDEX       i ON t (a)"
    );
    assert_eq!(
        text("create unique index/*x*/async on t(a)", 16),
        "create unique index/*x*/      on t(a)"
    );
    assert_eq!(
        text("ALTER TABLE ASYNC t VALIDATE CONSTRAINT c", 16),
        "ALTER TABLE       t VALIDATE CONSTRAINT c"
    );
    assert_eq!(
        text("ALTER TABLE async ADD COLUMN async int", 16),
        "ALTER TABLE async ADD COLUMN async int"
    );
}

#[test]
fn numeric_columns_get_the_services_default() {
    assert_eq!(
        text(
            "CREATE TABLE t (a numeric NOT NULL, b numeric(3), c DECIMAL, d pg_catalog.numeric, e text)",
            16
        ),
        "CREATE TABLE t (a numeric(18,6) NOT NULL, b numeric(3), c DECIMAL(18,6), d pg_catalog.numeric(18,6), e text)"
    );
    assert_eq!(
        text("ALTER TABLE t ADD a dec", 16),
        "ALTER TABLE t ADD a dec(18,6)"
    );
    assert_eq!(text("SELECT 1::numeric", 16), "SELECT 1::numeric");
}

#[test]
fn positions_lead_back_to_the_original() {
    let sql = "CREATE TABLE t (a numeric, b nothing)";
    let rewritten = rewritten(sql, 16).unwrap();
    let there = rewritten.sql.find("nothing").unwrap();
    assert_eq!(
        rewritten.original_offset(there),
        sql.find("nothing").unwrap()
    );
    assert_eq!(rewritten.original_offset(3), 3);
}

#[test]
fn the_services_own_setting_gets_a_prefix() {
    assert_eq!(
        text("SET LOCAL disable_sync_create_index = off", 16),
        "SET LOCAL dsql.disable_sync_create_index = off"
    );
    assert_eq!(
        text("SHOW disable_sync_create_index", 16),
        "SHOW dsql.disable_sync_create_index"
    );
}

#[test]
fn storage_is_spelled_for_the_server_at_hand() {
    let add = "ALTER TABLE t ADD COLUMN c text STORAGE PLAIN, ADD d int";
    assert_eq!(text(add, 16), add);
    assert_eq!(
        text(add, 15)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "ALTER TABLE t ADD COLUMN c text , ALTER COLUMN \"c\" SET STORAGE PLAIN, ADD d int"
    );
    let create = "CREATE TABLE t (a text STORAGE EXTERNAL NOT NULL)";
    assert_eq!(text(create, 16), create);
    assert!(!text(create, 15).contains("STORAGE"));
}

#[test]
fn a_subquery_gets_an_alias_where_the_server_wants_one() {
    let sql = "SELECT * FROM (SELECT 1), (VALUES (2)) AS v, (a JOIN b ON true)";
    assert_eq!(text(sql, 16), sql);
    assert_eq!(
        text(sql, 14),
        "SELECT * FROM (SELECT 1) AS unnamed_subquery_1, (VALUES (2)) AS v, (a JOIN b ON true)"
    );
}
