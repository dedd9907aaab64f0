//! Whatever an event says, it is read without a panic, and nobody is the caller whom the gateway
//! does not name.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use fuzzing::{Corpus, Seen, check, prop_assert, prop_assert_eq};
use runtime::Pseudonyms;
use serde_json::Value;
use url::Url;

use crate::caller::Authenticator;
use crate::{address_pseudonym, bytes, deadline, query, segments};

const AUTHORIZED: &str = r#"{"resource":"/api/chats","path":"/api/chats","httpMethod":"GET",
    "headers":{"Host":"api.example.com","X-User":"header"},"queryStringParameters":{"limit":"5","cursor":"c"},
    "requestContext":{"resourceId":"abc123","stage":"v1","httpMethod":"GET","identity":{"sourceIp":"2001:db8::7"},
        "authorizer":{"claims":{"sub":"claimed","anon":"true"},"principalId":"principal"}},
    "body":"{\"sub\":\"body\"}","isBase64Encoded":false}"#;
const JWT_AUTHORIZED: &str = r#"{"version":"2.0","routeKey":"GET /api/chats","rawPath":"/v1/api/chats","rawQueryString":"limit=5",
    "headers":{"host":"api.example.com"},"requestContext":{"stage":"v1","http":{"method":"GET","path":"/v1/api/chats","sourceIp":"203.0.113.7"},
        "authorizer":{"jwt":{"claims":{"sub":"claimed","anon":"true"},"scopes":null}}},"body":"eyJhIjoxfQ==","isBase64Encoded":true}"#;

fn corpus() -> Corpus {
    Corpus::new([
        AUTHORIZED,
        JWT_AUTHORIZED,
        include_str!("../../../../events/shapes/api-gateway-rest.json"),
        include_str!("../../../../events/shapes/api-gateway-http-1.0.json"),
        include_str!("../../../../events/shapes/api-gateway-http-2.0-stage.json"),
        include_str!("../../../../events/shapes/function-url.json"),
        include_str!("../../../../events/shapes/load-balancer-multi-value.json"),
    ])
    .words([
        "\"path\":",
        "\"rawPath\":",
        "\"sub\":",
        "\"authorizer\":",
        "\"lambda\":",
        "\"body\":",
        "\"//x\"",
        "\"/%2e%2e/a b\"",
        "\"\\u00e9\"",
        "\"[::1\"",
        "\"Host\":",
        "\"a:b:c\"",
    ])
}

/// Whether one of the texts in `value` is this one.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(held) => held == text,
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(fields) => fields.values().any(|field| holds(field, text)),
        _ => false,
    }
}

/// All texts that stand under one of `names`.
fn texts<'a>(value: &'a Value, names: &[&str], found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_named = names.iter().any(|known| known.eq_ignore_ascii_case(name));
                let held = value
                    .as_array()
                    .map_or(std::slice::from_ref(value), Vec::as_slice);
                found.extend(held.iter().filter(|_| is_named).filter_map(Value::as_str));
                texts(value, names, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, names, found)),
        _ => {}
    }
}

/// Whether a gateway could have sent it, which has read a URL and encoded the body itself: of
/// others the library panics.
fn is_a_gateways(event: &Value) -> bool {
    let (mut hosts, mut paths, mut schemes) = (vec!["localhost"], vec!["/"], Vec::new());
    let mut queries = Vec::new();
    texts(event, &["rawQueryString"], &mut queries);
    texts(event, &["host", "domainName"], &mut hosts);
    texts(event, &["path", "rawPath"], &mut paths);
    texts(event, &["x-forwarded-proto"], &mut schemes);
    let is_url = |host: &str, path: &str| {
        path.starts_with('/')
            && path.is_ascii()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b))
            && Url::parse(&format!("https://{host}{path}")).is_ok()
    };
    let is_query = |query: &str| {
        query
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"#<>".contains(&b))
    };
    let body = event["body"].as_str().unwrap_or_default();
    hosts
        .iter()
        .all(|host| paths.iter().all(|path| is_url(host, path)))
        && queries.iter().all(|query| is_query(query))
        && schemes
            .iter()
            .all(|scheme| matches!(*scheme, "http" | "https"))
        && (event["isBase64Encoded"] != true || BASE64_STANDARD.decode(body).is_ok())
}

#[test]
fn an_event_is_read_and_names_no_caller_but_its_authorizers() {
    let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let lookup = |name: &str| match name {
        "AUTH_JWKS" => Some(jwks.to_owned()),
        "AUTH_ISSUER" | "AUTH_AUDIENCE" | "ADDRESS_HASH_KEY" => Some("0123456789abcdef".to_owned()),
        _ => None,
    };
    let by_token = Authenticator::from_lookup(&lookup).unwrap();
    let pseudonyms = Pseudonyms::from_lookup(&lookup).unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(1_795_305_600);
    check("an event", corpus().text(), |text| {
        // What nests deeper than a tree of values may, the library skips where it does not matter.
        let Ok(event) = serde_json::from_str::<Value>(&text) else {
            return Ok(Seen::Refused);
        };
        if !is_a_gateways(&event) {
            return Ok(Seen::Refused);
        }
        let Ok(request) = lambda_http::request::from_str(&text) else {
            return Ok(Seen::Refused);
        };
        prop_assert!(bytes(&request).len() <= text.len());
        prop_assert!(
            segments(&request)
                .iter()
                .all(|segment| !segment.contains('/'))
        );
        for name in ["limit", "cursor", "q"] {
            prop_assert!(
                query(&request, name).is_ok_and(|value| !value.unwrap_or("").contains('\0'))
                    || query(&request, name).is_err()
            );
        }
        prop_assert!(deadline(&request, now) > now);
        prop_assert!(
            address_pseudonym(&pseudonyms, &request, now).is_none_or(|hash| hash.len() == 22)
        );
        prop_assert!(by_token.caller(&request, now).is_err());
        if let Ok(caller) = Authenticator::ApiGateway.caller(&request, now) {
            let subject = caller.subject;
            prop_assert!((1..=128).contains(&subject.len()));
            prop_assert!(subject.bytes().all(|byte| byte.is_ascii_graphic()));
            let named = event.pointer("/requestContext/authorizer");
            prop_assert_eq!(named.map(|named| holds(named, &subject)), Some(true));
        }
        Ok(Seen::Accepted)
    });
}
