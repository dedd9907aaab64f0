//! Hyperdrive's way, with a pooler in its place that we did not write: transactions through
//! `PgBouncer` in transaction mode while the real `maintenance` puts fresh tokens in place and the
//! service ends sessions.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use serde_json::json;
use tests::background::{self, Task};
use tests::function::Function;
use tests::pooler::{POOL, Pooler};
use tests::wait;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

use crate::hyperdrive::{QUARTER, Site, refresh};

/// Clients, more than the pool has sessions.
const CLIENTS: usize = 8;
/// How far the clocks are moved at once.
const STEP: Duration = Duration::from_secs(20);
/// What the pooler logs when the service ends a session.
const ENDED: &str = "closing because: server conn crashed";
/// How long clients work, as the moved clocks count: past two ends of sessions and eight rotations.
const LOAD: Duration = Duration::from_secs(130 * 60);
const LIMIT: Duration = Duration::from_secs(120);

/// A session with the pooler.
async fn connect(pooler: &Pooler) -> (Client, Task) {
    let connected = pooler.client_settings().connect(NoTls).await;
    let (client, connection) =
        connected.unwrap_or_else(|error| panic!("{error}\n{}", pooler.log()));
    let driver = background::spawn(async {
        let _ended = connection.await;
    });
    (client, driver)
}

/// A transaction that reads, and writes a row of its own.
async fn transact(client: &Client, n: u64) -> Result<(), Error> {
    let insert = format!("INSERT INTO blog.visits (n) VALUES ({n})");
    client.batch_execute("BEGIN").await?;
    client
        .simple_query("SELECT count(*) FROM blog.visits")
        .await?;
    client.simple_query(&insert).await?;
    client.batch_execute("COMMIT").await
}

/// The same, again after a conflict, as every client of DSQL does it: another session's DDL, such as
/// an index whose build ends, is one.
async fn transact_at_last(client: &Client, n: u64) -> Result<(), Error> {
    loop {
        match transact(client, n).await {
            Err(lost) if lost.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                client.batch_execute("ROLLBACK").await?;
            }
            ended => return ended,
        }
    }
}

/// A pooler with a token of `blog`, the function that replaces it, and a table.
async fn start(max_age: Duration) -> (Site, Function, Pooler) {
    let site = Site::start().await;
    let function = site.launch().start().await;
    refresh(&function).await;
    let pooler = Pooler::start(&site.server, &site.clock, &site.origin(), max_age).await;
    let (client, _driver) = connect(&pooler).await;
    let table =
        "CREATE TABLE blog.visits (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n bigint)";
    client.batch_execute(table).await.unwrap();
    (site, function, pooler)
}

/// Rows of the table.
async fn rows(pooler: &Pooler) -> u64 {
    let (client, _driver) = connect(pooler).await;
    let answer = client
        .simple_query("SELECT count(*) FROM blog.visits")
        .await;
    let count = answer
        .unwrap()
        .into_iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        });
    count.unwrap()
}

/// Transactions one after the other until it is over.
async fn work(pooler: &Pooler, done: &AtomicU64, is_over: &AtomicBool) {
    let (client, _driver) = connect(pooler).await;
    while !is_over.load(Ordering::Relaxed) {
        let committed = transact_at_last(&client, done.load(Ordering::Relaxed)).await;
        committed.unwrap_or_else(|error| panic!("{error:?}\n{}", pooler.log()));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_fails_in_hours_of_rotations_under_load() {
    let (site, function, pooler) = start(Duration::from_secs(55 * 60)).await;
    let done: [AtomicU64; CLIENTS] = std::array::from_fn(|_| AtomicU64::new(0));
    let counts = || done.each_ref().map(|done| done.load(Ordering::Relaxed));
    let is_over = AtomicBool::new(false);
    let clients = join_all(done.iter().map(|done| work(&pooler, done, &is_over)));
    let hours = async {
        let mut passed = Duration::ZERO;
        while passed < LOAD {
            let before = counts();
            site.advance(STEP);
            passed += STEP;
            if passed.as_secs().is_multiple_of(QUARTER.as_secs()) {
                assert_eq!(refresh(&function).await["failed"], json!([]));
                pooler.set_password(&site.origin()).await;
            }
            let all = || {
                counts()
                    .iter()
                    .zip(&before)
                    .all(|(now, before)| now > before)
            };
            wait::until("a transaction of each", LIMIT, || all().then_some(())).await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    join(clients, hours).await;
    assert_eq!(rows(&pooler).await, counts().iter().sum::<u64>());
    let replaced = pooler.lines_with("closing because: close_needed");
    assert!(replaced >= 4 * POOL, "{replaced} replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_the_service_ended_are_replaced_without_a_failed_query() {
    let never = Duration::from_secs(86_400);
    let (site, function, pooler) = start(never).await;
    let (client, _driver) = connect(&pooler).await;
    for n in 0..3 {
        let done = transact_at_last(&client, n).await;
        done.unwrap_or_else(|error| panic!("{error}\n{}", pooler.log()));
        for _ in 0..4 {
            site.advance(QUARTER);
            assert_eq!(refresh(&function).await["failed"], json!([]));
        }
        let ended = usize::try_from(n).unwrap() + 1;
        pooler.wait_for_lines(ENDED, ended).await;
        pooler.set_password(&site.origin()).await;
    }
    transact_at_last(&client, 3).await.unwrap();
    assert_eq!(rows(&pooler).await, 4);
}
