//! Sessions of their own for what lasts: sixteen streams in one process do not wait for each other,
//! nor others for them.

use std::time::Duration;

use dsql::{Dsql, Error};
use tokio::sync::Barrier;

use crate::fixture::Fixture;

const STREAMS: usize = 16;
const ADD: &str = "UPDATE counters SET n = n + 1 WHERE id = 'a'";

#[tokio::test]
async fn sixteen_streams_and_the_requests_beside_them_never_wait_for_each_other() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.counters(&client).await;
    // Each holds its session until all hold theirs, and the requests beside them are answered: who
    // waits, waits indefinitely.
    let all = Barrier::new(STREAMS + 1);
    let stream = |pinned: Dsql| {
        let (all, fixture) = (&all, &fixture);
        async move {
            let db = fixture.db(&pinned);
            let held: Result<(), Error> = db
                .transaction(|tx| async move {
                    tx.query("SELECT n FROM counters", &[]).await?;
                    all.wait().await;
                    all.wait().await;
                    Ok(())
                })
                .await;
            held.unwrap();
            db.query("SELECT 1", &[]).await.unwrap();
        }
    };
    let streams = (0..STREAMS).map(|_| stream(client.pinned()));
    let others = async {
        all.wait().await;
        assert_eq!(fixture.db(&client).execute(ADD, &[]).await.unwrap(), 1);
        let transaction = fixture.db(&client);
        let result: Result<u64, Error> = transaction
            .transaction(|tx| async move { tx.execute(ADD, &[]).await })
            .await;
        assert_eq!(result.unwrap(), 1);
        all.wait().await;
    };
    tokio::join!(futures_util::future::join_all(streams), others);
    assert_eq!(
        fixture.server.stats().connections_opened,
        STREAMS as u64 + 1,
        "one for each, the one there was among them, and one for the others"
    );
    // What the streams leave behind is shared, up to the bound.
    let few = || (fixture.server.stats().connections_open <= 4).then_some(());
    tests::wait::until("the rest to close", Duration::from_secs(10), few).await;
    assert_eq!(fixture.count(&client, "a").await, 2);
    assert_eq!(
        fixture.server.stats().connections_opened,
        STREAMS as u64 + 1
    );
}

#[tokio::test]
async fn a_pinned_session_is_the_one_there_is_stays_the_same_and_is_replaced_like_any() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    client.connect().await;
    let pinned = client.pinned();
    let pid = async |dsql: &Dsql| -> i32 {
        let rows = fixture.db(dsql).query("SELECT pg_backend_pid()", &[]).await;
        rows.unwrap()[0].get(0)
    };
    let own = pid(&pinned).await;
    assert_eq!(fixture.server.stats().connections_opened, 1);
    let shared = pid(&client).await;
    assert_ne!(own, shared);
    assert_eq!((pid(&pinned).await, pid(&client).await), (own, shared));
    // Two statements of one stream may go over its session at once; a transaction beside them takes
    // another.
    let (one, two) = tokio::join!(pid(&pinned), pid(&pinned));
    assert_eq!((one, two), (own, own));
    let nested: Result<i32, Error> = fixture
        .db(&pinned)
        .transaction(|tx| {
            let pid = &pid;
            let pinned = &pinned;
            async move {
                tx.query("SELECT 1", &[]).await?;
                Ok(pid(pinned).await)
            }
        })
        .await;
    assert_eq!(nested.unwrap(), shared);

    fixture.advance(Duration::from_mins(61));
    let later = pid(&pinned).await;
    assert!(later != own && later == pid(&pinned).await);
    drop(pinned);
    assert_eq!(pid(&client).await, later);
}
