//! IAM tokens: a `SigV4` query-presigned URL, taken apart strictly, and its signature.
//!
//! 1. Nothing about the order of the query is trusted: it is parsed, the signature taken out, sorted and encoded again.
//! 2. The signature is compared in constant time.
//!
//! Whether it may log in is for `auth` to say.

use std::collections::BTreeMap;
use std::time::SystemTime;

use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::principal::Action;

/// SHA-256 of the empty payload.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service name in a credential scope.
pub(crate) const SERVICE: &str = "dsql";
/// What RFC 3986 leaves unreserved; `SigV4` encodes everything else.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A token taken apart. Holds no secret, but a signature: it has no `Debug`.
pub(crate) struct Token {
    pub(crate) host: String,
    /// Decoded query without the signature, in canonical order.
    query: BTreeMap<String, String>,
    signature: Vec<u8>,
    pub(crate) action: Action,
    pub(crate) access_key_id: String,
    pub(crate) region: String,
    pub(crate) service: String,
    /// `X-Amz-Date` as sent.
    pub(crate) date: String,
    pub(crate) signed_at: SystemTime,
    pub(crate) life_s: u64,
}

impl Token {
    pub(crate) fn parse(token: &str) -> Option<Self> {
        let (host, query) = token.split_once("/?")?;
        if host.is_empty() || host.contains(['/', ':', '@', '?']) {
            return None;
        }
        let mut parameters = BTreeMap::new();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=')?;
            let name = percent_decode_str(name).decode_utf8().ok()?.into_owned();
            let value = percent_decode_str(value).decode_utf8().ok()?.into_owned();
            if parameters.insert(name, value).is_some() {
                return None;
            }
        }
        let signature = parameters.remove("X-Amz-Signature")?;
        if signature.len() != 64 || signature.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let get = |name: &str| parameters.get(name).map(String::as_str);
        let required = [
            "Action",
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Date",
            "X-Amz-Expires",
            "X-Amz-SignedHeaders",
        ];
        let optional = usize::from(get("X-Amz-Security-Token").is_some());
        if required.iter().any(|name| get(name).is_none())
            || parameters.len() != required.len() + optional
        {
            return None;
        }
        if get("X-Amz-Algorithm")? != ALGORITHM || get("X-Amz-SignedHeaders")? != "host" {
            return None;
        }
        let mut scope = get("X-Amz-Credential")?.split('/');
        let (access_key_id, day, region) = (scope.next()?, scope.next()?, scope.next()?);
        let (service, terminator) = (scope.next()?, scope.next()?);
        let date = get("X-Amz-Date")?;
        if terminator != "aws4_request"
            || scope.next().is_some()
            || date.len() != 16
            || date.get(..8)? != day
        {
            return None;
        }
        let signed_at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
        let signed_at = signed_at
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp();
        let life = get("X-Amz-Expires")?;
        let digits = life.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self {
            host: host.to_owned(),
            signature: hex::decode(signature).ok()?,
            action: Action::parse(get("Action")?)?,
            access_key_id: access_key_id.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            date: date.to_owned(),
            signed_at: signed_at.into(),
            life_s: if digits {
                life.parse().unwrap_or(u64::MAX)
            } else {
                return None;
            },
            query: parameters,
        })
    }

    pub(crate) fn session_token(&self) -> Option<&str> {
        self.query.get("X-Amz-Security-Token").map(String::as_str)
    }

    pub(crate) fn canonical_request(&self) -> String {
        let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        // The order of the encoded names is that of the names: all of them are unreserved characters.
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        format!(
            "GET\n/\n{}\nhost:{}\n\nhost\n{EMPTY_SHA256}",
            query.join("&"),
            self.host
        )
    }

    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let day = self.date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let request = hex::encode(Sha256::digest(self.canonical_request()));
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

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}
