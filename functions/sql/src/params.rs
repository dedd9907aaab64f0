//! Parameters as clients write them in JSON, turned into PostgreSQL's text. The driver sends
//! strings and nulls; other clients send numbers, arrays and objects, whose text is kept as it was
//! written.

use std::borrow::Cow;

use bounded_json::{RawValue, Stopped, items};
use serde::Deserialize;

use crate::failure::Failure;
use crate::text::Text;

/// PostgreSQL's arrays have at most six dimensions.
const MAX_DEPTH: usize = 6;

/// The text of a parameter; `None` is NULL.
pub(crate) fn text(value: &RawValue) -> Result<Option<Cow<'_, str>>, Failure> {
    let raw = value.get();
    Ok(match raw.as_bytes().first() {
        Some(b'"') => Some(string(raw)?),
        Some(b'n') => None,
        Some(b'[') => {
            let mut out = String::with_capacity(raw.len() + 2);
            array(raw, &mut out, 1)?;
            Some(Cow::Owned(out))
        }
        Some(b'{') => Some(match bytes(raw) {
            Some(hex) => Cow::Owned(hex),
            None => Cow::Borrowed(raw),
        }),
        _ => Some(Cow::Borrowed(raw)), // true, false, a number
    })
}

fn string(raw: &str) -> Result<Cow<'_, str>, Failure> {
    serde_json::from_str::<Text<'_>>(raw)
        .map(|text| text.0)
        .map_err(|_| Failure::new("08P01", "not valid text"))
}

/// `{1,NULL,"a\"b",{…}}`. Only `\` and `"` are escaped: an array's text knows no other escapes.
fn array(raw: &str, out: &mut String, depth: usize) -> Result<(), Failure> {
    if depth > MAX_DEPTH {
        return Err(Failure::new(
            "54000",
            format!("number of array dimensions exceeds the maximum allowed ({MAX_DEPTH})"),
        ));
    }
    out.push('{');
    let mut is_first = true;
    items(raw, |item| {
        if !std::mem::take(&mut is_first) {
            out.push(',');
        }
        let raw = item.get();
        match raw.as_bytes().first() {
            Some(b'"') => quote(&string(raw)?, out),
            Some(b'n') => out.push_str("NULL"),
            Some(b'[') => array(raw, out, depth + 1)?,
            Some(b'{') => quote(raw, out),
            _ => out.push_str(raw),
        }
        Ok(())
    })
    .map_err(|stopped| match stopped {
        Stopped::NotAnArray(_) => Failure::new("08P01", "not a valid array"),
        Stopped::Item(failure) => failure,
    })?;
    out.push('}');
    Ok(())
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// A Node `Buffer` as old drivers serialise it, as PostgreSQL's hexadecimal bytes.
fn bytes(raw: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Buffer<'a> {
        r#type: &'a str,
        data: Vec<u8>,
    }
    let buffer: Buffer<'_> = serde_json::from_str(raw).ok()?;
    (buffer.r#type == "Buffer").then(|| {
        let digits = buffer.data.iter().flat_map(|byte| {
            [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'))
        });
        "\\x".chars().chain(digits).collect()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(json: &str) -> Option<String> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        text(raw).unwrap().map(Cow::into_owned)
    }

    #[test]
    fn values_become_the_text_that_postgresql_reads() {
        for (json, expected) in [
            ("null", None),
            (r#""hi""#, Some("hi")),
            (r#""""#, Some("")),
            (r#""\ud83d\ude00 \n\u0000""#, Some("😀 \n\0")),
            ("true", Some("true")),
            ("-0", Some("-0")),
            (
                "123456789012345678901234567890.10",
                Some("123456789012345678901234567890.10"),
            ),
            ("1e400", Some("1e400")),
            (r#"{"a": [1, null]}"#, Some(r#"{"a": [1, null]}"#)),
            (r#"{"type":"Buffer","data":[1,2,255]}"#, Some("\\x0102ff")),
            (
                r#"{"type":"Buffer","data":[1,2,256]}"#,
                Some(r#"{"type":"Buffer","data":[1,2,256]}"#),
            ),
            (
                r#"{"type":"Buffer","data":[1],"x":1}"#,
                Some(r#"{"type":"Buffer","data":[1],"x":1}"#),
            ),
            ("[]", Some("{}")),
            ("[1, 2.50 , true, null]", Some("{1,2.50,true,NULL}")),
            ("[[1,2],[3,4]]", Some("{{1,2},{3,4}}")),
            (
                r#"["a","b\"c","d\\e","f,g","NULL","","x\ny"]"#,
                Some("{\"a\",\"b\\\"c\",\"d\\\\e\",\"f,g\",\"NULL\",\"\",\"x\ny\"}"),
            ),
            (r#"[{"a":"b\\"}]"#, Some(r#"{"{\"a\":\"b\\\\\"}"}"#)),
        ] {
            assert_eq!(of(json).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn an_array_of_arrays_without_end_is_refused() {
        let deep = format!("{}{}", "[".repeat(7), "]".repeat(7));
        let raw: &RawValue = serde_json::from_str(&deep).unwrap();
        assert_eq!(text(raw).unwrap_err().code(), "54000");
    }

    proptest! {
        #[test]
        fn a_string_arrives_as_it_was(value in ".*") {
            let json = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(of(&json), Some(value));
        }
    }
}
