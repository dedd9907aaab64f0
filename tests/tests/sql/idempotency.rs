//! Requests with a key: done once, however often they are sent.

use dsql_local::{Faults, Refuse};
use serde_json::{Value, json};

use crate::site::Site;

fn add(n: u32) -> Value {
    json!({"queries": [
        {"query": "UPDATE counter SET n = n + $1::int RETURNING n", "params": [n]},
        {"query": "INSERT INTO log SELECT n, 'x' FROM counter", "params": []},
    ]})
}

async fn counting() -> Site {
    let site = Site::start().await;
    site.query("CREATE TABLE counter (id int PRIMARY KEY, n int)", &[])
        .await;
    site.query("CREATE TABLE log (n int PRIMARY KEY, t text)", &[])
        .await;
    site.query("INSERT INTO counter VALUES (1, 0)", &[]).await;
    site
}

#[tokio::test]
async fn a_batch_sent_again_with_its_key_gets_the_first_answer() {
    let site = counting().await;
    let before = site.flights();
    let first = site
        .ask(&add(1))
        .header("Idempotency-Key", "k-1")
        .send()
        .await;
    assert_eq!(
        site.flights() - before,
        2,
        "all but the record of the answer is one flight"
    );
    assert_eq!(
        (first.status, first.header("idempotent-replayed")),
        (200, None)
    );
    for _ in 0..3 {
        let again = site
            .ask(&add(1))
            .header("idempotency-key", "k-1")
            .send()
            .await;
        assert_eq!(again.json(), first.json());
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    }
    assert_eq!(site.value("SELECT n FROM counter").await, "1");
    let other = site
        .ask(&add(2))
        .header("Idempotency-Key", "k-1")
        .failed()
        .await;
    assert_eq!(other["code"], "22023");
    let fresh = site
        .ask(&add(1))
        .header("Idempotency-Key", "k-2")
        .ok()
        .await;
    assert_eq!(fresh["results"][0]["rows"], json!([["2"]]));
}

#[tokio::test]
async fn a_failed_request_leaves_its_key_free_and_names_its_query() {
    let site = counting().await;
    let bad = json!({"queries": [{"query": "UPDATE counter SET n = 9"}, {"query": "SELECT 1/0"}]});
    for _ in 0..2 {
        let error = site.ask(&bad).header("Idempotency-Key", "k").failed().await;
        assert_eq!(
            (&error["code"], &error["where"]),
            (&json!("22012"), &json!("batch query 2 of 2"))
        );
    }
    let duplicate = json!({"queries": [{"query": "INSERT INTO counter VALUES (1, 1)"}]});
    let error = site
        .ask(&duplicate)
        .header("Idempotency-Key", "k")
        .failed()
        .await;
    assert_eq!(
        (&error["code"], &error["constraint"]),
        (&json!("23505"), &json!("counter_pkey"))
    );
    site.ask(&add(1)).header("Idempotency-Key", "k").ok().await;
    assert_eq!(site.value("SELECT n FROM counter").await, "1");
}

#[tokio::test]
async fn one_statement_takes_a_key_too_and_a_read_only_batch_needs_none() {
    let site = counting().await;
    let one = json!({"query": "UPDATE counter SET n = n + 1 RETURNING n", "params": []});
    for _ in 0..2 {
        let body = site.ask(&one).header("Idempotency-Key", "one").ok().await;
        assert_eq!(
            (&body["rows"], &body["command"]),
            (&json!([["1"]]), &json!("UPDATE"))
        );
    }
    let read = site
        .batch(&["SELECT n FROM counter"])
        .header("Neon-Batch-Read-Only", "true");
    let read = read.header("Idempotency-Key", "read").send().await;
    assert_eq!(read.json()["results"][0]["rows"], json!([["1"]]));
}

#[tokio::test]
async fn a_lost_commit_is_found_out_and_the_request_done_exactly_once() {
    let site = counting().await;
    for n in 1..=20 {
        site.faults(Faults {
            drop_at_commit: 1 + n % 2,
            conflict_commits: n % 3,
            ..Faults::default()
        });
        let key = format!("k-{n}");
        let body = site.ask(&add(1)).header("Idempotency-Key", &key).ok().await;
        assert_eq!(body["results"][0]["rows"], json!([[n.to_string()]]));
    }
    assert_eq!(site.value("SELECT count(*) FROM log").await, "20");
}

#[tokio::test]
async fn a_lost_commit_is_not_called_undone_because_its_repetition_was_refused() {
    let site = counting().await;
    site.query("SELECT 1", &[]).await;
    site.faults(Faults {
        drop_at_commit: 1,
        refuse_connections: Some(Refuse::AccessDenied),
        ..Faults::default()
    });
    let answer = site
        .ask(&add(1))
        .header("Idempotency-Key", "k")
        .send()
        .await;
    assert_eq!(answer.json()["code"], "08007");
    site.faults(Faults::default());
    let body = site.ask(&add(1)).header("Idempotency-Key", "k").ok().await;
    assert_eq!(body["results"][0]["rows"], json!([["1"]]));
    assert_eq!(site.value("SELECT count(*) FROM log").await, "1");
}

#[tokio::test]
async fn two_at_once_with_one_key_are_done_once() {
    let site = Site::start_with(|launch| launch.concurrency(8)).await;
    site.query("CREATE TABLE counter (id int PRIMARY KEY, n int)", &[])
        .await;
    site.query("CREATE TABLE log (n int PRIMARY KEY, t text)", &[])
        .await;
    site.query("INSERT INTO counter VALUES (1, 0)", &[]).await;
    let request = add(1);
    let asks = (0..6).map(|_| site.ask(&request).header("Idempotency-Key", "same").send());
    for response in futures_util::future::join_all(asks).await {
        assert_eq!(
            response.json()["results"][0]["rows"],
            json!([["1"]]),
            "{:?}",
            response.json()
        );
    }
    assert_eq!(site.value("SELECT n FROM counter").await, "1");
}

#[tokio::test]
async fn a_key_is_free_again_after_its_day_and_a_long_answer_is_not_kept() {
    let site = counting().await;
    site.ask(&add(1)).header("Idempotency-Key", "k").ok().await;
    site.query(
        "UPDATE sql_requests.blog SET expires_at = now() - interval '1 second'",
        &[],
    )
    .await;
    let body = site.ask(&add(1)).header("Idempotency-Key", "k").ok().await;
    assert_eq!(body["results"][0]["rows"], json!([["2"]]));

    let long = json!({"query": "SELECT repeat('x', 2000000)"});
    let first = site
        .ask(&long)
        .header("Idempotency-Key", "long")
        .send()
        .await;
    assert_eq!(first.status, 200);
    let again = site
        .ask(&long)
        .header("Idempotency-Key", "long")
        .failed()
        .await;
    assert_eq!(again["code"], "54000");
}

#[tokio::test]
async fn a_login_that_only_reads_needs_no_key_and_is_told_so() {
    let site = counting().await;
    let reader = site
        .logins
        .create_with("reader", "read-only", json!(["blog"]))
        .await;
    let body = json!({"queries": [{"query": "SELECT n FROM counter"}]});
    let ask = || site.ask_as(&reader.connection_string(), &body);
    assert_eq!(ask().ok().await["results"][0]["rows"], json!([["0"]]));
    let error = ask().header("Idempotency-Key", "k").failed().await;
    assert_eq!(error["code"], "0A000");
    let batch = ask()
        .header("Idempotency-Key", "k")
        .header("Neon-Batch-Read-Only", "true");
    assert_eq!(batch.ok().await["results"][0]["rows"], json!([["0"]]));
}
