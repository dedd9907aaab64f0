//! Answers that succeed. Every response, failed ones too, leaves through [`with_body`], which
//! states the headers that all share.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use lambda_http::{
    Body, Request, Response,
    http::{HeaderValue, StatusCode, header},
};
use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::error::{ApiError, ServerCode};

/// A JSON answer.
///
/// # Errors
/// `internal` when `value` cannot be serialised, which is a defect.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, ApiError> {
    let text = serde_json::to_string(value)
        .map_err(|error| ApiError::server(ServerCode::Internal, error))?;
    Ok(with_body(status, "application/json", text))
}

/// A JSON answer whose text is there already, such as one that was stored.
pub fn json_text(status: StatusCode, text: String) -> Response<Body> {
    with_body(status, "application/json", text)
}

/// An answer without a body: 204.
pub fn empty() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    common_headers(&mut response);
    response
}

/// The answer with an `ETag` of its content; without its body, as 304, for a client that has it
/// already.
pub fn with_tag(request: &Request, mut response: Response<Body>) -> Response<Body> {
    let bytes: &[u8] = match response.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    };
    let hash = digest(&SHA256, bytes);
    let tag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(hash.as_ref()));
    let known = request.headers().get_all(header::IF_NONE_MATCH);
    let mut known = known.iter().filter_map(|tags| tags.to_str().ok());
    if known.any(|tags| tags.split(',').any(|one| is_same(one.trim(), &tag))) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::Empty;
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The weak comparison of RFC 9110 8.8.3.2, and `*`.
fn is_same(given: &str, tag: &str) -> bool {
    given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag
}

pub(crate) fn with_body(
    status: StatusCode,
    content_type: &'static str,
    text: String,
) -> Response<Body> {
    let mut response = Response::new(Body::Text(text));
    *response.status_mut() = status;
    common_headers(&mut response);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn common_headers(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_it_already_gets_no_body_again() {
        let answer = |known: Option<&str>| {
            let mut request = Request::new(Body::Empty);
            if let Some(known) = known {
                let known = HeaderValue::from_str(known).unwrap();
                request.headers_mut().insert(header::IF_NONE_MATCH, known);
            }
            with_tag(&request, json_text(StatusCode::OK, "{}".to_owned()))
        };
        let first = answer(None);
        let tag = first.headers()[header::ETAG].to_str().unwrap();
        assert_eq!(first.status(), StatusCode::OK);
        for (known, status) in [
            (tag.to_owned(), 304),
            (format!("\"x\", W/{tag}"), 304),
            ("*".to_owned(), 304),
            ("\"x\"".to_owned(), 200),
        ] {
            let again = answer(Some(&known));
            assert_eq!(again.status().as_u16(), status, "{known}");
            assert_eq!(matches!(again.body(), Body::Empty), status == 304);
            assert_eq!(again.headers()[header::ETAG].to_str().unwrap(), tag);
        }
    }
}
