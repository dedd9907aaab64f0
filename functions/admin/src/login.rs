//! What a login is made of besides its name and schemas, checked where it comes in: its access, the
//! host in its connection string, and its password, which is shown once and stored as a digest.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use logins::{LoginName, sha256_hex};
use ring::rand::{SecureRandom as _, SystemRandom};

/// What a login may do in its schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read every table and view.
    ReadOnly,
    /// Read and change rows.
    ReadWrite,
    /// Also create tables, which it then owns.
    Owner,
}

impl Access {
    /// All of them, by the words that name them.
    pub const WORDS: &[(&str, Self)] = &[
        ("read-only", Self::ReadOnly),
        ("read-write", Self::ReadWrite),
        ("owner", Self::Owner),
    ];

    /// # Errors
    /// The known words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, access)| *access).ok_or_else(|| {
            let words: Vec<&str> = Self::WORDS.iter().map(|(word, _)| *word).collect();
            format!("unknown access {text:?}: known are {}", words.join(", "))
        })
    }

    /// The word that names it.
    pub fn word(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
            Self::Owner => "owner",
        }
    }
}

/// The host in a connection string, with a port where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlHost(String);

impl SqlHost {
    /// # Errors
    /// What a host must look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = text
            .split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port)));
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let is_host = host.len() <= 253 && host.split('.').all(is_label);
        if is_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
            Ok(Self(text.to_owned()))
        } else {
            Err("the host must be a name such as db.example.com".to_owned())
        }
    }
}

/// A login's password: 256 random bits in characters that mean themselves in a URL.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// A new one.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, ring::error::Unspecified> {
        let mut bytes = [0_u8; 32];
        SystemRandom::new().fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// What is stored: SHA-256 in lower-case hexadecimal.
    pub fn hash(&self) -> String {
        sha256_hex(self.0.as_bytes())
    }

    /// The connection string, the one place where the password is shown.
    pub fn connection_string(&self, name: &LoginName, host: &SqlHost) -> String {
        format!("postgresql://{name}:{}@{}/postgres", self.0, host.0)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_with_perhaps_a_port() {
        for host in ["db.example.com", "localhost", "127.0.0.1:9000", "a-b.c"] {
            assert!(SqlHost::parse(host).is_ok(), "{host}");
        }
        for host in [
            "",
            "a@b",
            "a/b",
            "a..b",
            "a:b",
            "a:0",
            "a:1:2",
            "https://a",
            "a b",
            "é.com",
            "a?b",
        ] {
            assert!(SqlHost::parse(host).is_err(), "{host}");
        }
    }

    #[test]
    fn a_password_has_256_bits_that_mean_themselves_in_a_url_and_hides_itself() {
        let password = Password::generate().unwrap();
        let name = LoginName::parse("blog").unwrap();
        let host = SqlHost::parse("db.example.com").unwrap();
        let url = password.connection_string(&name, &host);
        let secret = url
            .strip_prefix("postgresql://blog:")
            .and_then(|rest| rest.strip_suffix("@db.example.com/postgres"))
            .unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(secret).unwrap().len(), 32);
        assert!(
            secret
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
        assert!(!format!("{password:?}").contains(secret));
        assert_eq!(password.hash(), sha256_hex(secret.as_bytes()));
        assert_ne!(password.hash(), Password::generate().unwrap().hash());
    }
}
