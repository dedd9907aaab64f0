//! Faults act at exactly the point they name.

use std::time::{Duration, Instant};

use dsql_local::{Faults, Refuse};
use tokio_postgres::types::Type;

use crate::support::{Login, admin, count, http, moody, sqlstate, table, wait_until};

#[tokio::test]
async fn a_commit_conflicts_as_often_as_asked() {
    let dsql = moody().await;
    let mut client = admin(&dsql).await;
    let name = table(&client).await;
    let insert = format!("INSERT INTO {name} VALUES (1)");
    dsql.set_faults(Faults {
        conflict_commits: 4,
        ..Faults::default()
    })
    .unwrap();
    client.query_one("SELECT 1", &[]).await.unwrap();
    // A write outside a block, in both protocols.
    assert_eq!(sqlstate(client.batch_execute(&insert).await), "40001");
    let error = client.execute_typed(&insert, &[]).await.unwrap_err();
    assert_eq!(
        error.as_db_error().unwrap().message(),
        "change conflicts with another transaction (OC000)"
    );
    // A COMMIT, in both protocols; afterwards no transaction is open.
    client
        .batch_execute(&format!("BEGIN; {insert}"))
        .await
        .unwrap();
    assert_eq!(sqlstate(client.batch_execute("COMMIT").await), "40001");
    let transaction = client.transaction().await.unwrap();
    transaction.execute(&insert, &[]).await.unwrap();
    assert_eq!(
        sqlstate(transaction.execute_typed("COMMIT", &[]).await),
        "40001"
    );
    drop(transaction);
    assert_eq!(count(&client, &name).await, 0);
    client.batch_execute(&insert).await.unwrap();
    assert_eq!(count(&client, &name).await, 1);
    assert!(dsql.stats().conflicts_injected >= 4);
}

#[tokio::test]
async fn a_changed_schema_hits_reads_and_fails_the_block() {
    let dsql = moody().await;
    let client = admin(&dsql).await;
    client.batch_execute("BEGIN").await.unwrap();
    dsql.set_faults(Faults {
        schema_conflicts: 1,
        ..Faults::default()
    })
    .unwrap();
    let error = client.query_typed("SELECT 1", &[]).await.unwrap_err();
    let message = "schema has been updated by another transaction (OC001)";
    assert_eq!(error.as_db_error().unwrap().message(), message);
    assert_eq!(sqlstate(client.query_typed("SELECT 1", &[]).await), "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    dsql.set_faults(Faults {
        schema_conflicts: 1,
        ..Faults::default()
    })
    .unwrap();
    assert_eq!(sqlstate(client.batch_execute("SELECT 1").await), "40001");
    client.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn an_unavailable_server_keeps_the_connection() {
    let dsql = moody().await;
    let client = admin(&dsql).await;
    dsql.set_faults(Faults {
        server_unavailable: 2,
        ..Faults::default()
    })
    .unwrap();
    let error = client.query_typed("SELECT 1", &[]).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(
        (error.message(), error.code().code()),
        ("server unavailable", "XX000")
    );
    assert_eq!(sqlstate(client.batch_execute("SELECT 1").await), "XX000");
    client.query_typed("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn a_connection_drops_at_the_message_asked_for() {
    let dsql = moody().await;
    let admin = admin(&dsql).await;
    let name = table(&admin).await;
    let insert = format!("INSERT INTO {name} VALUES ($1)");
    // A typed statement is Parse, Bind, Describe, Execute, Sync: only the Sync commits it.
    for (faults, written) in [
        (
            Faults {
                drop_before_message: 1,
                ..Faults::default()
            },
            0,
        ),
        (
            Faults {
                drop_after_message: 4,
                ..Faults::default()
            },
            0,
        ),
        (
            Faults {
                drop_before_message: 5,
                ..Faults::default()
            },
            0,
        ),
        (
            Faults {
                drop_after_message: 5,
                ..Faults::default()
            },
            1,
        ),
        (
            Faults {
                drop_before_message: 6,
                ..Faults::default()
            },
            2,
        ),
    ] {
        let client = Login::admin(&dsql).connect(&dsql).await.unwrap();
        dsql.set_faults(faults.clone()).unwrap();
        let result = client.query_typed(&insert, &[(&1, Type::INT4)]).await;
        assert_eq!(
            result.is_ok(),
            faults.drop_before_message == 6,
            "{faults:?}"
        );
        dsql.set_faults(Faults::default()).unwrap();
        wait_until("the backend ended", || written == 2 || client.is_closed()).await;
        assert_eq!(count(&admin, &name).await, written, "{faults:?}");
    }
}

#[tokio::test]
async fn a_drop_may_happen_once() {
    let dsql = moody().await;
    dsql.set_faults(Faults {
        drop_before_message: 1,
        once: true,
        ..Faults::default()
    })
    .unwrap();
    let first = admin(&dsql).await;
    first.batch_execute("SELECT 1").await.unwrap_err();
    let second = admin(&dsql).await;
    second.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_lost_commit_is_committed() {
    let dsql = moody().await;
    let witness = admin(&dsql).await;
    let name = table(&witness).await;
    for texts in [
        vec![format!("INSERT INTO {name} VALUES (1)")],
        vec![
            format!("BEGIN; INSERT INTO {name} VALUES (1)"),
            "COMMIT".into(),
        ],
    ] {
        let client = admin(&dsql).await;
        dsql.set_faults(Faults {
            drop_at_commit: 1,
            ..Faults::default()
        })
        .unwrap();
        let (last, first) = texts.split_last().unwrap();
        for text in first {
            client.batch_execute(text).await.unwrap();
        }
        let error = client.batch_execute(last).await.unwrap_err();
        assert!(error.as_db_error().is_none(), "{error:?}");
    }
    assert_eq!(count(&witness, &name).await, 2);
}

#[tokio::test]
async fn a_frozen_stand_in_answers_when_it_thaws() {
    let dsql = moody().await;
    let client = admin(&dsql).await;
    dsql.set_faults(Faults {
        freeze: true,
        ..Faults::default()
    })
    .unwrap();
    let flights = dsql.stats().client_flights;
    let query = client.query_typed("SELECT 1", &[]);
    tokio::pin!(query);
    tokio::select! {
        _ = &mut query => panic!("answered while frozen"),
        () = wait_until("the flight was read", || dsql.stats().client_flights > flights) => {}
    }
    dsql.set_faults(Faults::default()).unwrap();
    query.await.unwrap();
}

#[tokio::test]
async fn a_round_trip_is_delayed_once() {
    let dsql = moody().await;
    let client = admin(&dsql).await;
    client.query_typed("SELECT 1", &[]).await.unwrap();
    dsql.set_faults(Faults {
        delay_ms: 100,
        ..Faults::default()
    })
    .unwrap();
    let start = Instant::now();
    client.query_typed("SELECT 1", &[]).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn what_is_sent_before_an_answer_is_one_round_trip_and_delayed_once() {
    let dsql = moody().await;
    let client = admin(&dsql).await;
    client.query_typed("SELECT 1", &[]).await.unwrap();
    let delay = Duration::from_secs(1);
    dsql.set_faults(Faults {
        delay_ms: 1_000,
        ..Faults::default()
    })
    .unwrap();
    let (before, start) = (dsql.stats().client_flights, Instant::now());
    let (rows, statement, alive) = tokio::join!(
        client.query_typed("SELECT 1", &[]),
        client.prepare("SELECT 2"),
        client.check_connection(),
    );
    let spent = start.elapsed();
    assert_eq!((rows.unwrap().len(), alive.is_ok()), (1, true));
    assert_eq!(dsql.stats().client_flights - before, 1);
    assert!(spent >= delay && spent < 2 * delay, "{spent:?}");
    client.query(&statement.unwrap(), &[]).await.unwrap();
    assert_eq!(dsql.stats().client_flights - before, 2, "it waited");
}

#[tokio::test]
async fn logins_are_refused_in_every_way_and_as_often_as_asked() {
    let dsql = moody().await;
    for (refuse, sqlstate, message) in [
        (
            Refuse::AccessDenied,
            "08006",
            "unable to accept connection, access denied",
        ),
        (
            Refuse::RateExceeded,
            "53400",
            "Unable to accept connection, rate exceeded.",
        ),
        (
            Refuse::TooManyConnections,
            "53300",
            "Unable to accept connection, too many open connections.",
        ),
        (
            Refuse::WakingUp,
            "08006",
            "unable to accept connection, waking up cluster, please retry later",
        ),
    ] {
        let faults = Faults {
            refuse_connections: Some(refuse),
            refuse_count: Some(1),
            ..Faults::default()
        };
        dsql.set_faults(faults).unwrap();
        let refusal = Login::admin(&dsql).refusal(&dsql).await;
        assert_eq!(
            (refusal.code().code(), refusal.message()),
            (sqlstate, message)
        );
        admin(&dsql).await;
    }
}

#[tokio::test]
async fn a_share_of_round_trips_is_dropped() {
    let dsql = moody().await;
    dsql.set_faults(Faults {
        drop_rate: 0.5,
        seed: Some(1),
        ..Faults::default()
    })
    .unwrap();
    let mut dropped = 0;
    for _ in 0..20 {
        let client = admin(&dsql).await;
        dropped += i32::from(client.batch_execute("SELECT 1").await.is_err());
    }
    assert!((1..20).contains(&dropped), "{dropped}");
}

#[tokio::test]
async fn faults_over_http_are_checked_and_cleared() {
    let dsql = moody().await;
    let url = dsql.control_url();
    let (status, answer) = http(&url, "POST", "/faults", r#"{"delay": 5}"#).await;
    assert_eq!(status, 400);
    assert!(
        answer["message"].as_str().unwrap().contains("`delay_ms`"),
        "{answer}"
    );
    assert_eq!(
        http(&url, "POST", "/faults", r#"{"conflict_rate": 2}"#)
            .await
            .0,
        400
    );
    assert_eq!(
        http(
            &url,
            "POST",
            "/faults",
            r#"{"refuse_connections": "waking_up"}"#
        )
        .await
        .0,
        200
    );
    Login::admin(&dsql).refusal(&dsql).await;
    assert_eq!(http(&url, "POST", "/faults", "{}").await.0, 200);
    admin(&dsql).await;
}
