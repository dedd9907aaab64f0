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
    /// How far ahead `exp` may lie: a token that is lost is not good for ever.
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
mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
    };
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_795_305_600;

    struct Signer {
        ed: Ed25519KeyPair,
        ec: EcdsaKeyPair,
    }

    impl Signer {
        fn new() -> Self {
            let random = SystemRandom::new();
            let pkcs8 =
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            Self {
                ed: Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap(),
                ec: EcdsaKeyPair::from_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    pkcs8.as_ref(),
                    &random,
                )
                .unwrap(),
            }
        }

        fn keys(&self) -> JwkSet {
            let point = self.ec.public_key().as_ref();
            JwkSet::parse(
                &json!({"keys": [
                    {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(self.ed.public_key().as_ref())},
                    {"kty": "EC", "crv": "P-256", "kid": "ec", "x": encode(&point[1..33]), "y": encode(&point[33..])},
                ]})
                .to_string(),
            )
            .unwrap()
        }

        fn ed(&self, header: &Value, claims: &Value) -> String {
            signed(header, claims, |message| {
                self.ed.sign(message).as_ref().to_vec()
            })
        }

        fn ec(&self, header: &Value, claims: &Value) -> String {
            signed(header, claims, |message| {
                self.ec
                    .sign(&SystemRandom::new(), message)
                    .unwrap()
                    .as_ref()
                    .to_vec()
            })
        }

        fn check(&self, token: &str) -> Result<Claims, Rejection> {
            verify(
                token,
                &self.keys(),
                &policy(),
                UNIX_EPOCH + Duration::from_secs(NOW),
            )
        }

        fn with(&self, change: impl FnOnce(&mut Value)) -> Result<Claims, Rejection> {
            let mut claims = claims();
            change(&mut claims);
            self.check(&self.ed(&json!({"alg": "EdDSA", "kid": "ed"}), &claims))
        }
    }

    fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let message = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let signature = encode(&sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn encode(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn policy() -> Policy {
        Policy {
            issuer: "https://blog.example".into(),
            audience: "chat".into(),
            max_lifetime: Duration::from_secs(3_600),
        }
    }

    fn claims() -> Value {
        json!({"iss": "https://blog.example", "aud": "chat", "sub": "u1", "exp": NOW + 300})
    }

    #[test]
    fn the_eddsa_example_of_rfc_8037_verifies() {
        let keys = JwkSet::parse(
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        )
        .unwrap();
        let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
            hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(
            verified_payload(token, &keys).unwrap(),
            b"Example of Ed25519 signing"
        );
    }

    #[test]
    fn the_es256_example_of_rfc_7515_verifies() {
        let keys = JwkSet::parse(
            r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
        )
        .unwrap();
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
            DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        assert!(
            verified_payload(token, &keys)
                .unwrap()
                .starts_with(b"{\"iss\":\"joe\"")
        );
    }

    #[test]
    fn both_algorithms_are_accepted_each_with_its_own_key() {
        let signer = Signer::new();
        let ed = signer.ed(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
        assert_eq!(signer.check(&ed).unwrap().subject, "u1");
        let ec = signer.ec(&json!({"alg": "ES256", "kid": "ec"}), &claims());
        assert_eq!(signer.check(&ec).unwrap().subject, "u1");
    }

    #[test]
    fn a_token_that_was_accepted_before_is_refused_once_it_has_expired() {
        let signer = Signer::new();
        let keys = signer.keys();
        let token = signer.ed(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
        let at = |seconds| {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            verify(&token, &keys, &policy(), now).map(|claims| claims.subject)
        };
        assert_eq!(at(NOW), Ok("u1".to_owned()));
        assert_eq!(at(NOW + 300), Ok("u1".to_owned()), "within the leeway");
        assert_eq!(at(NOW + 330), Err(Rejection::Expired));
        assert_eq!(at(NOW - 3_330), Ok("u1".to_owned()), "within the leeway");
        assert_eq!(at(NOW - 3_331), Err(Rejection::Lifetime));
        let elsewhere = Policy {
            audience: "sql".to_owned(),
            ..policy()
        };
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        assert_eq!(
            verify(&token, &keys, &elsewhere, now),
            Err(Rejection::Audience)
        );
    }

    #[test]
    fn an_algorithm_that_does_not_fit_the_named_key_is_refused() {
        let signer = Signer::new();
        let token = signer.ed(&json!({"alg": "ES256", "kid": "ed"}), &claims());
        assert_eq!(signer.check(&token), Err(Rejection::UnknownKey));
        let token = signer.ed(&json!({"alg": "EdDSA", "kid": "ec"}), &claims());
        assert_eq!(signer.check(&token), Err(Rejection::UnknownKey));
        let token = signer.ed(&json!({"alg": "ES256", "kid": "ec"}), &claims());
        assert_eq!(signer.check(&token), Err(Rejection::Signature));
    }

    #[test]
    fn algorithms_off_the_list_are_refused() {
        let signer = Signer::new();
        for alg in [
            "none", "None", "HS256", "RS256", "PS256", "ES384", "eddsa", "",
        ] {
            let token = signer.ed(&json!({"alg": alg, "kid": "ed"}), &claims());
            assert_eq!(signer.check(&token), Err(Rejection::Algorithm), "{alg}");
        }
    }

    #[test]
    fn a_token_signed_with_the_public_key_as_hmac_secret_is_refused() {
        let signer = Signer::new();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, signer.ed.public_key().as_ref());
        let token = signed(
            &json!({"alg": "HS256", "kid": "ed"}),
            &claims(),
            |message| ring::hmac::sign(&key, message).as_ref().to_vec(),
        );
        assert_eq!(signer.check(&token), Err(Rejection::Algorithm));
    }

    #[test]
    fn an_unknown_key_and_a_foreign_signature_are_refused() {
        let signer = Signer::new();
        let token = signer.ed(&json!({"alg": "EdDSA", "kid": "old"}), &claims());
        assert_eq!(signer.check(&token), Err(Rejection::UnknownKey));
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        let token = signed(
            &json!({"alg": "EdDSA", "kid": "ed"}),
            &claims(),
            |message| other.sign(message).as_ref().to_vec(),
        );
        assert_eq!(signer.check(&token), Err(Rejection::Signature));
    }

    #[test]
    fn every_truncation_and_every_changed_character_is_refused() {
        let signer = Signer::new();
        let token = signer.ed(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
        for length in 0..token.len() {
            assert!(signer.check(&token[..length]).is_err(), "cut to {length}");
        }
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(signer.check(&changed).is_err(), "changed at {at}");
        }
        for other in [
            format!("{token}."),
            format!("{token}.e30"),
            format!("{token}="),
            "..".into(),
        ] {
            assert!(signer.check(&other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_critical_extension_is_refused() {
        let signer = Signer::new();
        for crit in [json!(["b64"]), json!([]), Value::Null] {
            let header = json!({"alg": "EdDSA", "kid": "ed", "crit": crit});
            let token = signer.ed(&header, &claims());
            assert_eq!(signer.check(&token), Err(Rejection::Critical), "{crit}");
        }
    }

    #[test]
    fn header_and_claims_are_objects() {
        let signer = Signer::new();
        let header = json!({"alg": "EdDSA", "kid": "ed"});
        let listed = json!(["https://blog.example", "chat", "u1", NOW + 300, null, false]);
        for token in [
            signer.ed(&json!(["EdDSA", "ed"]), &claims()),
            signer.ed(&header, &listed),
        ] {
            assert_eq!(signer.check(&token), Err(Rejection::Malformed));
        }
    }

    #[test]
    fn a_token_longer_than_8_kib_is_refused_unread() {
        let signer = Signer::new();
        assert_eq!(
            signer.with(|claims| claims["pad"] = "x".repeat(8192).into()),
            Err(Rejection::TooLong)
        );
    }

    #[test]
    fn issuer_and_audience_must_be_ours() {
        let signer = Signer::new();
        for issuer in [json!("https://evil.example"), Value::Null] {
            assert_eq!(
                signer.with(|claims| claims["iss"] = issuer),
                Err(Rejection::Issuer)
            );
        }
        for audience in [json!("chats"), json!([]), json!(["a", "b"]), Value::Null] {
            assert_eq!(
                signer.with(|claims| claims["aud"] = audience),
                Err(Rejection::Audience)
            );
        }
        assert!(
            signer
                .with(|claims| claims["aud"] = json!(["other", "chat"]))
                .is_ok()
        );
    }

    #[test]
    fn a_token_ends_30_seconds_after_exp_and_begins_30_seconds_before_nbf() {
        let signer = Signer::new();
        assert!(
            signer
                .with(|claims| claims["exp"] = json!(NOW - 29))
                .is_ok()
        );
        assert_eq!(
            signer.with(|claims| claims["exp"] = json!(NOW - 30)),
            Err(Rejection::Expired)
        );
        assert_eq!(
            signer.with(|claims| claims["exp"] = Value::Null),
            Err(Rejection::Expired)
        );
        assert_eq!(
            signer.with(|claims| claims["exp"] = json!("soon")),
            Err(Rejection::Malformed)
        );
        assert!(
            signer
                .with(|claims| claims["nbf"] = json!(NOW + 30))
                .is_ok()
        );
        assert_eq!(
            signer.with(|claims| claims["nbf"] = json!(NOW + 31)),
            Err(Rejection::NotYetValid)
        );
    }

    #[test]
    fn a_subject_is_1_to_128_visible_characters() {
        let signer = Signer::new();
        assert!(
            signer
                .with(|claims| claims["sub"] = json!("auth0|5f7c-x@y.z"))
                .is_ok()
        );
        assert!(
            signer
                .with(|claims| claims["sub"] = "s".repeat(128).into())
                .is_ok()
        );
        for subject in ["", " ", "a b", "a\u{0}", "a\n", "é", &"s".repeat(129)] {
            assert_eq!(
                signer.with(|claims| claims["sub"] = json!(subject)),
                Err(Rejection::Subject),
                "{subject:?}"
            );
        }
        assert_eq!(
            signer.with(|claims| claims["sub"] = Value::Null),
            Err(Rejection::Subject)
        );
    }

    #[test]
    fn a_guest_says_so() {
        let signer = Signer::new();
        assert!(
            signer
                .with(|claims| claims["anon"] = json!(true))
                .unwrap()
                .anonymous
        );
        assert!(!signer.with(|_| ()).unwrap().anonymous);
    }
}
