//! How large a value, a row and a key may be.

use dsql_local::{DsqlLocal, Options};
use futures_util::SinkExt;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::support::{admin, count, sqlstate, steady, told};

const TEXT: &str = "54000 datatype limit greater than 1048576 bytes not supported for text";
const ROW: &str = "54000 maximum row size exceeded";
const KEY: &str = "54000 key size too large";

/// Text that does not compress.
fn noise(bytes: usize) -> String {
    (0..bytes).map(|_| fastrand::alphanumeric()).collect()
}

async fn texts(client: &Client) -> String {
    let name = format!("t{:016x}", fastrand::u64(..));
    client
        .batch_execute(&format!(
            "CREATE TABLE {name} (k text PRIMARY KEY, a text, b text, c text, d bytea, e jsonb)"
        ))
        .await
        .unwrap();
    name
}

#[tokio::test]
async fn a_value_above_one_mebibyte_is_refused_by_its_statement_in_both_protocols() {
    let client = admin(steady()).await;
    let name = texts(&client).await;
    let (fits, large) = (noise(1_048_000), noise(1_100_000));
    let insert = format!("INSERT INTO {name} (k, a) VALUES ($1, $2)");
    client.execute(&insert, &[&"1", &fits]).await.unwrap();
    assert_eq!(told(client.execute(&insert, &[&"2", &large]).await), TEXT);
    let typed = [(&"3" as _, Type::TEXT), (&large as _, Type::TEXT)];
    assert_eq!(told(client.query_typed(&insert, &typed).await), TEXT);
    let literal =
        |key: &str, text: &str| format!("INSERT INTO {name} (k, a) VALUES ('{key}', '{text}')");
    client.batch_execute(&literal("4", &fits)).await.unwrap();
    assert_eq!(
        told(client.batch_execute(&literal("5", &large)).await),
        TEXT
    );
    assert_eq!(count(&client, &name).await, 2);

    client.batch_execute("BEGIN").await.unwrap();
    client.execute(&insert, &[&"6", &fits]).await.unwrap();
    assert_eq!(told(client.execute(&insert, &[&"7", &large]).await), TEXT);
    assert_eq!(sqlstate(client.query("SELECT 1", &[]).await), "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    let update = format!("UPDATE {name} SET d = $1 WHERE k = '1' RETURNING k");
    assert_eq!(
        told(client.query(&update, &[&large.as_bytes()]).await),
        TEXT.replace("text", "bytea")
    );
    let document = format!("UPDATE {name} SET e = to_jsonb('{large}'::text)");
    assert_eq!(
        told(client.batch_execute(&document).await),
        TEXT.replace("text", "jsonb")
    );
}

#[tokio::test]
async fn a_value_counts_as_it_is_stored_and_one_that_is_computed_is_refused_too() {
    let client = admin(steady()).await;
    let name = texts(&client).await;
    let insert = format!("INSERT INTO {name} (k, a) VALUES ($1, $2)");
    let even = "x".repeat(3_000_000);
    assert_eq!(client.execute(&insert, &[&"1", &even]).await.unwrap(), 1);
    client
        .execute(&insert, &[&"2", &noise(600_000)])
        .await
        .unwrap();
    let double = format!("UPDATE {name} SET a = a || reverse(a) WHERE k = '2'");
    assert_eq!(told(client.execute(&double, &[]).await), TEXT);
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(told(client.execute(&double, &[]).await), TEXT);
    client.batch_execute("ROLLBACK").await.unwrap();
    let length = format!("SELECT length(a) FROM {name} WHERE k = '2'");
    let row = client.query_one(&length, &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 600_000);
}

#[tokio::test]
async fn a_row_above_two_mebibytes_is_refused() {
    let client = admin(steady()).await;
    let name = texts(&client).await;
    let insert = format!("INSERT INTO {name} (k, a, b, c) VALUES ('1', $1, $2, $3)");
    let (a, b, c) = (noise(900_000), noise(900_000), noise(900_000));
    assert_eq!(told(client.execute(&insert, &[&a, &b, &c]).await), ROW);
    client.execute(&insert, &[&a, &b, &"c"]).await.unwrap();
    // A row that is there is filled up, or filled with what it has.
    let fill = format!("UPDATE {name} SET c = $1 WHERE k = '1'");
    assert_eq!(told(client.execute(&fill, &[&c]).await), ROW);
    for copy in ["c = a", "c = CASE WHEN k = '1' THEN b END"] {
        let copy = format!("UPDATE {name} SET {copy}");
        assert_eq!(told(client.execute(&copy, &[]).await), ROW, "{copy}");
        assert_eq!(told(client.batch_execute(&copy).await), ROW, "{copy}");
    }
    let length = format!("SELECT length(c) FROM {name}");
    let row = client.query_one(&length, &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
}

#[tokio::test]
async fn a_copy_is_held_to_the_same_limits() {
    let client = admin(steady()).await;
    let name = texts(&client).await;
    for (key, bytes, expected) in [("1", 1_000_000, None), ("2", 1_100_000, Some(TEXT))] {
        let copy = format!("COPY {name} (k, a) FROM STDIN");
        let sink = client.copy_in(&copy).await.unwrap();
        futures_util::pin_mut!(sink);
        let line = format!("{key}\t{}\n", noise(bytes));
        sink.send(bytes::Bytes::from(line)).await.unwrap();
        let ended = sink.finish().await;
        match expected {
            None => assert_eq!(ended.unwrap(), 1),
            Some(refusal) => assert_eq!(told(ended), refusal),
        }
    }
    assert_eq!(count(&client, &name).await, 1);
}

#[tokio::test]
async fn a_key_above_its_limit_is_refused_by_its_statement() {
    let client = admin(steady()).await;
    let name = texts(&client).await;
    let insert = format!("INSERT INTO {name} (k) VALUES ($1)");
    client.execute(&insert, &[&noise(1_981)]).await.unwrap();
    for bytes in [1_982, 4_000] {
        assert_eq!(told(client.execute(&insert, &[&noise(bytes)]).await), KEY);
    }
    let compressible = format!("INSERT INTO {name} (k) VALUES (repeat('x', 1982))");
    assert_eq!(told(client.execute(&compressible, &[]).await), KEY);
    // The key of a secondary index has the primary key beside it.
    let two = format!("t{:016x}", fastrand::u64(..));
    client
        .batch_execute(&format!(
            "CREATE TABLE {two} (k text PRIMARY KEY, u text UNIQUE)"
        ))
        .await
        .unwrap();
    let insert = format!("INSERT INTO {two} VALUES ($1, $2)");
    client
        .execute(&insert, &[&noise(900), &noise(1_081)])
        .await
        .unwrap();
    assert_eq!(
        told(client.execute(&insert, &[&noise(900), &noise(1_082)]).await),
        KEY
    );
}

#[tokio::test]
async fn an_expressions_key_has_the_bytes_of_its_text_and_what_an_index_includes_is_no_key() {
    let client = admin(steady()).await;
    let name = format!("t{:016x}", fastrand::u64(..));
    for sql in [
        format!("CREATE TABLE {name} (k int PRIMARY KEY, a text, b text)"),
        format!("CREATE INDEX ASYNC ON {name} ((a || 'x')) INCLUDE (b)"),
    ] {
        client.batch_execute(&sql).await.unwrap();
    }
    let insert = format!("INSERT INTO {name} VALUES ($1, $2, $3)");
    // With the text that the expression adds and the four bytes of the primary key.
    let (fits, beyond) = (noise(1_976), noise(1_977));
    client.execute(&insert, &[&1, &fits, &""]).await.unwrap();
    assert_eq!(
        told(client.execute(&insert, &[&2, &beyond, &""]).await),
        KEY
    );
    let included = noise(2_500);
    client
        .execute(&insert, &[&3, &"", &included])
        .await
        .unwrap();
}

#[tokio::test]
async fn what_another_session_has_made_of_a_table_since_the_last_write_is_held_to_the_limits() {
    let (client, other) = (admin(steady()).await, admin(steady()).await);
    let name = texts(&client).await;
    let long = |column: &str| format!("INSERT INTO {name} (k, {column}) VALUES ($1, $2)");
    client
        .execute(&long("a"), &[&"1", &noise(3_000)])
        .await
        .unwrap();
    for sql in [
        format!("ALTER TABLE {name} RENAME COLUMN a TO renamed"),
        format!("ALTER TABLE {name} ADD COLUMN added text"),
        format!("CREATE INDEX ASYNC ON {name} (added)"),
    ] {
        other.batch_execute(&sql).await.unwrap();
    }
    let large = noise(1_100_000);
    assert_eq!(
        told(client.execute(&long("renamed"), &[&"2", &large]).await),
        TEXT
    );
    assert_eq!(
        told(client.execute(&long("added"), &[&"3", &noise(1_981)]).await),
        KEY
    );
    client
        .execute(&long("added"), &[&"4", &noise(1_980)])
        .await
        .unwrap();
    assert_eq!(count(&client, &name).await, 2);
}

#[tokio::test]
async fn a_large_value_of_a_domain_is_named_by_its_type() {
    let client = admin(steady()).await;
    let name = format!("t{:016x}", fastrand::u64(..));
    for sql in [
        format!("CREATE DOMAIN {name}_d AS text"),
        format!("CREATE TABLE {name} (k int PRIMARY KEY, d {name}_d)"),
    ] {
        client.batch_execute(&sql).await.unwrap();
    }
    let insert = format!("INSERT INTO {name} VALUES (1, $1::text)");
    let large = noise(1_100_000);
    assert_eq!(told(client.execute(&insert, &[&large]).await), TEXT);
}

/// A table of 12 MB, some of whose pages have room again.
async fn large_table(client: &Client) -> String {
    let name = texts(client).await;
    for batch in 0..5 {
        let fill = format!(
            "INSERT INTO {name} (k, a) SELECT 'k' || n, md5(n::text) || repeat(md5(n::text), 60)
             FROM generate_series({batch} * 1000, {batch} * 1000 + 999) n"
        );
        client.batch_execute(&fill).await.unwrap();
    }
    name
}

#[tokio::test]
async fn on_postgresql_16_only_the_pages_of_a_large_table_that_were_written_are_read_again() {
    let server = DsqlLocal::start(Options::default()).await.unwrap();
    let client = admin(&server).await;
    let name = large_table(&client).await;
    let rows_read =
        format!("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = '{name}'");
    for (write, at_most) in [
        ("INSERT INTO {} VALUES (lower('NEW'), 'a')", 100),
        (
            "INSERT INTO {} (k, b) SELECT k || '+', repeat('b', 3000) FROM {} WHERE k = 'k7'",
            100,
        ),
        (
            "UPDATE {} SET b = upper(k) WHERE k IN ('k1', 'k2500', 'k4999')",
            300,
        ),
    ] {
        client.batch_execute("BEGIN").await.unwrap();
        let before: i64 = client.query_one(&rows_read, &[]).await.unwrap().get(0);
        client
            .batch_execute(&write.replace("{}", &name))
            .await
            .unwrap();
        let after: i64 = client.query_one(&rows_read, &[]).await.unwrap().get(0);
        let read = after - before;
        assert!((1..=at_most).contains(&read), "{read} rows: {write}");
        client.batch_execute("COMMIT").await.unwrap();
    }
    server.stop().await;
}

#[tokio::test]
async fn in_a_large_table_every_limit_holds() {
    let server = DsqlLocal::start(Options::default()).await.unwrap();
    let client = admin(&server).await;
    let name = large_table(&client).await;
    let set = |what: &str, key: &str| format!("UPDATE {name} SET {what} WHERE k = '{key}'");
    let (half, large) = (noise(600_000), noise(1_100_000));
    client
        .execute(&set("a = $1", "k17"), &[&half])
        .await
        .unwrap();
    for (refused, refusal) in [
        (set("a = a || reverse(a)", "k17"), TEXT),
        (
            set("b = a, c = a, e = to_jsonb(a), d = a::bytea", "k17"),
            ROW,
        ),
        (set("k = repeat(k, 700)", "k3000"), KEY),
        (
            format!("INSERT INTO {name} VALUES ('new', '{large}')"),
            TEXT,
        ),
        (
            format!("INSERT INTO {name} VALUES ('{}')", noise(1_982)),
            KEY,
        ),
    ] {
        assert_eq!(told(client.batch_execute(&refused).await), refusal);
        assert_eq!(told(client.execute(&refused, &[]).await), refusal);
        client.batch_execute("BEGIN").await.unwrap();
        client.batch_execute(&set("b = 'b'", "k1")).await.unwrap();
        assert_eq!(told(client.batch_execute(&refused).await), refusal);
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    // What comes before the first statement that is looked at counts too.
    let bulk = format!("INSERT INTO {name} (k, a) VALUES ($1, $2)");
    let value = noise(1_000_000);
    client.batch_execute("BEGIN").await.unwrap();
    for n in 0..9 {
        client
            .execute(&bulk, &[&format!("bulk {n}"), &value])
            .await
            .unwrap();
    }
    let double = format!("INSERT INTO {name} SELECT k || '+', a, a FROM {name} WHERE k = 'bulk 0'");
    client.batch_execute(&double).await.unwrap();
    let ended = told(client.batch_execute("COMMIT").await);
    assert!(ended.starts_with("54000 transaction size limit"), "{ended}");
    assert_eq!(count(&client, &name).await, 5_000);
    server.stop().await;
}

#[tokio::test]
async fn columns_may_have_the_names_of_what_looks_through_them() {
    let client = admin(steady()).await;
    let name = format!("t{:016x}", fastrand::u64(..));
    client
        .batch_execute(&format!(
            "CREATE TABLE {name} (t text PRIMARY KEY, found text, version text, target text)"
        ))
        .await
        .unwrap();
    let insert = format!("INSERT INTO {name} SELECT lower($1), lower($2)");
    client.execute(&insert, &[&"k", &"F"]).await.unwrap();
    let large = noise(1_100_000);
    assert_eq!(told(client.execute(&insert, &[&"l", &large]).await), TEXT);
}
