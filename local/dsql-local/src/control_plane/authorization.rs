//! Who sent a request: the `Authorization` header of Signature Version 4, checked against what
//! arrived.
//!
//! 1. The path, the query, the headers that were signed and the body are those that arrived,
//!    encoded again.
//! 2. Host, date and session token have to be among what was signed, and each header is named once,
//!    in order.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::http::request::Parts;

use super::error::ApiError;
use crate::principal::Principal;
use crate::region::Region;
use crate::sigv4::{
    ALGORITHM, Scope, SignatureError, SignedRequest, canonical_request, encode, parse_signature,
    sha256_hex,
};

const DATE: &str = "x-amz-date";
const SESSION_TOKEN: &str = "x-amz-security-token";
/// How long a signed request may be under way.
const LIFE: Duration = Duration::from_secs(300);

/// The principal that signed the request.
pub(super) fn signer(region: &Region, head: &Parts, body: &[u8]) -> Result<Principal, ApiError> {
    let signed = signed(head, body)?;
    let signer = signed.signer(&region.name, &region.principals)?;
    let now = region.clock.now();
    signed.check_time(&signer, now, LIFE, region.skew)?;
    if signer
        .identity()
        .is_ok_and(|identity| identity.account != region.account_id)
    {
        let message = format!(
            "User: {} is not authorized to access this resource",
            signer.arn
        );
        return Err(ApiError::AccessDenied(message));
    }
    Ok(signer)
}

impl From<SignatureError> for ApiError {
    fn from(error: SignatureError) -> Self {
        let name = match error {
            SignatureError::UnknownKey | SignatureError::SessionToken => {
                "UnrecognizedClientException"
            }
            SignatureError::CredentialsExpired => "ExpiredTokenException",
            _ => "InvalidSignatureException",
        };
        Self::Unauthenticated {
            name,
            message: error.to_string(),
        }
    }
}

/// What the `Authorization` header states.
pub(super) fn signed(head: &Parts, body: &[u8]) -> Result<SignedRequest, ApiError> {
    let authorization = header(&head.headers, AUTHORIZATION.as_str());
    let authorization = authorization.ok_or_else(|| ApiError::Unauthenticated {
        name: "MissingAuthenticationTokenException",
        message: "Missing Authentication Token".to_owned(),
    })?;
    let fields = authorization.strip_prefix(ALGORITHM).unwrap_or_default();
    let fields: BTreeMap<&str, &str> = fields
        .split(',')
        .filter_map(|field| field.trim().split_once('='))
        .collect();
    let required = |name: &str| {
        let missing = || incomplete(format!("Authorization header requires '{name}' parameter."));
        fields.get(name).copied().ok_or_else(missing)
    };
    let scope = required("Credential")?;
    let headers: Vec<&str> = required("SignedHeaders")?.split(';').collect();
    if !headers.is_sorted_by(|one, next| one < next) {
        return Err(incomplete("SignedHeaders must be in order, each once."));
    }
    let signature = required("Signature")?;
    let date = header(&head.headers, DATE);
    let date = date.ok_or_else(|| incomplete(format!("The request has no single '{DATE}'.")))?;
    let session_token = header(&head.headers, SESSION_TOKEN);
    for name in ["host", DATE, SESSION_TOKEN] {
        let is_there = name != SESSION_TOKEN || head.headers.contains_key(name);
        if is_there && !headers.contains(&name) {
            let message = format!("'{name}' must be a 'SignedHeader' in the Authorization.");
            return Err(ApiError::Unauthenticated {
                name: "InvalidSignatureException",
                message,
            });
        }
    }
    let scope = Scope::parse(scope)
        .ok_or_else(|| incomplete("Credential must have exactly 5 slash-delimited elements."))?;
    let signed_at = scope
        .moment(&date)
        .ok_or_else(|| incomplete("Date in Credential scope does not match the request's date."))?;
    Ok(SignedRequest {
        scope,
        date,
        signed_at,
        session_token,
        canonical_request: canonical_request(head, &encoded(head), &headers, &sha256_hex(body)),
        // One that cannot be read is nobody's.
        signature: parse_signature(signature).unwrap_or_default(),
    })
}

fn incomplete(message: impl Into<String>) -> ApiError {
    ApiError::Unauthenticated {
        name: "IncompleteSignatureException",
        message: message.into(),
    }
}

/// A header that is there once.
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.to_owned())
}

/// The path as most services want it signed: encoded once more.
fn encoded(head: &Parts) -> String {
    let segments: Vec<String> = head.uri.path().split('/').map(encode).collect();
    segments.join("/")
}
