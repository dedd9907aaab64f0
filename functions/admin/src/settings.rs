//! What the function is told by its environment.

use runtime::{ConfigError, Lookup};

use crate::error::CommandError;
use crate::login::SqlHost;

/// The host in the connection strings of logins.
pub const SQL_HOST: &str = "SQL_HOST";

/// IAM roles that logins are given, one each, to hold sessions: their ARNs, separated by commas.
pub const SQL_SESSION_ROLES: &str = "SQL_SESSION_ROLES";

/// What the function is told by its environment.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The host in connection strings, where a command names none.
    pub sql_host: Option<SqlHost>,
    /// The ARNs of the IAM roles that are given to logins.
    pub session_roles: Vec<String>,
}

impl Settings {
    /// # Errors
    /// An invalid host, or an ARN that is not a role's.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let sql_host = lookup(SQL_HOST)
            .map(|host| SqlHost::parse(&host).map_err(|e| ConfigError::new(SQL_HOST, e)))
            .transpose()?;
        let session_roles = lookup(SQL_SESSION_ROLES).unwrap_or_default();
        let session_roles = session_roles.split(',').map(str::trim);
        let session_roles: Vec<String> = session_roles
            .filter(|arn| !arn.is_empty())
            .map(str::to_owned)
            .collect();
        if session_roles.iter().any(|arn| !is_role_arn(arn)) {
            let expected = "must be ARNs of IAM roles, separated by commas";
            return Err(ConfigError::new(SQL_SESSION_ROLES, expected));
        }
        Ok(Self {
            sql_host,
            session_roles,
        })
    }

    pub(crate) fn host(&self, named: Option<SqlHost>) -> Result<SqlHost, CommandError> {
        named.or_else(|| self.sql_host.clone()).ok_or_else(|| {
            CommandError::new(format!(
                "\"host\" is missing: the connection string's host, such as db.example.com, unless {SQL_HOST} is set"
            ))
        })
    }
}

fn is_role_arn(text: &str) -> bool {
    text.starts_with("arn:") && text.contains(":iam::") && text.contains(":role/")
}
