//! Round trips to the database, by the server's own count.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::clock::WallClock;
use tests::function::Function;

use tests::logins::Login;

use crate::site::{LIMIT, Site, driver_request, send};

const ONE: &str = "SELECT 1";

#[tokio::test]
async fn a_warm_statement_is_one_round_trip_and_so_is_a_batch_of_ten() {
    let site = Site::start().await;
    site.query(ONE, &[]).await;
    let connections = site.server.stats().connections_opened;
    let before = site.flights();
    site.query("SELECT $1::int, $2::text", &[json!("1"), json!(null)])
        .await;
    assert_eq!(site.flights() - before, 1);

    let before = site.flights();
    let body = site.batch(&[ONE; 10]).ok().await;
    assert_eq!(body["results"].as_array().unwrap().len(), 10);
    assert_eq!(site.flights() - before, 1);

    let before = site.flights();
    let body = site.batch(&[]).ok().await;
    assert_eq!(body, json!({"results": []}));
    assert_eq!(site.flights(), before, "nothing to ask the database");
    assert_eq!(site.server.stats().connections_opened, connections);
}

#[tokio::test]
async fn after_a_minute_the_login_is_read_once_more_in_one_round_trip() {
    let clock = WallClock::new();
    let site = Site::start_with(|launch| launch.clock(&clock)).await;
    site.query(ONE, &[]).await;
    for advance in [61, 3, 61] {
        clock.advance(Duration::from_secs(advance));
        site.server.advance(Duration::from_secs(advance));
        let before = site.flights();
        site.query(ONE, &[]).await;
        let spent = site.flights() - before;
        // After a pause each of the two goes along with a bare question, in one round trip.
        let expected = if advance > 60 { 2 } else { 1 };
        assert_eq!(spent, expected, "after {advance} s");
    }
    assert_eq!(
        site.server.stats().connections_open,
        2 + 1,
        "and the administrator's"
    );
}

#[tokio::test]
async fn a_read_that_fails_is_two_round_trips_and_a_function_that_writes_one_once_it_is_known() {
    let site = Site::start().await;
    for sql in [
        "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",
        "CREATE FUNCTION place_order() RETURNS bigint LANGUAGE sql AS 'INSERT INTO orders DEFAULT VALUES RETURNING id'",
    ] {
        site.query(sql, &[]).await;
    }
    for (sql, expected) in [
        ("SELECT 1/0", 2),
        ("SELECT place_order()", 3),
        ("SELECT place_order()", 1),
        ("SELECT count(*) FROM orders", 1),
    ] {
        let before = site.flights();
        site.ask(&json!({"query": sql})).send().await;
        assert_eq!(site.flights() - before, expected, "{sql}");
    }
    assert_eq!(site.value("SELECT count(*) FROM orders").await, "2");
}

/// Sessions that were idle for long, since the machine was slow, are asked first whether they are
/// alive.
fn is_as_expected(spent: u64, expected: u64, sessions: u64, since: Instant) -> bool {
    let asked = if since.elapsed() < Duration::from_secs(4) {
        0
    } else {
        sessions
    };
    (expected..=expected + asked).contains(&spent)
}

#[tokio::test]
async fn the_first_request_of_a_container_reads_the_login_and_connects() {
    let site = Site::start().await;
    let shop = site.logins.create("shop").await;
    let started = Instant::now();
    let function = site.logins.launch().start().await;
    let (before, connections) = (site.flights(), site.server.stats().connections_opened);
    let body = json!({"query": ONE}).to_string();
    let request = driver_request(&shop.connection_string(), body);
    assert_eq!(send(&function, &request, LIMIT).await.status, 200);
    let spent = site.flights() - before;
    assert!(is_as_expected(spent, 2, 1, started), "{spent}");
    assert_eq!(site.server.stats().connections_opened - connections, 1);
}

#[tokio::test]
async fn the_only_login_and_those_that_are_named_are_connected_before_the_first_request() {
    let started = Instant::now();
    let site = Site::start().await;
    connected_ahead(&site, &site.function, &[&site.blog], started).await;
    let schemas = json!(["blog"]);
    let reader = site
        .logins
        .create_with("reader", "read-only", schemas)
        .await;
    let started = Instant::now();
    let launch = site.logins.launch();
    let named = launch.env("SQL_CONNECT_AHEAD", "reader, blog, nobody");
    connected_ahead(&site, &named.start().await, &[&site.blog, &reader], started).await;
}

#[tokio::test]
async fn a_cold_container_needs_one_round_trip_more_than_chats() {
    let site = Site::start().await;
    for (ahead, name) in [("", "the only login"), ("blog", "a named one")] {
        let started = Instant::now();
        let before = site.flights();
        let launch = site.logins.launch().env("SQL_CONNECT_AHEAD", ahead);
        let function = launch.start().await;
        let body = json!({"query": ONE}).to_string();
        let request = driver_request(&site.blog.connection_string(), body);
        assert_eq!(send(&function, &request, LIMIT).await.status, 200);
        // `chats` sends one, its request: the login's row is the other.
        let spent = site.flights() - before;
        assert!(is_as_expected(spent, 2, 1, started), "{name}: {spent}");
    }
}

async fn connected_ahead(site: &Site, function: &Function, logins: &[&Login], started: Instant) {
    let sql = "SELECT current_user, current_setting('search_path')";
    let body = json!({"query": sql}).to_string();
    for login in logins {
        let (before, connections) = (site.flights(), site.server.stats().connections_opened);
        let request = driver_request(&login.connection_string(), body.as_str().to_owned());
        let answer = send(function, &request, LIMIT).await.json();
        assert_eq!(answer["rows"], json!([[login.name, "blog"]]));
        let spent = site.flights() - before;
        assert!(
            is_as_expected(spent, 1, 1, started),
            "{}: {spent}",
            login.name
        );
        assert_eq!(site.server.stats().connections_opened, connections);
    }
}
