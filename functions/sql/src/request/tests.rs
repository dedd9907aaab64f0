use lambda_http::http::HeaderValue;
use proptest::prelude::*;

use super::*;

const OUTPUT: Output = Output {
    raw_text: true,
    array_mode: true,
};

fn refused(body: &str) -> String {
    Asked::parse(body.as_bytes(), OUTPUT)
        .unwrap_err()
        .code()
        .to_owned()
}

#[test]
fn one_query_a_batch_and_a_bare_array_are_read() {
    let one = Asked::parse(
        br#"{"query":"SELECT $1","params":["1",null],"x":[{}]}"#,
        OUTPUT,
    )
    .unwrap();
    assert!(!one.is_batch);
    assert_eq!(one.statements[0].text.params, [Some("1".into()), None]);
    for body in [
        r#"{"queries":[{"query":"SELECT 1","arrayMode":false},{"query":"SELECT 2","params":null}]}"#,
        r#" [{"query":"SELECT 1","arrayMode":false},{"query":"SELECT 2"}]"#,
    ] {
        let batch = Asked::parse(body.as_bytes(), OUTPUT).unwrap();
        assert!(batch.is_batch);
        let modes: Vec<_> = batch
            .statements
            .iter()
            .map(|s| s.output.array_mode)
            .collect();
        assert_eq!(modes, [false, true]);
    }
    let empty = Asked::parse(br#"{"queries":[]}"#, OUTPUT).unwrap();
    assert!(empty.is_batch && empty.statements.is_empty());
}

#[test]
fn a_body_that_is_no_query_is_refused() {
    for body in [
        "",
        "null",
        "1",
        "\"SELECT 1\"",
        "{\"query\":1}",
        "{\"query\":\"SELECT 1\",\"params\":{}}",
        "{\"queries\":{}}",
        "{\"queries\":[1]}",
        "{\"queries\":[[\"SELECT 1\"]]}",
        "[[\"SELECT 1\",[]]]",
        "{\"query\":\"SELECT 1\"",
    ] {
        assert_eq!(refused(body), "08P01", "{body}");
    }
    assert_eq!(refused("{\"query\":\"SELECT '\\u0000'\"}"), "22021");
    assert_eq!(refused("{\"query\":\"/**/copy t from stdin\"}"), "0A000");
    let many = format!("[{}]", vec!["{\"query\":\"\"}"; 1_001].join(","));
    assert_eq!(refused(&many), "54000");
    let many = format!(
        "{{\"query\":\"\",\"params\":[{}]}}",
        vec!["1"; 65_536].join(",")
    );
    assert_eq!(refused(&many), "54000");
}

#[test]
fn transaction_control_is_refused_in_a_batch_however_it_is_hidden() {
    for (sql, code) in [
        ("COMMIT", "2D000"),
        ("/* /* */ */ ;\\n-- x\\r\\n;cOmMiT AND CHAIN", "2D000"),
        ("end", "2D000"),
        ("\\f\\u000bABORT", "2D000"),
        ("ROLLBACK TO a", "2D000"),
        ("begin", "25001"),
        ("Start Transaction", "25001"),
        ("SAVEPOINT a", "0A000"),
        ("release a", "0A000"),
        ("prepare/**/transaction 'x'", "0A000"),
    ] {
        let body = format!("{{\"queries\":[{{\"query\":\"SELECT 1\"}},{{\"query\":\"{sql}\"}}]}}");
        assert_eq!(refused(&body), code, "{sql}");
    }
}

#[test]
fn transaction_control_alone_is_refused_and_leads_to_a_session() {
    for sql in [
        "BEGIN",
        "commit",
        "ROLLBACK",
        "START TRANSACTION READ ONLY",
        "SAVEPOINT a",
    ] {
        let body = format!("{{\"query\":\"{sql}\"}}");
        let failure = Asked::parse(body.as_bytes(), OUTPUT).unwrap_err();
        assert!(failure.body().contains("POST /token"), "{}", failure.body());
    }
}

#[test]
fn half_a_character_is_replaced_as_a_socket_s_client_replaces_it() {
    let body = r#"{"query":"SELECT '\ud800', $1","params":["a\udc00b\ud83d\ude00", ["\ud83d"]]}"#;
    let asked = Asked::parse(body.as_bytes(), OUTPUT).unwrap();
    let text = &asked.statements[0].text;
    assert_eq!(text.sql, "SELECT '\u{fffd}', $1");
    let expected = ["a\u{fffd}b\u{1f600}", "{\"\u{fffd}\"}"].map(|value| Some(value.into()));
    assert_eq!(text.params, expected);
}

#[test]
fn a_failure_names_its_parameter_and_its_query() {
    let deep = format!("{}{}", "[".repeat(7), "]".repeat(7));
    let at = |body: &str| {
        let failure = Asked::parse(body.as_bytes(), OUTPUT).unwrap_err();
        let body: serde_json::Value = serde_json::from_str(&failure.body()).unwrap();
        (
            body["message"].as_str().unwrap().to_owned(),
            body["where"].clone(),
        )
    };
    let (_, alone) = at(&format!(r#"{{"query":"SELECT $2","params":[1,{deep}]}}"#));
    assert_eq!(alone, "parameter $2");
    let (_, batched) = at(&format!(
        r#"[{{"query":""}},{{"query":"SELECT $1","params":[{deep}]}}]"#
    ));
    assert_eq!(batched, "batch query 2 of 2, parameter $1");
    for body in [r#"{"params":[]}"#, r#"{"query":null}"#, "{}"] {
        let (message, _) = at(body);
        assert_eq!(message, "the query is missing", "{body}");
    }
    let (message, place) = at(r#"{"queries":[{"query":"SELECT 1"},{"params":[]}]}"#);
    assert_eq!(
        (message.as_str(), place),
        ("the query is missing", "batch query 2 of 2".into())
    );
}

#[test]
fn levels_are_mapped_to_the_one_there_is() {
    let options = |level: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(
            "neon-batch-isolation-level",
            HeaderValue::from_static(level),
        );
        headers.insert("neon-batch-read-only", HeaderValue::from_static("true"));
        headers.insert("neon-batch-deferrable", HeaderValue::from_static("TRUE"));
        Options::of(&headers)
    };
    let weak = options("ReadCommitted").unwrap();
    assert_eq!((weak.read_only, weak.deferrable), (Some(true), Some(false)));
    let begin = weak.begin(Serializable::Refuse).unwrap();
    assert_eq!((begin.isolation, begin.read_only), (None, true));
    let strong = options("Serializable").unwrap();
    assert_eq!(
        strong.begin(Serializable::Refuse).unwrap_err().code(),
        "0A000"
    );
    assert_eq!(
        strong.begin(Serializable::Downgrade).unwrap().isolation,
        None
    );
    let passed = strong.begin(Serializable::Pass).unwrap();
    assert_eq!(passed.isolation, Some(Isolation::Serializable));
    assert_eq!(options("bogus").unwrap_err().code(), "22023");
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _either = Asked::parse(&body, OUTPUT);
    }

    #[test]
    fn any_json_is_read_or_refused(text in "[\\[\\]{}\",:a-z0-9\\\\ ]{0,60}") {
        let _either = Asked::parse(text.as_bytes(), OUTPUT);
        let _either = Asked::parse(format!("{{\"queries\":[{text}]}}").as_bytes(), OUTPUT);
    }
}
