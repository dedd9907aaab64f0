//! What belongs to one request or one login is never there for another.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tests::clock::WallClock;
use tests::http::Request;
use tests::jwt::{AUDIENCE, ISSUER, SigningKey, key_set};
use tests::logins::Login;

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
                 current_setting('transaction_read_only'), (SELECT count(*) FROM pg_prepared_statements WHERE from_sql), \
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
    let ask = |login: &Login, sql: &str| {
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
        (&shop, "SELECT * FROM sql_requests.blog"),
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
    assert_eq!(try_with(new.clone()).await, "admitted", "at once");
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
async fn a_login_made_again_works_at_once_in_every_warm_container() {
    let key = SigningKey::ed25519("a");
    let site = Site::start().await;
    let mut containers = Vec::new();
    for _ in 0..4 {
        let launch = site.logins.launch().env("AUTH_ISSUER", ISSUER);
        let launch = launch
            .env("AUTH_JWKS", key_set(&[&key]))
            .env("SQL_AUTH_AUDIENCE", AUDIENCE);
        containers.push(launch.start().await);
    }
    let token = format!("Bearer {}", key.token("blog", SystemTime::now()));
    let sixteen = async |login: &Login, sql: &str| {
        let with_token = "postgresql://blog@db.example.com/postgres";
        for n in 0..16 {
            let body = json!({"query": sql}).to_string();
            let request = if n % 2 == 0 {
                driver_request(&login.connection_string(), body)
            } else {
                driver_request(with_token, body).header("Authorization", &token)
            };
            let answer = send(&containers[n / 4], &request, LIMIT).await;
            assert_eq!(answer.status, 200, "request {n}: {}", answer.json());
        }
    };
    site.query("CREATE TABLE posts (id int)", &[]).await;
    sixteen(&site.blog, "SELECT * FROM posts").await;

    // The role stays, and owns what it owned.
    site.logins.drop(&site.blog).await;
    let again = site.logins.create("blog").await;
    sixteen(&again, "SELECT * FROM posts").await;
    sixteen(&again, "INSERT INTO posts VALUES (1)").await;
    let alter = json!({"query": "ALTER TABLE posts ADD COLUMN title text"});
    site.ask_as(&again.connection_string(), &alter).ok().await;

    // The role is another one, in a schema that is another one.
    site.logins.delete(&again).await;
    let other = site.logins.create("blog").await;
    site.ask_as(
        &other.connection_string(),
        &json!({"query": "CREATE TABLE posts (id int)"}),
    )
    .ok()
    .await;
    sixteen(&other, "SELECT * FROM posts").await;
    sixteen(&other, "INSERT INTO posts VALUES (1)").await;
}

#[tokio::test]
async fn what_a_login_made_reads_no_hash_after_it_was_dropped() {
    let site = Site::start().await;
    let reader = site
        .logins
        .create_with("reader", "read-only", json!(["blog"]))
        .await;
    let outcome = async |login: &Login, sql: &str| {
        let ask = site.ask_as(&login.connection_string(), &json!({"query": sql}));
        let body = ask.send().await.json();
        body["code"].as_str().unwrap_or("ok").to_owned()
    };
    for (sql, expected) in [
        (
            "CREATE VIEW hashes AS SELECT * FROM chats.sql_logins",
            "42501",
        ),
        (
            "CREATE FUNCTION hash() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT password_hash FROM chats.sql_logins'",
            "42501",
        ),
        // As plain PostgreSQL takes it, with a body that is not looked at before it runs.
        (
            "CREATE FUNCTION late() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN (SELECT password_hash FROM chats.sql_logins LIMIT 1); END'",
            "ok",
        ),
        ("CREATE VIEW of_late AS SELECT late() AS hash", "ok"),
        ("SELECT late()", "42501"),
    ] {
        assert_eq!(outcome(&site.blog, sql).await, expected, "{sql}");
    }
    site.logins.drop(&site.blog).await;
    for sql in ["SELECT blog.late()", "SELECT * FROM blog.of_late"] {
        assert_eq!(outcome(&reader, sql).await, "42501", "{sql}");
    }
    let again = site.logins.create("blog").await;
    for sql in [
        "SELECT late()",
        "SELECT * FROM of_late",
        "SELECT * FROM chats.sql_logins",
    ] {
        assert_eq!(outcome(&again, sql).await, "42501", "{sql}");
    }
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
        spent <= seconds.as_secs() + 5,
        "{spent} flights in {seconds:?}"
    );
}
