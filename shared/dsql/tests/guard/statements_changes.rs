//! DDL by another session between two uses of prepared statements: the answer is what a session
//! that has prepared nothing gets, with at most one retry more.

use std::time::Duration;

use dsql::text::{TextAnswer, TextError, TextRequest, TextSessions, TextStatement};
use dsql::{Dsql, FromSql, Param, Type};
use dsql_local::Options;

use crate::fixture::Fixture;
use crate::text::LIMITS;

/// Without being told, PostgreSQL itself goes on with the table that a prepared statement has
/// found.
const IN_FRONT: &str = "a table in front of it";

/// Every kind of change that the service allows and a statement could notice, on objects of its
/// own.
const CHANGES: [(&str, &[&str]); 31] = [
    ("a new column", &["ALTER TABLE {t} ADD COLUMN c text"]),
    ("a dropped column", &["ALTER TABLE {t} DROP COLUMN b"]),
    (
        "a dropped column in use",
        &["ALTER TABLE {t} DROP COLUMN a"],
    ),
    (
        "a column of another type",
        &[
            "ALTER TABLE {t} DROP COLUMN a",
            "ALTER TABLE {t} ADD COLUMN a text",
        ],
    ),
    (
        "a column of a type that takes the same values",
        &[
            "ALTER TABLE {t} DROP COLUMN a",
            "ALTER TABLE {t} ADD COLUMN a numeric(6,2)",
        ],
    ),
    (
        "a renamed column",
        &["ALTER TABLE {t} RENAME COLUMN a TO z"],
    ),
    (
        "exchanged columns",
        &[
            "ALTER TABLE {t} RENAME COLUMN a TO z",
            "ALTER TABLE {t} RENAME COLUMN b TO a",
            "ALTER TABLE {t} RENAME COLUMN z TO b",
        ],
    ),
    ("a default", &["ALTER TABLE {t} ALTER b SET DEFAULT 'new'"]),
    (
        "a column that may be null",
        &["ALTER TABLE {t} ALTER a DROP NOT NULL"],
    ),
    (
        "an identity",
        &["ALTER TABLE {t} ALTER a ADD GENERATED ALWAYS AS IDENTITY (CACHE 65536)"],
    ),
    (
        "a storage",
        &["ALTER TABLE {t} ALTER b SET STORAGE EXTERNAL"],
    ),
    (
        "a check",
        &["ALTER TABLE {t} ADD CONSTRAINT low CHECK (a < 0) NOT VALID"],
    ),
    (
        "a dropped check",
        &["ALTER TABLE {t} DROP CONSTRAINT short"],
    ),
    ("a comment", &["COMMENT ON TABLE {t} IS 'x'"]),
    ("a renamed table", &["ALTER TABLE {t} RENAME TO {t}_moved"]),
    (
        "a table in another schema",
        &["ALTER TABLE {t} SET SCHEMA elsewhere"],
    ),
    ("a dropped table", &["DROP TABLE {t}"]),
    (
        "a table made again",
        &[
            "DROP TABLE {t}",
            "CREATE TABLE {t} (id int PRIMARY KEY, a bigint NOT NULL, b text, d {d})",
        ],
    ),
    (
        "a table made anew",
        &[
            "ALTER TABLE {t} RENAME TO {t}_moved",
            "CREATE TABLE {t} (id int PRIMARY KEY, b int, a text)",
        ],
    ),
    (
        IN_FRONT,
        &["CREATE TABLE before.{t} (id int PRIMARY KEY, a text)"],
    ),
    ("an index", &["CREATE INDEX ASYNC {t}_a ON {t} (a)"]),
    (
        "a dropped index",
        &["CREATE INDEX ASYNC {t}_a ON {t} (a)", "DROP INDEX {t}_a"],
    ),
    ("a privilege", &["GRANT SELECT ON {t} TO reader"]),
    (
        "a wider view",
        &["CREATE OR REPLACE VIEW {v} AS SELECT id, a, a + 1 AS more FROM {w}"],
    ),
    (
        "a view of other types",
        &[
            "DROP VIEW {v}",
            "CREATE VIEW {v} AS SELECT id::text AS id, a FROM {w}",
        ],
    ),
    ("a renamed view", &["ALTER VIEW {v} RENAME TO {v}_moved"]),
    (
        "another body of a function",
        &["CREATE OR REPLACE FUNCTION {f}(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 2'"],
    ),
    (
        "another result of a function",
        &[
            "DROP FUNCTION {f}(int)",
            "CREATE FUNCTION {f}(int) RETURNS text LANGUAGE sql AS 'SELECT $1::text'",
        ],
    ),
    (
        "a function beside it",
        &["CREATE FUNCTION {f}(text) RETURNS text LANGUAGE sql AS 'SELECT $1'"],
    ),
    (
        "a renamed function",
        &["ALTER FUNCTION {f}(int) RENAME TO {f}_moved"],
    ),
    (
        "a domain without its check",
        &["ALTER DOMAIN {d} DROP CONSTRAINT filled"],
    ),
];

const SETUP: [&str; 7] = [
    "CREATE DOMAIN {d} AS text CONSTRAINT filled CHECK (VALUE <> '')",
    "CREATE TABLE {t} (id int PRIMARY KEY, a bigint NOT NULL, b text, d {d}, CONSTRAINT short CHECK (a < 100))",
    "INSERT INTO {t} VALUES (1, 10, 'x', 'd'), (2, 20, 'y', 'd')",
    "CREATE TABLE {w} (id int PRIMARY KEY, a int)",
    "INSERT INTO {w} VALUES (1, 5)",
    "CREATE VIEW {v} AS SELECT id, a FROM {w}",
    "CREATE FUNCTION {f}(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1'",
];

/// Each may be run any number of times. `$1` is an id, `$2` a value of `a`.
const USES: [(&str, usize); 6] = [
    ("SELECT * FROM {t} WHERE id = $1", 1),
    ("SELECT id FROM {t} WHERE a = $1", 1),
    (
        "INSERT INTO {t} (id, a) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET a = excluded.a RETURNING *",
        2,
    ),
    ("UPDATE {t} SET a = $2 WHERE id = $1 RETURNING a, b", 2),
    ("SELECT * FROM {v}", 0),
    ("SELECT {f}($1)", 1),
];

fn of_case(sql: &str, case: usize) -> String {
    ["t", "w", "v", "f", "d"]
        .iter()
        .fold(sql.to_owned(), |sql, name| {
            sql.replace(&format!("{{{name}}}"), &format!("{name}{case}"))
        })
}

/// A server with all objects, and who made them.
async fn world(schema_conflicts: bool) -> (Fixture, Dsql) {
    let options = Options {
        schema_conflicts,
        ..Options::default()
    };
    let fixture = Fixture::start_with(options).await;
    let owner = fixture.client();
    let ahead = [
        "CREATE SCHEMA elsewhere",
        "CREATE SCHEMA before",
        "CREATE ROLE reader",
    ];
    for sql in ahead {
        fixture.db(&owner).execute_sql(sql).await.unwrap();
    }
    for case in 0..CHANGES.len() {
        for sql in SETUP {
            let sql = of_case(sql, case);
            fixture.db(&owner).execute_sql(&sql).await.unwrap();
        }
    }
    (fixture, owner)
}

async fn change(fixture: &Fixture, owner: &Dsql, case: usize) {
    for sql in CHANGES[case].1 {
        let sql = of_case(sql, case);
        let done = fixture.db(owner).execute_sql(&sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// A value as it comes.
#[derive(Debug)]
#[expect(dead_code, reason = "it is compared by its `Debug`")]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(
        _type: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_owned()))
    }

    fn accepts(_type: &Type) -> bool {
        true
    }
}

/// What a typed statement answers: its columns and rows, or the error's code.
async fn typed(fixture: &Fixture, client: &Dsql, sql: &'static str, count: usize) -> String {
    let all: [Param<'_>; 2] = [(&1_i32, Type::INT4), (&7_i32, Type::INT4)];
    match fixture.db(client).query(sql, &all[..count]).await {
        Ok(rows) => {
            let rows = rows.iter().map(|row| {
                let columns = row.columns().iter().enumerate();
                let values = columns.map(|(at, column)| {
                    let value: Option<Raw> = row.get(at);
                    (column.name().to_owned(), column.type_().clone(), value)
                });
                values.collect::<Vec<_>>()
            });
            format!("{:?}", rows.collect::<Vec<_>>())
        }
        Err(error) => format!("{:?}", error.sqlstate().expect("the server refuses it")),
    }
}

async fn typed_statements(schema_conflicts: bool) {
    let (fixture, owner) = world(schema_conflicts).await;
    let search_path = "before,public".to_owned();
    let client = || Dsql::new(fixture.config(&[]).with_search_path(search_path.clone()));
    let reader = client();
    let mut stale = 0;
    for (case, (what, _)) in CHANGES.iter().enumerate() {
        if !schema_conflicts && *what == IN_FRONT {
            continue;
        }
        let uses: Vec<(&'static str, usize)> = USES
            .iter()
            .map(|(sql, count)| (&*of_case(sql, case).leak(), *count))
            .collect();
        for (sql, count) in &uses {
            // Bind, Execute, Sync: it is prepared.
            let mut messages = 0;
            while messages != 3 {
                let before = fixture.server.stats().client_messages;
                typed(&fixture, &reader, sql, *count).await;
                messages = fixture.server.stats().client_messages - before;
            }
        }
        change(&fixture, &owner, case).await;
        let fresh = client();
        for (sql, count) in uses {
            let before = reader.stats();
            let ours = typed(&fixture, &reader, sql, count).await;
            let after = reader.stats();
            let theirs = typed(&fixture, &fresh, sql, count).await;
            assert_eq!(ours, theirs, "{what}: {sql}");
            let more = after.stale_statements - before.stale_statements;
            assert!(more <= 1, "{what}: {sql}");
            let conflicts = after.conflicts - before.conflicts;
            assert_eq!(after.attempts - before.attempts, 1 + more + conflicts);
            stale += more;
        }
    }
    assert!(schema_conflicts || stale > 0);
}

#[tokio::test]
async fn typed_statements_answer_as_fresh_ones_after_any_change() {
    typed_statements(true).await;
}

/// The service always tells; this is what else keeps an answer right.
#[tokio::test]
async fn typed_statements_answer_as_fresh_ones_after_a_change_that_nobody_tells_of() {
    typed_statements(false).await;
}

/// What a text statement answers: its columns and rows, or the error's code.
async fn as_text(
    fixture: &Fixture,
    sessions: &TextSessions,
    sql: &str,
    params: &[&'static str],
) -> String {
    let statement = TextStatement {
        sql: sql.into(),
        params: params.iter().map(|value| Some((*value).into())).collect(),
    };
    let request = TextRequest::one(&statement, LIMITS);
    let deadline = fixture.deadline(Duration::from_secs(10));
    match sessions.run(&sessions.own_role(), request, deadline).await {
        Ok(answers) => {
            let TextAnswer { fields, rows, tag } = &answers[0];
            let rows = rows.iter().map(|row| row.values().collect::<Vec<_>>());
            format!("{tag:?} {fields:?} {:?}", rows.collect::<Vec<_>>())
        }
        Err(TextError::Server { error, .. }) => error.code,
        Err(error) => panic!("{sql}: {error}"),
    }
}

#[tokio::test]
async fn text_statements_answer_as_fresh_ones_after_any_change() {
    let (fixture, owner) = world(true).await;
    let client = Dsql::new(
        fixture
            .config(&[])
            .with_search_path("before,public".to_owned()),
    );
    let reader = TextSessions::new(&client, 1);
    for (case, (what, _)) in CHANGES.iter().enumerate() {
        // A number that is another text.
        let uses = USES.map(|(sql, count)| (of_case(sql, case), &["1", "07"][..count]));
        for (sql, params) in &uses {
            for _ in 0..3 {
                as_text(&fixture, &reader, sql, params).await;
            }
        }
        change(&fixture, &owner, case).await;
        let fresh = TextSessions::new(&client, 1);
        for (sql, params) in uses {
            let before = client.stats();
            let ours = as_text(&fixture, &reader, &sql, params).await;
            let after = client.stats();
            let theirs = as_text(&fixture, &fresh, &sql, params).await;
            assert_eq!(ours, theirs, "{what}: {sql}");
            assert!(after.stale_statements - before.stale_statements <= 1);
        }
    }
}
