//! The schemas of a login.

use crate::identifier::{is_plain, is_reserved};
use crate::name::LoginName;

/// Longest schema name: an identifier.
const SCHEMA_BYTES: usize = 63;
/// The schemas a login works in, in the order of its default `search_path`; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schemas(Vec<String>);

impl Schemas {
    /// A login's own schema, named as the login.
    pub fn own(name: &LoginName) -> Self {
        Self(vec![name.as_str().to_owned()])
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
    pub fn joined(&self) -> String {
        self.0.join(",")
    }

    /// Of what [`joined`](Self::joined) gave.
    pub fn from_stored(text: &str) -> Self {
        Self(text.split(',').map(str::to_owned).collect())
    }

    /// In their order.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
