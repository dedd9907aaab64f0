//! The containers of one function.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lambda_local::container::Launch;
use lambda_local::pool::{AcquireError, Limits, Pool};
use lambda_local::runtime_api::Outcome;
use serde_json::json;
use tests::wait;

use crate::support::{LIMIT, limits, probe};

/// The process that answers.
async fn pid(pool: &Pool) -> i32 {
    let lease = pool.acquire(LIMIT).await.unwrap();
    let answer = lease.container().invoke(r#"{"do":"echo"}"#, LIMIT).await;
    assert_eq!(answer.response(), Bytes::from(r#"{"do":"echo"}"#));
    lease.container().pid()
}

async fn ends(pool: &Pool, order: &str) -> Outcome {
    let lease = pool.acquire(LIMIT).await.unwrap();
    lease.container().invoke(order.to_owned(), LIMIT).await
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_container() {
    let pool = Pool::new(probe(), limits(8));
    let first = pid(&pool).await;
    for _ in 0..20 {
        assert_eq!(pid(&pool).await, first);
    }
    assert_eq!(pool.containers(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_requests_at_once_share_four_containers_and_all_are_answered() {
    let pool = Pool::new(probe(), limits(4));
    let pids = join_all((0..200).map(|_| pid(&pool))).await;
    let pids: BTreeSet<i32> = pids.into_iter().collect();
    assert!(pids.len() <= 4, "{pids:?}");
    assert!(pool.containers() <= 4);
    pid(&pool).await;
}

#[tokio::test]
async fn an_idle_container_is_frozen_and_thawed_for_the_next_request() {
    let pool = Pool::new(probe(), limits(1));
    for _ in 0..3 {
        let lease = pool.acquire(LIMIT).await.unwrap();
        let container = lease.container().clone();
        assert!(!container.is_frozen());
        container.invoke(r#"{"do":"echo"}"#, LIMIT).await.response();
        drop(lease);
        let frozen = || container.is_frozen().then_some(());
        wait::until("the freeze", LIMIT, frozen).await;
    }
}

#[tokio::test]
async fn without_freezing_an_idle_container_keeps_running() {
    let thawed = Limits {
        is_frozen_when_idle: false,
        ..limits(1)
    };
    let pool = Pool::new(probe(), thawed);
    pid(&pool).await;
    let lease = pool.acquire(LIMIT).await.unwrap();
    assert!(!lease.container().is_frozen());
}

#[tokio::test]
async fn a_container_that_ended_is_followed_by_a_new_one() {
    let pool = Pool::new(probe(), limits(1));
    let first = pid(&pool).await;
    let Outcome::FunctionError { error_type, .. } = ends(&pool, r#"{"do":"exit"}"#).await else {
        panic!("an exit is no answer");
    };
    assert_eq!(error_type, "Runtime.ExitError");
    assert_ne!(pid(&pool).await, first);
    assert_eq!(pool.containers(), 1);
}

#[tokio::test]
async fn a_container_that_passes_the_time_out_is_killed_and_followed_by_a_new_one() {
    let pool = Pool::new(probe(), limits(1));
    let lease = pool.acquire(LIMIT).await.unwrap();
    let outcome = lease
        .container()
        .invoke(r#"{"do":"hang"}"#, Duration::from_millis(50))
        .await;
    assert!(matches!(outcome, Outcome::TimedOut), "{outcome:?}");
    let first = lease.container().pid();
    drop(lease);
    assert_ne!(pid(&pool).await, first);
}

#[tokio::test]
async fn a_request_that_finds_no_container_in_time_gets_an_error() {
    let pool = Pool::new(probe(), limits(1));
    let _kept = pool.acquire(LIMIT).await.unwrap();
    let refused = pool.acquire(Duration::from_millis(20)).await;
    assert!(matches!(refused, Err(AcquireError::Busy)), "{refused:?}");
}

#[tokio::test]
async fn a_function_that_does_not_come_up_is_told_with_what_it_wrote() {
    let pool = Pool::new(probe().env("PROBE_REFUSES", "1"), limits(1));
    for _ in 0..2 {
        let error = pool.acquire(LIMIT).await.unwrap_err().to_string();
        assert!(error.contains("PROBE_REFUSES is set"), "{error}");
    }
}

#[tokio::test]
async fn a_program_that_is_built_again_answers_the_next_request() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("probe");
    let built = env!("CARGO_BIN_EXE_probe-function");
    fs::copy(built, &program).unwrap();
    let pool = Pool::new(Launch::program(&program), limits(2));
    let first = pid(&pool).await;
    // As cargo does: the old file goes, the new one comes, and in between there is none.
    fs::remove_file(&program).unwrap();
    assert_eq!(pid(&pool).await, first);
    let next = folder.path().join("next");
    fs::copy(built, &next).unwrap();
    fs::rename(&next, &program).unwrap();
    assert_ne!(pid(&pool).await, first);
    assert_eq!(pool.containers(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managed_instance_serves_as_many_requests_at_once_as_it_has_workers() {
    let pool = Pool::new(probe().concurrency(4), limits(1));
    let leases = join_all((0..4).map(|_| pool.acquire(LIMIT))).await;
    let leases: Vec<_> = leases.into_iter().map(Result::unwrap).collect();
    let pids: BTreeSet<i32> = leases.iter().map(|lease| lease.container().pid()).collect();
    assert_eq!(pids.len(), 1);
    let order = json!({ "do": "echo" }).to_string();
    let answers = leases
        .iter()
        .map(|lease| lease.container().invoke(order.clone(), LIMIT));
    for answer in join_all(answers).await {
        assert_eq!(answer.response(), order);
    }
    assert!(pool.acquire(Duration::from_millis(20)).await.is_err());
}
