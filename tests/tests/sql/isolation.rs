//! What belongs to one request or one login is never there for another.

use std::time::Duration;

use serde_json::{Value, json};
use tests::clock::WallClock;
use tests::http::Request;

use crate::site::{LIMIT, Site, driver_request, send};

#[tokio::test]
async fn settings_blocks_and_prepared_statements_end_with_their_request() {
    let site = Site::start().await;
    for leak in [
        json!({"query": "SET IntervalStyle = 'iso_8601'"}),
        json!({"query": "SELECT set_config('IntervalStyle', 'iso_8601', false)"}),
        json!({"query": "BEGIN"}),
        json!({"query": "BEGIN READ ONLY"}),
        json!({"query": "SET search_path = public"}),
        json!({"query": "PREPARE p AS SELECT 1"}),
        json!({"query": "SELECT pg_advisory_lock(1)"}),
        json!({"query": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"}),
        json!({"queries": [{"query": "SET TimeZone = 'Asia/Tokyo'"}, {"query": "SELECT 1/0"}]}),
        json!({"queries": [{"query": "SET LOCAL IntervalStyle = 'iso_8601'"}, {"query": "PREPARE q AS SELECT 1"}]}),
    ] {
        site.ask(&leak).send().await;
        let body = site
            .query(
                "SELECT interval '1 day', current_setting('search_path'), current_setting('TimeZone'), \
                 current_setting('transaction_read_only'), (SELECT count(*) FROM pg_prepared_statements), \
                 (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())",
                &[],
            )
            .await;
        let expected = json!([["1 day", "blog", "UTC", "off", "0", "0"]]);
        assert_eq!(body["rows"], expected, "after {leak}");
    }
}

#[tokio::test]
async fn logins_in_one_container_see_their_own_and_nothing_else() {
    let site = Site::start().await;
    let shop = site.logins.create("shop").await;
    let ask = |login: &tests::logins::Login, sql: &str| {
        let ask = site.ask_as(&login.connection_string(), &json!({"query": sql}));
        async move { ask.send().await }
    };
    for login in [&site.blog, &shop] {
        let name = &login.name;
        ask(login, "CREATE TABLE secrets (owner text)").await;
        ask(login, &format!("INSERT INTO secrets VALUES ('{name}')")).await;
    }
    for _ in 0..20 {
        for login in [&site.blog, &shop] {
            let body = ask(
                login,
                "SELECT owner, current_user, session_user FROM secrets",
            )
            .await
            .json();
            let name = login.name.as_str();
            assert_eq!(body["rows"], json!([[name, name, name]]));
        }
    }
    for (login, sql) in [
        (&site.blog, "SELECT * FROM shop.secrets"),
        (&shop, "DELETE FROM blog.secrets"),
        (&shop, "SELECT * FROM sql_blog.requests"),
        (&shop, "SELECT password_hash FROM chats.sql_logins"),
        (&shop, "SET ROLE blog"),
        (&shop, "SET LOCAL ROLE sql_function"),
        (&shop, "CREATE TABLE public.here (id int)"),
    ] {
        let response = ask(login, sql).await;
        let body = response.json();
        let harmless = sql.starts_with("SET LOCAL") && response.status == 200;
        assert!(harmless || body["code"] == "42501", "{sql}: {body}");
    }
    let passwords_swapped = format!("postgresql://blog:{}@h/postgres", shop.password);
    let refused = site
        .ask_as(&passwords_swapped, &json!({"query": "SELECT 1"}))
        .failed()
        .await;
    assert_eq!(refused["code"], "28P01");
}

#[tokio::test]
async fn a_container_keeps_few_sessions_and_closes_the_one_unused_for_longest() {
    let site = Site::start_with(|launch| launch.env("SQL_MAX_SESSIONS", "3")).await;
    let mut logins = vec![site.blog.clone()];
    for name in ["a", "b", "c"] {
        logins.push(site.logins.create(name).await);
    }
    let base = site.server.stats().connections_open;
    for round in 0..3 {
        for login in &logins {
            let body = site
                .ask_as(
                    &login.connection_string(),
                    &json!({"query": "SELECT current_user"}),
                )
                .ok()
                .await;
            assert_eq!(body["rows"], json!([[login.name]]));
            let open = site.server.stats().connections_open;
            assert!(
                open <= base + 2,
                "round {round}: {open} open, {base} before"
            );
        }
    }
}

#[tokio::test]
async fn requests_of_many_logins_at_once_do_not_mix() {
    let site = Site::start_with(|launch| launch.concurrency(8).env("SQL_MAX_SESSIONS", "5")).await;
    let mut logins = vec![site.blog.clone()];
    for name in ["a", "b", "c"] {
        logins.push(site.logins.create(name).await);
    }
    site.faults(dsql_local::Faults {
        delay_ms: 5,
        ..dsql_local::Faults::default()
    });
    let requests: Vec<(usize, Request)> = (0..80)
        .map(|n| {
            let login = &logins[n % logins.len()];
            let sql = "SELECT current_user, $1::int, current_setting('search_path')";
            let body = json!({"query": sql, "params": [n.to_string()]}).to_string();
            (n, driver_request(&login.connection_string(), body))
        })
        .collect();
    let answers = requests
        .iter()
        .map(|(n, request)| async { (*n, send(&site.function, request, LIMIT).await.json()) });
    for (n, body) in futures_util::future::join_all(answers).await {
        let name = &logins[n % logins.len()].name;
        assert_eq!(body["rows"], json!([[name, n.to_string(), name]]), "{body}");
    }
    assert!(site.server.stats().connections_open <= 5 + 1);
}

#[tokio::test]
async fn a_rotated_password_works_at_once_and_the_old_one_for_its_grace() {
    let clock = WallClock::new();
    let site = Site::start_with(|launch| launch.clock(&clock)).await;
    let one = json!({"query": "SELECT 1"});
    let try_with = |connection: String| {
        let ask = site.ask_as(&connection, &one);
        async move {
            let body: Value = ask.send().await.json();
            body["code"].as_str().unwrap_or("admitted").to_owned()
        }
    };
    let old = site.blog.connection_string();
    assert_eq!(try_with(old.clone()).await, "admitted");
    let rotated = site
        .logins
        .rotate(&site.blog, Duration::from_secs(300))
        .await;
    let new = rotated.connection_string();
    clock.advance(Duration::from_secs(2));
    assert_eq!(try_with(new.clone()).await, "admitted");
    assert_eq!(try_with(old.clone()).await, "admitted");
    clock.advance(Duration::from_secs(400));
    site.server.advance(Duration::from_secs(400));
    assert_eq!(try_with(old).await, "28P01");
    assert_eq!(try_with(new.clone()).await, "admitted");

    site.logins.drop(&rotated).await;
    clock.advance(Duration::from_secs(61));
    site.server.advance(Duration::from_secs(61));
    assert_eq!(
        try_with(new).await,
        "28P01",
        "a minute after it was dropped"
    );
}

#[tokio::test]
async fn guessing_passwords_costs_the_database_little() {
    let site = Site::start().await;
    site.query("SELECT 1", &[]).await;
    let before = site.flights();
    let started = std::time::Instant::now();
    for n in 0..100 {
        let connection = format!("postgresql://blog:guess{n}@h/postgres");
        let body = site
            .ask_as(&connection, &json!({"query": "SELECT 1"}))
            .failed()
            .await;
        assert_eq!(body["code"], "28P01");
    }
    let seconds = started.elapsed();
    let spent = site.flights() - before;
    assert!(
        spent <= seconds.as_secs() + 2,
        "{spent} flights in {seconds:?}"
    );
}
