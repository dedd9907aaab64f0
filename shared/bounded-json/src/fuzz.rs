//! Fuzz targets: what is judged and read here, held against a parser that builds the whole tree.

use fuzzing::{Corpus, Seen, check, prop_assert, prop_assert_eq};
use serde_json::Value;

use crate::{Limits, Refused, Stopped, Text, items};

const LIMITS: Limits = Limits {
    bytes: 2_048,
    depth: 16,
    values: 200,
};
const NAMES: &[&str] = &["id", "parts", "n", "is"];

fn corpus() -> Corpus {
    Corpus::new([
        r#"{"id":"a\u00e9\"b","parts":[{"type":"text","text":"hi"},null,1.5e3],"n":12,"is":true,"x":{"y":[[]]}}"#,
        r#"{"id":null,"parts":"\\u0000 \ud83d\ude00","n":-0.0,"other":{"id":"z"},"\u0069s":false}"#,
        r#" [ 1 , "two" , {"three":3} , [4] , null ] "#,
    ])
    .words(["\"id\":", "\"\\u006e\":", ",\"x\":", "1E400", "\"\\udc00\"", "tru"])
}

fn tree(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text)
}

/// A number that a tree cannot hold, where text can.
fn is_range_of_numbers(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

#[test]
fn an_object_is_read_as_a_parser_of_everything_reads_it() {
    check("a JSON object", corpus().bytes(), |bytes| {
        let text = match Text::judge(&bytes, &LIMITS) {
            Ok(text) => text,
            Err(refused) => {
                let sent = std::str::from_utf8(&bytes);
                let sent_tree = sent.ok().and_then(|text| tree(text).ok());
                match refused {
                    Refused::NotUtf8 => prop_assert!(sent.is_err()),
                    Refused::TooLarge(_) => prop_assert!(bytes.len() > LIMITS.bytes),
                    Refused::Nul => prop_assert!(sent_tree.as_ref().is_none_or(has_nul)),
                    Refused::TooDeep(most) => {
                        prop_assert!(sent_tree.is_none_or(|tree| depth(&tree) > most));
                    }
                    _ => {}
                }
                return Ok(Seen::Refused);
            }
        };
        let (fields, tree) = match (text.fields(NAMES), tree(text.as_str())) {
            (Ok(fields), Ok(Value::Object(tree))) => (fields, tree),
            (Ok(_), Err(error)) if is_range_of_numbers(&error) => return Ok(Seen::Refused),
            (fields, tree) => {
                prop_assert!(fields.is_err(), "taken, though it is {tree:?}");
                prop_assert!(!matches!(tree, Ok(Value::Object(_))), "{fields:?}");
                return Ok(Seen::Refused);
            }
        };
        for name in NAMES {
            let expected = tree.get(*name).filter(|value| !value.is_null());
            let read = fields.value(name).map(|raw| self::tree(raw.get()).unwrap());
            prop_assert_eq!(read.as_ref(), expected);
            prop_assert_eq!(fields.is_null(name), tree.get(*name) == Some(&Value::Null));
            if let Ok(text) = fields.text(name) {
                prop_assert_eq!(text.as_deref(), expected.and_then(Value::as_str));
            }
            if let Ok(number) = fields.number(name) {
                prop_assert_eq!(number, expected.and_then(Value::as_u64));
            }
            if let Ok(is) = fields.boolean(name) {
                prop_assert_eq!(is, expected.and_then(Value::as_bool));
            }
        }
        let whole = Value::Object(tree);
        prop_assert!(depth(&whole) <= LIMITS.depth && count(&whole) <= LIMITS.values);
        prop_assert!(!has_nul(&whole));
        Ok(Seen::Accepted)
    });
}

#[test]
fn an_array_has_the_items_that_a_parser_of_everything_finds() {
    check("a JSON array", corpus().text(), |text| {
        if LIMITS.check(&text).is_err() {
            return Ok(Seen::Refused);
        }
        let mut found = Vec::new();
        let read = items(&text, |item| {
            found.push(tree(item.get()));
            Ok::<_, ()>(())
        });
        match (read, tree(&text)) {
            (Ok(()), Ok(Value::Array(expected))) => {
                let found: Vec<Value> = found.into_iter().filter_map(Result::ok).collect();
                prop_assert_eq!(found, expected);
                Ok(Seen::Accepted)
            }
            (Ok(()), Err(error)) => {
                // What only a tree of texts and numbers refuses.
                let is_text = error.to_string().contains("surrogate");
                prop_assert!(is_text || is_range_of_numbers(&error), "{error}");
                Ok(Seen::Refused)
            }
            (read, tree) => {
                prop_assert!(matches!(read, Err(Stopped::NotAnArray(_))));
                prop_assert!(!matches!(tree, Ok(Value::Array(_))));
                Ok(Seen::Refused)
            }
        }
    });
}
