//! Fuzz targets: what the control plane reads before and after it knows who asks.

use fuzzing::{Corpus, Seen, check, prop_assert, prop_assert_eq};
use hyper::Request;
use hyper::http::request::Parts;

use super::authorization::signed;
use super::input::{self, CreateCluster, Page};
use super::operation::Operation;
use crate::sigv4::parameters;

/// A request line, headers and a body.
const REQUEST: &str = "\
POST /tags/arn%3Aaws%3Adsql%3Aus-east-1%3A111122223333%3Acluster%2Fabc?tagKeys=a%20b&tagKeys=c
host: 127.0.0.1:8080
x-amz-date: 20261129T000000Z
x-amz-security-token: a+b
authorization: AWS4-HMAC-SHA256 Credential=AKIA/20261129/us-east-1/dsql/aws4_request, \
SignedHeaders=host;x-amz-date;x-amz-security-token, \
Signature=0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a

{\"tags\":{\"a\":\"b\"}}";

/// Reads a request as far as HTTP would have let it through.
fn request(text: &str) -> Option<(Parts, &[u8])> {
    let (head, body) = text.split_once("\n\n")?;
    let mut lines = head.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        request = request.header(name, value);
    }
    let (head, ()) = request.body(()).ok()?.into_parts();
    Some((head, body.as_bytes()))
}

#[test]
fn a_request_is_signed_by_nobody_who_has_not_its_secret() {
    let without_token = REQUEST
        .replace("x-amz-security-token: a+b\n", "")
        .replace(";x-amz-security-token", "");
    let corpus = Corpus::new([REQUEST, &without_token]).words([
        "%2F",
        "%",
        ";",
        "=",
        ", ",
        ": ",
        "host;",
        "GET ",
        "/cluster",
        "max-results=",
        "\n",
        "\u{661}",
    ]);
    check("a signed request", corpus.text(), |text| {
        let Some((head, body)) = request(&text) else {
            return Ok(Seen::Refused);
        };
        Operation::of(&head.method, head.uri.path());
        if let Ok(page) = Page::of(parameters(&head)) {
            prop_assert!((1..=100).contains(&page.max_results));
        }
        let Ok(signed) = signed(&head, body) else {
            return Ok(Seen::Refused);
        };
        prop_assert!(!signed.is_signed_with("secret"));
        prop_assert!(signed.canonical_request.len() <= 9 * text.len() + 200);
        Ok(Seen::Accepted)
    });
}

#[test]
fn what_a_cluster_is_made_of_is_within_the_models_constraints() {
    let corpus = Corpus::new([
        r#"{"deletionProtectionEnabled":false,"tags":{"a b":"c","d":""},"clientToken":"6f1c"}"#,
        r#"{"kmsEncryptionKey":"alias/a","metricGroups":[{"metricGroup":"STATEMENT_STATISTICS"}]}"#,
        "{}",
        "",
    ])
    .words([
        "\"",
        "{",
        "}",
        "null",
        "aws:",
        "\\u0000",
        "multiRegionProperties",
        "policy",
    ]);
    check("a new cluster", corpus.text(), |text| {
        let Ok(input) = input::parse::<CreateCluster>(text.as_bytes()) else {
            return Ok(Seen::Refused);
        };
        if input.check().is_err() {
            return Ok(Seen::Refused);
        }
        for (key, value) in input.tags.iter().flatten() {
            prop_assert!((1..=128).contains(&key.len()) && value.len() <= 256);
            prop_assert!(key.is_ascii() && !key.starts_with("aws:"));
        }
        let again = serde_json::to_vec(&input).unwrap();
        let again: CreateCluster = input::parse(&again).unwrap();
        prop_assert_eq!(again.tags, input.tags);
        Ok(Seen::Accepted)
    });
}
