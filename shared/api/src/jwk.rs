//! The public keys that callers' tokens are verified with: a JSON Web Key Set (RFC 7517), cut down to
//! the two kinds that carry no shared secret, Ed25519 (RFC 8037) and P-256 (RFC 7518).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;

use crate::env::{AUTH_JWKS, ConfigError};

/// A signature algorithm of the allow-list. Each belongs to exactly one kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `EdDSA` with Ed25519.
    EdDsa,
    /// `ES256`: ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// The algorithm of a token header's `alg`; `None` for everything off the list, `none` included.
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
}

impl VerifyingKey {
    /// The only algorithm this key verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` over `message` was made with this key's private half.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm.ring(), &self.public)
            .verify(message, signature)
            .is_ok()
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
    /// symmetric or neither Ed25519 nor P-256: a key that cannot be used is a mistake worth stopping for.
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
