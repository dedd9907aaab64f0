//! What happens when time passes.

use std::time::Duration;

use crate::support::{Login, admin, moody, sqlstate, wait_until};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_open_connection_outlives_its_token_and_dies_at_sixty_minutes() {
    let dsql = moody().await;
    let client = admin(&dsql).await;
    dsql.advance(MINUTE * 16);
    client.query_one("SELECT 1", &[]).await.unwrap();
    dsql.advance(MINUTE * 43);
    client.query_one("SELECT 1", &[]).await.unwrap();
    dsql.advance(MINUTE * 2);
    wait_until("the connection is closed", || client.is_closed()).await;
    let error = client.query_one("SELECT 1", &[]).await.unwrap_err();
    assert!(error.as_db_error().is_none(), "{error:?}");
}

#[tokio::test]
async fn a_transaction_cut_at_sixty_minutes_leaves_nothing() {
    let dsql = moody().await;
    let client = admin(&dsql).await;
    let name = crate::support::table(&client).await;
    client
        .batch_execute(&format!("BEGIN; INSERT INTO {name} VALUES (1)"))
        .await
        .unwrap();
    dsql.advance(MINUTE * 61);
    wait_until("the connection is closed", || client.is_closed()).await;
    let client = admin(&dsql).await;
    assert_eq!(crate::support::count(&client, &name).await, 0);
}

#[tokio::test]
async fn a_token_expires_when_the_clock_is_moved() {
    let dsql = moody().await;
    let login = Login::admin(&dsql);
    login.connect(&dsql).await.unwrap();
    dsql.advance(MINUTE * 16);
    let refusal = login.refusal(&dsql).await;
    assert!(refusal.hint().unwrap().starts_with("Signature expired: "));
    Login::admin(&dsql).connect(&dsql).await.unwrap();
}

#[tokio::test]
async fn the_control_interface_moves_the_clock_and_refuses_nonsense() {
    let dsql = moody().await;
    let url = dsql.control_url();
    let before = crate::support::http(&url, "GET", "/clock", "").await;
    let after = crate::support::http(&url, "POST", "/clock", r#"{"advance_s": 100}"#).await;
    let passed = after.1["epoch_s"].as_i64().unwrap() - before.1["epoch_s"].as_i64().unwrap();
    assert!((100..110).contains(&passed), "{passed}");
    for body in [
        "",
        "{}",
        "[]",
        r#"{"advance_s": -1}"#,
        r#"{"advance_s": 1, "set": 1}"#,
        r#"{"advance": 1}"#,
        "\u{0}",
    ] {
        let (status, answer) = crate::support::http(&url, "POST", "/clock", body).await;
        assert_eq!(
            (status, answer["code"].as_str()),
            (400, Some("bad_request")),
            "{body}"
        );
    }
    assert_eq!(
        crate::support::http(&url, "GET", "/nothing", "").await.0,
        404
    );
    assert_eq!(
        crate::support::http(&url, "DELETE", "/clock", "").await.0,
        405
    );
    let (_, stats) = crate::support::http(&url, "GET", "/stats", "").await;
    assert!(stats["tokens_accepted"].is_u64());
}

#[tokio::test]
async fn all_connections_can_be_cut_at_once() {
    let dsql = moody().await;
    let clients = [admin(&dsql).await, admin(&dsql).await];
    clients[0].batch_execute("BEGIN").await.unwrap();
    assert_eq!(
        crate::support::http(&dsql.control_url(), "POST", "/connections/cut", "")
            .await
            .0,
        200
    );
    wait_until("both are closed", || {
        clients.iter().all(tokio_postgres::Client::is_closed)
    })
    .await;
    assert_ne!(sqlstate(clients[0].batch_execute("SELECT 1").await), "");
    admin(&dsql).await;
}
