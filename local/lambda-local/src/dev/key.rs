//! Owns the key that signs visitors' tokens on this machine, in the file that
//! `scripts/mint-token.mjs` uses too: an Ed25519 key as PKCS #8 in PEM, readable by its owner
//! alone.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

/// The key's id in its set.
const KEY_ID: &str = "local-1";
/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410 §7).
const PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// The key.
pub(crate) struct VisitorKey(Ed25519KeyPair);

impl VisitorKey {
    /// Reads the key, or makes it where there is none.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(pem) => Self::parse(&pem).ok_or_else(|| {
                io::Error::other(format!(
                    "{} is not an Ed25519 key in PEM: remove it, and a new one is made",
                    path.display()
                ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(error),
        }
    }

    fn make(path: &Path) -> io::Result<Self> {
        let mut seed = [0; 32];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| io::Error::other("no randomness"))?;
        let key = Self::from_seed(&seed).ok_or_else(|| io::Error::other("no key"))?;
        let body = STANDARD.encode([&PREFIX[..], &seed[..]].concat());
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        writeln!(file, "{BEGIN}\n{body}\n{END}")?;
        Ok(key)
    }

    fn parse(pem: &str) -> Option<Self> {
        let body = pem.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).ok()?;
        Self::from_seed(der.strip_prefix(&PREFIX)?)
    }

    fn from_seed(seed: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// The public half, as `AuthJwks` takes it.
    pub(crate) fn key_set(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key());
        json!({ "keys": [{
            "kty": "OKP", "crv": "Ed25519", "x": x, "kid": KEY_ID, "alg": "EdDSA", "use": "sig",
        }] })
        .to_string()
    }

    /// A token for `subject`, valid from `now` for `lifetime`.
    pub(crate) fn token(
        &self,
        issuer: &str,
        audience: &str,
        subject: &str,
        now: Timestamp,
        lifetime: Duration,
    ) -> String {
        let issued = now.as_second();
        let expires = issued.saturating_add_unsigned(lifetime.as_secs());
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = encode(&json!({ "alg": "EdDSA", "typ": "JWT", "kid": KEY_ID }));
        let claims = encode(&json!({
            "iss": issuer, "aud": audience, "sub": subject,
            "iat": issued, "exp": expires,
        }));
        let input = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_kept_and_nothing_else_is_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let made = VisitorKey::open(&path).unwrap().key_set();
        assert_eq!(VisitorKey::open(&path).unwrap().key_set(), made);
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n").unwrap();
        assert!(VisitorKey::open(&path).is_err());
    }
}
