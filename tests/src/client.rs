//! Owns a client that sends a request as it stands, to any server on this machine.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::HeaderMap;

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Sends a request as it stands.
///
/// # Panics
/// When there is no answer.
pub async fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = hyper::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::from(Bytes::copy_from_slice(body));
    let request = request.body(body).expect("a request");
    let response = https::Client::new().send(request).await;
    let (head, body) = response.expect("an answer").into_parts();
    let body = body.collect().await.expect("a whole body");
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.to_bytes(),
    }
}
