//! Owns the way back: a function's JSON answer or stream prelude becomes an HTTP response, or the
//! 502 that API Gateway sends when it is not one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

/// Headers that a REST API renames on their way to the client ("Amazon API Gateway important
/// notes").
const REMAPPED: [&str; 5] = [
    "connection",
    "content-length",
    "date",
    "server",
    "www-authenticate",
];

/// Reads a buffered answer. `accepts_binary`: the client asked for one of the API's binary media
/// types, without which base64 stays base64.
pub(super) fn buffered(answer: &[u8], accepts_binary: bool) -> Option<Response<Bytes>> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let head = answer.as_object()?;
    let body = match head.get("body") {
        None | Some(Value::Null) => "",
        Some(body) => body.as_str()?,
    };
    let is_base64 = head.get("isBase64Encoded").and_then(Value::as_bool);
    let body = if is_base64.unwrap_or_default() && accepts_binary {
        STANDARD.decode(body).ok()?.into()
    } else {
        Bytes::copy_from_slice(body.as_bytes())
    };
    let mut response = Response::new(body);
    read_head(&answer, &mut response)?;
    Some(response)
}

/// Reads the prelude of a stream.
pub(super) fn streamed<B>(prelude: &Value, body: B) -> Option<Response<B>> {
    let mut response = Response::new(body);
    read_head(prelude, &mut response)?;
    Some(response)
}

fn read_head<B>(head: &Value, response: &mut Response<B>) -> Option<()> {
    let status = match head.get("statusCode")? {
        Value::String(text) => text.parse().ok()?,
        status => u16::try_from(status.as_u64()?).ok()?,
    };
    *response.status_mut() = StatusCode::from_u16(status)
        .ok()
        .filter(|_| status >= 100)?;
    let headers = response.headers_mut();
    let object = |name: &str| {
        head.get(name)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
    };
    // Values of the second form win over those of the first.
    for (name, value) in object("headers") {
        put(headers, name, value)?;
    }
    for (name, values) in object("multiValueHeaders") {
        headers.remove(remapped(name).as_str());
        for value in values.as_array()? {
            put(headers, name, value)?;
        }
    }
    for cookie in head
        .get("cookies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        put(headers, "set-cookie", cookie)?;
    }
    Some(())
}

fn put(headers: &mut HeaderMap, name: &str, value: &Value) -> Option<()> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => return Some(()),
        other => other.to_string(),
    };
    let name = HeaderName::from_bytes(remapped(name).as_bytes()).ok()?;
    headers.append(name, HeaderValue::from_str(&text).ok()?);
    Some(())
}

fn remapped(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    if REMAPPED.contains(&name.as_str()) {
        format!("x-amzn-remapped-{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_a_response() {
        let answer = br#"{"statusCode":201,"headers":{"A":"1","WWW-Authenticate":"Bearer"},
            "multiValueHeaders":{"a":["2","3"]},"body":"aGk=","isBase64Encoded":true}"#;
        let response = buffered(answer, true).unwrap();
        assert_eq!(response.status(), 201);
        let values: Vec<_> = response.headers().get_all("a").iter().collect();
        assert_eq!(values, ["2", "3"]);
        assert_eq!(
            response.headers()["x-amzn-remapped-www-authenticate"],
            "Bearer"
        );
        assert_eq!(&response.body()[..], b"hi");
        assert_eq!(&buffered(answer, false).unwrap().body()[..], b"aGk=");
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for answer in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"statusCode":"ok"}"#,
            r#"{"statusCode":99}"#,
            r#"{"statusCode":200,"body":{}}"#,
            r#"{"statusCode":200,"headers":{"a b":"1"}}"#,
            r#"{"statusCode":200,"headers":{"a":"1\n2"}}"#,
            r#"{"statusCode":200,"body":"*","isBase64Encoded":true}"#,
        ] {
            assert!(buffered(answer.as_bytes(), true).is_none(), "{answer}");
        }
    }
}
