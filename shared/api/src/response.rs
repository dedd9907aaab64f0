//! Answers that succeed. Every response, failed ones too, leaves through [`with_body`], which states
//! the headers that all share.

use lambda_http::{
    Body, Response,
    http::{HeaderValue, StatusCode, header},
};
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
