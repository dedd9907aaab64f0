//! Sizes, rows and time: over a limit the answer says which, and what became of the request.

use std::time::Duration;

use serde_json::json;

use crate::site::{Site, failed, json_of};

#[tokio::test]
async fn an_answer_too_large_for_lambda_is_told_and_packed_it_fits() {
    let site = Site::start().await;
    let ask = json!({"query": "SELECT repeat('x', 1000) FROM generate_series(1, 9000)"});
    let error = site.ask(&ask).failed().await;
    assert_eq!(error["code"], "54000");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("response is too large (max is "),
        "{error}"
    );
    assert!(error["hint"].as_str().unwrap().contains("gzip"), "{error}");
    let response = site
        .ask(&ask)
        .header("accept-encoding", "gzip")
        .send()
        .await;
    assert_eq!(json_of(&response)["rowCount"], 9000);
}

#[tokio::test]
async fn an_answer_too_large_for_memory_is_told_and_the_connection_kept() {
    let site = Site::start().await;
    site.query("SELECT 1", &[]).await;
    let connections = site.server.stats().connections_opened;
    for sql in [
        "SELECT repeat('x', 10000) FROM generate_series(1, 3000)",
        "SELECT g FROM generate_series(1, 200001) g",
    ] {
        let ask = site
            .ask(&json!({"query": sql}))
            .header("accept-encoding", "gzip");
        let error = ask.failed().await;
        assert_eq!(error["code"], "54000", "{error}");
        assert!(error["hint"].as_str().unwrap().contains("LIMIT"), "{error}");
    }
    assert_eq!(site.value("SELECT 1").await, "1");
    assert_eq!(site.server.stats().connections_opened, connections);
}

/// The memory that a function of the template has at least, in KiB.
const LEAST_MEMORY_KIB: u64 = 128 * 1024;

#[tokio::test]
async fn no_answer_takes_more_memory_than_a_function_has() {
    let site = Site::start().await;
    let name = |n: usize| format!("{n:03}{}", "x".repeat(60));
    let columns: Vec<String> = (0..200).map(|n| format!("\"{}\" int", name(n))).collect();
    let create = format!("CREATE TABLE wide ({})", columns.join(","));
    site.query(&create, &[]).await;
    let many = ["wide.*"; 8].join(",");
    let described = vec![json!({"query": format!("SELECT {many} FROM wide LIMIT 0")}); 1_000];
    let nulls: Vec<String> = (0..1_600)
        .map(|n| format!("NULL AS \"{n:04}{}\"", "x".repeat(59)))
        .collect();
    let nulls = format!("SELECT {} FROM generate_series(1, 2500)", nulls.join(","));
    let texts = |text: &str, rows: usize| format!("SELECT {text} FROM generate_series(1, {rows})");
    for (what, ask) in [
        ("descriptions", json!({"queries": described})),
        (
            "NULLs under long names",
            json!({"query": nulls, "arrayMode": false}),
        ),
        (
            "escapes",
            json!({"query": texts("repeat(chr(1), 1000000)", 15)}),
        ),
        (
            "escapes in arrays",
            json!({"query": texts("array_fill(repeat(chr(1), 1000), ARRAY[1000])", 15)}),
        ),
        (
            "small rows",
            json!({"query": texts("1", 200_000), "arrayMode": false}),
        ),
        (
            "one value",
            json!({"query": texts("repeat('x', 200000000)", 1)}),
        ),
    ] {
        let response = site
            .ask(&ask)
            .header("accept-encoding", "gzip")
            .header("neon-raw-text-output", "false")
            .within(Duration::from_secs(120))
            .send()
            .await;
        if what == "small rows" {
            assert_eq!(response.status, 200);
        } else {
            let error = failed(&response);
            assert_eq!(error["code"], "54000", "{what}: {error}");
        }
        let peak = site.function.peak_memory_kib();
        assert!(peak < LEAST_MEMORY_KIB, "{what}: {peak} KiB");
    }
    assert_eq!(site.value("SELECT 1").await, "1");
}

#[tokio::test]
async fn a_body_of_too_many_values_is_refused_before_it_is_read() {
    let site = Site::start().await;
    let values = vec![0; 300_001];
    for ask in [
        json!({"query": "SELECT $1", "params": values}),
        json!({"query": "SELECT $1", "params": [values]}),
        json!({"queries": vec![json!({}); 150_001]}),
    ] {
        let error = site.ask(&ask).failed().await;
        assert_eq!(error["code"], "54000", "{error}");
    }
    let many: Vec<String> = (0..65_536).map(|n| n.to_string()).collect();
    let error = site
        .error(
            "SELECT 1",
            &many.iter().map(|n| json!(n)).collect::<Vec<_>>(),
        )
        .await;
    assert_eq!(error["code"], "54000", "{error}");
}

#[tokio::test]
async fn a_write_whose_answer_is_too_large_says_that_it_was_done() {
    let site = Site::start().await;
    site.query("CREATE TABLE wide (id int PRIMARY KEY, t text)", &[])
        .await;
    let error = site
        .error("INSERT INTO wide SELECT g, repeat('x', 3000) FROM generate_series(1, 2500) g RETURNING *", &[])
        .await;
    assert_eq!(error["code"], "54000");
    assert!(
        error["detail"].as_str().unwrap().contains("committed"),
        "{error}"
    );
    assert_eq!(site.value("SELECT count(*) FROM wide").await, "2500");
}

#[tokio::test]
async fn a_statement_over_its_time_is_cancelled_and_a_write_unknown() {
    let site = Site::start().await;
    site.query("CREATE TABLE slow (id int PRIMARY KEY)", &[])
        .await;
    let limit = Duration::from_millis(1_200);
    let error = site
        .ask(&json!({"query": "SELECT pg_sleep(30)"}))
        .within(limit)
        .failed()
        .await;
    assert_eq!(error["code"], "57014");
    let slow = "INSERT INTO slow SELECT 1 FROM pg_sleep(30)";
    let error = site
        .ask(&json!({"query": slow}))
        .within(limit)
        .failed()
        .await;
    assert_eq!(error["code"], "08007", "it may still be committed");
    let error = site
        .batch(&["SELECT pg_sleep(30)", "SELECT 1"])
        .within(limit)
        .failed()
        .await;
    assert_eq!(error["code"], "57014");
    assert_eq!(site.value("SELECT 1").await, "1");
}

#[tokio::test]
async fn a_request_of_megabytes_is_served() {
    let site = Site::start().await;
    let text = "a\\b\"c\u{e9}\u{1f600}\n".repeat(90_000);
    let ask = json!({"query": "SELECT length($1), md5($1), $1 = $2", "params": [text, text]});
    let body = site.ask(&ask).ok().await;
    assert_eq!(body["rows"][0][0], text.chars().count().to_string());
    assert_eq!(body["rows"][0][2], "t");
    let many: Vec<String> = (0..65_535).map(|n| n.to_string()).collect();
    let list: Vec<String> = (1..=65_535).map(|n| format!("${n}::int")).collect();
    let sql = format!("SELECT (ARRAY[{}])[65535]", list.join(","));
    let body = site.ask(&json!({"query": sql, "params": many})).ok().await;
    assert_eq!(body["rows"], json!([["65534"]]));
}
