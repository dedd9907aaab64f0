//! Round trips to the database, by the server's own count.

use std::time::Duration;

use serde_json::json;
use tests::clock::WallClock;

use crate::site::Site;

const ONE: &str = "SELECT 1";

#[tokio::test]
async fn a_warm_statement_is_one_flight_and_so_is_a_batch_of_ten() {
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
async fn after_a_minute_the_login_is_read_once_more_in_one_flight() {
    let clock = WallClock::new();
    let site = Site::start_with(|launch| launch.clock(&clock)).await;
    site.query(ONE, &[]).await;
    for advance in [61, 3, 61] {
        clock.advance(Duration::from_secs(advance));
        site.server.advance(Duration::from_secs(advance));
        let before = site.flights();
        site.query(ONE, &[]).await;
        let spent = site.flights() - before;
        assert_eq!(spent, if advance > 60 { 2 } else { 1 }, "after {advance} s");
    }
    assert_eq!(
        site.server.stats().connections_open,
        2 + 1,
        "and the administrator's"
    );
}

#[tokio::test]
async fn the_first_request_of_a_container_reads_the_login_and_connects() {
    let site = Site::start().await;
    let (before, connections) = (site.flights(), site.server.stats().connections_opened);
    site.query(ONE, &[]).await;
    assert_eq!(site.flights() - before, 2);
    assert_eq!(site.server.stats().connections_opened - connections, 1);
}
