//! A token is accepted only if all of it was signed, and it says no more than a strict parser finds
//! in it.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use fuzzing::{Corpus, Seen, any, check, prop_assert, prop_assert_eq};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Map, Value, json};

use crate::jwk::JwkSet;
use crate::jwt::{Claims, Policy, Rejection, verify};

const NOW: u64 = 1_795_305_600;
const LIFETIME_S: u64 = 3_600;
const LEEWAY_S: f64 = 30.0;

const HEADERS: [&str; 2] = [
    r#"{"alg":"EdDSA","kid":"ed","typ":"JWT"}"#,
    r#"{"typ":"JWT","alg":"EdDSA"}"#,
];
const CLAIMS: [&str; 3] = [
    r#"{"iss":"https://blog.example","aud":"chat","sub":"u1","exp":1795305900}"#,
    r#"{"iss":"https://blog.example","aud":["other","chat"],"sub":"auth0|5f7c","exp":1795305900.5,"nbf":1795305000,"iat":1}"#,
    r#"{"iss":"https://blog.example","aud":"chat","sub":"g","exp":1795306000,"anon":true,"amr":[{"x":null}]}"#,
];

fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn keys(signer: &Ed25519KeyPair) -> JwkSet {
    let x = BASE64_URL_SAFE_NO_PAD.encode(signer.public_key().as_ref());
    JwkSet::parse(
        &json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": x}]}).to_string(),
    )
    .unwrap()
}

fn signed(signer: &Ed25519KeyPair, header: &[u8], claims: &[u8]) -> String {
    let message = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let message = message.join(".");
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn verified(token: &str, keys: &JwkSet) -> Result<Claims, Rejection> {
    let policy = Policy {
        issuer: "https://blog.example".to_owned(),
        audience: "chat".to_owned(),
        max_lifetime: Duration::from_secs(LIFETIME_S),
    };
    verify(token, keys, &policy, UNIX_EPOCH + Duration::from_secs(NOW))
}

#[test]
fn a_token_is_believed_only_if_all_of_it_was_signed() {
    let signer = signer();
    let keys = keys(&signer);
    let tokens: Vec<String> = CLAIMS
        .iter()
        .flat_map(|claims| {
            HEADERS.map(|header| signed(&signer, header.as_bytes(), claims.as_bytes()))
        })
        .collect();
    let parts: Vec<&str> = tokens.iter().flat_map(|token| token.split('.')).collect();
    let corpus = Corpus::new(&tokens).words(parts.into_iter().chain([
        ".",
        "=",
        "A",
        "e30",
        "eyJhbGciOiJub25lIn0",
    ]));
    check("a JWT", corpus.text(), |token| {
        Ok(match verified(&token, &keys) {
            Ok(claims) => {
                prop_assert!(tokens.contains(&token), "{claims:?}");
                Seen::Accepted
            }
            Err(_) => Seen::Refused,
        })
    });
}

fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

/// Whether it holds what a tree cannot, and what is skipped may.
fn is_beyond_a_tree(json: &[u8]) -> bool {
    let error = serde_json::from_slice::<Value>(json).err();
    error.is_some_and(|error| {
        let text = error.to_string();
        text.starts_with("recursion limit") || text.starts_with("number out of range")
    })
}

/// What may be believed of a signed token, by RFC 7519 and the policy.
fn strict(header: &[u8], claims: &[u8]) -> Option<Claims> {
    let (header, claims) = (object(header)?, object(claims)?);
    let says = |fields: &Map<String, Value>, name: &str, value: &str| {
        fields.get(name) == Some(&value.into())
    };
    let is_for_us = match claims.get("aud")? {
        Value::Array(audiences) => {
            audiences.iter().all(Value::is_string) && audiences.contains(&"chat".into())
        }
        audience => audience == "chat",
    };
    let now = Duration::from_secs(NOW).as_secs_f64();
    let latest = now + Duration::from_secs(LIFETIME_S).as_secs_f64() + LEEWAY_S;
    let expires = claims.get("exp")?.as_f64()?;
    let begins = match claims.get("nbf") {
        None | Some(Value::Null) => now,
        Some(begins) => begins.as_f64()?,
    };
    let anonymous = match claims.get("anon") {
        None => false,
        Some(anonymous) => anonymous.as_bool()?,
    };
    let subject = claims.get("sub")?.as_str()?;
    let is_believed = says(&header, "alg", "EdDSA")
        && header
            .get("kid")
            .is_none_or(|kid| kid.is_null() || kid == "ed")
        && !header.contains_key("crit")
        && says(&claims, "iss", "https://blog.example")
        && is_for_us
        && now < expires + LEEWAY_S
        && expires <= latest
        && begins - LEEWAY_S <= now
        && (1..=128).contains(&subject.len())
        && subject.bytes().all(|byte| byte.is_ascii_graphic());
    is_believed.then(|| Claims {
        subject: subject.to_owned(),
        anonymous,
    })
}

#[test]
fn a_signed_token_says_what_a_strict_reader_finds_in_it() {
    let signer = signer();
    let keys = keys(&signer);
    let headers = Corpus::new(HEADERS).words([
        "\"none\"",
        "\"ES256\"",
        "\"crit\":",
        "[\"EdDSA\",\"ed\"]",
        ",\"crit\":null",
    ]);
    let claims = Corpus::new(CLAIMS).words([
        "\"sub\":",
        "\"exp\":",
        "\"nbf\":",
        "\"aud\":",
        "\"anon\":",
        "1795309231",
        "1795305569",
        "1795305631",
        "1e300",
        "\"u\\u0000\"",
    ]);
    // Most mutations of the header alone would hide those of the claims.
    let inputs = (headers.bytes(), claims.bytes(), any::<bool>());
    check("claims of a JWT", inputs, |(changed, claims, is_plain)| {
        let header = if is_plain {
            HEADERS[0].as_bytes()
        } else {
            &changed
        };
        let read = verified(&signed(&signer, header, &claims), &keys);
        if [header, claims.as_slice()]
            .into_iter()
            .any(is_beyond_a_tree)
        {
            return Ok(Seen::Refused);
        }
        let expected = strict(header, &claims);
        Ok(match read {
            Ok(claims) => {
                prop_assert_eq!(Some(claims), expected);
                Seen::Accepted
            }
            Err(_) => Seen::Refused,
        })
    });
}
