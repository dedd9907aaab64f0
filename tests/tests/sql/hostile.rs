//! Input that means harm: whatever comes, the answer is a 400 with a SQLSTATE, and the next request
//! finds all as it was.

use std::time::Duration;

use serde_json::{Value, json};
use tests::http::Request;

use crate::site::{LIMIT, Site, driver_request, failed, send};

impl Site {
    /// An ordinary request is served by the same process, and nothing of earlier ones is left.
    async fn is_well(&self) {
        let body = self
            .query(
                "SELECT current_user, $1::text, txid_current_if_assigned() IS NULL",
                &[json!("ok")],
            )
            .await;
        assert_eq!(body["rows"], json!([["blog", "ok", "t"]]));
        assert_eq!(self.function.exit_status(), None);
    }
}

#[tokio::test]
async fn transaction_control_does_not_get_into_a_batch() {
    let site = Site::start().await;
    site.query("CREATE TABLE kept (id int PRIMARY KEY)", &[])
        .await;
    let insert = "INSERT INTO kept VALUES (1)";
    for (smuggled, code) in [
        ("COMMIT", "2D000"),
        ("commit;", "2D000"),
        (" \t\r\n\x0b\x0cCoMmIt AND CHAIN", "2D000"),
        ("/**/COMMIT", "2D000"),
        ("/* /* nested */ still */ COMMIT", "2D000"),
        ("-- line\nCOMMIT", "2D000"),
        ("-- line\rCOMMIT", "2D000"),
        (";COMMIT", "2D000"),
        (";;/* ; */;\n;COMMIT", "2D000"),
        ("END", "2D000"),
        ("ROLLBACK", "2D000"),
        ("ABORT", "2D000"),
        ("BEGIN", "25001"),
        ("START/**/TRANSACTION", "25001"),
        ("SAVEPOINT a", "0A000"),
        ("RELEASE a", "0A000"),
        ("PREPARE TRANSACTION 'a'", "0A000"),
        ("COMMIT PREPARED 'a'", "2D000"),
        ("SELECT 1; COMMIT", "42601"),
        ("SELECT 1;COMMIT;--", "42601"),
        ("\u{feff}COMMIT", "42601"),
        ("\u{a0}COMMIT", "42601"),
        ("ＣＯＭＭＩＴ", "42601"),
        ("COMM\u{130}T", "42601"),
        ("\"COMMIT\"", "42601"),
        ("(COMMIT)", "42601"),
        ("DO $$ BEGIN COMMIT; END $$", "2D000"),
        ("EXPLAIN COMMIT", "42601"),
    ] {
        let error = site.batch(&[insert, smuggled, "SELECT 1/0"]).failed().await;
        assert_eq!(error["code"], code, "{smuggled:?}: {error}");
        assert_eq!(
            site.value("SELECT count(*) FROM kept").await,
            "0",
            "{smuggled:?}"
        );
    }
    site.is_well().await;
}

#[tokio::test]
async fn random_bodies_get_a_refusal() {
    let site = Site::start().await;
    let mut random = fastrand::Rng::with_seed(20_261_125);
    let connection = site.blog.connection_string();
    let seed = json!({"queries": [{"query": "SELECT $1::text", "params": ["a", null, [1, "x"], {"b": 1}]}]}).to_string();
    for _ in 0..300 {
        let mut body = seed.clone().into_bytes();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(0..body.len());
            match random.u8(0..4) {
                0 => body[at] = random.u8(..),
                1 => body.truncate(at),
                2 => body.insert(at, *random.choice(b"{}[]\",:\\0n-").unwrap()),
                _ => drop(body.remove(at)),
            }
            if body.is_empty() {
                break;
            }
        }
        let response = send(&site.function, &driver_request(&connection, body), LIMIT).await;
        if response.status != 200 {
            failed(&response);
        }
    }
    site.is_well().await;
}

#[tokio::test]
async fn random_headers_get_a_refusal() {
    let site = Site::start().await;
    let mut random = fastrand::Rng::with_seed(7);
    let good = site.blog.connection_string();
    let body = json!({"queries": [{"query": "SELECT 1"}]}).to_string();
    let pieces = [
        "%",
        "%00",
        "%ff",
        "@",
        ":",
        "/",
        "//",
        "?",
        "#",
        "é",
        "\u{1f600}",
        "blog",
        "postgres",
        "[::1]",
        " ",
        "\t",
        "%2",
        "=",
        "&",
        "+",
    ];
    for round in 0..300 {
        let mut text = if round % 2 == 0 {
            "postgresql://".to_owned()
        } else {
            good.clone()
        };
        for _ in 0..random.usize(1..8) {
            let mut at = random.usize(0..=text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            text.insert_str(at, pieces[random.usize(..pieces.len())]);
        }
        let mut request = driver_request(&text, body.clone());
        for name in [
            "Neon-Batch-Isolation-Level",
            "Neon-Batch-Read-Only",
            "Idempotency-Key",
            "Accept-Encoding",
        ] {
            if random.bool() {
                request = request.header(name, pieces[random.usize(..pieces.len())]);
            }
        }
        let response = send(&site.function, &request, LIMIT).await;
        if response.status != 200 {
            failed(&response);
            let told = String::from_utf8_lossy(&response.body);
            assert!(!told.contains(&site.blog.password), "{told}");
        }
    }
    site.is_well().await;
}

#[tokio::test]
async fn a_nul_anywhere_is_refused() {
    let site = Site::start().await;
    let good = site.blog.connection_string();
    let ask = json!({"query": "SELECT 1"}).to_string();
    for connection in [
        good.replace("blog:", "blog%00:"),
        good.replace("blog:", "blog%00application_name%00x:"),
        good.replace('@', "%00@"),
        good.replace("/postgres", "/postgres%00"),
    ] {
        let response = send(
            &site.function,
            &driver_request(&connection, ask.clone()),
            LIMIT,
        )
        .await;
        assert_eq!(failed(&response)["code"], "08001");
    }
    for body in [
        json!({"query": "\u{0}"}),
        json!({"query": "SELECT 1 --\u{0}"}),
        json!({"queries": [{"query": "SELECT 1"}, {"query": "SELECT 1\u{0}; COMMIT"}]}),
        json!({"query": "SELECT $1::text", "params": ["\u{0}"]}),
        json!({"query": "SELECT $1::text[]", "params": [["a\u{0}"]]}),
    ] {
        assert_eq!(site.ask(&body).failed().await["code"], "22021", "{body}");
    }
    let named = good + "?application_name=%00%0d%0ax";
    let answer = site
        .ask_as(&named, &json!({"query": "SELECT 1"}))
        .send()
        .await;
    assert_eq!(answer.status, 200);
    site.is_well().await;
}

#[tokio::test]
async fn bodies_of_megabytes_and_without_end_are_refused() {
    let site = Site::start().await;
    let connection = site.blog.connection_string();
    let text = "x".repeat(10_000_000);
    for (body, code) in [
        (
            json!({"query": "SELECT $1::text", "params": [text]}).to_string(),
            "54000",
        ),
        ("[".repeat(100_000), "54000"),
        (
            "{\"query\":\"\",\"x\":".to_owned() + &"[".repeat(100_000),
            "54000",
        ),
        (
            "{\"query\":\"SELECT 1\",\"params\":[".to_owned()
                + &"[".repeat(100_000)
                + &"]".repeat(100_000)
                + "]}",
            "54000",
        ),
        (
            "{\"query\":\"SELECT 1\",\"params\":[".to_owned()
                + &"{\"a\":".repeat(100_000)
                + "1"
                + &"}".repeat(100_000)
                + "]}",
            "54000",
        ),
        (
            json!({"query": "SELECT 1", "params": vec![1; 65_536]}).to_string(),
            "54000",
        ),
        (
            json!({"queries": vec![json!({"query": "SELECT 1"}); 1_001]}).to_string(),
            "54000",
        ),
    ] {
        let begin: String = body.chars().take(60).collect();
        let response = send(&site.function, &driver_request(&connection, body), LIMIT).await;
        assert_eq!(failed(&response)["code"], code, "{begin}");
    }
    // A bomb would have to be unpacked to be one.
    let bomb =
        driver_request(&connection, vec![0x1f_u8, 0x8b, 8, 0]).header("content-encoding", "gzip");
    assert_eq!(
        failed(&send(&site.function, &bomb, LIMIT).await)["code"],
        "08P01"
    );
    site.is_well().await;
}

#[tokio::test]
async fn statements_that_would_hold_the_connection_do_not() {
    let site = Site::start().await;
    for sql in [
        "COPY notes FROM STDIN",
        "/**/ ; copy (select 1) to stdout",
        "SELECT pg_sleep(60)",
        "LOCK TABLE missing",
        "BEGIN",
        "PREPARE a AS SELECT 1",
        "EXECUTE a",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "LISTEN a",
        "SET client_encoding = 'LATIN1'",
        "SET ROLE admin",
        "RESET ROLE",
        "SET SESSION AUTHORIZATION admin",
        "DISCARD ALL",
    ] {
        let ask = site
            .ask(&json!({"query": sql}))
            .within(Duration::from_millis(1_500));
        let response = ask.send().await;
        if response.status != 200 {
            failed(&response);
        }
        site.is_well().await;
    }
}

#[tokio::test]
async fn errors_of_the_size_of_their_input_still_arrive() {
    let site = Site::start().await;
    let error = site
        .error("SELECT $1::int", &[json!("\"".repeat(2_500_000))])
        .await;
    assert_eq!(error["code"], "22P02");
    let statement: Value = json!({"query": format!("SELECT {}", "x".repeat(3_000_000))});
    assert_eq!(site.ask(&statement).failed().await["code"], "42703");
    site.is_well().await;
}

#[tokio::test]
async fn an_unfinished_request_is_no_request() {
    let site = Site::start().await;
    for request in [
        Request::new("POST", "/sql"),
        Request::new("POST", "/sql/"),
        Request::new("PUT", "/sql"),
        Request::new("POST", "//sql"),
        Request::new("POST", "/sql%00"),
        Request::new("POST", "/sql").header("Neon-Connection-String", ""),
    ] {
        failed(&send(&site.function, &request, LIMIT).await);
    }
    site.is_well().await;
}
