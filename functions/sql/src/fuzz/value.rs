//! A value of any type becomes JSON that says the same: its own, or the server's text.

use fuzzing::{Corpus, Seen, check, prop_assert, prop_assert_eq, sample};
use serde_json::Value;

use crate::json::Json;
use crate::value;

const BOOL: u32 = 16;
const NUMBERS: [u32; 4] = [21, 23, 700, 701];
const JSONS: [u32; 2] = [114, 3802];
const ARRAYS: [u32; 9] = [1000, 1005, 1007, 1021, 1022, 199, 3807, 1009, 1231];
const OTHERS: [u32; 4] = [20, 25, 1700, 70_000];

fn written(text: &str, type_oid: u32, max_bytes: usize) -> Option<String> {
    let mut body = Json::new(0, max_bytes);
    value::write(text, type_oid, &mut body);
    body.finish()
}

#[test]
fn a_value_becomes_json_that_says_the_same() {
    let corpus = Corpus::new([
        "t",
        "-42",
        "1.5e+300",
        "-Infinity",
        r#"{"a": [1.0, null]}"#,
        "{1,NULL,3}",
        "[0:1]={t,f}",
        "{{1,2},{3,4}}",
        r#"{a,"b\"c","d\\e","f,g","NULL","",null}"#,
        r#"{"{\"a\": 1}",null}"#,
    ])
    .words([
        "NULL",
        "{}",
        "\\\"",
        "=",
        "1e400",
        "-",
        "NaN",
        "\"\"",
        "{\"{1}\"}",
    ]);
    let types = [&[BOOL][..], &NUMBERS, &JSONS, &ARRAYS, &OTHERS].concat();
    let inputs = (corpus.text(), sample::select(types));
    check("a value", inputs, |(text, type_oid)| {
        let json = written(&text, type_oid, usize::MAX).unwrap();
        prop_assert_eq!(written(&text, type_oid, json.len()), Some(json.clone()));
        prop_assert_eq!(written(&text, type_oid, json.len() - 1), None);
        let Ok(read) = serde_json::from_str::<Value>(&json) else {
            // Embedded json may hold numbers that no tree does.
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok();
            prop_assert!(
                is_json && (JSONS.contains(&type_oid) || ARRAYS.contains(&type_oid)),
                "{json}"
            );
            return Ok(Seen::Accepted);
        };
        match &read {
            Value::String(same) if !JSONS.contains(&type_oid) => {
                prop_assert_eq!(same, &text);
                return Ok(Seen::Refused);
            }
            Value::Bool(is) if type_oid == BOOL => {
                prop_assert_eq!(text, if *is { "t" } else { "f" });
            }
            Value::Number(_) if NUMBERS.contains(&type_oid) => prop_assert_eq!(json, text),
            Value::Array(_) if ARRAYS.contains(&type_oid) => {
                prop_assert_eq!(text.bytes().last(), Some(b'}'));
            }
            read if JSONS.contains(&type_oid) => {
                let is_text = read.as_str() == Some(&text);
                prop_assert!(is_text || serde_json::from_str(&text).ok().as_ref() == Some(read));
            }
            read => prop_assert!(false, "{read} for type {type_oid}"),
        }
        Ok(Seen::Accepted)
    });
}
