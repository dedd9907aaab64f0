//! What is said of a request whose answer never came: nothing, unless it is known.

use std::time::Duration;

use dsql_local::Faults;
use serde_json::json;
use tests::proxy::Proxy;

use crate::site::{Ask, Site};

/// A site whose database is reached by a proxy, with a table of orders and a function that writes
/// into it.
async fn ordering() -> (Site, Proxy) {
    let site = Site::start().await;
    let proxy = Proxy::to(site.server.address()).await;
    let port = proxy.address().port().to_string();
    let function = site.logins.launch().env("DSQL_PORT", port).start().await;
    let site = Site { function, ..site };
    for sql in [
        "CREATE TABLE orders (id int)",
        "CREATE FUNCTION place_order() RETURNS int LANGUAGE sql AS 'INSERT INTO orders VALUES (1) RETURNING id'",
    ] {
        site.query(sql, &[]).await;
    }
    (site, proxy)
}

/// Sends a request whose answer to round trip number `at` gets lost on the way, while the
/// connection seems open.
async fn lose_answer(site: &Site, proxy: &Proxy, at: u64, ask: Ask<'_>) -> serde_json::Value {
    site.faults(Faults {
        delay_ms: 300,
        ..Faults::default()
    });
    let before = site.flights();
    let lose = async {
        let arrived = || (site.flights() - before >= at).then_some(());
        tests::wait::until("the flight", Duration::from_secs(10), arrived).await;
        proxy.blackhole();
    };
    let (response, ()) = tokio::join!(ask.within(Duration::from_secs(8)).send(), lose);
    site.faults(Faults::default());
    response.json()
}

#[tokio::test]
async fn a_function_that_writes_lost_after_it_was_sent_is_not_said_to_have_changed_nothing() {
    let (site, proxy) = ordering().await;
    site.query("SELECT place_order()", &[]).await;
    let ask = site.ask(&json!({"query": "SELECT place_order()"}));
    let error = lose_answer(&site, &proxy, 1, ask).await;
    assert_eq!(error["code"], "08007", "{error}");
    let text = error.to_string();
    assert!(!text.contains("othing was"), "{text}");
    assert_eq!(site.value("SELECT count(*) FROM orders").await, "2");
}

#[tokio::test]
async fn what_only_reads_is_read_again() {
    let (site, _proxy) = ordering().await;
    for faults in [
        Faults {
            drop_at_commit: 1,
            ..Faults::default()
        },
        Faults {
            server_unavailable: 1,
            ..Faults::default()
        },
    ] {
        site.faults(faults);
        assert_eq!(site.value("SELECT count(*) FROM orders").await, "0");
    }
}

#[tokio::test]
async fn the_outcome_of_a_request_with_a_key_is_found_out() {
    let (site, proxy) = ordering().await;
    let order = json!({"query": "INSERT INTO orders VALUES (7) RETURNING id"});
    site.query("SELECT 1", &[]).await;
    let ask = site.ask(&order).header("Idempotency-Key", "order-7");
    let answer = lose_answer(&site, &proxy, 2, ask).await;
    assert_eq!(answer["rows"], json!([["7"]]), "{answer}");
    let again = site
        .ask(&order)
        .header("Idempotency-Key", "order-7")
        .send()
        .await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(site.value("SELECT count(*) FROM orders").await, "1");
}

#[tokio::test]
async fn a_statement_of_ddl_takes_a_key_as_the_service_wants_it_alone() {
    let site = Site::start_as_dsql().await;
    let create = json!({"query": "CREATE TABLE notes (id int PRIMARY KEY)"});
    let batch = json!({"queries": [{"query": "/* index */ CREATE INDEX ASYNC ON notes (id)"}]});
    for ddl in [create, batch] {
        let key = ddl.to_string().len().to_string();
        let first = site.ask(&ddl).header("Idempotency-Key", &key).send().await;
        assert_eq!(first.status, 200, "{}", first.json());
        let again = site.ask(&ddl).header("Idempotency-Key", &key).send().await;
        assert_eq!(again.json(), first.json());
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    }
    let other = json!({"query": "CREATE TABLE others (id int PRIMARY KEY)"});
    let key = json!({"query": "CREATE TABLE notes (id int PRIMARY KEY)"})
        .to_string()
        .len()
        .to_string();
    let refused = site
        .ask(&other)
        .header("Idempotency-Key", &key)
        .failed()
        .await;
    assert_eq!(refused["code"], "22023");
}
