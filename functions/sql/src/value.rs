//! Values for clients that want JSON in place of text: booleans and small numbers become JSON's
//! own, json is embedded, arrays are taken apart. What JSON could not hold exactly stays text:
//! bigint, numeric, times, bytes.

use serde_json::value::RawValue;

use crate::json::Json;

mod oid {
    pub(super) const BOOL: u32 = 16;
    pub(super) const INT2: u32 = 21;
    pub(super) const INT4: u32 = 23;
    pub(super) const JSON: u32 = 114;
    pub(super) const FLOAT4: u32 = 700;
    pub(super) const FLOAT8: u32 = 701;
    pub(super) const JSONB: u32 = 3802;
    pub(super) const TEXT: u32 = 25;
}

/// Appends `text`, of the type with this OID, as JSON.
pub(crate) fn write(text: &str, type_oid: u32, body: &mut Json) {
    if let Some(element) = element(type_oid) {
        let before = body.mark();
        if array(text, element, body).is_some() {
            return;
        }
        body.back_to(before); // no array after all: its text
    }
    scalar(text, type_oid, body);
}

fn scalar(text: &str, type_oid: u32, body: &mut Json) {
    match type_oid {
        oid::BOOL if text == "t" => body.push_str("true"),
        oid::BOOL if text == "f" => body.push_str("false"),
        // Infinity and NaN are no JSON numbers, and stay text.
        oid::INT2 | oid::INT4 | oid::FLOAT4 | oid::FLOAT8 if is_number(text) => body.push_str(text),
        oid::JSON | oid::JSONB if serde_json::from_str::<&RawValue>(text).is_ok() => {
            body.push_str(text);
        }
        _ => body.put_text(text),
    }
}

fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit())
        && serde_json::from_str::<f64>(text).is_ok()
}

/// The element type of the array types that are taken apart.
fn element(type_oid: u32) -> Option<u32> {
    Some(match type_oid {
        1000 => oid::BOOL,
        1005 => oid::INT2,
        1007 => oid::INT4,
        1021 => oid::FLOAT4,
        1022 => oid::FLOAT8,
        199 => oid::JSON,
        3807 => oid::JSONB,
        // bytea, char, name, int8, text, oid, bpchar, varchar, date, time, timestamp, timestamptz,
        // interval, timetz, numeric, uuid, inet, cidr, macaddr, xml: elements that stay text
        1001 | 1002 | 1003 | 1016 | 1009 | 1028 | 1014 | 1015 | 1182 | 1183 | 1115 | 1185
        | 1187 | 1270 | 1231 | 2951 | 1041 | 651 | 1040 | 143 => oid::TEXT,
        _ => return None,
    })
}

/// Takes an array's text apart; `None` if it is not one.
fn array(text: &str, element: u32, body: &mut Json) -> Option<()> {
    // [0:2]={…}: bounds other than PostgreSQL's own are dropped, as in every client.
    let text = match text.strip_prefix('[') {
        Some(bounded) => bounded.split_once('=')?.1,
        None => text,
    };
    let mut rest = text.strip_prefix('{')?;
    let mut depth = 1_usize;
    body.push_str("[");
    let mut needs_comma = false;
    while depth > 0 {
        if let Some(after) = rest.strip_prefix('}') {
            body.push_str("]");
            depth -= 1;
            needs_comma = true;
            rest = after;
            continue;
        }
        if needs_comma {
            rest = rest.strip_prefix(',')?;
            body.push_str(",");
        }
        if let Some(after) = rest.strip_prefix('{') {
            body.push_str("[");
            depth += 1;
            needs_comma = false;
            rest = after;
            continue;
        }
        rest = if let Some(quoted) = rest.strip_prefix('"') {
            let (value, after) = unquote(quoted)?;
            scalar(&value, element, body);
            after
        } else {
            let (value, after) = rest.split_at(rest.find([',', '}'])?);
            if value.eq_ignore_ascii_case("null") {
                body.push_str("null");
            } else {
                scalar(value, element, body);
            }
            after
        };
        needs_comma = true;
    }
    rest.is_empty().then_some(())
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, type_oid: u32) -> String {
        let mut body = Json::new(0, usize::MAX);
        write(text, type_oid, &mut body);
        body.finish().unwrap()
    }

    #[test]
    fn what_is_no_array_after_all_needs_no_room_for_one() {
        let mut body = Json::new(0, 16);
        write("{{1,2,{3,4}}", 1000, &mut body);
        assert_eq!(body.finish().as_deref(), Some("\"{{1,2,{3,4}}\""));
    }

    #[test]
    fn values_become_json_where_json_can_hold_them() {
        for (text, type_oid, json) in [
            ("t", 16, "true"),
            ("f", 16, "false"),
            ("-42", 23, "-42"),
            ("7", 21, "7"),
            (" 7", 21, "\" 7\""),
            ("7\n", 21, "\"7\\n\""),
            ("1.5e+300", 701, "1.5e+300"),
            ("NaN", 701, "\"NaN\""),
            ("-Infinity", 700, "\"-Infinity\""),
            ("9223372036854775807", 20, "\"9223372036854775807\""),
            ("1.10", 1700, "\"1.10\""),
            ("{\"a\": [1.0, null]}", 3802, "{\"a\": [1.0, null]}"),
            ("{", 114, "\"{\""),
            ("\\x00", 17, "\"\\\\x00\""),
            ("{}", 1007, "[]"),
            ("{}", 1009, "[]"),
            ("{1,NULL,3}", 1007, "[1,null,3]"),
            ("{{1,2},{3,4}}", 1007, "[[1,2],[3,4]]"),
            ("[0:1]={t,f}", 1000, "[true,false]"),
            (
                r#"{a,"b\"c","d\\e","f,g","NULL","",null}"#,
                1009,
                r#"["a","b\"c","d\\e","f,g","NULL","",null]"#,
            ),
            (r#"{"{\"a\": 1}",null}"#, 3807, r#"[{"a": 1},null]"#),
            ("{1,2}", 1016, "[\"1\",\"2\"]"),
            ("{a,b}", 70_000, "\"{a,b}\""),
            ("{1,2", 1007, "\"{1,2\""),
            ("{1}x", 1007, "\"{1}x\""),
            ("{\"", 1009, "\"{\\\"\""),
        ] {
            assert_eq!(of(text, type_oid), json, "{text} of {type_oid}");
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok());
        }
    }
}
