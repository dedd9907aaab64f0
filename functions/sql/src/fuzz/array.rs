//! An array goes to the server as PostgreSQL's text and comes back as the JSON it was, its elements
//! as text.

use bounded_json::{RawValue, items};
use fuzzing::{Corpus, Seen, check, prop_assert, prop_assert_eq};
use serde_json::{Value, json};

use crate::json::Json;
use crate::{params, value};

const TEXT_ARRAY: u32 = 1009;

/// What comes back: strings, and the text of everything else. `None` for halves of characters.
fn expected(raw: &RawValue) -> Option<Value> {
    match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok(),
        b'n' => Some(Value::Null),
        b'[' => {
            let mut elements = Vec::new();
            items(raw.get(), |item| {
                expected(item).map(|it| elements.push(it)).ok_or(())
            })
            .ok()?;
            Some(elements.into())
        }
        _ => Some(json!(raw.get())),
    }
}

#[test]
fn an_array_comes_back_as_it_was_sent() {
    let corpus = Corpus::new([
        r#"["a","b\"c","d\\e","f,g","NULL","","x\ny",null]"#,
        "[[1,2.50],[true,null]]",
        r#"[{"a":"b\\","c":[1]}, " {} ", "\u00e9\ud83d\ude00"]"#,
        r#"[["{","}"],[",","\\"]]"#,
    ])
    .words([
        "\"null\"",
        "\"{\"",
        "\"\\\\\"",
        "[],",
        "\"\\u0001\"",
        "\" a \"",
    ]);
    check("an array", corpus.text(), |text| {
        let raw = match serde_json::from_str::<&RawValue>(&text) {
            Ok(raw) if raw.get().starts_with('[') => raw,
            _ => return Ok(Seen::Refused),
        };
        let sent = match params::text(raw) {
            Ok(sent) => sent.unwrap_or_default(),
            Err(failure) => {
                prop_assert_eq!(failure.code(), "54000");
                return Ok(Seen::Refused);
            }
        };
        let mut body = Json::new(0, usize::MAX);
        value::write(&sent, TEXT_ARRAY, &mut body);
        let back = body.finish().unwrap();
        let back: Value = serde_json::from_str(&back).unwrap();
        prop_assert!(back.is_array(), "{sent} is no array");
        if let Some(expected) = expected(raw) {
            prop_assert_eq!(back, expected, "{}", sent);
        }
        Ok(Seen::Accepted)
    });
}
