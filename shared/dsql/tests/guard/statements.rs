//! Prepared statements: no round trip more, none left behind, and nothing that another session's
//! DDL could make wrong.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dsql::{Dsql, Error, Type};
use dsql_local::Faults;

use crate::fixture::Fixture;

const READ: &str = "SELECT n FROM counters WHERE id = $1";
const ADD: &str = "UPDATE counters SET n = n + 1 WHERE id = $1";
/// Bind, Execute, Sync.
const PREPARED: u64 = 3;
/// Parse, Bind, Describe, Execute, Sync.
const WHOLE: u64 = 5;

async fn warm() -> (Fixture, Dsql) {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    (fixture, client)
}

/// Round trips and messages that reached the server during `work`.
async fn spent(fixture: &Fixture, work: impl Future) -> (u64, u64) {
    let before = fixture.server.stats();
    work.await;
    let after = fixture.server.stats();
    (
        after.client_flights - before.client_flights,
        after.client_messages - before.client_messages,
    )
}

async fn read(fixture: &Fixture, client: &Dsql) -> i64 {
    let rows = fixture.db(client).query(READ, &[(&"a", Type::TEXT)]).await;
    rows.unwrap()[0].get(0)
}

/// Uses a statement until it is prepared. Each use is one round trip.
async fn prepare<F: Future>(fixture: &Fixture, mut run: impl FnMut() -> F) {
    for _ in 0..1_000 {
        let (flights, messages) = spent(fixture, run()).await;
        assert_eq!(flights, 1);
        if messages == PREPARED {
            return;
        }
    }
    panic!("it was not prepared");
}

/// A text of the program, made by the test.
fn fixed(sql: String) -> &'static str {
    sql.leak()
}

#[tokio::test]
async fn a_statement_s_first_use_prepares_nothing_and_every_use_is_one_round_trip() {
    let (fixture, client) = warm().await;
    assert_eq!(
        spent(&fixture, read(&fixture, &client)).await,
        (1, WHOLE),
        "the first use"
    );
    prepare(&fixture, || read(&fixture, &client)).await;
    let ten = async {
        for _ in 0..10 {
            read(&fixture, &client).await;
        }
    };
    assert_eq!(spent(&fixture, ten).await, (10, 10 * PREPARED));
}

#[tokio::test]
async fn a_hundred_different_statements_are_one_round_trip_each_and_more_are_not_kept() {
    let (fixture, client) = warm().await;
    let statements: Vec<_> = (0..130).map(|n| fixed(format!("SELECT {n}"))).collect();
    let run = async |sql: &'static str| {
        let rows = fixture.db(&client).query(sql, &[]).await.unwrap();
        assert_eq!(format!("SELECT {}", rows[0].get::<_, i32>(0)), sql);
    };
    let (hundred, more) = statements.split_at(100);
    for sql in hundred {
        prepare(&fixture, || run(sql)).await;
    }
    let all = async {
        for sql in hundred {
            run(sql).await;
        }
    };
    assert_eq!(spent(&fixture, all).await, (100, 100 * PREPARED));
    // The ones unused for longest make room. They are closed in round trips that are sent anyway.
    for sql in more {
        prepare(&fixture, || run(sql)).await;
    }
    let kept = "SELECT count(*) FROM pg_prepared_statements";
    let rows = fixture.db(&client).query(kept, &[]).await.unwrap();
    assert!(rows[0].get::<_, i64>(0) <= 100, "{rows:?}");
    assert_eq!(spent(&fixture, run(hundred[0])).await.0, 1);
    assert_eq!(spent(&fixture, run(more[0])).await, (1, PREPARED));
}

#[tokio::test]
async fn a_transaction_uses_prepared_statements_and_prepares_none_inside_its_block() {
    let (fixture, client) = warm().await;
    let add = async || {
        let run =
            |tx: dsql::Transaction| async move { tx.execute(ADD, &[(&"a", Type::TEXT)]).await };
        assert_eq!(fixture.db(&client).transaction(run).await.unwrap(), 1);
    };
    let mut runs = 1;
    add().await;
    let (flights, messages) = loop {
        let spent = spent(&fixture, add()).await;
        runs += 1;
        // BEGIN and COMMIT are simple queries.
        if spent.1 == 2 + PREPARED || runs > 1_000 {
            break spent;
        }
        assert_eq!(spent.0, 3);
    };
    assert_eq!((flights, messages), (3, 2 + PREPARED));
    assert_eq!(fixture.count(&client, "a").await, runs);
}

#[tokio::test]
async fn after_a_change_of_the_catalog_the_retry_sends_the_statement_whole() {
    let (fixture, client) = warm().await;
    prepare(&fixture, || read(&fixture, &client)).await;
    fixture
        .server
        .set_faults(Faults {
            schema_conflicts: 1,
            ..Faults::default()
        })
        .unwrap();
    let (flights, messages) = spent(&fixture, read(&fixture, &client)).await;
    assert_eq!(flights, 2, "one was refused");
    assert!(messages >= PREPARED + WHOLE, "{messages}");
    prepare(&fixture, || read(&fixture, &client)).await;
    assert_eq!(client.stats().stale_statements, 0);
}

#[tokio::test]
async fn a_new_session_begins_without_statements() {
    let (fixture, client) = warm().await;
    let read = async || {
        let db = fixture.db(&client);
        let rows = db.query_idempotent(READ, &[(&"a", Type::TEXT)]).await;
        rows.unwrap()[0].get::<_, i64>(0)
    };
    prepare(&fixture, read).await;
    fixture
        .server
        .set_faults(Faults {
            drop_rate: 1.0,
            seed: Some(1),
            ..Faults::default()
        })
        .unwrap();
    let db = client.until(fixture.deadline(Duration::from_secs(10)));
    let lost = db.query(READ, &[(&"a", Type::TEXT)]).await;
    assert!(
        matches!(lost, Err(Error::OutcomeUnknown { .. })),
        "{lost:?}"
    );
    fixture.server.set_faults(Faults::default()).unwrap();
    assert_eq!(spent(&fixture, read()).await, (1, WHOLE));
    prepare(&fixture, read).await;
}

#[tokio::test]
async fn statements_that_the_server_has_forgotten_are_sent_whole_once_more() {
    let (fixture, client) = warm().await;
    let forget = async || {
        prepare(&fixture, || read(&fixture, &client)).await;
        let db = fixture.db(&client);
        db.execute("DEALLOCATE ALL", &[]).await.unwrap();
    };
    forget().await;
    assert_eq!(read(&fixture, &client).await, 0);
    assert_eq!(client.stats().stale_statements, 1);

    forget().await;
    let runs = AtomicUsize::new(0);
    let counted = &runs;
    let work = |tx: dsql::Transaction| async move {
        counted.fetch_add(1, Ordering::Relaxed);
        tx.execute("UPDATE counters SET n = n + 1 WHERE id = 'a'", &[])
            .await?;
        let rows = tx.query(READ, &[(&"a", Type::TEXT)]).await?;
        Ok::<i64, Error>(rows[0].get(0))
    };
    assert_eq!(fixture.db(&client).transaction(work).await.unwrap(), 1);
    assert_eq!(runs.into_inner(), 2);
    assert_eq!(client.stats().stale_statements, 2);
    assert_eq!(fixture.count(&client, "a").await, 1);
}

#[tokio::test]
async fn a_refusal_that_preparing_has_nothing_to_do_with_is_not_repeated() {
    let (fixture, client) = warm().await;
    let divide = "SELECT 1 / $1";
    let db = fixture.db(&client);
    let by = async |number: i32| db.query(divide, &[(&number, Type::INT4)]).await;
    prepare(&fixture, || by(1)).await;
    assert_eq!(
        spent(&fixture, async {
            assert_eq!(by(0).await.unwrap_err().sqlstate(), Some("22012"));
        })
        .await,
        (1, PREPARED)
    );
    let conflict = Faults {
        conflict_commits: 1,
        ..Faults::default()
    };
    let add = async || db.execute(ADD, &[(&"a", Type::TEXT)]).await.unwrap();
    prepare(&fixture, add).await;
    let before = fixture.count(&client, "a").await;
    fixture.server.set_faults(conflict).unwrap();
    add().await;
    assert_eq!(fixture.count(&client, "a").await, before + 1);
    assert_eq!(client.stats().stale_statements, 0);
}

#[tokio::test]
async fn the_same_text_with_other_types_is_another_statement() {
    let (fixture, client) = warm().await;
    let db = fixture.db(&client);
    let text = "SELECT pg_typeof($1)::text";
    for _ in 0..4 {
        let rows = db.query(text, &[(&7_i64, Type::INT8)]).await.unwrap();
        assert_eq!(rows[0].get::<_, &str>(0), "bigint");
        let rows = db.query(text, &[(&"seven", Type::TEXT)]).await.unwrap();
        assert_eq!(rows[0].get::<_, &str>(0), "text");
    }
}

#[tokio::test]
async fn a_literal_that_means_the_moment_of_its_parse_means_a_new_one_each_time() {
    let (fixture, client) = warm().await;
    let db = fixture.db(&client);
    let mut last = 0.0;
    for _ in 0..6 {
        let sql = "SELECT extract(epoch FROM 'now'::timestamptz)::float8";
        let now: f64 = db.query(sql, &[]).await.unwrap()[0].get(0);
        assert!(now > last, "{now} after {last}");
        last = now;
    }
}
