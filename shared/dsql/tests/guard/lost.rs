//! Lost connections: what may be repeated is, what may have happened is said to be unknown.

use std::time::Duration;

use dsql::{Dsql, Error, Stage};
use dsql_local::{Faults, Refuse};

use crate::fixture::Fixture;

const ADD: &str = "UPDATE counters SET n = n + 1 WHERE id = 'a'";

async fn warm_fixture() -> (Fixture, Dsql) {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    (fixture, client)
}

#[tokio::test]
async fn a_commit_whose_answer_never_came_is_not_repeated() {
    let (fixture, client) = warm_fixture().await;
    fixture
        .server
        .set_faults(Faults {
            drop_at_commit: 1,
            ..Faults::default()
        })
        .unwrap();
    let result: Result<u64, Error> = fixture
        .db(&client)
        .transaction(|tx| async move { tx.execute(ADD, &[]).await })
        .await;
    assert!(
        matches!(
            result,
            Err(Error::OutcomeUnknown {
                stage: Stage::Commit,
                ..
            })
        ),
        "{result:?}"
    );
    assert_eq!(fixture.count(&client, "a").await, 1);
}

#[tokio::test]
async fn a_write_outside_a_transaction_whose_answer_never_came_is_not_repeated() {
    let (fixture, client) = warm_fixture().await;
    fixture
        .server
        .set_faults(Faults {
            drop_at_commit: 1,
            ..Faults::default()
        })
        .unwrap();
    let result = fixture.db(&client).execute(ADD, &[]).await;
    assert!(
        matches!(
            result,
            Err(Error::OutcomeUnknown {
                stage: Stage::Statement,
                ..
            })
        ),
        "{result:?}"
    );
    assert_eq!(fixture.count(&client, "a").await, 1);
}

#[tokio::test]
async fn an_idempotent_statement_is_sent_again() {
    let (fixture, client) = warm_fixture().await;
    fixture
        .server
        .set_faults(Faults {
            drop_at_commit: 1,
            ..Faults::default()
        })
        .unwrap();
    fixture
        .db(&client)
        .execute_idempotent("UPDATE counters SET n = 5 WHERE id = 'a'", &[])
        .await
        .unwrap();
    assert_eq!(fixture.count(&client, "a").await, 5);
    assert_eq!(client.stats().replays, 1);
}

/// The statement is executed, its answer lost, and no connection can be had to replay it.
#[tokio::test]
async fn what_stops_a_replay_does_not_make_a_write_undone() {
    for refusal in [
        Refuse::AccessDenied,
        Refuse::RateExceeded,
        Refuse::TooManyConnections,
        Refuse::WakingUp,
    ] {
        let (fixture, client) = warm_fixture().await;
        let faults = Faults {
            drop_at_commit: 1,
            refuse_connections: Some(refusal),
            ..Faults::default()
        };
        fixture.server.set_faults(faults).unwrap();
        let db = client.until(fixture.deadline(Duration::from_millis(100)));
        let set = "UPDATE counters SET n = 5 WHERE id = 'a'";
        let result = db.execute_idempotent(set, &[]).await;
        assert!(
            matches!(
                result,
                Err(Error::OutcomeUnknown {
                    stage: Stage::Statement,
                    ..
                })
            ),
            "{refusal:?}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a_read_whose_replay_is_refused_is_not_called_unknown() {
    let (fixture, client) = warm_fixture().await;
    let faults = Faults {
        drop_rate: 1.0,
        refuse_connections: Some(Refuse::AccessDenied),
        ..Faults::default()
    };
    fixture.server.set_faults(faults).unwrap();
    let db = fixture.db(&client);
    let result = db.query_idempotent("SELECT n FROM counters", &[]).await;
    assert!(
        matches!(result, Err(Error::AccessDenied { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_connection_lost_before_commit_runs_the_transaction_again() {
    let (fixture, client) = warm_fixture().await;
    // The reconnect counts its own messages from one, so the drop hits the first transaction alone.
    fixture
        .server
        .set_faults(Faults {
            drop_after_message: 6,
            once: true,
            ..Faults::default()
        })
        .unwrap();
    let fresh = fixture.client();
    let result: Result<u64, Error> = fixture
        .db(&fresh)
        .transaction(|tx| async move { tx.execute(ADD, &[]).await })
        .await;
    assert_eq!(result.unwrap(), 1);
    assert_eq!(fixture.count(&client, "a").await, 1);
    assert_eq!(fresh.stats().replays, 1);
}

#[tokio::test]
async fn a_server_that_stopped_answering_is_replaced_after_an_idle_gap() {
    let (fixture, client) = warm_fixture().await;
    fixture
        .server
        .set_faults(Faults {
            freeze: true,
            ..Faults::default()
        })
        .unwrap();
    fixture.advance(Duration::from_secs(10));
    let db = fixture.db(&client);
    let request = db.query("SELECT 1", &[]);
    tokio::pin!(request);
    // Thaw once the probe is given up and the new connection stands.
    loop {
        tokio::select! {
            answer = &mut request => {
                answer.unwrap();
                break;
            }
            () = tokio::task::yield_now() => {
                if client.stats().lost == 1 {
                    fixture.server.set_faults(Faults::default()).unwrap();
                }
            }
        }
    }
    assert_eq!(fixture.server.stats().connections_opened, 2);
}
