//! Conflicts are run again until they succeed or attempts are used up.

use dsql::{Dsql, Error, ErrorKind, RetryPolicy};
use dsql_local::Faults;

use crate::fixture::Fixture;

const ADD: &str = "UPDATE counters SET n = n + 1 WHERE id = 'a'";

async fn add_in_transaction(fixture: &Fixture, client: &Dsql) -> Result<u64, Error> {
    fixture
        .db(client)
        .transaction(|tx| async move { tx.execute(ADD, &[]).await })
        .await
}

#[tokio::test]
async fn a_conflict_at_commit_runs_the_whole_transaction_again_once_each() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    fixture
        .server
        .set_faults(Faults {
            conflict_commits: 3,
            ..Faults::default()
        })
        .unwrap();
    add_in_transaction(&fixture, &client).await.unwrap();
    assert_eq!(fixture.count(&client, "a").await, 1);
    assert_eq!(client.stats().conflicts, 3);
}

#[tokio::test]
async fn a_single_statement_is_run_again_after_either_conflict() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    fixture
        .server
        .set_faults(Faults {
            conflict_commits: 2,
            schema_conflicts: 1,
            ..Faults::default()
        })
        .unwrap();
    assert_eq!(fixture.db(&client).execute(ADD, &[]).await.unwrap(), 1);
    assert_eq!(fixture.count(&client, "a").await, 1);
}

#[tokio::test]
async fn conflicts_that_use_up_all_attempts_are_an_error_and_nothing_is_written() {
    let fixture = Fixture::start().await;
    let policy = RetryPolicy {
        attempts: 4,
        ..RetryPolicy::default()
    };
    let client = Dsql::new(fixture.config(&[]).with_retry(policy));
    fixture.counters(&client).await;
    fixture
        .server
        .set_faults(Faults {
            conflict_commits: 100,
            ..Faults::default()
        })
        .unwrap();
    let error = add_in_transaction(&fixture, &client).await.unwrap_err();
    assert!(
        matches!(error, Error::Conflict { attempts: 4, .. }),
        "{error:?}"
    );
    assert_eq!(
        (error.kind(), error.sqlstate()),
        (ErrorKind::Conflict, Some("40001"))
    );
    fixture.server.set_faults(Faults::default()).unwrap();
    assert_eq!(fixture.count(&client, "a").await, 0);
}

#[tokio::test]
async fn a_wrapped_conflict_is_still_run_again() {
    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Wrapped(#[from] Error);

    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    fixture
        .server
        .set_faults(Faults {
            schema_conflicts: 2,
            ..Faults::default()
        })
        .unwrap();
    fixture
        .db(&client)
        .transaction(|tx| async move { Ok::<_, Wrapped>(tx.execute(ADD, &[]).await?) })
        .await
        .unwrap();
    assert_eq!(fixture.count(&client, "a").await, 1);
}

#[tokio::test]
async fn a_refused_begin_does_not_let_its_statement_run_alone() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    // The first statement after this is the BEGIN.
    fixture
        .server
        .set_faults(Faults {
            server_unavailable: 1,
            ..Faults::default()
        })
        .unwrap();
    add_in_transaction(&fixture, &client).await.unwrap();
    assert_eq!(fixture.count(&client, "a").await, 1);
}

#[tokio::test]
async fn server_unavailable_runs_the_transaction_again_without_reconnecting() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    fixture
        .server
        .set_faults(Faults {
            server_unavailable: 1,
            ..Faults::default()
        })
        .unwrap();
    add_in_transaction(&fixture, &client).await.unwrap();
    assert_eq!(fixture.count(&client, "a").await, 1);
    assert_eq!(fixture.server.stats().connections_opened, 1);
}

#[tokio::test]
async fn a_failed_statement_is_rolled_back_and_the_session_stays_usable() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    let result: Result<(), Error> = fixture
        .db(&client)
        .transaction(|tx| async move {
            tx.execute(ADD, &[]).await?;
            tx.execute("INSERT INTO counters VALUES ('a', 1)", &[])
                .await?;
            Ok(())
        })
        .await;
    let error = result.unwrap_err();
    assert_eq!(
        (error.kind(), error.sqlstate()),
        (ErrorKind::Client, Some("23505"))
    );
    assert_eq!(fixture.count(&client, "a").await, 0);
    assert_eq!(fixture.server.stats().connections_opened, 1);
}

#[tokio::test]
async fn a_closure_that_swallows_a_failure_does_not_commit() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    let result: Result<(), Error> = fixture
        .db(&client)
        .transaction(|tx| async move {
            tx.execute(ADD, &[]).await?;
            let _ = tx
                .execute("INSERT INTO counters VALUES ('a', 1)", &[])
                .await;
            Ok(())
        })
        .await;
    assert!(matches!(result, Err(Error::TransactionOver)), "{result:?}");
    assert_eq!(fixture.count(&client, "a").await, 0);
}
