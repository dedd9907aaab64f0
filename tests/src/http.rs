//! Owns HTTP as API Gateway hands it to a function: requests become events (REST payload v1, HTTP
//! payload v2), and a function's JSON answer becomes a response again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use lambda_local::gateway::ApiRequest;
use serde_json::{Value, json};

use crate::runtime_api::Streamed;

/// A visitor's request, before API Gateway.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

impl Request {
    /// A request without body; `target` is a path with an optional query, percent-encoded as on the
    /// wire.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = [
            ("Host", "api.example.com"),
            ("Accept", "*/*"),
            ("User-Agent", "Mozilla/5.0 (test)"),
            (
                "X-Amzn-Trace-Id",
                "Root=1-67891233-abcdef012345678912345678",
            ),
            ("X-Forwarded-For", "203.0.113.7"),
            ("X-Forwarded-Port", "443"),
            ("X-Forwarded-Proto", "https"),
        ];
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: None,
        }
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds `Authorization: Bearer <token>`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Sets a JSON body and its content type.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json")
            .body(body.to_string())
    }

    /// Sets the body. Bytes that are no UTF-8 travel as base64, as with a binary media type.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The event of a REST API (payload v1), stage `prod`, resource `/{proxy+}`. A body that is not
    /// UTF-8 has a binary media type.
    pub fn rest_event(&self) -> Value {
        let body = self.body.as_deref();
        let proxy = self.path.trim_start_matches('/').to_owned();
        ApiRequest {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            body,
            is_binary: body.is_some_and(|body| std::str::from_utf8(body).is_err()),
            resource: "/{proxy+}",
            path_parameters: &BTreeMap::from([("proxy".to_owned(), proxy)]),
            stage: "prod",
            account_id: "123456789012",
            api_id: "70ixmpl4fl",
            source_ip: IpAddr::from([203, 0, 113, 7]),
            request_id: "77375676-xmpl-4b79-853a-f982474efe18",
            time: Timestamp::UNIX_EPOCH,
        }
        .event()
    }

    /// The event of an HTTP API or function URL (payload v2), as the local emulator sends it.
    pub fn http_event(&self) -> Value {
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &self.headers {
            let joined = headers.entry(name.to_lowercase()).or_default();
            let _ = write!(
                joined,
                "{}{value}",
                if joined.is_empty() { "" } else { "," }
            );
        }
        let (body, is_base64) = self.event_body();
        let mut event = json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": self.query,
            "headers": headers,
            "requestContext": {
                "accountId": "123456789012", "apiId": "70ixmpl4fl", "domainName": "api.example.com",
                "domainPrefix": "api", "requestId": "JKJaXmPLvHcESHA=", "routeKey": "$default", "stage": "$default",
                "http": {
                    "method": self.method, "path": self.path, "protocol": "HTTP/1.1",
                    "sourceIp": "203.0.113.7", "userAgent": "Mozilla/5.0 (test)"
                },
                "time": "22/Nov/2026:10:03:03 +0000", "timeEpoch": 1_795_341_783_000_u64
            },
            "isBase64Encoded": is_base64,
        });
        if let Some(body) = body {
            event["body"] = json!(body);
        }
        event
    }

    fn event_body(&self) -> (Option<String>, bool) {
        match &self.body {
            None => (None, false),
            Some(body) => match std::str::from_utf8(body) {
                Ok(text) => (Some(text.to_owned()), false),
                Err(_) => (Some(STANDARD.encode(body)), true),
            },
        }
    }
}

/// A function's answer as the visitor sees it.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// By lower-case name.
    pub headers: BTreeMap<String, Vec<String>>,
    /// Decoded when it travelled as base64.
    pub body: Bytes,
}

/// Response headers that our functions may send. Anything else is a leak or an unannounced change.
pub const ALLOWED_HEADERS: [&str; 24] = [
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "allow",
    "cache-control",
    "content-encoding",
    "content-type",
    "etag",
    "idempotent-replayed",
    "link",
    "location",
    "neon-batch-deferrable",
    "neon-batch-isolation-level",
    "neon-batch-read-only",
    "neon-request-id",
    "retry-after",
    "vary",
    "www-authenticate",
    "x-accel-buffering",
    "x-content-type-options",
    "x-request-id",
    "x-vercel-ai-ui-message-stream",
];

impl Response {
    /// Reads the answer to an event of either payload version.
    ///
    /// # Panics
    /// When it is no such answer, or carries a header that is not in [`ALLOWED_HEADERS`].
    pub fn from_answer(answer: &[u8]) -> Self {
        let answer: Value = serde_json::from_slice(answer).expect("the answer is JSON");
        let status = answer["statusCode"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok());
        let Some(status) = status else {
            panic!("no statusCode in {answer}")
        };
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in answer["headers"].as_object().into_iter().flatten() {
            headers
                .entry(name.to_lowercase())
                .or_default()
                .push(text(value));
        }
        for (name, values) in answer["multiValueHeaders"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let values = values.as_array().into_iter().flatten().map(text).collect();
            headers.insert(name.to_lowercase(), values);
        }
        for name in headers.keys() {
            assert!(
                ALLOWED_HEADERS.contains(&name.as_str()),
                "unexpected response header {name}: {:?}",
                headers[name]
            );
        }
        let body = answer["body"].as_str().unwrap_or_default();
        let body = if answer["isBase64Encoded"].as_bool().unwrap_or_default() {
            STANDARD.decode(body).expect("a base64 body decodes").into()
        } else {
            Bytes::copy_from_slice(body.as_bytes())
        };
        Self {
            status,
            headers,
            body,
        }
    }

    /// Reads a streamed answer as far as it came.
    ///
    /// # Panics
    /// When it has no prelude, or carries a header that is not in [`ALLOWED_HEADERS`].
    pub fn from_streamed(streamed: &Streamed) -> Self {
        let prelude = json!({
            "statusCode": streamed.status(),
            "headers": streamed.prelude["headers"],
        });
        Self {
            body: streamed.body(),
            ..Self::from_answer(prelude.to_string().as_bytes())
        }
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.first().map(String::as_str)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "{error} in the body {:?}",
                String::from_utf8_lossy(&self.body)
            )
        })
    }

    /// The `code` of an error body, empty when there is none.
    pub fn code(&self) -> String {
        serde_json::from_slice::<Value>(&self.body)
            .ok()
            .and_then(|body| body["code"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
