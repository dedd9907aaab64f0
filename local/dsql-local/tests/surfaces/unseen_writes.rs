//! Rows and bytes that no command tag tells: of functions, cascades, `WITH` parts, and statements
//! that run others.

use tokio_postgres::Client;

use crate::support::{admin, count, moody, sqlstate, steady, told};

const ROWS: &str = "54000 transaction row limit exceeded";
const SIZE: &str = "54000 transaction size limit 10mb exceeded";

/// A table of this test's own with a function that writes this many rows into it.
async fn written_by_a_function(client: &Client) -> (String, String) {
    let table = format!("t{:016x}", fastrand::u64(..));
    let function = format!("f{:016x}", fastrand::u64(..));
    for sql in [
        format!("CREATE TABLE {table} (k int PRIMARY KEY, v text)"),
        format!(
            "CREATE FUNCTION {function}(n int, bytes int) RETURNS bigint LANGUAGE sql AS $$
                 INSERT INTO {table} SELECT g, (SELECT string_agg(gen_random_uuid()::text, '')
                     FROM generate_series(1, bytes / 36) r WHERE g > 0) FROM generate_series(1, n) g;
                 SELECT count(*) FROM {table} $$"
        ),
    ] {
        client.batch_execute(&sql).await.unwrap();
    }
    (table, function)
}

/// The refusal of a statement alone and in a block, by both protocols. Nothing is left of it.
async fn refused_everywhere(client: &Client, sql: &str, table: &str, rows: i64) {
    assert_eq!(told(client.batch_execute(sql).await), ROWS, "{sql}");
    assert_eq!(told(client.query(sql, &[]).await), ROWS, "{sql}");
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(told(client.query(sql, &[]).await), ROWS, "{sql}");
    assert_eq!(sqlstate(client.query("SELECT 1", &[]).await), "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(count(client, table).await, rows, "{sql}");
}

#[tokio::test]
async fn rows_that_a_function_writes_are_counted() {
    let client = admin(steady()).await;
    let (table, function) = written_by_a_function(&client).await;
    refused_everywhere(&client, &format!("SELECT {function}(3001, 0)"), &table, 0).await;
    let view = format!("v{:016x}", fastrand::u64(..));
    client
        .batch_execute(&format!("CREATE VIEW {view} AS SELECT {function}(3001, 0)"))
        .await
        .unwrap();
    refused_everywhere(&client, &format!("TABLE {view}"), &table, 0).await;
    let exactly = format!("SELECT {function}(3000, 0)");
    let written = client.query_one(&exactly, &[]).await.unwrap();
    assert_eq!(written.get::<_, i64>(0), 3000);
    client.batch_execute("BEGIN").await.unwrap();
    let delete = format!("DELETE FROM {table} WHERE k <= 2000");
    client.batch_execute(&delete).await.unwrap();
    let more = format!("SELECT {function}(1001, 0)");
    assert_eq!(told(client.query(&more, &[]).await), ROWS);
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn rows_that_a_function_writes_are_no_company_for_a_change_of_the_catalog() {
    const BOTH: &str = "0A000 ddl and dml are not supported in the same transaction";
    let client = admin(steady()).await;
    let (table, function) = written_by_a_function(&client).await;
    let comment = format!("COMMENT ON TABLE {table} IS 'written'");
    let call = |rows: u32| format!("SELECT {function}({rows}, 0)");
    for (first, second) in [(call(1), comment.clone()), (comment.clone(), call(1))] {
        client.batch_execute("BEGIN").await.unwrap();
        client.query(&first, &[]).await.unwrap();
        assert_eq!(told(client.query(&second, &[]).await), BOTH);
        client.batch_execute("ROLLBACK").await.unwrap();
        let both = format!("{first}; {second}");
        assert_eq!(told(client.batch_execute(&both).await), BOTH);
    }
    // It writes nothing.
    let both = format!("{comment}; {}", call(0));
    client.batch_execute(&both).await.unwrap();
    assert_eq!(count(&client, &table).await, 0);
}

#[tokio::test]
async fn rows_of_statements_that_run_others_are_counted() {
    let client = admin(steady()).await;
    let (table, _) = written_by_a_function(&client).await;
    let insert = format!("INSERT INTO {table} SELECT generate_series(1, 3001)");
    for sql in [
        format!("EXPLAIN ANALYZE {insert}"),
        format!("EXPLAIN (ANALYZE, FORMAT JSON) {insert}"),
        format!("WITH w AS ({insert} RETURNING k) SELECT count(*) FROM w"),
        format!("WITH w AS ({insert} RETURNING k) UPDATE {table} SET v = '' WHERE k < 0"),
    ] {
        refused_everywhere(&client, &sql, &table, 0).await;
    }
    let copy = format!("COPY ({insert} RETURNING k) TO STDOUT");
    let rows = client.copy_out(&copy).await.unwrap();
    let ended = futures_util::TryStreamExt::try_collect::<Vec<_>>(Box::pin(rows)).await;
    assert_eq!(told(ended), ROWS);
    assert_eq!(count(&client, &table).await, 0);
}

#[tokio::test]
async fn rows_that_go_with_others_are_counted() {
    let client = admin(steady()).await;
    let (parent, child) = (
        format!("p{:x}", fastrand::u64(..)),
        format!("c{:x}", fastrand::u64(..)),
    );
    for sql in [
        format!("CREATE TABLE {parent} (k int PRIMARY KEY)"),
        format!(
            "CREATE TABLE {child} (k int PRIMARY KEY, p int REFERENCES {parent} ON DELETE CASCADE)"
        ),
        format!("INSERT INTO {parent} VALUES (1)"),
        format!("INSERT INTO {child} SELECT g, 1 FROM generate_series(1, 3000) g"),
    ] {
        client.batch_execute(&sql).await.unwrap();
    }
    refused_everywhere(&client, &format!("DELETE FROM {parent}"), &child, 3000).await;
    let one_less = format!("DELETE FROM {child} WHERE k = 1");
    client.batch_execute(&one_less).await.unwrap();
    let delete = format!("DELETE FROM {parent}");
    client.batch_execute(&delete).await.unwrap();
    assert_eq!(count(&client, &child).await, 0);
}

#[tokio::test]
async fn bytes_that_a_function_or_a_part_writes_are_counted_at_commit() {
    let client = admin(steady()).await;
    let (table, function) = written_by_a_function(&client).await;
    let call = |rows: u32| format!("SELECT {function}({rows}, 360000)");
    assert_eq!(told(client.query(&call(33), &[]).await), SIZE);
    assert_eq!(told(client.batch_execute(&call(33)).await), SIZE);
    client.batch_execute("BEGIN").await.unwrap();
    client.query(&call(33), &[]).await.unwrap();
    assert_eq!(told(client.batch_execute("COMMIT").await), SIZE);
    client.query(&call(20), &[]).await.unwrap();
    let part = format!(
        "WITH w AS (UPDATE {table} SET v = v || reverse(v) RETURNING k) SELECT count(*) FROM w"
    );
    assert_eq!(told(client.query(&part, &[]).await), SIZE);
}

#[tokio::test]
async fn entries_of_indexes_count_towards_the_size() {
    let client = admin(steady()).await;
    let table = format!("t{:016x}", fastrand::u64(..));
    let columns: Vec<String> = (0..5).map(|n| format!("c{n} text UNIQUE")).collect();
    let create = format!(
        "CREATE TABLE {table} (k uuid PRIMARY KEY, {})",
        columns.join(", ")
    );
    client.batch_execute(&create).await.unwrap();
    // About 6 MiB of rows, and as much again in their indexes.
    let value = "(SELECT string_agg(gen_random_uuid()::text, '') FROM generate_series(1, 12) r WHERE g > 0)";
    let insert = format!(
        "INSERT INTO {table} SELECT gen_random_uuid(), {value}, {value}, {value}, {value}, {value} \
         FROM generate_series(1, 2900) g"
    );
    assert_eq!(told(client.execute(&insert, &[]).await), SIZE);
}

#[tokio::test]
async fn a_lock_inside_a_function_loses_at_commit() {
    let dsql = moody().await;
    let (one, two) = (admin(&dsql).await, admin(&dsql).await);
    let (table, function) = (
        format!("t{:x}", fastrand::u64(..)),
        format!("f{:x}", fastrand::u64(..)),
    );
    for sql in [
        format!("CREATE TABLE {table} (k int PRIMARY KEY, v int)"),
        format!("INSERT INTO {table} VALUES (1, 0)"),
        format!(
            "CREATE FUNCTION {function}(i int) RETURNS int LANGUAGE sql AS $$SELECT v FROM {table} WHERE k = i FOR UPDATE$$"
        ),
    ] {
        one.batch_execute(&sql).await.unwrap();
    }
    // Another session hears of the new catalogue once.
    let _stale = two.batch_execute("SELECT 1").await;
    one.batch_execute(&format!("BEGIN; SELECT {function}(1)"))
        .await
        .unwrap();
    two.batch_execute(&format!("UPDATE {table} SET v = 1"))
        .await
        .unwrap();
    let row = one
        .query_one(&format!("SELECT {function}(1)"), &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 0);
    assert_eq!(
        told(one.batch_execute("COMMIT").await),
        "40001 change conflicts with another transaction (OC000)"
    );
}
