//! One session while requests come one at a time; replaced by age, by strictness, by a clock that
//! steps back.

use std::time::Duration;

use dsql::Dsql;

use crate::fixture::Fixture;

async fn select_one(fixture: &Fixture, client: &Dsql) {
    fixture.db(client).query("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn a_hundred_requests_use_one_connection_and_one_token() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    for _ in 0..100 {
        select_one(&fixture, &client).await;
    }
    let stats = fixture.server.stats();
    assert_eq!((stats.connections_opened, stats.tokens_accepted), (1, 1));
}

#[tokio::test]
async fn a_connection_outlives_its_token_unless_the_strict_mode_retires_both() {
    let fixture = Fixture::start().await;
    let (usual, strict) = (
        fixture.client(),
        Dsql::new(fixture.config(&[("DSQL_RETIRE_WITH_TOKEN", "true")])),
    );
    select_one(&fixture, &usual).await;
    select_one(&fixture, &strict).await;
    assert_eq!(fixture.server.stats().connections_opened, 2);

    fixture.advance(Duration::from_mins(16));
    select_one(&fixture, &usual).await;
    assert_eq!(fixture.server.stats().connections_opened, 2);
    select_one(&fixture, &strict).await;
    assert_eq!(fixture.server.stats().connections_opened, 3);
    assert_eq!(strict.stats().retired_by_age, 1);
}

#[tokio::test]
async fn after_61_minutes_there_is_exactly_one_reconnect_and_no_failure() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    select_one(&fixture, &client).await;
    fixture.advance(Duration::from_mins(61));
    for _ in 0..5 {
        select_one(&fixture, &client).await;
    }
    assert_eq!(fixture.server.stats().connections_opened, 2);
}

#[tokio::test]
async fn the_servers_cut_costs_one_reconnect_and_no_failure() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    select_one(&fixture, &client).await;
    fixture.server.cut_connections();
    for _ in 0..5 {
        fixture
            .db(&client)
            .query_idempotent("SELECT 1", &[])
            .await
            .unwrap();
    }
    assert_eq!(fixture.server.stats().connections_opened, 2);
}

#[tokio::test]
async fn a_clock_that_stepped_back_counts_as_expired() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    select_one(&fixture, &client).await;
    let now = dsql::Clock::now(&fixture.clock);
    fixture.clock.set(now - Duration::from_secs(30));
    select_one(&fixture, &client).await;
    assert_eq!(fixture.server.stats().connections_opened, 2);
}

#[tokio::test]
async fn only_a_session_that_was_idle_is_probed() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    select_one(&fixture, &client).await;
    select_one(&fixture, &client).await;
    assert_eq!(client.stats().probes, 0);
    fixture.advance(Duration::from_secs(6));
    select_one(&fixture, &client).await;
    assert_eq!((client.stats().probes, client.stats().connects), (1, 1));
}

#[tokio::test]
async fn a_slow_statement_does_not_hold_up_another_request() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    select_one(&fixture, &client).await;
    let (slow_db, quick_db) = (fixture.db(&client), fixture.db(&client));
    let slow = slow_db.query("SELECT pg_sleep(5)", &[]);
    tokio::pin!(slow);
    let quick = async {
        for _ in 0..3 {
            quick_db.query("SELECT 1", &[]).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        _ = &mut slow => panic!("the slow statement ended first"),
        () = quick => {}
    }
}

#[tokio::test]
async fn a_transaction_dropped_half_way_leaves_nothing_to_the_next_request() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    let reached = tokio::sync::Notify::new();
    let db = fixture.db(&client);
    let work = db.transaction(|tx| {
        let reached = &reached;
        async move {
            tx.execute("UPDATE counters SET n = 7 WHERE id = 'a'", &[])
                .await?;
            reached.notify_one();
            std::future::pending::<Result<(), dsql::Error>>().await
        }
    });
    tokio::select! {
        _ = work => panic!("the transaction cannot end"),
        () = reached.notified() => {}
    }
    assert_eq!(fixture.count(&client, "a").await, 0);
    assert_eq!(fixture.server.stats().connections_opened, 2);
}
