//! What a key may be of, and what two sessions that add the same one are told.

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{admin, count, sqlstate, steady, told};

async fn run(client: &Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql).await {
        panic!("{sql}: {error:?}");
    }
}

/// Tables `{t}` and others that begin with its name.
fn named(sql: &str, name: &str) -> String {
    sql.replace("{t}", name)
}

fn fresh() -> String {
    format!("t{:016x}", fastrand::u64(..))
}

#[tokio::test]
async fn a_key_that_another_session_added_since_the_snapshot_is_written_until_commit() {
    let (one, two) = (admin(steady()).await, admin(steady()).await);
    for (theirs, mine) in [
        (
            "INSERT INTO {t} VALUES (3, 'c')",
            "INSERT INTO {t} VALUES (3, 'x')",
        ),
        (
            "INSERT INTO {t} VALUES (4, 'd')",
            "UPDATE {t} SET u = 'd' WHERE k = 2",
        ),
        (
            "UPDATE {t} SET u = 'e' WHERE k = 1",
            "INSERT INTO {t} VALUES (5, 'e')",
        ),
    ] {
        let table = fresh();
        run(
            &one,
            &named(
                "CREATE TABLE {t} (k int PRIMARY KEY, u text UNIQUE)",
                &table,
            ),
        )
        .await;
        run(
            &one,
            &named("INSERT INTO {t} VALUES (1, 'a'), (2, 'b')", &table),
        )
        .await;
        run(&one, &named("BEGIN; SELECT * FROM {t}", &table)).await;
        run(&two, &named(theirs, &table)).await;
        let done = one.simple_query(&named(mine, &table)).await.unwrap();
        let is_done = |message: &_| matches!(message, SimpleQueryMessage::CommandComplete(1));
        assert!(done.iter().any(is_done), "{mine}");
        assert_eq!(
            told(one.batch_execute("COMMIT").await),
            "40001 change conflicts with another transaction (OC000)"
        );
        assert_eq!(
            sqlstate(one.batch_execute(&named(mine, &table)).await),
            "23505"
        );
    }
}

#[tokio::test]
async fn a_key_that_the_snapshot_has_fails_at_once() {
    let (one, two) = (admin(steady()).await, admin(steady()).await);
    let table = fresh();
    run(&one, &named("CREATE TABLE {t} (k int PRIMARY KEY)", &table)).await;
    run(&one, &named("INSERT INTO {t} VALUES (1)", &table)).await;
    run(&one, &named("BEGIN; INSERT INTO {t} VALUES (2)", &table)).await;
    run(&two, &named("INSERT INTO {t} VALUES (3)", &table)).await;
    for sql in ["INSERT INTO {t} VALUES (1)", "INSERT INTO {t} VALUES (2)"] {
        assert_eq!(
            sqlstate(one.batch_execute(&named(sql, &table)).await),
            "23505"
        );
        run(
            &one,
            &named("ROLLBACK; BEGIN; INSERT INTO {t} VALUES (2)", &table),
        )
        .await;
    }
    run(&one, "COMMIT").await;
    assert_eq!(count(&one, &table).await, 3);
}

#[tokio::test]
async fn a_key_has_one_of_the_types_of_keys_however_it_comes_about() {
    let client = admin(steady()).await;
    let table = fresh();
    for sql in [
        "CREATE DOMAIN {t}_d AS jsonb",
        "CREATE TABLE {t} (k int PRIMARY KEY, j jsonb, d {t}_d, v text)",
    ] {
        run(&client, &named(sql, &table)).await;
    }
    let refused = |of: &str| format!("0A000 datatype {of} is not supported in a key");
    for (sql, of) in [
        ("CREATE INDEX ASYNC ON {t} ((j -> 'a'))", "jsonb"),
        ("CREATE INDEX ASYNC ON {t} (k, decode(v, 'hex'))", "bytea"),
        (
            "CREATE INDEX ASYNC ON {t} (string_to_array(v, ','))",
            "text[]",
        ),
        (
            "CREATE INDEX ASYNC ON {t} (to_tsvector('simple', v))",
            "tsvector",
        ),
        ("CREATE INDEX ASYNC ON {t} (d)", "jsonb"),
        ("CREATE TABLE {t}_2 (k {t}_d PRIMARY KEY)", "jsonb"),
        ("CREATE TABLE {t}_2 (LIKE {t}, UNIQUE (k, j))", "jsonb"),
    ] {
        let sql = named(sql, &table);
        assert_eq!(told(client.batch_execute(&sql).await), refused(of), "{sql}");
    }
    for sql in [
        "CREATE INDEX ASYNC ON {t} ((j ->> 'a'), lower(v)) INCLUDE (j, d)",
        "CREATE TABLE {t}_2 (LIKE {t}, PRIMARY KEY (k))",
    ] {
        run(&client, &named(sql, &table)).await;
    }
}

#[tokio::test]
async fn the_declared_size_of_a_key_is_limited_for_an_index_too() {
    let client = admin(steady()).await;
    let table = fresh();
    let columns = "a varchar(1500), b varchar(500), c varchar(501), d char(2001), e text";
    run(
        &client,
        &named(&format!("CREATE TABLE {{t}} ({columns})"), &table),
    )
    .await;
    let create = |keys: &str| named(&format!("CREATE INDEX ASYNC ON {{t}} ({keys})"), &table);
    for keys in ["a, c", "d", "e, c, a"] {
        assert_eq!(
            told(client.batch_execute(&create(keys)).await),
            "54000 key size greater than 2000 bytes not supported"
        );
    }
    for keys in ["a, b, e", "b) INCLUDE (a, d"] {
        run(&client, &create(keys)).await;
    }
}

#[tokio::test]
async fn columns_taken_over_from_another_table_count() {
    let client = admin(steady()).await;
    let table = fresh();
    let columns: Vec<String> = (0..256).map(|n| format!("c{n} int")).collect();
    run(
        &client,
        &format!("CREATE TABLE {table} ({})", columns.join(", ")),
    )
    .await;
    for (rest, expected) in [
        (", d int", "54011 tables can have at most 255 columns"),
        (
            ", d int PRIMARY KEY",
            "54011 cannot use more than 256 columns in an index",
        ),
    ] {
        let sql = format!("CREATE TABLE {table}_2 (LIKE {table}{rest})");
        assert_eq!(told(client.batch_execute(&sql).await), expected);
    }
    run(&client, &format!("CREATE TABLE {table}_2 (LIKE {table})")).await;
}
