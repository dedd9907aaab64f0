//! Fuzz targets: what is checked and read here, compared with a parser that builds the whole tree.

use std::fmt::{self, Formatter};

use fuzzing::{Corpus, Seen, check, prop_assert, prop_assert_eq};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
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
        r#"{"parts":"\u0000","n":[[[[]]]],"parts":false,"n":-0.0}"#,
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

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// What is anywhere in a text, also in the first of two fields of one name, which a tree forgets.
#[derive(Debug, Default)]
struct Facts {
    depth: usize,
    has_nul: bool,
}

impl Facts {
    fn of(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    fn of_name(name: &str) -> Self {
        Self {
            depth: 0,
            has_nul: name.contains('\0'),
        }
    }

    fn add(&mut self, inner: &Self) {
        self.depth = self.depth.max(inner.depth + 1);
        self.has_nul |= inner.has_nul;
    }
}

impl<'de> Deserialize<'de> for Facts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Facts;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Facts, E> {
        Ok(Facts::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Facts, E> {
        Ok(Facts::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Facts, E> {
        Ok(Facts::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Facts, E> {
        Ok(Facts::default())
    }

    fn visit_unit<E>(self) -> Result<Facts, E> {
        Ok(Facts::default())
    }

    fn visit_str<E>(self, text: &str) -> Result<Facts, E> {
        Ok(Facts::of_name(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Facts, A::Error> {
        let mut facts = Facts {
            depth: 1,
            has_nul: false,
        };
        while let Some(item) = items.next_element()? {
            facts.add(&item);
        }
        Ok(facts)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Facts, A::Error> {
        let mut facts = Facts {
            depth: 1,
            has_nul: false,
        };
        while let Some((name, value)) = fields.next_entry::<String, Facts>()? {
            facts.add(&Facts::of_name(&name));
            facts.add(&value);
        }
        Ok(facts)
    }
}

#[test]
fn an_object_is_read_as_a_parser_of_everything_reads_it() {
    check("a JSON object", corpus().bytes(), |bytes| {
        let text = match Text::judge(&bytes, &LIMITS) {
            Ok(text) => text,
            Err(refused) => {
                let sent = std::str::from_utf8(&bytes);
                let facts = sent.ok().and_then(|text| Facts::of(text).ok());
                match refused {
                    Refused::NotUtf8 => prop_assert!(sent.is_err()),
                    Refused::TooLarge(_) => prop_assert!(bytes.len() > LIMITS.bytes),
                    Refused::Nul => prop_assert!(facts.is_none_or(|facts| facts.has_nul)),
                    Refused::TooDeep(most) => {
                        prop_assert!(facts.is_none_or(|facts| facts.depth > most));
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
        let facts = Facts::of(text.as_str()).unwrap();
        prop_assert!(facts.depth <= LIMITS.depth && count(&whole) <= LIMITS.values);
        prop_assert!(!facts.has_nul);
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
