//! Who sent a request: Signature Version 4 in the query (a presigned request) or in the header
//! `Authorization`, checked against what arrived.
//!
//! The rules are S3's: the path as it stands, `UNSIGNED-PAYLOAD` for the body of a presigned
//! request, host and every `x-amz-` header among what was signed, a life of a second to a week.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use dsql_local::sigv4::{
    ALGORITHM, Scope, SignedRequest, canonical_request, parameters, parse_signature,
};
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;

use super::error::S3Error;
use crate::sts::Keys;

const SERVICE: &str = "s3";
const DATE: &str = "x-amz-date";
const SESSION_TOKEN: &str = "x-amz-security-token";
const PAYLOAD: &str = "x-amz-content-sha256";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// How far the signer's clock may be from this one.
const SKEW: Duration = Duration::from_mins(15);
const LONGEST_LIFE_SECONDS: u64 = 7 * 24 * 60 * 60;

/// Somebody who may sign requests.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What they sign with.
    pub keys: Keys,
    /// The actions that their role allows, such as `s3:GetObject`.
    pub actions: BTreeSet<String>,
}

impl Caller {
    pub(super) fn may(&self, action: &str) -> bool {
        let mut names = [action, "s3:*", "*"].into_iter();
        names.any(|name| self.actions.contains(name))
    }
}

/// Checks that the request is signed, holds at `now`, and is allowed to its signer, whom it tells.
pub(crate) fn check<'a>(
    head: &Parts,
    callers: &'a [Caller],
    region: &str,
    action: &str,
    now: SystemTime,
) -> Result<&'a Caller, S3Error> {
    let query: BTreeMap<String, String> = parameters(head).collect();
    let (signed, life) = if query.contains_key("X-Amz-Signature") {
        presigned(head, &query)?
    } else {
        in_headers(head)?
    };
    if signed.scope.region != region || signed.scope.service != SERVICE {
        return Err(S3Error::Malformed("the credential is of another scope"));
    }
    let key = |caller: &&Caller| caller.keys.access_key_id == signed.scope.access_key_id;
    let caller = callers.iter().find(key).ok_or(S3Error::UnknownKey)?;
    // A key that belongs to no role has none.
    if signed.session_token.as_deref().unwrap_or_default() != caller.keys.session_token {
        return Err(S3Error::InvalidToken);
    }
    if !signed.is_signed_with(&caller.keys.secret_access_key) {
        return Err(S3Error::Mismatch);
    }
    match life {
        Some(life) if now > signed.signed_at + life => return Err(S3Error::Expired),
        None if now > signed.signed_at + SKEW => return Err(S3Error::Skewed),
        _ if signed.signed_at > now + SKEW => return Err(S3Error::Skewed),
        _ => {}
    }
    if caller.may(action) {
        Ok(caller)
    } else {
        Err(S3Error::AccessDenied)
    }
}

type Signed = (SignedRequest, Option<Duration>);

/// What the query states, with the life that it gives itself.
fn presigned(head: &Parts, query: &BTreeMap<String, String>) -> Result<Signed, S3Error> {
    let get = |name: &str| query.get(name).map(String::as_str);
    let required = |name: &str| get(name).ok_or(S3Error::Malformed("a parameter is missing"));
    if required("X-Amz-Algorithm")? != ALGORITHM {
        return Err(S3Error::Malformed("the algorithm is not known"));
    }
    let life: u64 = required("X-Amz-Expires")?
        .parse()
        .ok()
        .filter(|life| (1..=LONGEST_LIFE_SECONDS).contains(life))
        .ok_or(S3Error::Malformed("X-Amz-Expires is out of range"))?;
    let stated = Stated {
        credential: required("X-Amz-Credential")?,
        signed_headers: required("X-Amz-SignedHeaders")?,
        signature: required("X-Amz-Signature")?,
        date: required("X-Amz-Date")?,
        session_token: get("X-Amz-Security-Token"),
        payload: UNSIGNED_PAYLOAD,
    };
    Ok((stated.read(head)?, Some(Duration::from_secs(life))))
}

/// What the headers state.
fn in_headers(head: &Parts) -> Result<Signed, S3Error> {
    let header = |name: &str| head.headers.get(name)?.to_str().ok();
    let authorization = header(AUTHORIZATION.as_str()).ok_or(S3Error::AccessDenied)?;
    let fields = authorization
        .strip_prefix(ALGORITHM)
        .ok_or(S3Error::Malformed("the algorithm is not known"))?;
    let fields: BTreeMap<&str, &str> = fields
        .split(',')
        .filter_map(|field| field.trim().split_once('='))
        .collect();
    let missing = S3Error::Malformed("a field of the header Authorization is missing");
    let field = |name: &str| fields.get(name).copied().ok_or(missing.clone());
    let stated = Stated {
        credential: field("Credential")?,
        signed_headers: field("SignedHeaders")?,
        signature: field("Signature")?,
        date: header(DATE).ok_or(missing.clone())?,
        session_token: header(SESSION_TOKEN),
        payload: header(PAYLOAD).ok_or(missing.clone())?,
    };
    Ok((stated.read(head)?, None))
}

/// A signature, wherever it stands.
struct Stated<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    date: &'a str,
    session_token: Option<&'a str>,
    payload: &'a str,
}

impl Stated<'_> {
    fn read(&self, head: &Parts) -> Result<SignedRequest, S3Error> {
        let signed_headers: Vec<&str> = self.signed_headers.split(';').collect();
        if !signed_headers.is_sorted_by(|one, next| one < next) {
            return Err(S3Error::Malformed("the signed headers are not in order"));
        }
        let has_to_be = |name: &str| name == "host" || name.starts_with("x-amz-");
        let mut names = head.headers.keys().map(hyper::header::HeaderName::as_str);
        if names.any(|name| has_to_be(name) && !signed_headers.contains(&name)) {
            return Err(S3Error::Unsigned);
        }
        let malformed = S3Error::Malformed("the credential is malformed");
        let scope = Scope::parse(self.credential).ok_or(malformed)?;
        let signed_at = scope
            .moment(self.date)
            .ok_or(S3Error::Malformed("the date is not that of the credential"))?;
        Ok(SignedRequest {
            scope,
            date: self.date.to_owned(),
            signed_at,
            session_token: self.session_token.map(str::to_owned),
            canonical_request: canonical_request(
                head,
                head.uri.path(),
                &signed_headers,
                self.payload,
            ),
            // One that cannot be read is nobody's.
            signature: parse_signature(self.signature).unwrap_or_default(),
        })
    }
}
