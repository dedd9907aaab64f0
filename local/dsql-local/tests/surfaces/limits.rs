//! How many connections, and how fast.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_postgres::{Client, Error};

use crate::control_plane::another_cluster;
use crate::support::{Login, admin, answer, environment, scarce};

const TOO_MANY: &str = "53300 Unable to accept connection, too many open connections.";
const TOO_FAST: &str = "53400 Unable to accept connection, rate exceeded.";

type Env = HashMap<String, String>;

/// All the connections that a cluster takes; one more is refused and uses the burst up.
async fn fill(env: &Env) -> [Client; 3] {
    let login = Login::from_env(env);
    let connect = async || login.connect_to(env).await.unwrap();
    let open = [connect().await, connect().await, connect().await];
    assert_eq!(refusal(login.connect_to(env).await), TOO_MANY);
    open
}

/// How a login is refused.
fn refusal(refused: Result<Client, Error>) -> String {
    let refused = answer(refused);
    assert_eq!(refused.severity(), "FATAL");
    format!("{} {}", refused.code().code(), refused.message())
}

/// Comes so often at once that no clock can keep up.
async fn comes_too_fast(log_in: impl AsyncFn() -> Result<Client, Error>) {
    let is_too_fast = async || refusal(log_in().await) == TOO_FAST;
    while !join_all((0..20).map(|_| is_too_fast()))
        .await
        .contains(&true)
    {}
}

#[tokio::test]
async fn connections_beyond_the_rate_and_the_count_are_refused_until_time_has_passed() {
    let dsql = scarce().await;
    let env = environment(&dsql);
    let open = fill(&env).await;
    let login = Login::from_env(&env);
    comes_too_fast(async || login.connect_to(&env).await).await;
    drop(open);
    dsql.advance(Duration::from_secs(60));
    admin(&dsql).await;
}

#[tokio::test]
async fn a_full_cluster_leaves_the_others_their_connections() {
    let dsql = scarce().await;
    let other = another_cluster(&dsql).await;
    let mut open = Vec::new();
    for env in [environment(&dsql), other] {
        open.push(fill(&env).await);
        let login = Login::from_env(&env);
        comes_too_fast(async || login.connect_to(&env).await).await;
    }
}

#[tokio::test]
async fn connections_over_websocket_count_as_any_other() {
    let dsql = scarce().await;
    let env = environment(&dsql);
    let open = fill(&env).await;
    let login = Login::from_env(&env);
    comes_too_fast(async || login.connect_over_websocket(&env).await).await;
    drop(open);
}
