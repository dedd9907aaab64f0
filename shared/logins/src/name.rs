//! The name of a login, which is its database role's and its own schema's too.

use std::fmt;

use crate::identifier::{is_plain, is_reserved};

/// Longest name: an identifier has at most 63 bytes, and STS a name for `sql-<name>` of 64.
const NAME_BYTES: usize = 59;
/// Whether a name has the form of a login's: others are not looked for.
pub fn is_login_name(text: &str) -> bool {
    is_plain(text, NAME_BYTES)
}

/// The name of a login, which is its database role's and its own schema's too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoginName(String);

impl LoginName {
    /// # Errors
    /// What a name must look like, or that this one is taken.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !is_login_name(text) {
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
    fn a_reserved_name_has_the_form_of_a_name() {
        for name in ["blog", "_a1", "a", "admin"] {
            assert!(is_login_name(name), "{name}");
        }
    }
}
