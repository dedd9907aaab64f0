//! Owns payload version 1.0: what a REST API makes of a request for a Lambda proxy integration.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// A request as it reached the API, with what the API adds to it.
#[derive(Debug, Clone)]
pub struct ApiRequest<'a> {
    /// Upper case.
    pub method: &'a str,
    /// Percent-encoded, without the stage.
    pub path: &'a str,
    /// Without the question mark, percent-encoded.
    pub query: &'a str,
    /// In order of arrival, forwarding headers included.
    pub headers: &'a [(String, String)],
    /// `None` where the request had none.
    pub body: Option<&'a [u8]>,
    /// Whether the body's content type is one of the API's binary media types.
    pub is_binary: bool,
    /// The resource that was chosen, such as `/api/{proxy+}`.
    pub resource: &'a str,
    /// Percent-encoded, as they were sent.
    pub path_parameters: &'a BTreeMap<String, String>,
    /// The stage.
    pub stage: &'a str,
    /// The account of the API.
    pub account_id: &'a str,
    /// The API's id.
    pub api_id: &'a str,
    /// Who sent it.
    pub source_ip: IpAddr,
    /// A UUID.
    pub request_id: &'a str,
    /// When it arrived.
    pub time: Timestamp,
}

impl ApiRequest<'_> {
    /// The event.
    pub fn event(&self) -> Value {
        let mut headers = Map::new();
        let mut many_headers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in self.headers {
            headers.insert(name.clone(), json!(value));
            many_headers.entry(name).or_default().push(value);
        }
        let mut query = Map::new();
        let mut many_query: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in query_pairs(self.query) {
            query.insert(name.clone(), json!(value));
            many_query.entry(name).or_default().push(value);
        }
        let (body, is_base64) = self.event_body();
        let header = |wanted: &str| {
            let found = self
                .headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.as_str())
        };
        let host = header("host").unwrap_or_default();
        json!({
            "resource": self.resource,
            "path": self.path,
            "httpMethod": self.method,
            "headers": headers,
            "multiValueHeaders": many_headers,
            "queryStringParameters": null_if_empty(query.is_empty(), json!(query)),
            "multiValueQueryStringParameters": null_if_empty(many_query.is_empty(), json!(many_query)),
            "pathParameters": null_if_empty(self.path_parameters.is_empty(), json!(self.path_parameters)),
            "stageVariables": null,
            "requestContext": {
                "resourceId": "local", "resourcePath": self.resource, "httpMethod": self.method,
                "extendedRequestId": self.request_id,
                "requestTime": self.time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
                "path": format!("/{}{}", self.stage, self.path), "accountId": self.account_id, "protocol": "HTTP/1.1",
                "stage": self.stage, "domainPrefix": host.split('.').next().unwrap_or_default(),
                "requestTimeEpoch": self.time.as_millisecond(),
                "requestId": self.request_id,
                "identity": {
                    "cognitoIdentityPoolId": null, "accountId": null, "cognitoIdentityId": null, "caller": null,
                    "sourceIp": self.source_ip.to_string(), "principalOrgId": null, "accessKey": null,
                    "cognitoAuthenticationType": null, "cognitoAuthenticationProvider": null, "userArn": null,
                    "userAgent": header("user-agent"), "user": null
                },
                "domainName": host, "deploymentId": "local", "apiId": self.api_id
            },
            "body": body,
            "isBase64Encoded": is_base64,
        })
    }

    /// A body of a binary media type travels as base64, whatever is in it; any other is text, whose
    /// bytes that are not UTF-8 are replaced, as the service does.
    fn event_body(&self) -> (Option<String>, bool) {
        match self.body {
            None => (None, false),
            Some(body) if self.is_binary => (Some(STANDARD.encode(body)), true),
            Some(body) => (Some(String::from_utf8_lossy(body).into_owned()), false),
        }
    }
}

/// Decoded, as the payload carries them.
fn query_pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn null_if_empty(is_empty: bool, value: Value) -> Value {
    if is_empty { Value::Null } else { value }
}
