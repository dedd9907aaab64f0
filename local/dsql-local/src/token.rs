//! IAM tokens: a `SigV4` query-presigned URL, taken apart strictly.
//!
//! Nothing about the order of the query is trusted: it is parsed, the signature taken out, sorted
//! and encoded again. Whether it may log in is for `auth` to say.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use crate::principal::Action;
use crate::sigv4::{ALGORITHM, Scope, SignedRequest, encode, parse_signature};

/// SHA-256 of the empty payload.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A token taken apart. Holds no secret, but a signature: it has no `Debug`.
pub(crate) struct Token {
    pub(crate) host: String,
    pub(crate) action: Action,
    pub(crate) life_s: u64,
    pub(crate) signed: SignedRequest,
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
        let signature = parse_signature(&parameters.remove("X-Amz-Signature")?)?;
        let get = |name: &str| parameters.get(name).map(String::as_str);
        let required = [
            "Action",
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Date",
            "X-Amz-Expires",
            "X-Amz-SignedHeaders",
        ];
        let session_token = get("X-Amz-Security-Token");
        let optional = usize::from(session_token.is_some());
        if required.iter().any(|name| get(name).is_none())
            || parameters.len() != required.len() + optional
        {
            return None;
        }
        if get("X-Amz-Algorithm")? != ALGORITHM || get("X-Amz-SignedHeaders")? != "host" {
            return None;
        }
        let scope = Scope::parse(get("X-Amz-Credential")?)?;
        let date = get("X-Amz-Date")?;
        let life = get("X-Amz-Expires")?;
        let digits = life.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self {
            host: host.to_owned(),
            action: Action::of_token(get("Action")?)?,
            life_s: if digits {
                life.parse().unwrap_or(u64::MAX)
            } else {
                return None;
            },
            signed: SignedRequest {
                signed_at: scope.moment(date)?,
                scope,
                date: date.to_owned(),
                session_token: session_token.map(str::to_owned),
                canonical_request: canonical_request(host, &parameters),
                signature,
            },
        })
    }
}

/// `parameters` are decoded, without the signature, and in order: that of the encoded names is that
/// of the names, since all of them are unreserved characters.
fn canonical_request(host: &str, parameters: &BTreeMap<String, String>) -> String {
    let query: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    format!(
        "GET\n/\n{}\nhost:{host}\n\nhost\n{EMPTY_SHA256}",
        query.join("&")
    )
}
