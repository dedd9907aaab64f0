//! Statements pass through unharmed, in both protocols.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, pin_mut};
use tokio_postgres::types::Type;

use crate::support::{admin, count, sqlstate, steady, table};

#[tokio::test]
async fn a_typed_statement_is_one_round_trip() {
    let own = crate::support::moody().await;
    let dsql = &*own;
    let client = admin(dsql).await;
    client.query_typed("SELECT 1", &[]).await.unwrap();
    let before = dsql.stats();
    let rows = client
        .query_typed("SELECT $1::int + 1", &[(&41, Type::INT4)])
        .await
        .unwrap();
    assert_eq!(rows[0].get::<_, i32>(0), 42);
    let after = dsql.stats();
    assert_eq!(after.client_flights - before.client_flights, 1);
    assert_eq!(after.statements - before.statements, 1);
    client.query("SELECT 2", &[]).await.unwrap();
    // Parse and execute; the statement's close may follow in a flight of its own.
    assert!(dsql.stats().client_flights - after.client_flights >= 2);
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let client = admin(steady()).await;
    let rows = client
        .query(
            "SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(rows.len(), 20_000);
    assert_eq!(rows[19_999].get::<_, i32>(0), 20_000);
}

#[tokio::test]
async fn many_pipelined_statements_are_answered_in_order() {
    let client = admin(steady()).await;
    let statement = client
        .prepare("SELECT $1::int, repeat('y', 2000)")
        .await
        .unwrap();
    let numbers: Vec<i32> = (0..3000).collect();
    let queries = numbers.iter().map(|number| {
        let (client, statement) = (&client, &statement);
        async move {
            client
                .query_one(statement, &[number])
                .await
                .unwrap()
                .get::<_, i32>(0)
        }
    });
    assert_eq!(futures_util::future::join_all(queries).await, numbers);
}

#[tokio::test]
async fn errors_leave_the_session_usable_in_both_protocols() {
    let client = admin(steady()).await;
    assert_eq!(sqlstate(client.batch_execute("SELECT 1/0").await), "22012");
    assert_eq!(
        sqlstate(client.query("SELECT 1/$1::int", &[&0]).await),
        "22012"
    );
    assert_eq!(sqlstate(client.query("SELEKT", &[]).await), "42601");
    assert_eq!(
        sqlstate(client.query_typed("SELECT nothing", &[]).await),
        "42703"
    );
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(
        sqlstate(client.query("SELECT 1/$1::int", &[&0]).await),
        "22012"
    );
    assert_eq!(sqlstate(client.query("SELECT 1", &[]).await), "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    client.query_one("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn an_answer_of_the_front_takes_its_place_in_a_transaction() {
    let client = admin(steady()).await;
    let name = table(&client).await;
    // The front refuses this one itself; the block must fail as if PostgreSQL had.
    client
        .batch_execute(&format!("BEGIN; INSERT INTO {name} VALUES (1)"))
        .await
        .unwrap();
    assert_eq!(sqlstate(client.query("AWS IAM GRANT", &[]).await), "42601");
    assert_eq!(sqlstate(client.query("SELECT 1", &[]).await), "25P02");
    client.batch_execute("COMMIT").await.unwrap();
    client
        .batch_execute(&format!("BEGIN; INSERT INTO {name} VALUES (1)"))
        .await
        .unwrap();
    assert_eq!(
        sqlstate(client.batch_execute("AWS IAM GRANT").await),
        "42601"
    );
    assert_eq!(sqlstate(client.batch_execute("SELECT 1").await), "25P02");
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(count(&client, &name).await, 0);
}

#[tokio::test]
async fn copy_works_in_both_directions_and_fails_cleanly() {
    let client = admin(steady()).await;
    let name = table(&client).await;
    let sink = client
        .copy_in(&format!("COPY {name} FROM STDIN"))
        .await
        .unwrap();
    pin_mut!(sink);
    for number in 0..1000 {
        sink.send(Bytes::from(format!("{number}\n"))).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 1000);
    let sink = client
        .copy_in::<_, Bytes>(&format!("COPY {name} FROM STDIN"))
        .await
        .unwrap();
    pin_mut!(sink);
    sink.send(Bytes::from("not a number\n")).await.unwrap();
    assert_eq!(sqlstate(sink.finish().await), "22P02");
    let stream = client
        .copy_out(&format!("COPY {name} TO STDOUT"))
        .await
        .unwrap();
    assert_eq!(
        stream
            .map(|chunk| chunk.unwrap().len())
            .fold(0, async |sum, size| sum + size)
            .await,
        3890
    );
    assert_eq!(count(&client, &name).await, 1000);
}

#[tokio::test]
async fn several_statements_in_one_query_are_one_transaction() {
    let client = admin(steady()).await;
    let name = table(&client).await;
    let sql = format!("INSERT INTO {name} VALUES (1); INSERT INTO {name} VALUES (2); SELECT 1/0");
    assert_eq!(sqlstate(client.batch_execute(&sql).await), "22012");
    assert_eq!(count(&client, &name).await, 0);
}
