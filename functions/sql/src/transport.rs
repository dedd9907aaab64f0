//! How an answer leaves: the headers that every answer has, gzip, and the size that Lambda allows.
//! The size is checked first, since an answer that is too large becomes a gateway's error without a
//! SQLSTATE.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use lambda_http::http::{HeaderMap, HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};

use crate::failure::{Failure, PAGE_HINT};
use crate::request;

/// Smaller bodies are not compressed.
const GZIP_FROM_BYTES: usize = 1_024;
/// The first level that looks for the best of several matches: 1 leaves prose a fifth larger, 3
/// takes a fifth more time for a few per cent less (measured with rows of prose).
const GZIP_LEVEL: u32 = 2;
/// What Lambda takes as a buffered answer: the JSON document in which the body is a string
/// (Lambda quotas; 6 MB).
const MAX_ANSWER_BYTES: usize = 6 * 1024 * 1024;
/// Of that, what status and headers may need.
const ENVELOPE_BYTES: usize = 4 * 1024;

const ALLOWED_HEADERS: &str = "Authorization, Neon-Connection-String, Neon-Raw-Text-Output, Neon-Array-Mode, \
     Neon-Pool-Opt-In, Neon-Batch-Read-Only, Neon-Batch-Isolation-Level, Neon-Batch-Deferrable, Idempotency-Key, Content-Type";

/// A successful answer.
pub(crate) fn success(
    body: String,
    asked: &HeaderMap,
    options: Option<request::Options>,
) -> Result<Response<Body>, Failure> {
    let mut response = encode(body, asked)?;
    let headers = response.headers_mut();
    if let Some(options) = options {
        let isolation = options.isolation.map(request::isolation_name);
        let flag = |set: Option<bool>| set.map(|set| if set { "true" } else { "false" });
        for (name, value) in [
            ("neon-batch-isolation-level", isolation),
            ("neon-batch-read-only", flag(options.read_only)),
            ("neon-batch-deferrable", flag(options.deferrable)),
        ] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
    }
    Ok(response)
}

/// A failed one: always 400, the only status whose body the driver reads.
pub(crate) fn failure(failure: &Failure) -> Response<Body> {
    let mut response = Response::new(Body::Text(failure.body()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    json(&mut response);
    response
}

/// Tells that an answer is that of an earlier request with the same key.
pub(crate) fn mark_repeated(response: &mut Response<Body>) {
    response
        .headers_mut()
        .insert("idempotent-replayed", HeaderValue::from_static("true"));
}

/// The answer to a preflight.
pub(crate) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    for (name, value) in [
        (header::ALLOW, "OPTIONS, POST"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What every answer carries. Any origin may call: the credential is in the request, never in a
/// cookie.
pub(crate) fn common_headers(response: &mut Response<Body>, request_id: &str) {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("neon-request-id", id);
    }
}

fn json(response: &mut Response<Body>) {
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
}

fn encode(body: String, asked: &HeaderMap) -> Result<Response<Body>, Failure> {
    let max = MAX_ANSWER_BYTES - ENVELOPE_BYTES;
    let gzip = accepts_gzip(asked);
    let (body, size, is_gzip) = if gzip && body.len() > GZIP_FROM_BYTES {
        let packed = pack(&body)?;
        let size = packed.len().div_ceil(3) * 4; // base64
        (Body::Binary(packed), size, true)
    } else {
        let size = escaped_bytes(&body);
        (Body::Text(body), size, false)
    };
    if size > max {
        let failure = Failure::answer_too_large(max);
        return Err(failure.hint(if gzip {
            PAGE_HINT.to_owned()
        } else {
            format!(
                "{PAGE_HINT} A client that sends Accept-Encoding: gzip gets several times as much."
            )
        }));
    }
    let mut response = Response::new(body);
    json(&mut response);
    if gzip {
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if is_gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    Ok(response)
}

fn pack(body: &str) -> Result<Vec<u8>, Failure> {
    let packed = Vec::with_capacity(body.len() / 2);
    let mut packer = GzEncoder::new(packed, Compression::new(GZIP_LEVEL));
    packer
        .write_all(body.as_bytes())
        .and_then(|()| packer.finish())
        .map_err(|_| Failure::internal())
}

/// The length of `body` as a JSON string. It is JSON itself, so it holds no bare control
/// characters.
fn escaped_bytes(body: &str) -> usize {
    let escapes = body.bytes().filter(|b| matches!(b, b'"' | b'\\')).count();
    body.len() + escapes + 2
}

/// Whether gzip is among the accepted encodings, and not with weight zero.
fn accepts_gzip(asked: &HeaderMap) -> bool {
    asked
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let is_gzip = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse::<f32>().ok());
            is_gzip && weight.is_none_or(|weight| weight > 0.0)
        })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn accepting(encodings: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encodings));
        headers
    }

    #[test]
    fn gzip_is_used_for_who_takes_it_and_where_it_pays() {
        let long = format!("\"{}\"", "x".repeat(5_000));
        for (encodings, is_packed) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5, br", true),
            ("gzip;q=0", false),
            ("br", false),
            ("x-gzip", false),
        ] {
            let response = encode(long.clone(), &accepting(encodings)).unwrap();
            assert_eq!(
                response.headers().contains_key("content-encoding"),
                is_packed,
                "{encodings}"
            );
        }
        let response = encode(long.clone(), &accepting("gzip")).unwrap();
        let Body::Binary(packed) = response.body() else {
            panic!("packed bodies are binary")
        };
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, long);
        let short = encode("{}".to_owned(), &accepting("gzip")).unwrap();
        assert!(matches!(short.body(), Body::Text(_)));
    }

    #[test]
    fn the_size_that_counts_is_that_of_the_encoded_answer() {
        let quotes = "\"".repeat(MAX_ANSWER_BYTES / 2);
        assert_eq!(
            encode(quotes.clone(), &HeaderMap::new())
                .unwrap_err()
                .code(),
            "54000"
        );
        assert!(encode(quotes, &accepting("gzip")).is_ok());
        let fits = "x".repeat(MAX_ANSWER_BYTES - ENVELOPE_BYTES - 2);
        assert!(encode(fits.clone(), &HeaderMap::new()).is_ok());
        assert!(encode(fits + "x", &HeaderMap::new()).is_err());
    }
}
