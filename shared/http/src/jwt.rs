//! Verifies a compact JWS (RFC 7515) that carries JWT claims (RFC 7519). It promises:
//!
//! 1. The algorithm is on a list of two, and fits the type of the key that is asked.
//! 2. Nothing of a token is believed before its signature is.
//! 3. Input of any length and content is answered, never with a panic.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bounded_json::Object;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::jwk::{Algorithm, JwkSet};

/// Longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Longest `sub`, in bytes. It becomes part of an index key.
const MAX_SUBJECT_BYTES: usize = 128;
/// How far two clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);

/// What a token must say besides being well signed.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The only accepted `iss`.
    pub issuer: String,
    /// One of the `aud` values must be this one.
    pub audience: String,
    /// How far ahead `exp` may lie: so that a lost token does not stay valid indefinitely.
    pub max_lifetime: Duration,
}

/// What a verified token says about its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `sub`: 1 to 128 visible ASCII characters.
    pub subject: String,
    /// `anon`: a guest without an account.
    pub anonymous: bool,
}

/// Why a token was refused. For the log; the caller hears less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Longer than 8 KiB.
    #[error("token is too long")]
    TooLong,
    /// Not three base64url parts of JSON objects with the fields of a JWT.
    #[error("token is malformed")]
    Malformed,
    /// `alg` is not `EdDSA` or `ES256`.
    #[error("token algorithm is not allowed")]
    Algorithm,
    /// The header has `crit`: an extension that must be understood, and none is.
    #[error("token has a critical extension")]
    Critical,
    /// No key of the set fits `kid` and `alg`.
    #[error("token key is unknown")]
    UnknownKey,
    /// The signature does not match.
    #[error("token signature is wrong")]
    Signature,
    /// Another issuer.
    #[error("token issuer is wrong")]
    Issuer,
    /// Another audience.
    #[error("token audience is wrong")]
    Audience,
    /// `exp` lies further ahead than a token may live.
    #[error("token lives too long")]
    Lifetime,
    /// `exp` has passed.
    #[error("token has expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("token is not valid yet")]
    NotYetValid,
    /// `sub` is empty, too long or has characters that no identifier needs.
    #[error("token subject is unusable")]
    Subject,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Whatever its value is.
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[derive(Deserialize)]
struct RawClaims {
    iss: Option<String>,
    aud: Option<OneOrMany>,
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(default)]
    anon: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Verifies `token` and returns what it says.
///
/// # Errors
/// The first [`Rejection`] that applies, in the order: form, algorithm, key, signature, claims.
pub fn verify(
    token: &str,
    keys: &JwkSet,
    policy: &Policy,
    now: SystemTime,
) -> Result<Claims, Rejection> {
    let payload = verified_payload(token, keys)?;
    let claims: RawClaims = object(&payload)?;
    if claims.iss.as_deref() != Some(policy.issuer.as_str()) {
        return Err(Rejection::Issuer);
    }
    let for_us = match &claims.aud {
        Some(OneOrMany::One(audience)) => *audience == policy.audience,
        Some(OneOrMany::Many(audiences)) => audiences.contains(&policy.audience),
        None => false,
    };
    if !for_us {
        return Err(Rejection::Audience);
    }
    let now = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    let leeway = LEEWAY.as_secs_f64();
    // A token without an end is refused as one that has ended.
    if claims.exp.is_none_or(|expires| now >= expires + leeway) {
        return Err(Rejection::Expired);
    }
    let latest = now + policy.max_lifetime.as_secs_f64() + leeway;
    if claims.exp.is_some_and(|expires| expires > latest) {
        return Err(Rejection::Lifetime);
    }
    if claims.nbf.is_some_and(|begins| now < begins - leeway) {
        return Err(Rejection::NotYetValid);
    }
    let subject = claims.sub.ok_or(Rejection::Subject)?;
    Ok(Claims {
        subject: checked_subject(subject)?,
        anonymous: claims.anon,
    })
}

/// The payload of a token whose signature is right.
fn verified_payload(token: &str, keys: &JwkSet) -> Result<Vec<u8>, Rejection> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Rejection::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(Rejection::Malformed)?;
    let header: Header = object(&decode(header)?)?;
    let payload = decode(payload)?; // a further dot is no base64url: refused here
    let signature = decode(signature)?;
    let algorithm = Algorithm::parse(&header.alg).ok_or(Rejection::Algorithm)?;
    if header.crit {
        return Err(Rejection::Critical);
    }
    let key = keys
        .select(algorithm, header.kid.as_deref())
        .ok_or(Rejection::UnknownKey)?;
    if !key.verifies(message.as_bytes(), &signature) {
        return Err(Rejection::Signature);
    }
    Ok(payload)
}

/// Accepts 1 to 128 visible ASCII characters.
pub(crate) fn checked_subject(subject: String) -> Result<String, Rejection> {
    let usable = !subject.is_empty()
        && subject.len() <= MAX_SUBJECT_BYTES
        && subject.bytes().all(|byte| byte.is_ascii_graphic());
    if usable {
        Ok(subject)
    } else {
        Err(Rejection::Subject)
    }
}

/// A JSON object, all of whose text is UTF-8, also what is skipped.
fn object<T: DeserializeOwned>(json: &[u8]) -> Result<T, Rejection> {
    let text = std::str::from_utf8(json).map_err(|_| Rejection::Malformed)?;
    serde_json::from_str(text)
        .map(|Object(read)| read)
        .map_err(|_| Rejection::Malformed)
}

fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Rejection::Malformed)
}

#[cfg(test)]
mod tests;
