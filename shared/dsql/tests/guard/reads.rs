//! Reads in text form, alone in transactions that cannot write, and the sessions that they share
//! with writes.

use std::time::Duration;

use dsql::text::{TextRequest, TextStatement};
use dsql_local::Faults;

use crate::text::{LIMITS, Texts, values};

const ADD: &str = "UPDATE counters SET n = n + 1 WHERE id = 'a'";
const READ: &str = "SELECT n FROM counters WHERE id = 'a'";

#[tokio::test]
async fn a_read_over_an_idle_session_goes_along_with_the_question_whether_it_is_alive() {
    let texts = Texts::start().await;
    texts.one("SELECT 1", &[]).await.unwrap();
    texts.fixture.advance(Duration::from_secs(61));
    let before = texts.client.stats();
    texts.one("SELECT 1", &[]).await.unwrap();
    let after = texts.client.stats();
    assert_eq!(after.probes - before.probes, 1);
    assert_eq!(after.connects, before.connects);
}

#[tokio::test]
async fn each_session_answers_for_itself_after_a_freeze() {
    let (texts, proxy) = Texts::start_behind_a_proxy().await;
    let statement = TextStatement::new("SELECT 1", &[]);
    let lookup = TextRequest::one(&statement, LIMITS).lookup();
    texts.one(ADD, &[]).await.unwrap();
    proxy.blackhole(); // of anna's, as of one whose path the network forgot
    texts.as_role("bert", lookup).await.unwrap();
    texts.fixture.advance(Duration::from_secs(61));
    texts.as_role("bert", lookup).await.unwrap();
    texts.one(ADD, &[]).await.unwrap();
    assert_eq!(texts.value(READ).await, "2");
    // The same for what may run twice, which needs no round trip of its own to find out.
    proxy.blackhole();
    texts.fixture.advance(Duration::from_secs(61));
    texts.as_role("bert", lookup).await.unwrap();
    assert_eq!(texts.value(READ).await, "2");
}

#[tokio::test]
async fn what_only_reads_is_one_round_trip_and_survives_a_lost_connection() {
    let texts = Texts::start().await;
    texts.one(READ, &[]).await.unwrap();
    let before = texts.flights();
    texts.one(READ, &[]).await.unwrap();
    texts.batch(&[READ, READ]).await.unwrap();
    assert_eq!(texts.flights() - before, 2);
    for faults in [
        Faults {
            drop_at_commit: 2,
            ..Faults::default()
        },
        Faults {
            server_unavailable: 2,
            ..Faults::default()
        },
    ] {
        texts.faults(faults.clone());
        assert_eq!(texts.value(READ).await, "0");
        texts.faults(faults);
        assert_eq!(texts.batch(&[READ, READ]).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn what_looks_like_a_read_and_writes_is_run_as_it_is_and_known_from_then_on() {
    let texts = Texts::start().await;
    let admin = texts.fixture.client();
    let db = texts.fixture.db(&admin);
    for sql in [
        "CREATE FUNCTION bump() RETURNS bigint LANGUAGE sql AS \
         $$UPDATE counters SET n = n + 1 WHERE id = 'a' RETURNING n$$",
        "CREATE SEQUENCE orders CACHE 1",
        "GRANT USAGE ON SEQUENCE orders TO anna",
    ] {
        db.execute_sql(sql).await.unwrap();
    }
    texts.one("SELECT 1", &[]).await.unwrap();
    assert_eq!(texts.value("SELECT bump()").await, "1");
    let before = texts.flights();
    assert_eq!(texts.value("SELECT bump()").await, "2");
    assert_eq!(texts.flights() - before, 1);
    assert_eq!(texts.value("SELECT nextval('orders')").await, "1");
    let batch = texts.batch(&["SELECT 1", "SELECT bump()"]).await.unwrap();
    assert_eq!(values(&batch[1]), ["3"]);
}
