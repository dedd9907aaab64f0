//! Keyed hashes that change every day: of client addresses, enough to count requests and not to
//! follow anyone, and of owners, where a count has to outlive their erasure.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;

use crate::env::{ConfigError, Lookup};

/// Secret that client addresses are hashed with before they are counted.
pub const ADDRESS_HASH_KEY: &str = "ADDRESS_HASH_KEY";

const MIN_KEY_BYTES: usize = 16;
const HASH_BYTES: usize = 16;
const DAY_S: u64 = 86_400;

/// Hashes what must not be kept in clear.
#[derive(Clone)]
pub struct Pseudonyms(Option<hmac::Key>);

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pseudonyms")
            .field(&self.0.is_some())
            .finish()
    }
}

impl Pseudonyms {
    /// Reads `ADDRESS_HASH_KEY`; without it no address is hashed.
    ///
    /// # Errors
    /// When the key is shorter than 16 bytes.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let Some(key) = lookup(ADDRESS_HASH_KEY) else {
            return Ok(Self(None));
        };
        if key.len() < MIN_KEY_BYTES {
            return Err(ConfigError::new(
                ADDRESS_HASH_KEY,
                "must have at least 16 bytes",
            ));
        }
        Ok(Self(Some(hmac::Key::new(
            hmac::HMAC_SHA256,
            key.as_bytes(),
        ))))
    }

    /// The pseudonym of a network for this UTC day; `None` without a key.
    pub fn of_network(&self, network: &str, now: SystemTime) -> Option<String> {
        let key = self.0.as_ref()?;
        Some(hash(key, day(now), network))
    }

    /// The owner's pseudonym for this UTC day. Without a key it can be found by whoever guesses the
    /// owner's id.
    pub fn of_owner(&self, owner: &str, now: SystemTime) -> String {
        let known = || hmac::Key::new(hmac::HMAC_SHA256, &[]);
        let key = self.0.clone().unwrap_or_else(known);
        hash(&key, day(now), &format!("owner|{owner}"))
    }
}

fn day(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY_S
}

fn hash(key: &hmac::Key, day: u64, what: &str) -> String {
    let tag = hmac::sign(key, format!("{day}|{what}").as_bytes());
    let bytes = tag.as_ref();
    BASE64_URL_SAFE_NO_PAD.encode(bytes.get(..HASH_BYTES).unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_key_day_and_network_and_shows_none_of_them() {
        let key = |text: &str| hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        let (a, b) = (key("0123456789abcdef"), key("fedcba9876543210"));
        let first = hash(&a, 1, "203.0.113.7");
        assert_eq!(first, hash(&a, 1, "203.0.113.7"));
        assert!(!first.contains("203"));
        for other in [
            hash(&a, 2, "203.0.113.7"),
            hash(&a, 1, "203.0.113.8"),
            hash(&b, 1, "203.0.113.7"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn an_owners_pseudonym_lasts_for_a_day_and_is_no_address() {
        let at = |s| UNIX_EPOCH + std::time::Duration::from_secs(s);
        let read = |key: Option<&str>| {
            Pseudonyms::from_lookup(&|_| key.map(str::to_owned)).expect("it is long enough")
        };
        let keyed = read(Some("0123456789abcdef"));
        let first = keyed.of_owner("visitor", at(0));
        assert!(!first.contains("visitor"));
        assert_eq!(first, keyed.of_owner("visitor", at(DAY_S - 1)));
        for other in [
            keyed.of_owner("visitor", at(DAY_S)),
            keyed.of_owner("other", at(0)),
            read(None).of_owner("visitor", at(0)),
            hash(keyed.0.as_ref().unwrap(), 0, "visitor"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_short_key_stops_the_start_and_none_hashes_nothing() {
        let read = |key: Option<&str>| Pseudonyms::from_lookup(&|_| key.map(str::to_owned));
        assert!(read(Some("short")).is_err());
        assert!(read(None).unwrap().0.is_none());
        let hasher = read(Some("0123456789abcdef")).unwrap();
        assert!(!format!("{hasher:?}").contains("0123"));
    }
}
