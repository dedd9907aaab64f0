//! What a login is made of, checked where it comes in: its name, its access, the host in its connection string, and its
//! password, which is shown once and stored as a digest.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::digest::sha256_hex;
use crate::roles::ROLES;

/// Longest name: an identifier has at most 63 bytes, and STS a name for `sql-<name>` of 64.
const NAME_BYTES: usize = 59;
/// Longest schema name: an identifier.
const SCHEMA_BYTES: usize = 63;
/// Names that the service, PostgreSQL or this project use, besides those of the functions' roles: no login and no schema
/// of a login has one of them.
const RESERVED: &[&str] = &[
    "admin",
    "app",
    "chat",
    "chats",
    "dsql_internal",
    "information_schema",
    "jobs",
    "maintenance",
    "none",
    "postgres",
    "public",
    "sql",
    "sys",
];

/// The name of a login, which is its database role's and its own schema's too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoginName(String);

impl LoginName {
    /// # Errors
    /// What a name must look like, or that this one is taken.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !is_plain(text, NAME_BYTES) {
            return Err(format!(
                "a login's name has 1 to {NAME_BYTES} of a-z, 0-9 and _, and begins with no digit"
            ));
        }
        if is_reserved(text) {
            return Err(format!("the name {text:?} is reserved"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The schemas a login works in, in the order of its default `search_path`; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schemas(Vec<String>);

impl Schemas {
    /// A login's own schema, named as the login.
    pub fn own(name: &LoginName) -> Self {
        Self(vec![name.0.clone()])
    }

    /// # Errors
    /// No name, a repeated one, one that is no plain identifier, or one that is not for logins.
    pub fn parse(names: &[&str]) -> Result<Self, String> {
        let mut schemas: Vec<String> = Vec::new();
        for name in names {
            if !is_plain(name, SCHEMA_BYTES) {
                return Err(format!(
                    "a schema's name has 1 to {SCHEMA_BYTES} of a-z, 0-9 and _, and begins with no digit"
                ));
            }
            if is_reserved(name) {
                return Err(format!(
                    "the schema {name:?} is not for logins: give them one of their own"
                ));
            }
            if schemas.iter().any(|known| known == name) {
                return Err(format!("the schema {name:?} is named twice"));
            }
            schemas.push((*name).to_owned());
        }
        if schemas.is_empty() {
            return Err("at least one schema must be named".to_owned());
        }
        Ok(Self(schemas))
    }

    /// As stored: also a valid value of `search_path`.
    pub(crate) fn joined(&self) -> String {
        self.0.join(",")
    }

    pub(crate) fn from_stored(text: &str) -> Self {
        Self(text.split(',').map(str::to_owned).collect())
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.0
    }
}

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

/// An identifier that needs no quotes, whatever it is put into.
fn is_plain(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_reserved(text: &str) -> bool {
    RESERVED.contains(&text)
        || ROLES.iter().any(|role| role.name == text)
        || text.starts_with("pg_")
        || text.starts_with("sql_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_plain_identifier_or_belong_to_others_are_refused() {
        let long = "a".repeat(60);
        for name in [
            "",
            "1a",
            "Blog",
            "my-blog",
            "a b",
            "a\"",
            "é",
            &long,
            "a\0", // the form
            "admin",
            "public",
            "postgres",
            "pg_read_all_data",
            "sql_function",
            "sql_a",
            "chats",
            "chat",
            "sql",
            "none",
        ] {
            assert!(LoginName::parse(name).is_err(), "{name:?}");
        }
        let longest = "a".repeat(59);
        for name in ["blog", "_", "a1_b2", &longest, "select", "user"] {
            assert!(LoginName::parse(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn schemas_are_plain_named_once_and_not_those_of_the_functions() {
        for names in [
            &[][..],
            &["public"],
            &["sys"],
            &["a", "a"],
            &["A"],
            &["a,b"],
            &["sql_blog"],
            &["chats"],
            &["admin"],
            &["blog", "maintenance"],
        ] {
            assert!(Schemas::parse(names).is_err(), "{names:?}");
        }
        let schemas = Schemas::parse(&["blog", "shared"]).unwrap();
        assert_eq!(schemas.joined(), "blog,shared");
        assert_eq!(Schemas::from_stored("blog,shared"), schemas);
    }

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
