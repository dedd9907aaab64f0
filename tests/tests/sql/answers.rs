//! Answers that succeed: their shape, the forms a client may ask for, the headers around them.

use serde_json::{Value, json};
use tests::http::{Request, Response};
use tests::sample::Sample;

use crate::site::{LIMIT, Site, driver_request, json_of, send};

#[tokio::test]
async fn an_answer_has_what_node_postgres_reports() {
    let site = Site::start().await;
    let body = site.query("SELECT $1::int4 AS n", &[json!("42")]).await;
    assert_eq!(
        body,
        json!({
            "fields": [{"name": "n", "dataTypeID": 23, "tableID": 0, "columnID": 0, "dataTypeSize": 4,
                "dataTypeModifier": -1, "format": "text"}],
            "rows": [["42"]], "command": "SELECT", "rowCount": 1, "rowAsArray": true
        })
    );
    site.query(
        "CREATE TABLE notes (id int PRIMARY KEY, text varchar(9))",
        &[],
    )
    .await;
    let body = site
        .query(
            "INSERT INTO notes SELECT g, 'x' FROM generate_series(1, 5) g",
            &[],
        )
        .await;
    assert_eq!(
        (&body["command"], &body["rowCount"]),
        (&json!("INSERT"), &json!(5))
    );
    let body = site
        .query(
            "UPDATE notes SET text = 'y' WHERE id < 3 RETURNING id, text",
            &[],
        )
        .await;
    assert_eq!(body["rows"], json!([["1", "y"], ["2", "y"]]));
    assert_eq!(
        (&body["command"], &body["rowCount"]),
        (&json!("UPDATE"), &json!(2))
    );
    assert_ne!(body["fields"][1]["tableID"], 0);
    assert_eq!(body["fields"][1]["columnID"], 2);
    assert_eq!(body["fields"][1]["dataTypeModifier"], 13);
    let body = site.query("DELETE FROM notes", &[]).await;
    assert_eq!(
        (&body["command"], &body["rowCount"]),
        (&json!("DELETE"), &json!(5))
    );
    for (sql, command, count) in [
        ("DROP TABLE notes", json!("DROP"), json!(null)),
        ("SHOW datestyle", json!("SHOW"), json!(null)),
        ("VALUES (1), (2)", json!("SELECT"), json!(2)),
        ("", json!(null), json!(null)),
        ("-- nothing", json!(null), json!(null)),
    ] {
        let body = site.query(sql, &[]).await;
        assert_eq!(
            (&body["command"], &body["rowCount"]),
            (&command, &count),
            "{sql}"
        );
    }
    let body = site.query("SELECT FROM generate_series(1, 2)", &[]).await;
    assert_eq!(
        (&body["fields"], &body["rows"]),
        (&json!([]), &json!([[], []]))
    );
    let body = site.query("SELECT pg_sleep(0)", &[]).await;
    assert_eq!(
        (&body["fields"][0]["dataTypeID"], &body["rows"]),
        (&json!(2278), &json!([[""]]))
    );
    let body = site.query("SELECT 1 AS a, 2 AS a", &[]).await;
    assert_eq!(body["rows"], json!([["1", "2"]]));
}

#[tokio::test]
async fn other_clients_choose_objects_and_json_values() {
    let site = Site::start().await;
    let sql = "SELECT 1::int4 AS n, 2::int8 AS big, true AS b, NULL AS x, 'NaN'::float8 AS f, '{\"a\":[1.50]}'::jsonb AS j, \
               '{1,NULL}'::int4[] AS list, '{}'::text[] AS none, 1.10::numeric AS m, 5 AS n";
    let ask = |raw: &'static str, array: &'static str| {
        let request = Request::new("POST", "/sql")
            .header("NEON-CONNECTION-STRING", &site.blog.connection_string())
            .header("Neon-Raw-Text-Output", raw)
            .header("Neon-Array-Mode", array)
            .body(json!({"query": sql}).to_string());
        let function = &site.function;
        async move { send(function, &request, LIMIT).await.json() }
    };
    let body = ask("false", "false").await;
    assert_eq!(
        body["rows"],
        json!([{"big": "2", "b": true, "x": null, "f": "NaN", "j": {"a": [1.5]}, "list": [1, null], "none": [],
            "m": "1.10", "n": 5}])
    );
    assert_eq!(body["rowAsArray"], false);
    let body = ask("true", "false").await;
    assert_eq!(body["rows"][0]["b"], "t");
    assert_eq!(body["rows"][0]["list"], "{1,NULL}");
    // Only exactly `true` is true.
    let body = ask("TRUE", "true").await;
    assert_eq!(body["rows"][0][0], 1);

    let body = site
        .ask(&json!([{"query": "SELECT 1 AS a", "arrayMode": false}, {"query": "SELECT 1 AS a"}]))
        .ok()
        .await;
    assert_eq!(body["results"][0]["rows"], json!([{"a": "1"}]));
    assert_eq!(body["results"][1]["rows"], json!([["1"]]));
}

#[tokio::test]
async fn a_batch_echoes_its_options_as_they_were_understood() {
    let site = Site::start().await;
    let response = site
        .batch(&["SELECT 1", "SHOW transaction_read_only"])
        .header("Neon-Batch-Isolation-Level", "ReadCommitted")
        .header("Neon-Batch-Read-Only", "true")
        .header("Neon-Batch-Deferrable", "false")
        .send()
        .await;
    assert_eq!(response.json()["results"][1]["rows"], json!([["on"]]));
    assert_eq!(
        response.header("neon-batch-isolation-level"),
        Some("ReadCommitted")
    );
    assert_eq!(response.header("neon-batch-read-only"), Some("true"));
    assert_eq!(response.header("neon-batch-deferrable"), Some("false"));

    let plain = site.batch(&["SELECT 1"]).send().await;
    assert_eq!(plain.header("neon-batch-isolation-level"), None);
    let one = site
        .ask(&json!({"query": "SELECT 1"}))
        .header("Neon-Batch-Isolation-Level", "bogus")
        .send()
        .await;
    assert_eq!(
        one.status, 200,
        "options of a batch mean nothing to one query"
    );
}

#[tokio::test]
async fn serializable_is_refused_or_taken_for_what_there_is() {
    let site = Site::start().await;
    let refused = site
        .batch(&["SELECT 1"])
        .header("Neon-Batch-Isolation-Level", "Serializable")
        .failed()
        .await;
    assert_eq!(refused["code"], "0A000");
    assert!(refused["hint"].as_str().unwrap().contains("RepeatableRead"));
    for mode in ["downgrade", "pass"] {
        let function = site
            .logins
            .launch()
            .env("SQL_SERIALIZABLE", mode)
            .start()
            .await;
        let body = json!({"queries": [{"query": "SHOW transaction_isolation"}]}).to_string();
        let request = driver_request(&site.blog.connection_string(), body)
            .header("Neon-Batch-Isolation-Level", "Serializable")
            .header("Neon-Batch-Deferrable", "true");
        let response = send(&function, &request, LIMIT).await;
        assert_eq!(response.status, 200, "{mode}: {:?}", response.json());
        assert_eq!(
            response.json()["results"][0]["rows"][0][0] == "serializable",
            mode == "pass"
        );
        assert_eq!(
            response.header("neon-batch-isolation-level"),
            Some("Serializable")
        );
    }
}

#[tokio::test]
async fn a_browser_s_preflight_is_answered_without_a_login() {
    let site = Site::start().await;
    let request = Request::new("OPTIONS", "/sql").header("Origin", "https://blog.example");
    let response = send(&site.function, &request, LIMIT).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("allow"), Some("OPTIONS, POST"));
    assert_eq!(response.header("access-control-max-age"), Some("86400"));
    let allowed = response.header("access-control-allow-headers").unwrap();
    for name in [
        "Neon-Connection-String",
        "Neon-Batch-Deferrable",
        "Idempotency-Key",
    ] {
        assert!(allowed.contains(name), "{allowed}");
    }
    assert_eq!(response.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn both_payloads_any_stage_and_any_content_type_are_served() {
    let site = Site::start().await;
    let body = json!({"query": "SELECT 1", "params": []}).to_string();
    let staged = Request::new("POST", "/prod/sql")
        .header("neon-connection-string", &site.blog.connection_string())
        .header("neon-raw-text-output", "true")
        .header("neon-array-mode", "true")
        .header("content-type", "application/sql")
        .body(body.clone());
    let http = driver_request(&site.blog.connection_string(), body).http_event();
    for event in [staged.rest_event(), http] {
        let answer = site
            .function
            .invoke(event.to_string(), LIMIT)
            .await
            .response();
        let response = Response::from_answer(&answer);
        assert_eq!(
            (response.status, response.json()["rows"].clone()),
            (200, json!([["1"]]))
        );
    }
}

#[tokio::test]
async fn a_long_answer_is_packed_for_who_asked_for_it() {
    let site = Site::start().await;
    let ask = json!({"query": "SELECT repeat('x', 5000)"});
    let plain = site.ask(&ask).send().await;
    assert_eq!(
        (plain.header("content-encoding"), plain.header("vary")),
        (None, None)
    );
    let packed = site
        .ask(&ask)
        .header("Accept-Encoding", "gzip, deflate")
        .send()
        .await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("vary"), Some("accept-encoding"));
    assert!(packed.body.len() < 500);
    assert_eq!(json_of(&packed), plain.json());
}

#[tokio::test]
async fn every_sample_event_gets_its_answer() {
    let site = Site::start().await;
    let samples: Vec<Sample> = Sample::all()
        .into_iter()
        .filter(|sample| sample.function == "sql")
        .collect();
    assert!(samples.len() >= 5, "{} sample events", samples.len());
    for sample in samples {
        let event = sample.event_with("neon-connection-string", &site.blog.connection_string());
        let answer = site
            .function
            .invoke(event.to_string(), LIMIT)
            .await
            .response();
        let response = Response::from_answer(&answer);
        let expected = if sample.name.contains("error") {
            400
        } else {
            200
        };
        assert_eq!(
            response.status, expected,
            "{}: {:?}",
            sample.name, response.body
        );
        if sample.name.contains("error") {
            crate::site::failed(&response);
        }
    }
}

#[tokio::test]
async fn a_statement_sees_the_login_s_schema_first() {
    let site = Site::start().await;
    assert_eq!(site.value("SELECT current_user").await, json!("blog"));
    assert_eq!(site.value("SELECT current_schema").await, json!("blog"));
    assert_eq!(site.value("SHOW TimeZone").await, json!("UTC"));
    let time: Value = site
        .value("SELECT '2026-11-22T12:34:56.789-03:30'::timestamptz")
        .await;
    assert_eq!(time, json!("2026-11-22 16:04:56.789+00"));
}
