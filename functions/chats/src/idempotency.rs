//! `Idempotency-Key`: the header, and the answers of a request that was made before.

use chat_store::{IdempotencyKey, Once, SavedResponse};
use http_api::{ApiError, ClientCode};
use lambda_http::Response;
use lambda_http::http::StatusCode;

use crate::app::{Answer, Call};
use crate::input;

/// The key of a request: as it was sent, and as it is stored.
pub(crate) struct Key<'a> {
    pub(crate) text: &'a str,
    pub(crate) keyed: IdempotencyKey,
}

/// Reads the header; the request it belongs to is method, path and body.
pub(crate) fn key<'a>(call: &Call<'a>) -> Result<Option<Key<'a>>, ApiError> {
    let Some(value) = call.request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let request = [
        call.request.method().as_str().as_bytes(),
        call.request.uri().path().as_bytes(),
        http_api::bytes(call.request),
    ];
    let keyed = IdempotencyKey::new(text, &request).map_err(input::refusal)?;
    Ok(Some(Key { text, keyed }))
}

/// Answers what was done now by `now`, and what was done before as then.
pub(crate) fn answer<T>(once: Once<T>, now: impl FnOnce(T) -> Answer) -> Answer {
    answer_with(once, now, |given| {
        let status = StatusCode::from_u16(given.status).unwrap_or(StatusCode::OK);
        Ok(http_api::json_text(status, given.body))
    })
}

/// As [`answer`], for answers that are not stored as they were given.
pub(crate) fn answer_with<T>(
    once: Once<T>,
    now: impl FnOnce(T) -> Answer,
    before: impl FnOnce(SavedResponse) -> Result<Response<lambda_http::Body>, ApiError>,
) -> Answer {
    match once {
        Once::Now(done) => now(done),
        Once::Replayed(given) => before(given),
        Once::OtherRequest => Err(ApiError::client(
            ClientCode::Unprocessable,
            "this Idempotency-Key belongs to another request",
        )),
        Once::InProgress => Err(ApiError::client(
            ClientCode::KeyInUse,
            "a request with this Idempotency-Key has just ended: repeat it",
        )),
    }
}
