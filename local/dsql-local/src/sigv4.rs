//! Signature Version 4: what a signature states, and whether it is that of a known principal.
//! Whoever takes a signed thing apart (`token` a presigned query, the control plane an
//! `Authorization` header, the buckets of `lambda-local` both) brings its canonical request.
//!
//! 1. Signatures are compared in constant time.
//! 2. What is refused is refused in AWS's usual words.

use std::fmt;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, Mac};
use hyper::http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::principal::{Principal, Principals, Secret};

/// The only algorithm.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The parameter of a presigned request that is not signed.
const SIGNATURE: &str = "X-Amz-Signature";
/// The service name in a credential scope.
const SERVICE: &str = "dsql";
/// What RFC 3986 leaves unreserved; everything else is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Why a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("Credential should be scoped to a valid region, not '{0}'.")]
    Region(String),
    #[error("Credential should be scoped to correct service: '{SERVICE}'.")]
    Service,
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    #[error("The security token included in the request is invalid.")]
    SessionToken,
    #[error(
        "The request signature we calculated does not match the signature you provided. \
         Check your AWS Secret Access Key and signing method."
    )]
    Mismatch,
    #[error(
        "Signature expired: {date} is now earlier than {} ({} - {} min.)",
        stamp(*now - *life), stamp(*now), life.as_secs().div_ceil(60)
    )]
    Expired {
        date: String,
        now: SystemTime,
        life: Duration,
    },
    #[error(
        "Signature not yet current: {date} is still later than {} ({} + {} min.)",
        stamp(*now + *skew), stamp(*now), skew.as_secs().div_ceil(60)
    )]
    NotYetValid {
        date: String,
        now: SystemTime,
        skew: Duration,
    },
    #[error("The security token included in the request is expired")]
    CredentialsExpired,
}

/// What a signature states. Holds no secret, but a signature, which `Debug` does not show.
pub struct SignedRequest {
    /// By which key, and what for.
    pub scope: Scope,
    /// `X-Amz-Date` as sent.
    pub date: String,
    /// When that is.
    pub signed_at: SystemTime,
    /// What goes with a key of a role.
    pub session_token: Option<String>,
    /// What was signed: [`canonical_request`].
    pub canonical_request: String,
    /// The signature, as [`parse_signature`] reads it.
    pub signature: Vec<u8>,
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest")
            .field("scope", &self.scope)
            .field("date", &self.date)
            .finish_non_exhaustive()
    }
}

impl SignedRequest {
    /// Whose signature it is.
    pub(crate) fn signer(
        &self,
        region: &str,
        principals: &Principals,
    ) -> Result<Principal, SignatureError> {
        if self.scope.region != region {
            return Err(SignatureError::Region(self.scope.region.clone()));
        }
        if self.scope.service != SERVICE {
            return Err(SignatureError::Service);
        }
        let principal = principals
            .find(&self.scope.access_key_id)
            .ok_or(SignatureError::UnknownKey)?;
        let expected = principal.session_token.as_ref().map(Secret::expose);
        if self.session_token.as_deref() != expected {
            return Err(SignatureError::SessionToken);
        }
        if !self.is_signed_with(principal.secret_access_key.expose()) {
            return Err(SignatureError::Mismatch);
        }
        Ok(principal)
    }

    /// Whether it holds at this moment: for its own life, dated ahead by no more than `skew`, and
    /// as long as its signer's credentials.
    pub(crate) fn check_time(
        &self,
        signer: &Principal,
        now: SystemTime,
        life: Duration,
        skew: Duration,
    ) -> Result<(), SignatureError> {
        let date = || self.date.clone();
        if now > self.signed_at + life {
            return Err(SignatureError::Expired {
                date: date(),
                now,
                life,
            });
        }
        if self.signed_at > now + skew {
            return Err(SignatureError::NotYetValid {
                date: date(),
                now,
                skew,
            });
        }
        if signer.expires_at.is_some_and(|end| now >= end) {
            return Err(SignatureError::CredentialsExpired);
        }
        Ok(())
    }

    /// Whether the signature is that of this secret key.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let Scope {
            day,
            region,
            service,
            ..
        } = &self.scope;
        let scope = format!("{day}/{region}/{service}/{TERMINATOR}");
        let request = sha256_hex(self.canonical_request.as_bytes());
        let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{request}", self.date);
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in scope.split('/') {
            key = keyed(&key)
                .chain_update(part)
                .finalize()
                .into_bytes()
                .to_vec();
        }
        keyed(&key)
            .chain_update(to_sign)
            .verify_slice(&self.signature)
            .is_ok()
    }
}

const TERMINATOR: &str = "aws4_request";

/// A credential: an access key, and what its signature is good for.
#[derive(Debug)]
pub struct Scope {
    /// Names the key.
    pub access_key_id: String,
    /// `YYYYMMDD`
    pub day: String,
    /// Of AWS.
    pub region: String,
    /// Such as `dsql` or `s3`.
    pub service: String,
}

impl Scope {
    /// Reads `key/day/region/service/aws4_request`.
    pub fn parse(credential: &str) -> Option<Self> {
        let mut parts = credential.split('/');
        let mut next = || parts.next().map(str::to_owned);
        let scope = Self {
            access_key_id: next()?,
            day: next()?,
            region: next()?,
            service: next()?,
        };
        (parts.next() == Some(TERMINATOR) && parts.next().is_none()).then_some(scope)
    }

    /// When a signature of this day was made; `None` if that is no moment of it.
    pub fn moment(&self, date: &str) -> Option<SystemTime> {
        if date.len() != 16 || date.get(..8)? != self.day {
            return None;
        }
        let moment = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
        let moment = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(moment.timestamp().into())
    }
}

/// The bytes of a signature as it is written.
pub fn parse_signature(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    hex::decode(text).ok()
}

/// The canonical request of what arrived: `path` as the service wants it signed, the query without
/// a signature, and `payload` for the body.
pub fn canonical_request(
    head: &Parts,
    path: &str,
    signed_headers: &[&str],
    payload: &str,
) -> String {
    let mut query: Vec<(String, String)> = parameters(head)
        .filter(|(name, _)| name != SIGNATURE)
        .map(|(name, value)| (encode(&name), encode(&value)))
        .collect();
    query.sort_unstable();
    let query: Vec<String> = query
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut headers = String::new();
    for name in signed_headers {
        let values: Vec<String> = head
            .headers
            .get_all(*name)
            .iter()
            .map(|value| {
                let value = String::from_utf8_lossy(value.as_bytes());
                let words: Vec<&str> = value.split(' ').filter(|word| !word.is_empty()).collect();
                words.join(" ")
            })
            .collect();
        headers.extend([*name, ":", &values.join(","), "\n"]);
    }
    format!(
        "{}\n{path}\n{}\n{headers}\n{}\n{payload}",
        head.method,
        query.join("&"),
        signed_headers.join(";"),
    )
}

/// The query, decoded, in its order.
pub fn parameters(head: &Parts) -> impl Iterator<Item = (String, String)> {
    let pairs = head.uri.query().unwrap_or_default().split('&');
    pairs.filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Encodes as a canonical request does.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The hash of a body, as a canonical request has it.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// `YYYYMMDDTHHMMSSZ`
fn stamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.strftime("%Y%m%dT%H%M%SZ").to_string())
        .unwrap_or_default()
}
