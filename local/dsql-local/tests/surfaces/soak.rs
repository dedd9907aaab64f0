//! Fifty sessions, half of them over WebSocket, move money between a few accounts while the
//! stand-in fails in every way it can: nothing is lost, nobody waits indefinitely, and nothing is
//! left behind.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Signal, test_kill_process};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::lifecycle::{Served, server_pid};
use crate::support::{Login, PATIENCE, http, wait_until};

const SESSIONS: usize = 50;
/// How long they work at least.
const SOAK: Duration = Duration::from_secs(6);
const ACCOUNTS: i32 = 20;
const BALANCE: i64 = 1000;
const FAULTS: &str = r#"{"delay_ms": 1, "conflict_rate": 0.05, "schema_conflict_rate": 0.02, "drop_rate": 0.01, "seed": 1}"#;

type Env = HashMap<String, String>;

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("{what} hangs"))
}

/// Moves money in one transaction, in a way drawn at random; says whether the client knows that it
/// was committed.
async fn transfer(client: &Client) -> Result<bool, Error> {
    let (from, to) = (fastrand::i32(0..ACCOUNTS), fastrand::i32(0..ACCOUNTS));
    let amount = fastrand::i64(1..20);
    if fastrand::u8(..10) == 0 {
        // One statement outside of a block.
        let sql = format!(
            "UPDATE account SET balance = balance + CASE WHEN id = {from} THEN -{amount} ELSE {amount} END \
             WHERE id IN ({from}, {to}) AND {from} <> {to}"
        );
        client.batch_execute(&sql).await?;
        return Ok(true);
    }
    client.batch_execute("BEGIN").await?;
    if fastrand::bool() {
        let lock = "SELECT balance FROM account WHERE id = $1 FOR UPDATE";
        client.query_typed(lock, &[(&from, Type::INT4)]).await?;
    }
    let add = "UPDATE account SET balance = balance + $2 WHERE id = $1";
    for (id, amount) in [(from, -amount), (to, amount)] {
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&id, Type::INT4), (&amount, Type::INT8)];
        client.query_typed(add, &parameters).await?;
    }
    if fastrand::u8(..10) == 0 {
        client.batch_execute("ROLLBACK").await?;
        return Ok(false);
    }
    client.batch_execute("COMMIT").await?;
    Ok(true)
}

async fn sum(client: &Client) -> Result<i64, Error> {
    let rows = client
        .query_typed("SELECT sum(balance)::bigint FROM account", &[])
        .await?;
    Ok(rows[0].get(0))
}

/// Logs in, every other session over WebSocket.
async fn log_in(env: &Env, session: usize) -> Result<Client, Error> {
    let login = Login::from_env(env);
    if session.is_multiple_of(2) {
        in_time("a login", login.connect_to(env)).await
    } else {
        in_time("a login", login.connect_over_websocket(env)).await
    }
}

/// One session's work until all are `done`: how often it committed.
async fn work(env: &Env, session: usize, done: &AtomicBool) -> u64 {
    let mut committed = 0;
    while !done.load(Ordering::Relaxed) {
        let Ok(client) = log_in(env, session).await else {
            continue;
        };
        while !done.load(Ordering::Relaxed) {
            match in_time("a transfer", transfer(&client)).await {
                Ok(is_committed) => committed += u64::from(is_committed),
                Err(error) if error.code().is_none() => break,
                Err(error) => {
                    assert_eq!(error.code().unwrap().code(), "40001", "{error:?}");
                    if in_time("a rollback", client.batch_execute("ROLLBACK"))
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
            }
            if fastrand::u8(..8) == 0
                && let Ok(sum) = in_time("a sum", sum(&client)).await
            {
                assert_eq!(sum, i64::from(ACCOUNTS) * BALANCE);
            }
        }
    }
    committed
}

async fn open_accounts(env: &Env) -> Client {
    let client = Login::from_env(env).connect_to(env).await.unwrap();
    client
        .batch_execute("CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL)")
        .await
        .unwrap();
    let sql = format!(
        "INSERT INTO account SELECT n, {BALANCE} FROM generate_series(0, {ACCOUNTS} - 1) n"
    );
    client.batch_execute(&sql).await.unwrap();
    client
}

async fn set_faults(env: &Env, faults: &str) {
    let (status, answer) = http(&env["DSQL_CONTROL_URL"], "POST", "/faults", faults).await;
    assert_eq!(status, 200, "{answer}");
}

/// Whether all of it has happened that makes the sum worth looking at.
async fn has_seen_everything(env: &Env) -> bool {
    let (_, stats) = http(&env["DSQL_CONTROL_URL"], "GET", "/stats", "").await;
    [
        "steps_aside",
        "repeats",
        "conflicts_injected",
        "drops_injected",
    ]
    .into_iter()
    .all(|counter| stats[counter].as_u64().unwrap() > 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sum_never_changes_and_nothing_is_left_whatever_happens() {
    let dir = tempfile::tempdir().unwrap();
    let mut served = Served::start(dir.path(), &[]).await;
    let env = served.env.clone();
    let scratch = Path::new(&env["DSQL_CA_FILE"]).parent().unwrap();
    let server = server_pid(&scratch.join("postgres"));
    let checker = open_accounts(&env).await;
    set_faults(&env, FAULTS).await;
    let done = AtomicBool::new(false);
    let all = join_all((0..SESSIONS).map(|session| work(&env, session, &done)));
    let watch = async {
        tokio::time::sleep(SOAK).await;
        let everything = async { while !has_seen_everything(&env).await {} };
        in_time("a failure of every kind", everything).await;
        done.store(true, Ordering::Relaxed);
    };
    let (committed, ()) = tokio::join!(all, watch);
    let committed: u64 = committed.into_iter().sum();
    set_faults(&env, "{}").await;
    assert_eq!(sum(&checker).await.unwrap(), i64::from(ACCOUNTS) * BALANCE);
    assert!(committed > 0);
    // Killed in the middle of it, it leaves as little as after a stop.
    done.store(false, Ordering::Relaxed);
    let rest = join_all((0..SESSIONS).map(|session| work(&env, session, &done)));
    tokio::select! {
        _ = rest => panic!("the stand-in was not killed"),
        () = tokio::time::sleep(Duration::from_millis(500)) => served.signal(Signal::KILL),
    }
    served.child.wait().await.unwrap();
    wait_until("PostgreSQL ended", || test_kill_process(server).is_err()).await;
    wait_until("the files are gone", || !scratch.exists()).await;
}
