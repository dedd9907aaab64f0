//! Round trips, counted at the server.

use dsql::Type;

use crate::fixture::Fixture;

#[tokio::test]
async fn a_typed_statement_on_a_warm_connection_is_one_round_trip() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    let before = fixture.server.stats().client_flights;
    let rows = fixture
        .db(&client)
        .query(
            "SELECT n, id FROM counters WHERE id = $1 AND n >= $2",
            &[(&"a", Type::TEXT), (&0_i64, Type::INT8)],
        )
        .await
        .unwrap();
    assert_eq!(rows[0].get::<_, &str>(1), "a");
    assert_eq!(fixture.server.stats().client_flights - before, 1);
}

#[tokio::test]
async fn a_transaction_is_one_round_trip_per_statement_and_two_for_begin_and_commit() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    let before = fixture.server.stats().client_flights;
    fixture
        .db(&client)
        .transaction(|tx| async move {
            tx.execute("UPDATE counters SET n = 1 WHERE id = 'a'", &[])
                .await?;
            tx.execute("UPDATE counters SET n = 1 WHERE id = 'b'", &[])
                .await
        })
        .await
        .unwrap();
    assert_eq!(fixture.server.stats().client_flights - before, 4);
}

#[tokio::test]
async fn a_transaction_without_a_statement_is_no_round_trip() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    client.connect().await;
    let before = fixture.server.stats().client_flights;
    fixture
        .db(&client)
        .transaction(|_| async { Ok::<_, dsql::Error>(()) })
        .await
        .unwrap();
    assert_eq!(fixture.server.stats().client_flights, before);
}
