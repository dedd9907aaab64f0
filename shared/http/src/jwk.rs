//! The public keys that callers' tokens are verified with: a JSON Web Key Set (RFC 7517), cut down
//! to the two kinds that carry no shared secret, Ed25519 (RFC 8037) and P-256 (RFC 7518).

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use runtime::ConfigError;
use serde::Deserialize;

use crate::env::AUTH_JWKS;

/// A signature algorithm of the allow-list. Each belongs to exactly one kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `EdDSA` with Ed25519.
    EdDsa,
    /// `ES256`: ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// The algorithm of a token header's `alg`; `None` for everything off the list, `none`
    /// included.
    pub fn parse(alg: &str) -> Option<Self> {
        match alg {
            "EdDSA" => Some(Self::EdDsa),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }

    fn ring(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::EdDsa => &ED25519,
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
        }
    }
}

/// One public key and the only algorithm it may be used with.
#[derive(Debug, Clone)]
pub struct VerifyingKey {
    kid: Option<String>,
    algorithm: Algorithm,
    public: Vec<u8>,
    lately: Arc<Lately>,
}

impl VerifyingKey {
    /// The only algorithm this key verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` over `message` was made with this key's private half. A visitor sends
    /// the same token many times, and its signature costs more than most of our statements: one
    /// that was right stays right, and is not computed again.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let fingerprint = fingerprint(message, signature);
        if self.lately.has(&fingerprint) {
            return true;
        }
        let is_right = UnparsedPublicKey::new(self.algorithm.ring(), &self.public)
            .verify(message, signature)
            .is_ok();
        if is_right {
            self.lately.add(fingerprint);
        }
        is_right
    }
}

/// SHA-256 of a message and a signature of it, in which no other pair is the same.
fn fingerprint(message: &[u8], signature: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&signature.len().to_le_bytes());
    context.update(signature);
    context.update(message);
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

/// Signatures of one key that were found right lately: as many as one container meets in the
/// minutes that a token lives. How long a comparison takes tells of a digest only, which leads to
/// no token.
#[derive(Default)]
struct Lately(Mutex<VecDeque<[u8; 32]>>);

const MAX_LATELY: usize = 256;

impl Lately {
    fn has(&self, fingerprint: &[u8; 32]) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(fingerprint)
    }

    fn add(&self, fingerprint: [u8; 32]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.truncate(MAX_LATELY - 1);
        known.push_front(fingerprint);
    }
}

impl fmt::Debug for Lately {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lately")
    }
}

/// The keys in use: one, or two while the signing key is being rotated.
#[derive(Debug, Clone)]
pub struct JwkSet {
    keys: Vec<VerifyingKey>,
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    crv: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

impl JwkSet {
    /// Parses a key set as JSON.
    ///
    /// # Errors
    /// When it is not a key set, is empty, names one `kid` twice, or has a key that is private,
    /// symmetric or neither Ed25519 nor P-256: a key that cannot be used is a mistake worth
    /// stopping for.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        let raw: RawSet = serde_json::from_str(json)
            .map_err(|_| fault("is not a JSON Web Key Set: {\"keys\":[…]}"))?;
        let keys = raw
            .keys
            .into_iter()
            .map(VerifyingKey::from_raw)
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(fault("holds no key"));
        }
        for (at, key) in keys.iter().enumerate() {
            let twice =
                |other: &VerifyingKey| other.kid == key.kid && other.algorithm == key.algorithm;
            if keys.iter().skip(at + 1).any(twice) {
                return Err(fault(
                    "has two keys that no token can tell apart: give each its own kid",
                ));
            }
        }
        Ok(Self { keys })
    }

    /// The one key a token with this header may be verified with. A token without `kid` fits only
    /// when a single key of its algorithm exists.
    pub fn select(&self, algorithm: Algorithm, kid: Option<&str>) -> Option<&VerifyingKey> {
        let mut fitting = self.keys.iter().filter(|key| {
            key.algorithm == algorithm && kid.is_none_or(|kid| key.kid.as_deref() == Some(kid))
        });
        let key = fitting.next()?;
        fitting.next().is_none().then_some(key)
    }
}

impl VerifyingKey {
    fn from_raw(raw: RawKey) -> Result<Self, ConfigError> {
        if raw.d.is_some() || raw.kty == "oct" {
            return Err(fault("holds a secret key: only public keys belong here"));
        }
        if raw.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err(fault("has a key whose use is not \"sig\""));
        }
        let (algorithm, name) = match (raw.kty.as_str(), raw.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, "EdDSA"),
            ("EC", Some("P-256")) => (Algorithm::Es256, "ES256"),
            _ => return Err(fault("has a key that is neither OKP Ed25519 nor EC P-256")),
        };
        if raw.alg.is_some_and(|alg| alg != name) {
            return Err(fault("has a key whose alg does not fit its type"));
        }
        let x = coordinate(raw.x.as_deref())?;
        let public = match algorithm {
            Algorithm::EdDsa => x,
            Algorithm::Es256 => {
                let y = coordinate(raw.y.as_deref())?;
                [&[0x04], x.as_slice(), y.as_slice()].concat() // SEC 1, uncompressed
            }
        };
        Ok(Self {
            kid: raw.kid,
            algorithm,
            public,
            lately: Arc::default(),
        })
    }
}

fn coordinate(text: Option<&str>) -> Result<Vec<u8>, ConfigError> {
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .filter(|bytes| bytes.len() == 32)
        .ok_or_else(|| fault("has a key whose coordinates are not 32 bytes of base64url"))
}

fn fault(reason: &str) -> ConfigError {
    ConfigError::new(AUTH_JWKS, reason)
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"b","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

    fn set(keys: &str) -> Result<JwkSet, ConfigError> {
        JwkSet::parse(&format!("{{\"keys\":[{keys}]}}"))
    }

    #[test]
    fn a_key_is_found_by_its_kid_and_algorithm_together() {
        let keys = set(&format!("{ED},{EC}")).unwrap();
        assert!(keys.select(Algorithm::EdDsa, Some("a")).is_some());
        assert!(keys.select(Algorithm::Es256, Some("a")).is_none());
        assert!(keys.select(Algorithm::Es256, Some("c")).is_none());
    }

    #[test]
    fn a_token_without_kid_needs_the_only_key_of_its_algorithm() {
        let keys = set(&format!("{ED},{EC}")).unwrap();
        assert!(keys.select(Algorithm::EdDsa, None).is_some());
        let second = ED.replace("\"a\"", "\"a2\"");
        let keys = set(&format!("{ED},{second}")).unwrap();
        assert!(keys.select(Algorithm::EdDsa, None).is_none());
    }

    #[test]
    fn a_signature_is_remembered_when_it_was_right_and_only_for_its_message_and_key() {
        let signers = [7, 8].map(|seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap());
        let [key, other] = signers.each_ref().map(|signer| {
            let x = URL_SAFE_NO_PAD.encode(signer.public_key().as_ref());
            let keys = set(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#)).unwrap();
            keys.keys.into_iter().next().unwrap()
        });
        let [signer, _] = &signers;
        let kept = |key: &VerifyingKey| key.lately.0.lock().unwrap().len();
        let signature = signer.sign(b"a message");
        let signature = signature.as_ref();
        for (message, signature) in [
            (b"another".as_slice(), signature),
            (b"a message", &[0; 64]),
            (b"a message", &[]),
        ] {
            assert!(!key.verifies(message, signature));
        }
        assert_eq!(kept(&key), 0);

        assert!(key.verifies(b"a message", signature));
        assert!(key.verifies(b"a message", signature));
        assert_eq!(kept(&key), 1);
        assert!(!key.verifies(b"another", signature));
        assert!(!key.verifies(b"a messag", &[signature, b"e"].concat()));
        assert!(!other.verifies(b"a message", signature));
        assert_eq!((kept(&key), kept(&other)), (1, 0));

        for n in 0..2 * MAX_LATELY {
            let message = n.to_string();
            assert!(key.verifies(message.as_bytes(), signer.sign(message.as_bytes()).as_ref()));
        }
        assert_eq!(kept(&key), MAX_LATELY);
        assert!(
            key.verifies(b"a message", signature),
            "forgotten, and found right again"
        );
    }

    #[test]
    fn unusable_keys_stop_the_start_and_the_error_names_the_variable() {
        let private = ED.replace("\"x\"", "\"d\":\"AAAA\",\"x\"");
        let rsa = r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#;
        let secret = r#"{"kty":"oct","k":"AQAB"}"#;
        let foreign_alg = ED.replace("\"kid\"", "\"alg\":\"ES256\",\"kid\"");
        let encryption = ED.replace("\"kid\"", "\"use\":\"enc\",\"kid\"");
        let short = r#"{"kty":"OKP","crv":"Ed25519","x":"AQAB"}"#;
        let twice = format!("{ED},{ED}");
        for keys in [
            "",
            &private,
            rsa,
            secret,
            &foreign_alg,
            &encryption,
            short,
            &twice,
        ] {
            let error = set(keys).unwrap_err();
            assert!(
                error.to_string().starts_with("AUTH_JWKS "),
                "{keys}: {error}"
            );
            assert!(!error.to_string().contains("AQAB"));
        }
        assert!(JwkSet::parse("[]").is_err());
    }
}
