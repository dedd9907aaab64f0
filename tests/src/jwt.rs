//! Owns what the edge does in a deployment: it signs visitors' JWTs and publishes its public keys.
//! Also every way we know to forge one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};

/// `iss` of every genuine token.
pub const ISSUER: &str = "https://blog.example.com";
/// `aud` of every genuine token.
pub const AUDIENCE: &str = "chat";
/// How long a genuine token is valid.
pub const LIFETIME: Duration = Duration::from_secs(300);

/// A signing key with its identifier.
#[derive(Debug)]
pub struct SigningKey {
    id: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl SigningKey {
    /// A new Ed25519 key, which signs with `EdDSA`.
    pub fn ed25519(id: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("randomness");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("ring reads its own key");
        Self {
            id: id.to_owned(),
            pair: Pair::Ed25519(pair),
        }
    }

    /// A new P-256 key, which signs with `ES256`.
    pub fn p256(id: &str) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("randomness");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random)
            .expect("ring reads its own key");
        Self {
            id: id.to_owned(),
            pair: Pair::P256(pair),
        }
    }

    /// The public half as a JSON Web Key.
    pub fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Ed25519(pair) => json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.id,
                "x": URL_SAFE_NO_PAD.encode(pair.public_key()),
            }),
            Pair::P256(pair) => {
                // Uncompressed point: 0x04, x, y.
                let point = pair.public_key().as_ref();
                json!({
                    "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id,
                    "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
                    "y": URL_SAFE_NO_PAD.encode(&point[33..]),
                })
            }
        }
    }

    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Ed25519(_) => "EdDSA",
            Pair::P256(_) => "ES256",
        }
    }

    fn header(&self) -> Value {
        json!({ "alg": self.algorithm(), "typ": "JWT", "kid": self.id })
    }

    /// A token with exactly this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let input = signing_input(header, claims);
        let signature = match &self.pair {
            Pair::Ed25519(pair) => pair.sign(input.as_bytes()).as_ref().to_vec(),
            Pair::P256(pair) => pair
                .sign(&SystemRandom::new(), input.as_bytes())
                .expect("randomness")
                .as_ref()
                .to_vec(),
        };
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A genuine token for `subject`, valid from `now` for [`LIFETIME`].
    pub fn token(&self, subject: &str, now: SystemTime) -> String {
        self.sign(&self.header(), &claims(subject, now))
    }

    /// A genuine token for another audience than [`AUDIENCE`].
    pub fn token_for(&self, audience: &str, subject: &str, now: SystemTime) -> String {
        let mut claims = claims(subject, now);
        claims["aud"] = json!(audience);
        self.sign(&self.header(), &claims)
    }

    /// A genuine token for a guest.
    pub fn guest_token(&self, subject: &str, now: SystemTime) -> String {
        let mut claims = claims(subject, now);
        claims["anon"] = json!(true);
        self.sign(&self.header(), &claims)
    }

    /// A token for `subject` with one thing wrong.
    pub fn forged(&self, forgery: Forgery, subject: &str, now: SystemTime) -> String {
        let mut header = self.header();
        let mut claims = claims(subject, now);
        let seconds = unix_seconds(now);
        match forgery {
            Forgery::Unsigned => {
                header["alg"] = json!("none");
                return format!("{}.", signing_input(&header, &claims));
            }
            Forgery::UnsignedKeepingAlgorithm => {
                return format!("{}.", signing_input(&header, &claims));
            }
            Forgery::SignedWithThePublicKeyAsSecret => {
                header["alg"] = json!("HS256");
                let input = signing_input(&header, &claims);
                let secret = self.jwk()["x"]
                    .as_str()
                    .expect("every key has x")
                    .as_bytes()
                    .to_vec();
                let tag = hmac::sign(
                    &hmac::Key::new(hmac::HMAC_SHA256, &secret),
                    input.as_bytes(),
                );
                return format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag));
            }
            Forgery::ForeignKeyWithOurIdentifier => {
                let foreign = match self.pair {
                    Pair::Ed25519(_) => Self::ed25519(&self.id),
                    Pair::P256(_) => Self::p256(&self.id),
                };
                return foreign.sign(&header, &claims);
            }
            Forgery::AlteredSubject => {
                let genuine = self.sign(&header, &claims);
                claims["sub"] = json!("somebody-else");
                let signature = genuine.rsplit('.').next().expect("a token has parts");
                return format!("{}.{signature}", signing_input(&header, &claims));
            }
            Forgery::AlteredSignature => return alter_signature(&self.sign(&header, &claims)),
            Forgery::NoSignaturePart => return signing_input(&header, &claims),
            Forgery::NotAToken => return "not-a-token".to_owned(),
            Forgery::OtherAlgorithmNamed => {
                header["alg"] = json!(if self.algorithm() == "ES256" {
                    "EdDSA"
                } else {
                    "ES256"
                });
            }
            Forgery::UnknownKeyIdentifier => header["kid"] = json!("nobody-knows-this-key"),
            Forgery::Expired => {
                claims["iat"] = json!(seconds - 1_000);
                claims["exp"] = json!(seconds - 700);
            }
            Forgery::NotYetValid => claims["nbf"] = json!(seconds + 700),
            Forgery::OtherIssuer => claims["iss"] = json!("https://evil.example.com"),
            Forgery::OtherAudience => claims["aud"] = json!("another-service"),
            Forgery::NoExpiry => remove(&mut claims, "exp"),
            Forgery::NoSubject => remove(&mut claims, "sub"),
        }
        self.sign(&header, &claims)
    }
}

/// What is wrong with a forged token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// `alg: none`, empty signature.
    Unsigned,
    /// The genuine algorithm is named, the signature is empty.
    UnsignedKeepingAlgorithm,
    /// HS256 with the public key for its secret.
    SignedWithThePublicKeyAsSecret,
    /// Signed by somebody else under our key identifier.
    ForeignKeyWithOurIdentifier,
    /// Claims changed after signing.
    AlteredSubject,
    /// One bit of the signature changed.
    AlteredSignature,
    /// Two parts instead of three.
    NoSignaturePart,
    /// No JWT at all.
    NotAToken,
    /// The header names the other allowed algorithm.
    OtherAlgorithmNamed,
    /// `kid` is not in the key set.
    UnknownKeyIdentifier,
    /// `exp` passed longer ago than any leeway.
    Expired,
    /// `nbf` lies further ahead than any leeway.
    NotYetValid,
    /// Another `iss`.
    OtherIssuer,
    /// Another `aud`.
    OtherAudience,
    /// No `exp`.
    NoExpiry,
    /// No `sub`.
    NoSubject,
}

impl Forgery {
    /// Every one of them.
    pub const ALL: [Self; 16] = [
        Self::Unsigned,
        Self::UnsignedKeepingAlgorithm,
        Self::SignedWithThePublicKeyAsSecret,
        Self::ForeignKeyWithOurIdentifier,
        Self::AlteredSubject,
        Self::AlteredSignature,
        Self::NoSignaturePart,
        Self::NotAToken,
        Self::OtherAlgorithmNamed,
        Self::UnknownKeyIdentifier,
        Self::Expired,
        Self::NotYetValid,
        Self::OtherIssuer,
        Self::OtherAudience,
        Self::NoExpiry,
        Self::NoSubject,
    ];
}

/// A JSON Web Key Set of these keys' public halves.
pub fn key_set(keys: &[&SigningKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// The claims of a genuine token.
pub fn claims(subject: &str, now: SystemTime) -> Value {
    let seconds = unix_seconds(now);
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": subject,
        "iat": seconds, "exp": seconds + LIFETIME.as_secs(),
    })
}

fn signing_input(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

fn alter_signature(token: &str) -> String {
    let (input, signature) = token.rsplit_once('.').expect("a token has parts");
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).expect("our own encoding");
    bytes[10] ^= 1;
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn remove(claims: &mut Value, name: &str) {
    claims
        .as_object_mut()
        .expect("claims are an object")
        .remove(name);
}

fn unix_seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH)
        .expect("tests run after 1970")
        .as_secs()
}
