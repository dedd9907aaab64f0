//! What is read from a request, with a clear refusal for everything that does not fit. A body is read
//! as one JSON object whose fields are asked for by name, so that a refusal can name the field.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_http::{Body, Request, RequestExt, request::RequestContext};
use serde_json::{Map, Value};

use crate::error::{ApiError, ClientCode};

/// Kept back from the invocation's deadline, for the answer to be written.
const MARGIN: Duration = Duration::from_millis(300);
/// A buffered REST integration ends after 29 s; working longer answers nobody.
const GATEWAY_LIMIT: Duration = Duration::from_millis(28_500);

/// Deadlines before 2020 are none.
const FIRST_PLAUSIBLE: Duration = Duration::from_secs(1_577_836_800);

/// The fields of a JSON object body. A field that is `null` counts as absent.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Parses the body of `request`, of at most `limit_bytes`, as a JSON object.
    ///
    /// # Errors
    /// `too_large`, or `invalid_json` when it is not an object in UTF-8 without NUL characters.
    pub fn parse(request: &Request, limit_bytes: usize) -> Result<Self, ApiError> {
        let bytes = bytes(request);
        if bytes.len() > limit_bytes {
            return Err(ApiError::client(
                ClientCode::TooLarge,
                format!("the body may have {limit_bytes} bytes"),
            ));
        }
        let refused = |message: &'static str| ApiError::client(ClientCode::InvalidJson, message);
        let text = std::str::from_utf8(bytes).map_err(|_| refused("the body must be UTF-8"))?;
        let value = serde_json::from_str(&whole_characters(text)).map_err(|error| {
            // Position only: the text of the error may quote the body.
            ApiError::client(
                ClientCode::InvalidJson,
                format!(
                    "the body is not valid JSON at line {}, column {}",
                    error.line(),
                    error.column()
                ),
            )
        })?;
        let Value::Object(fields) = value else {
            return Err(refused("the body must be a JSON object"));
        };
        if fields
            .iter()
            .any(|(key, value)| has_nul(key) || any_nul(value))
        {
            return Err(refused("the body must not contain NUL characters"));
        }
        Ok(Self(fields))
    }

    /// The field as any JSON value.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Whether the field is there and `null`.
    pub fn is_null(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Value::is_null)
    }

    /// The field as text.
    ///
    /// # Errors
    /// `invalid_request`, which names the field, when it has another type.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        self.value(name)
            .map(|value| value.as_str().ok_or_else(|| wrong_type(name, "a string")))
            .transpose()
    }

    /// The field as a boolean.
    ///
    /// # Errors
    /// `invalid_request`, which names the field, when it has another type.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.value(name)
            .map(|value| {
                value
                    .as_bool()
                    .ok_or_else(|| wrong_type(name, "true or false"))
            })
            .transpose()
    }

    /// The field as a whole number from 0.
    ///
    /// # Errors
    /// `invalid_request`, which names the field, when it has another type.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.value(name)
            .map(|value| {
                value
                    .as_u64()
                    .ok_or_else(|| wrong_type(name, "a whole number"))
            })
            .transpose()
    }

    /// The field as an object.
    ///
    /// # Errors
    /// `invalid_request`, which names the field, when it has another type.
    pub fn object(&self, name: &str) -> Result<Option<Self>, ApiError> {
        self.value(name)
            .map(|value| {
                let fields = value
                    .as_object()
                    .ok_or_else(|| wrong_type(name, "an object"))?;
                Ok(Self(fields.clone()))
            })
            .transpose()
    }
}

fn wrong_type(name: &str, expected: &str) -> ApiError {
    ApiError::invalid(format!("\"{name}\" must be {expected}"))
}

fn has_nul(text: &str) -> bool {
    text.contains('\0')
}

/// `serde_json` nests at most 128 deep, so this recursion ends.
fn any_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => has_nul(text),
        Value::Array(items) => items.iter().any(any_nul),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| has_nul(key) || any_nul(value)),
        _ => false,
    }
}

/// `json` with `\ufffd` in place of each escape that is half a character: JavaScript writes one where a text was cut inside
/// an emoji, and no parser of UTF-8 takes it. Positions and length stay as they are.
pub fn whole_characters(json: &str) -> Cow<'_, str> {
    const ESCAPE: usize = 6; // \uXXXX
    let unit = |at: usize| {
        let escape = json.get(at..at + ESCAPE)?.strip_prefix("\\u")?;
        u16::from_str_radix(escape, 16).ok()
    };
    let is_high = |at| matches!(unit(at), Some(0xD800..=0xDBFF));
    let is_low = |at| matches!(unit(at), Some(0xDC00..=0xDFFF));
    let mut whole = Cow::Borrowed(json);
    let mut rest = 0;
    while let Some(found) = json.get(rest..).and_then(|rest| rest.find('\\')) {
        let at = rest + found;
        rest = if is_high(at) && is_low(at + ESCAPE) {
            at + 2 * ESCAPE
        } else if is_high(at) || is_low(at) {
            whole.to_mut().replace_range(at..at + ESCAPE, "\\ufffd");
            at + ESCAPE
        } else {
            at + 2 // an escape has two characters at least, and no second backslash begins another
        };
    }
    whole
}

/// The body as it came.
pub fn bytes(request: &Request) -> &[u8] {
    match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    }
}

/// The query parameter `name`; its first value when it is repeated.
///
/// # Errors
/// `invalid_request` when it contains a NUL character.
pub fn query<'a>(request: &'a Request, name: &str) -> Result<Option<&'a str>, ApiError> {
    let value = request
        .query_string_parameters_ref()
        .and_then(|parameters| parameters.first(name));
    if value.is_some_and(has_nul) {
        return Err(ApiError::invalid(format!(
            "\"{name}\" must not contain NUL characters"
        )));
    }
    Ok(value)
}

/// The segments of the path as the event has it, without the stage. They stay percent-encoded: no id
/// needs encoding, so an encoded one is refused where it is parsed.
pub fn segments(request: &Request) -> Vec<&str> {
    let path = request.raw_http_path();
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = stage(request)
        .and_then(|stage| path.strip_prefix(stage)?.strip_prefix('/'))
        .unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').collect()
}

/// The stage that an HTTP API puts before the path, unless it is the default one. A REST API, whose events name the
/// resource, never does.
fn stage(request: &Request) -> Option<&str> {
    match request.request_context_ref()? {
        RequestContext::ApiGatewayV2(context) => context.stage.as_deref(),
        RequestContext::ApiGatewayV1(context) if context.resource_id.is_none() => {
            context.stage.as_deref()
        }
        _ => None,
    }
}

/// When the work for `request` has to end: shortly before Lambda or the gateway would end it.
pub fn deadline(request: &Request, now: SystemTime) -> SystemTime {
    let gateway = now + GATEWAY_LIMIT;
    request
        .lambda_context_ref()
        .and_then(|context| known_deadline(context.deadline()))
        .map_or(gateway, |end| end.min(gateway))
}

/// The end of an invocation less a margin to answer in; `None` where the platform tells none: a context made by hand
/// has 1970, and `cargo lambda watch` sends a duration in place of a date.
pub fn known_deadline(end: SystemTime) -> Option<SystemTime> {
    (end > UNIX_EPOCH + FIRST_PLAUSIBLE).then(|| end.checked_sub(MARGIN).unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: Body) -> Request {
        Request::new(body)
    }

    fn refused(body: impl Into<Body>) -> (&'static str, String) {
        let error = Fields::parse(&request(body.into()), 64).unwrap_err();
        (error.code(), error.client_message().to_owned())
    }

    #[test]
    fn a_body_that_is_no_json_object_is_refused() {
        for body in ["", "{", "[]", "1", "null", "\"x\"", "{\"a\":1} x", "a=b"] {
            assert_eq!(refused(body).0, "invalid_json", "{body}");
        }
        assert_eq!(
            refused("{\"a\": tru}").1,
            "the body is not valid JSON at line 1, column 10"
        );
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        let (code, message) = refused(b"{\"a\":\"\xff\xfe\"}".to_vec());
        assert_eq!(
            (code, message.as_str()),
            ("invalid_json", "the body must be UTF-8")
        );
    }

    #[test]
    fn half_a_character_becomes_the_replacement_character() {
        for (sent, read) in [
            (r"\ud83d\ude00", "\u{1f600}"),
            (r"a\ud83d", "a\u{fffd}"),
            (r"\ude00b", "\u{fffd}b"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\\ud83d", r"\ud83d"),
            (r"\\\ud83d", "\\\u{fffd}"),
            (r"\uD83Dä", "\u{fffd}ä"),
        ] {
            let body = format!(r#"{{"a":"{sent}","b":{{"c{sent}":1}}}}"#);
            let fields = Fields::parse(&request(body.into()), 128).unwrap();
            assert_eq!(fields.text("a").unwrap(), Some(read), "{sent}");
        }
        let open = [
            r#"{"a":"\ud83d"#,
            r#"{"a":"\ud8"#,
            r#"{"a":"\"#,
            "{\"a\":\"\\ä",
        ];
        assert!(open.iter().all(|body| refused(*body).0 == "invalid_json"));
    }

    #[test]
    fn nul_is_refused_however_deep_and_however_written() {
        for body in [
            "{\"a\":\"\\u0000\"}",
            "{\"a\":[{\"b\":\"x\\u0000\"}]}",
            "{\"a\\u0000\":1}",
            "{\"a\":{\"b\\u0000\":1}}",
            "{\"a\":\"\0\"}",
        ] {
            assert_eq!(refused(body).0, "invalid_json", "{body:?}");
        }
    }

    #[test]
    fn a_body_over_the_limit_is_refused_unread() {
        let body = format!("{{\"a\":\"{}\"}}", "x".repeat(64));
        assert_eq!(refused(body).0, "too_large");
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named() {
        let fields = Fields::parse(&request(r#"{"a":1,"b":"x","c":null}"#.into()), 64).unwrap();
        assert_eq!(
            fields.text("a").unwrap_err().client_message(),
            "\"a\" must be a string"
        );
        assert_eq!(
            fields.boolean("b").unwrap_err().client_message(),
            "\"b\" must be true or false"
        );
        assert!(fields.object("b").is_err());
        assert!(fields.number("b").is_err());
        assert_eq!(fields.text("b").unwrap(), Some("x"));
        assert_eq!(fields.text("c").unwrap(), None);
        assert!(fields.is_null("c") && !fields.is_null("d"));
    }

    #[test]
    fn work_ends_before_lambda_does_and_before_the_gateway_does() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_305_600);
        let at = |deadline_ms| {
            let mut context = lambda_http::Context::default();
            context.deadline = deadline_ms;
            deadline(&request(Body::Empty).with_lambda_context(context), now)
        };
        assert_eq!(at(1_795_305_610_000), now + Duration::from_millis(9_700));
        assert_eq!(at(1_795_306_500_000), now + GATEWAY_LIMIT);
        assert_eq!(at(0), now + GATEWAY_LIMIT);
        assert_eq!(at(60_000), now + GATEWAY_LIMIT); // a duration in place of a date
        assert_eq!(deadline(&request(Body::Empty), now), now + GATEWAY_LIMIT);
    }

    #[test]
    fn the_stage_of_an_http_api_is_no_part_of_the_path_and_a_rest_api_has_none_there() {
        let segments_of = |event: &str| {
            let request = lambda_http::request::from_str(event).unwrap();
            segments(&request).join("|")
        };
        let http_2 = |path: &str, stage: &str| {
            segments_of(&format!(
                r#"{{"rawPath":"{path}","requestContext":{{"stage":"{stage}","http":{{"method":"GET"}}}}}}"#
            ))
        };
        assert_eq!(http_2("/prod/api/chats", "prod"), "api|chats");
        assert_eq!(http_2("/api/chats", "$default"), "api|chats");
        assert_eq!(http_2("/production/api", "prod"), "production|api");
        let version_1 = |path: &str, resource: &str| {
            segments_of(&format!(
                r#"{{"path":"{path}","httpMethod":"GET","requestContext":{{"stage":"api","httpMethod":"GET","resourceId":{resource}}}}}"#
            ))
        };
        assert_eq!(version_1("/api/api/chats", "null"), "api|chats");
        assert_eq!(version_1("/api/chats", "\"abc123\""), "api|chats");
    }

    #[test]
    fn a_path_is_cut_at_its_slashes() {
        let at = |path: &str| {
            let request = request(Body::Empty).with_raw_http_path(path);
            segments(&request).join("|")
        };
        assert_eq!(at("/api/chats"), "api|chats");
        assert_eq!(at("/api/chats/"), "api|chats");
        assert_eq!(at("/api//chats"), "api||chats");
        assert_eq!(at(""), "");
    }
}
