//! What is read from a request, with a clear refusal for everything that does not fit. A body is
//! checked before it is parsed, and a route reads only the fields that it knows.

use std::time::{Duration, SystemTime};

use bounded_json::{Limits, Text};
use lambda_http::{Body, Request, RequestExt, request::RequestContext};
use runtime::known_deadline;

use crate::error::ApiError;

/// A buffered REST integration ends after 29 s; working longer answers nobody.
const GATEWAY_LIMIT: Duration = Duration::from_millis(28_500);

/// Most of what a body may be, on routes that do not take more.
pub const BODY: Limits = Limits {
    bytes: 512 * 1024,
    depth: MAX_DEPTH,
    values: 20_000,
};
/// How deep any body may nest.
pub const MAX_DEPTH: usize = 100;

/// The body of `request`, judged but not parsed.
///
/// # Errors
/// `too_large`; `unprocessable` when it nests too deep or holds too many values; `invalid_json`
/// when it is not UTF-8 without NUL characters.
pub fn body<'a>(request: &'a Request, limits: &Limits) -> Result<Text<'a>, ApiError> {
    Ok(Text::judge(bytes(request), limits)?)
}

fn has_nul(text: &str) -> bool {
    text.contains('\0')
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

/// The segments of the path as the event has it, without the stage. They stay percent-encoded: no
/// id needs encoding, so an encoded one is refused where it is parsed.
pub fn segments(request: &Request) -> Vec<&str> {
    let path = request.raw_http_path();
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = stage(request)
        .and_then(|stage| path.strip_prefix(stage)?.strip_prefix('/'))
        .unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').collect()
}

/// The stage that an HTTP API puts before the path, unless it is the default one. A REST API, whose
/// events name the resource, never does.
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

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn request(body: Body) -> Request {
        Request::new(body)
    }

    #[test]
    fn a_body_that_is_refused_has_the_code_of_its_reason() {
        let limits = Limits {
            bytes: 64,
            depth: 2,
            values: 4,
        };
        let refused = |sent: &[u8]| {
            let request = request(sent.to_vec().into());
            let read = body(&request, &limits).map(|text| text.fields(&["a"]).map(|_| ()));
            let error = read.map_or_else(|error| error, |read| read.unwrap_err().into());
            (error.code(), error.client_message().to_owned())
        };
        assert_eq!(
            refused(b"{\"a\": tru}"),
            (
                "invalid_json",
                "the body is not valid JSON at line 1, column 10".to_owned()
            )
        );
        for (sent, code) in [
            (&b"[]"[..], "invalid_json"),
            (b"{\"a\":\"\xff\xfe\"}", "invalid_json"),
            (b"{\"a\":\"\\u0000\"}", "invalid_json"),
            (b"[[[", "unprocessable"),
            (b"[0,0,0,0,0", "unprocessable"),
            (&[b' '; 65], "too_large"),
        ] {
            assert_eq!(refused(sent).0, code, "{sent:?}");
        }
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
