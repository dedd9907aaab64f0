//! The rules for transactions: what may stand in one, how large it may be and how old.

use std::time::Duration;

use dsql_local::{DsqlLocal, Options};
use futures_util::SinkExt;
use tokio_postgres::Client;

use crate::support::{Login, admin, answer, count, moody, sqlstate, steady, table, told};

const TWO_DDL: &str = "0A000 multiple ddl statements not supported in a transaction";
const DDL_AND_DML: &str = "0A000 ddl and dml are not supported in the same transaction";
const ROWS: &str = "54000 transaction row limit exceeded";

/// Makes what needs a name of its own.
fn name() -> String {
    format!("t{:016x}", fastrand::u64(..))
}

async fn fresh(client: &Client) -> String {
    let name = name();
    client
        .batch_execute(&format!("CREATE TABLE {name} (n int PRIMARY KEY, v text)"))
        .await
        .unwrap();
    name
}

#[tokio::test]
async fn one_change_of_the_catalog_fits_in_a_transaction_in_both_protocols() {
    let client = admin(steady()).await;
    let (first, second) = (name(), name());
    client.batch_execute("BEGIN").await.unwrap();
    let create = format!("CREATE TABLE {first} (n int)");
    client.execute(&create, &[]).await.unwrap();
    let create = format!("CREATE TABLE {second} (n int)");
    assert_eq!(told(client.execute(&create, &[]).await), TWO_DDL);
    assert_eq!(sqlstate(client.batch_execute("SELECT 1").await), "25P02");
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(
        sqlstate(client.query(&format!("TABLE {first}"), &[]).await),
        "42P01"
    );

    let several = format!("CREATE TABLE {first} (n int); INSERT INTO {first} VALUES (1)");
    assert_eq!(told(client.batch_execute(&several).await), DDL_AND_DML);
    let blocks = format!(
        "BEGIN; CREATE TABLE {first} (n int); COMMIT; BEGIN; GRANT SELECT ON {first} TO PUBLIC; COMMIT"
    );
    client.batch_execute(&blocks).await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    let insert = format!("INSERT INTO {first} VALUES (1)");
    client.execute_typed(&insert, &[]).await.unwrap();
    assert_eq!(told(client.execute(&create, &[]).await), DDL_AND_DML);
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_refusal_in_a_query_of_several_statements_takes_everything_back() {
    let client = admin(steady()).await;
    let name = table(&client).await;
    for last in ["TRUNCATE x", "SELEKT", "SAVEPOINT s"] {
        let sql = format!("INSERT INTO {name} VALUES (1); {last}");
        client.batch_execute(&sql).await.unwrap_err();
        assert_eq!(count(&client, &name).await, 0, "{last}");
    }
    let sql =
        format!("INSERT INTO {name} VALUES (1); COMMIT; INSERT INTO {name} VALUES (2); TRUNCATE x");
    client.batch_execute(&sql).await.unwrap_err();
    assert_eq!(count(&client, &name).await, 1);
}

#[tokio::test]
async fn in_a_failed_block_nothing_else_is_told() {
    let client = admin(steady()).await;
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute("TRUNCATE x").await.unwrap_err();
    assert_eq!(sqlstate(client.batch_execute("TRUNCATE x").await), "25P02");
    assert_eq!(sqlstate(client.query("TRUNCATE x", &[]).await), "25P02");
    assert_eq!(sqlstate(client.query("SELECT 1", &[]).await), "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    client.query_one("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn exactly_three_thousand_rows_fit_in_a_transaction() {
    let client = admin(steady()).await;
    let name = table(&client).await;
    let insert = |rows: u32| format!("INSERT INTO {name} SELECT generate_series(1, {rows})");
    client.batch_execute(&insert(3000)).await.unwrap();
    client.execute(&insert(3000), &[]).await.unwrap();
    assert_eq!(told(client.batch_execute(&insert(3001)).await), ROWS);
    assert_eq!(told(client.execute(&insert(3001), &[]).await), ROWS);
    assert_eq!(told(client.execute_typed(&insert(3001), &[]).await), ROWS);
    assert_eq!(count(&client, &name).await, 6000);

    client.batch_execute("BEGIN").await.unwrap();
    client.execute(&insert(2000), &[]).await.unwrap();
    client.batch_execute(&insert(1000)).await.unwrap();
    assert_eq!(told(client.execute(&insert(1), &[]).await), ROWS);
    assert_eq!(sqlstate(client.query("SELECT 1", &[]).await), "25P02");
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(count(&client, &name).await, 6000);
    let several = format!("{}; {}", insert(2000), insert(1001));
    assert_eq!(told(client.batch_execute(&several).await), ROWS);
    assert_eq!(
        told(client.batch_execute(&format!("DELETE FROM {name}")).await),
        ROWS
    );
    assert_eq!(count(&client, &name).await, 6000);
}

#[tokio::test]
async fn a_copy_counts_its_rows() {
    let client = admin(steady()).await;
    let name = table(&client).await;
    let sink = client
        .copy_in(&format!("COPY {name} FROM STDIN"))
        .await
        .unwrap();
    futures_util::pin_mut!(sink);
    for number in 0..3001 {
        let line = bytes::Bytes::from(format!("{number}\n"));
        sink.send(line).await.unwrap();
    }
    assert_eq!(told(sink.finish().await), ROWS);
    assert_eq!(count(&client, &name).await, 0);
}

#[tokio::test]
async fn ten_mebibytes_fit_and_sixteen_fail_at_commit() {
    let client = admin(steady()).await;
    let name = fresh(&client).await;
    // Text that does not compress.
    let insert = |from: u32, rows: u32| {
        format!(
            "INSERT INTO {name} SELECT n, (SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, 16384) i) \
             FROM generate_series({from}, {from} + {rows} - 1) n"
        )
    };
    client.batch_execute(&insert(1, 12)).await.unwrap();
    assert_eq!(count(&client, &name).await, 12);
    client.batch_execute("BEGIN").await.unwrap();
    client.execute(&insert(101, 16), &[]).await.unwrap();
    client.execute(&insert(201, 16), &[]).await.unwrap();
    let error = answer(client.execute("COMMIT", &[]).await);
    assert_eq!(error.code().code(), "54000");
    assert_eq!(error.message(), "transaction size limit 10mb exceeded");
    assert!(error.detail().unwrap().ends_with("mb > 10mb"));
    client.query_one("SELECT 1", &[]).await.unwrap();
    for result in [
        client.batch_execute(&insert(301, 32)).await,
        client.execute(&insert(401, 32), &[]).await.map(drop),
    ] {
        assert_eq!(sqlstate(result), "54000");
    }
    assert_eq!(count(&client, &name).await, 12);
}

#[tokio::test]
async fn after_three_hundred_seconds_a_transaction_ends_by_the_movable_clock() {
    let dsql = moody().await;
    let client = admin(&dsql).await;
    client.batch_execute("BEGIN").await.unwrap();
    client.query_one("SELECT 1", &[]).await.unwrap();
    dsql.advance(Duration::from_secs(299));
    client.query_one("SELECT 1", &[]).await.unwrap();
    dsql.advance(Duration::from_secs(3));
    let error = answer(client.query_one("SELECT 1", &[]).await);
    assert_eq!(error.message(), "transaction age limit of 300s exceeded");
    assert!(
        error
            .detail()
            .unwrap()
            .starts_with("Current transaction age 30")
    );
    assert_eq!(sqlstate(client.query("SELECT 1", &[]).await), "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    client.query_one("SELECT 1", &[]).await.unwrap();
    dsql.advance(Duration::from_secs(310));
    assert_eq!(sqlstate(client.batch_execute("COMMIT").await), "54000");
    client.query_one("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn without_the_dialect_postgresql_gets_everything_untouched() {
    let dsql = DsqlLocal::start(Options {
        dialect: false,
        ..Options::default()
    })
    .await
    .unwrap();
    let client = Login::admin(&dsql).connect(&dsql).await.unwrap();
    let sql = "CREATE TABLE a (n int[], m money); CREATE TABLE b (n int); CREATE INDEX ON b (n DESC); \
               INSERT INTO b SELECT generate_series(1, 5000); TRUNCATE a";
    client.batch_execute(sql).await.unwrap();
    client
        .batch_execute("BEGIN; SAVEPOINT s; COMMIT")
        .await
        .unwrap();
    assert_eq!(count(&client, "b").await, 5000);
    dsql.stop().await;
}

/// What is known to change few rows is not looked at after it ran.
#[tokio::test]
async fn a_key_bounds_the_rows_of_its_own_table_alone() {
    let client = admin(steady()).await;
    let name = name();
    for sql in [
        format!("CREATE TABLE {name} (k int PRIMARY KEY, n int)"),
        format!("INSERT INTO {name} VALUES (1, 0), (2, 0)"),
        format!("CREATE SCHEMA {name}_s"),
        format!("CREATE TABLE {name}_s.{name} (k int, n int)"),
        format!("CREATE VIEW {name}_v AS SELECT 1 AS k, k AS other, n FROM {name}_s.{name}"),
    ] {
        client.batch_execute(&sql).await.unwrap();
    }
    let many = format!("INSERT INTO {name}_s.{name} SELECT 1, 0 FROM generate_series(1, $1)");
    for rows in [3000, 1] {
        client.execute(&many, &[&rows]).await.unwrap();
    }
    let update = |table: &str| format!("UPDATE {table} SET n = 1 WHERE k = 1");
    let one = update(&name);
    assert_eq!(client.execute(&one, &[]).await.unwrap(), 1);
    client.batch_execute(&one).await.unwrap();
    for table in [format!("{name}_s.{name}"), format!("{name}_v")] {
        for sql in [update(&table), format!("DELETE FROM {table} WHERE k = 1")] {
            assert_eq!(told(client.batch_execute(&sql).await), ROWS, "{sql}");
            assert_eq!(told(client.execute(&sql, &[]).await), ROWS, "{sql}");
        }
    }
    let changed = format!("{name}_s.{name} WHERE n = 1");
    assert_eq!(count(&client, &changed).await, 0);
    assert_eq!(count(&client, &format!("{name}_s.{name}")).await, 3001);
}

#[tokio::test]
async fn a_key_that_another_session_has_dropped_bounds_nothing() {
    let (client, other) = (admin(steady()).await, admin(steady()).await);
    let name = name();
    for sql in [
        format!("CREATE TABLE {name} (k int CONSTRAINT {name}_k UNIQUE, n int)"),
        format!("INSERT INTO {name} VALUES (1, 0)"),
    ] {
        client.batch_execute(&sql).await.unwrap();
    }
    let update = format!("UPDATE {name} SET n = 1 WHERE k = 1");
    assert_eq!(client.execute(&update, &[]).await.unwrap(), 1);
    let drop = format!("ALTER TABLE {name} DROP CONSTRAINT {name}_k");
    other.batch_execute(&drop).await.unwrap();
    let many = format!("INSERT INTO {name} SELECT 1, 0 FROM generate_series(1, 3000)");
    other.batch_execute(&many).await.unwrap();
    let refused = async || told(client.execute(&update, &[]).await);
    // The change of the catalogue is told first.
    let first = refused().await;
    assert!(first == ROWS || first.starts_with("40001"), "{first}");
    assert_eq!(refused().await, ROWS);
}

#[tokio::test]
async fn values_of_more_than_three_thousand_rows_are_refused_in_both_protocols() {
    let client = admin(steady()).await;
    let table = fresh(&client).await;
    let insert = |rows: usize| {
        let values: Vec<String> = (0..rows).map(|row| format!("({row})")).collect();
        format!("INSERT INTO {table} VALUES {}", values.join(", "))
    };
    assert_eq!(told(client.batch_execute(&insert(3001)).await), ROWS);
    assert_eq!(told(client.execute(&insert(3001), &[]).await), ROWS);
    assert_eq!(count(&client, &table).await, 0);
    assert_eq!(client.execute(&insert(3000), &[]).await.unwrap(), 3000);
}
