//! Failures as the driver reads them: the server's own, in full, and ours, always with a SQLSTATE.

use serde_json::{Value, json};
use tests::http::Request;

use crate::site::{LIMIT, Site, driver_request, failed, send};

#[tokio::test]
async fn a_server_s_error_has_all_its_fields() {
    let site = Site::start().await;
    let error = site.error("SELECT 123 WHERE x", &[]).await;
    let line = error["line"].clone();
    assert!(line.as_str().unwrap().parse::<u32>().is_ok());
    assert_eq!(
        error,
        json!({"message": "column \"x\" does not exist", "code": "42703", "detail": null, "hint": null, "position": "18",
            "internalPosition": null, "internalQuery": null, "severity": "ERROR", "where": null, "table": null,
            "column": null, "schema": null, "dataType": null, "constraint": null, "file": "parse_relation.c", "line": line,
            "routine": "errorMissingColumn"})
    );
    site.query(
        "CREATE TABLE notes (id int PRIMARY KEY, n int NOT NULL CHECK (n > 0))",
        &[],
    )
    .await;
    site.query("INSERT INTO notes VALUES (1, 1)", &[]).await;
    let error = site.error("INSERT INTO notes VALUES (1, 1)", &[]).await;
    assert_eq!(error["code"], "23505");
    assert_eq!(error["detail"], "Key (id)=(1) already exists.");
    assert_eq!(
        (&error["schema"], &error["table"], &error["constraint"]),
        (&json!("blog"), &json!("notes"), &json!("notes_pkey"))
    );
    let error = site.error("INSERT INTO notes VALUES (2, NULL)", &[]).await;
    assert_eq!(
        (&error["code"], &error["column"]),
        (&json!("23502"), &json!("n"))
    );
}

#[tokio::test]
async fn thirty_errors_arrive_with_their_codes_alone_and_in_a_batch() {
    let site = Site::start().await;
    site.query(
        "CREATE TABLE notes (id int PRIMARY KEY, n int NOT NULL CHECK (n > 0), t varchar(3))",
        &[],
    )
    .await;
    site.query("INSERT INTO notes VALUES (1, 1, 'a')", &[])
        .await;
    let cases: [(&str, &str, Option<&str>); 31] = [
        ("SELECT x", "42703", Some("8")),
        ("SELECT * FROM missing", "42P01", Some("15")),
        ("SELEC 1", "42601", Some("1")),
        ("SELECT 1; SELECT 2", "42601", None),
        ("SELECT 1/0", "22012", None),
        ("SELECT 'a'::int", "22P02", Some("8")),
        ("SELECT '2026-13-01'::date", "22008", Some("8")),
        ("SELECT 'x'::date", "22007", Some("8")),
        ("SELECT 2147483648::int", "22003", None),
        ("SELECT missing()", "42883", Some("8")),
        ("SELECT 1 + 'a'::text", "42883", Some("10")),
        ("SELECT 1::missing", "42704", Some("11")),
        ("SELECT id, count(*) FROM notes", "42803", Some("8")),
        ("SELECT id FROM notes a, notes b", "42702", Some("8")),
        ("SELECT 1 UNION SELECT 1, 2", "42601", Some("23")),
        ("SELECT CASE WHEN 1 THEN 1 END", "42804", Some("18")),
        ("INSERT INTO notes VALUES (1, 1)", "23505", None),
        ("INSERT INTO notes VALUES (2, 0)", "23514", None),
        ("INSERT INTO notes VALUES (2, NULL)", "23502", None),
        ("INSERT INTO notes VALUES (2, 1, 'long')", "22001", None),
        ("INSERT INTO notes VALUES (1, 2, 3, 4)", "42601", Some("36")),
        ("INSERT INTO notes (a) VALUES (1)", "42703", Some("20")),
        (
            "SELECT (SELECT id FROM generate_series(1, 2) id)",
            "21000",
            None,
        ),
        ("SELECT '{'::jsonb", "22P02", Some("8")),
        ("SELECT '{1'::int[]", "22P02", Some("8")),
        ("SELECT ARRAY[1, 'a']", "22P02", Some("17")),
        ("CREATE TABLE notes (id int)", "42P07", None),
        ("DROP TABLE missing", "42P01", None),
        ("SET missing = 1", "42704", None),
        ("SELECT * FROM chats.sql_logins", "42501", Some("15")),
        ("SELECT sqrt(-1::float8)", "2201F", None),
    ];
    for (sql, code, position) in cases {
        let alone = site.error(sql, &[]).await;
        assert_eq!(alone["code"], code, "{sql}: {alone}");
        assert_eq!(alone["position"].as_str(), position, "{sql}: {alone}");
        let mut batched = site.batch(&["SELECT 1", sql, "SELECT 2"]).failed().await;
        if alone["where"].is_null() {
            assert_eq!(batched["where"].take(), "batch query 2 of 3", "{sql}");
        }
        assert_eq!(batched, alone, "{sql}");
    }
    assert_eq!(site.value("SELECT count(*) FROM notes").await, "1");
}

#[tokio::test]
async fn what_is_refused_here_has_a_code_of_its_own() {
    let site = Site::start().await;
    let connection = site.blog.connection_string();
    let with = |connection: &str, body: Value| driver_request(connection, body.to_string());
    let ask = json!({"query": "SELECT 1"});
    let wrong_base = connection.replace("/postgres", "/app%20db");
    for (request, code) in [
        (with(&connection, json!({"sql": "SELECT 1"})), "08P01"),
        (driver_request(&connection, ""), "08P01"),
        (driver_request(&connection, vec![0xff_u8, 0xfe]), "08P01"),
        (Request::new("POST", "/sql").json(&ask), "08001"),
        (with("mysql://a:b@c/d", ask.clone()), "08001"),
        (with("postgres://h/postgres", ask.clone()), "28000"),
        (with("postgres://blog@h/postgres", ask.clone()), "28000"),
        (
            with("postgres://blog@h/postgres", ask.clone()).bearer("eyJ.x.y"),
            "28000",
        ),
        (with(&wrong_base, ask.clone()), "3D000"),
        (
            with(&connection, json!({"query": "SELECT '\u{0}'"})),
            "22021",
        ),
        (
            with(
                &connection,
                json!({"query": "SELECT $1::text", "params": ["\u{0}"]}),
            ),
            "22021",
        ),
        (with(&connection, json!({"query": "SELECT $1"})), "08P01"),
        (
            with(&connection, json!({"query": "SELECT 1", "params": ["1"]})),
            "08P01",
        ),
        (
            with(&connection, json!({"query": "COPY t TO STDOUT"})),
            "0A000",
        ),
        (
            with(&connection, ask.clone()).header("Content-Encoding", "gzip"),
            "08P01",
        ),
        (
            with(&connection, ask.clone()).header("Idempotency-Key", "a b"),
            "22023",
        ),
        (Request::new("GET", "/sql"), "08P01"),
        (Request::new("POST", "/v2"), "08P01"),
        (
            Request::new("GET", "/v2")
                .header("Connection", "Upgrade")
                .header("Upgrade", "websocket"),
            "0A000",
        ),
        (with(&connection, json!({"query": "BEGIN"})), "25001"),
        (with(&connection, json!({"query": "commit"})), "2D000"),
        (with(&connection, json!({"params": []})), "08P01"),
        (Request::new("GET", "/"), "08P01"),
    ] {
        let body = failed(&send(&site.function, &request, LIMIT).await);
        assert_eq!(body["code"], code, "{request:?}: {body}");
    }
    let error = site.error("SELECT $1::text", &[json!("a\u{0}")]).await;
    assert_eq!(error["where"], "unnamed portal parameter $1");
    let half = driver_request(
        &connection,
        r#"{"query":"SELECT '\ud83d' || $1","params":["\ude00"]}"#,
    );
    let answer = send(&site.function, &half, LIMIT).await.json();
    assert_eq!(answer["rows"], json!([["\u{fffd}\u{fffd}"]]));
    let error = site.error("SELECT $1::int", &[]).await;
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("bind message supplies 0 parameters"),
        "{message}"
    );
    let error = site.error("SELECT $1", &[json!("1"), json!("2")]).await;
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("bind message supplies 2 parameters"),
        "{message}"
    );
    let error = site.error("SELECT 1 ORDER $1", &[json!("x")]).await;
    assert!(
        error["hint"].as_str().unwrap().contains("template"),
        "{error}"
    );
    let error = failed(
        &send(
            &site.function,
            &Request::new("POST", "/sql").json(&ask),
            LIMIT,
        )
        .await,
    );
    assert!(
        error["hint"].as_str().unwrap().contains("fetchOptions"),
        "{error}"
    );
}

#[tokio::test]
async fn an_unknown_login_and_a_wrong_password_look_the_same() {
    let site = Site::start().await;
    let ask = json!({"query": "SELECT 1"});
    let mut bodies = Vec::new();
    for connection in [
        "postgresql://blog:wrong@db.example.com/postgres",
        "postgresql://nobody:wrong@xdb.example.com/postgres",
        "postgresql://No%20Body:wrong@db.example.com/nothing",
        "postgresql://admin:wrong@db.example.com/postgres",
        "postgresql://sql_function:wrong@db.example.com/postgres",
        &format!("postgresql://blog:{}x@h/postgres", site.blog.password),
    ] {
        for _ in 0..2 {
            let mut body = site.ask_as(connection, &ask).failed().await;
            let message = body["message"].take();
            let message = message.as_str().unwrap();
            assert!(
                message.starts_with("password authentication failed for user \""),
                "{message}"
            );
            assert!(message.ends_with('"'), "{message}");
            bodies.push(body);
        }
    }
    assert_eq!(
        (&bodies[0]["code"], &bodies[0]["severity"]),
        (&json!("28P01"), &json!("FATAL"))
    );
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    let opened = site.server.stats().connections_open;
    assert_eq!(
        opened, 3,
        "the function's, the only login's and the administrator's: none of who was not admitted"
    );
}
