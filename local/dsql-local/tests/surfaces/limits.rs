//! How many connections, and how fast.

use std::time::Duration;

use dsql_local::{DsqlLocal, Options};

use crate::support::{Login, admin, wait_until};

#[tokio::test]
async fn connections_beyond_the_rate_and_the_count_are_refused() {
    let options = Options {
        connect_burst: 4,
        connect_rate_per_s: 1,
        max_connections: 3,
        ..Options::default()
    };
    let dsql = DsqlLocal::start(options).await.unwrap();
    let open = [admin(&dsql).await, admin(&dsql).await, admin(&dsql).await];
    let refusal = Login::admin(&dsql).refusal(&dsql).await;
    assert_eq!(
        refusal.message(),
        "Unable to accept connection, too many open connections."
    );
    assert_eq!(
        (refusal.severity(), refusal.code().code()),
        ("FATAL", "53300")
    );
    drop(open);
    wait_until("all are closed", || dsql.stats().connections_open == 0).await;
    // The burst is used up; by the clock of this machine a second may have passed since.
    let mut refusal = Login::admin(&dsql).connect(&dsql).await;
    while refusal.is_ok() {
        refusal = Login::admin(&dsql).connect(&dsql).await;
    }
    let error = refusal.err().unwrap();
    let refusal = error.as_db_error().unwrap();
    assert_eq!(
        refusal.message(),
        "Unable to accept connection, rate exceeded."
    );
    assert_eq!(
        (refusal.severity(), refusal.code().code()),
        ("FATAL", "53400")
    );
    dsql.advance(Duration::from_secs(60));
    admin(&dsql).await;
    dsql.stop().await;
}
