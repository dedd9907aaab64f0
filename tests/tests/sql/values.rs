//! Values go in and come back byte for byte, whatever they are and however a client writes them.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::site::Site;

#[tokio::test]
async fn each_javascript_value_arrives_as_the_driver_means_it() {
    let site = Site::start().await;
    for (cast, param, expected) in [
        ("text", json!("hi"), json!("hi")),
        ("text", json!(""), json!("")),
        ("text", json!("😀"), json!("😀")),
        ("int", json!("42"), json!("42")),
        ("float8", json!("1.5"), json!("1.5")),
        ("float8", json!("NaN"), json!("NaN")),
        ("float8", json!("-Infinity"), json!("-Infinity")),
        (
            "int8",
            json!("9223372036854775807"),
            json!("9223372036854775807"),
        ),
        ("bool", json!("true"), json!("t")),
        ("text", json!(null), json!(null)),
        (
            "timestamptz",
            json!("2026-11-22T12:34:56.789+00:00"),
            json!("2026-11-22 12:34:56.789+00"),
        ),
        ("bytea", json!("\\x00ff01"), json!("\\x00ff01")),
        ("text", json!("\\x414243"), json!("\\x414243")),
        (
            "jsonb",
            json!("{\"a\":1,\"b\":[null,\"x\"]}"),
            json!("{\"a\": 1, \"b\": [null, \"x\"]}"),
        ),
        ("int[]", json!("{\"1\",\"2\",\"3\"}"), json!("{1,2,3}")),
        (
            "text[]",
            json!("{\"a\",\"b\\\"c\",\"d\\\\e\",\"f,g\",\"NULL\",\"\"}"),
            json!("{a,\"b\\\"c\",\"d\\\\e\",\"f,g\",\"NULL\",\"\"}"),
        ),
        ("int[]", json!("{NULL,NULL,\"1\"}"), json!("{NULL,NULL,1}")),
        (
            "int[][]",
            json!("{{\"1\",\"2\"},{\"3\",\"4\"}}"),
            json!("{{1,2},{3,4}}"),
        ),
        ("bytea[]", json!("{\\\\x0102}"), json!("{\"\\\\x0102\"}")),
        // what other clients and old drivers send
        ("int", json!(42), json!("42")),
        ("numeric", json!(100), json!("100")),
        ("bool", json!(false), json!("f")),
        (
            "jsonb",
            json!({"a": [1, null]}),
            json!("{\"a\": [1, null]}"),
        ),
        ("int[]", json!([1, null, 3]), json!("{1,NULL,3}")),
        (
            "text[]",
            json!(["a\nb", "u\u{41}", "\\", "\""]),
            json!("{\"a\nb\",uA,\"\\\\\",\"\\\"\"}"),
        ),
        (
            "bytea",
            json!({"type": "Buffer", "data": [1, 2, 255]}),
            json!("\\x0102ff"),
        ),
    ] {
        let body = site
            .query(&format!("SELECT $1::{cast}"), std::slice::from_ref(&param))
            .await;
        assert_eq!(body["rows"], json!([[expected]]), "{param} as {cast}");
    }
}

#[tokio::test]
async fn every_scalar_and_array_type_comes_back_as_it_was_written() {
    let site = Site::start().await;
    let types = [
        ("bool", "t", 16),
        ("int2", "-32768", 21),
        ("int4", "2147483647", 23),
        ("int8", "-9223372036854775808", 20),
        ("float4", "1.1", 700),
        ("float8", "1.7976931348623157e+308", 701),
        ("numeric", "123456789.000000001", 1700),
        ("text", "a'b", 25),
        ("varchar", "v", 1043),
        ("bpchar", "c", 1042),
        ("\"char\"", "c", 18),
        ("name", "n", 19),
        ("bytea", "\\xdeadbeef", 17),
        ("date", "2026-11-25", 1082),
        ("time", "12:34:56.789", 1083),
        ("timetz", "12:34:56+02", 1266),
        ("timestamp", "2026-11-25 12:34:56.000001", 1114),
        ("timestamptz", "2026-11-25 12:34:56+00", 1184),
        ("interval", "1 year 2 mons -3 days +04:05:06.7", 1186),
        ("uuid", "0a1b2c3d-0000-4000-8000-000000000001", 2950),
        ("json", "{\"a\" : 1}", 114),
        ("jsonb", "{\"a\": 1}", 3802),
        ("oid", "4294967295", 26),
        ("inet", "192.0.2.1/24", 869),
        ("cidr", "192.0.2.0/24", 650),
        ("macaddr", "08:00:2b:01:02:03", 829),
        ("point", "(1,2)", 600),
        ("circle", "<(1,2),3>", 718),
        ("box", "(3,4),(1,2)", 603),
        ("path", "[(1,2),(3,4)]", 602),
        ("polygon", "((1,2),(3,4))", 604),
        ("line", "{1,2,3}", 628),
        ("lseg", "[(1,2),(3,4)]", 601),
        ("bit(3)", "101", 1560),
        ("varbit", "1011", 1562),
        ("int4range", "[1,5)", 3904),
        ("tsvector", "'a' 'b'", 3614),
        ("money", "$1.50", 790),
        ("xml", "<a/>", 142),
        ("pg_lsn", "16/B374D848", 3220),
    ];
    for (name, text, oid) in types {
        let body = site
            .query(&format!("SELECT $1::{name}, NULL::{name}"), &[json!(text)])
            .await;
        assert_eq!(body["rows"], json!([[text, null]]), "{name}");
        assert_eq!(body["fields"][0]["dataTypeID"], oid, "{name}");
        let list = format!("SELECT ARRAY[$1::{name}, NULL]");
        let body = site.query(&list, &[json!(text)]).await;
        let array = body["rows"][0][0].as_str().unwrap();
        assert!(
            array.starts_with('{') && array.contains("NULL"),
            "{name}: {array}"
        );
        // The array's own text goes in again and is the same array.
        let same = format!("SELECT $1::text::{name}[]::text = $1, $1::text::{name}[]");
        let again = site.query(&same, &[json!(array)]).await;
        assert_eq!(again["rows"], json!([["t", array]]), "{name}");
    }
}

#[tokio::test]
async fn any_text_and_any_bytes_come_back_the_same() {
    let site = Site::start().await;
    let mut runner = TestRunner::deterministic();
    let texts = proptest::collection::vec("[^\0]{0,200}", 1..8);
    for _ in 0..60 {
        let values = texts.new_tree(&mut runner).unwrap().current();
        let slots: Vec<String> = (1..=values.len()).map(|n| format!("${n}::text")).collect();
        let params: Vec<Value> = values.iter().map(|value| json!(value)).collect();
        let body = site
            .query(&format!("SELECT {}", slots.join(", ")), &params)
            .await;
        assert_eq!(body["rows"][0], json!(values));

        // The same as an array, and as one element of JSON.
        let body = site
            .query(
                "SELECT to_jsonb($1::text[]), to_jsonb($2::text)",
                &[json!(values), json!(values[0])],
            )
            .await;
        let list: Vec<String> = serde_json::from_str(body["rows"][0][0].as_str().unwrap()).unwrap();
        assert_eq!(list, values);
        let one: String = serde_json::from_str(body["rows"][0][1].as_str().unwrap()).unwrap();
        assert_eq!(one, values[0]);
    }
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    for _ in 0..30 {
        let values = bytes.new_tree(&mut runner).unwrap().current();
        let hex: String = values
            .iter()
            .fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}"));
        let buffer = json!({"type": "Buffer", "data": values});
        let body = site
            .query(
                "SELECT $1::bytea, $2::bytea = $1::bytea",
                &[json!(hex), buffer],
            )
            .await;
        assert_eq!(body["rows"], json!([[hex, "t"]]));
    }
    let mebibyte = "\u{e9}'\"\\$1;--/*\n".repeat(70_000);
    let body = site.query("SELECT $1::text", &[json!(mebibyte)]).await;
    assert_eq!(body["rows"][0][0], json!(mebibyte));
}
