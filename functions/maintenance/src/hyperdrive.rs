//! Tokens for Cloudflare Hyperdrive, which pools connections for Workers and knows passwords, not
//! tokens. Each run gives every configuration a fresh token of its login as the password, so that
//! the one before never ends in use.
//!
//! 1. A token opens its login's role and no other: it is signed as the IAM role that is the login's
//!    alone (`session_roles`).
//! 2. It lives for an hour, as its signer's credentials do, and a run comes every quarter of one:
//!    three may fail.
//! 3. Each login is on its own: what fails for one is reported, and holds up no other.

use std::time::{Duration, SystemTime};

use dsql::{AWS_REGION, Dsql, Param, TokenError, Type};
use futures_util::future::join_all;
use jiff::Timestamp;
use runtime::{ConfigError, Lookup};
use serde_json::{Value, json};
use session_roles::{AWS_ENDPOINT_URL_STS, ROLE_OF_LOGIN, RoleError, SESSION_LENGTH, SessionRoles};

use crate::cloudflare::{Cloudflare, CloudflareError, Origin};

/// Logins and the configurations that get their tokens: `blog=<id>,shop=<id>`.
pub const HYPERDRIVE_CONFIGS: &str = "HYPERDRIVE_CONFIGS";
/// The account of the configurations.
pub const CLOUDFLARE_ACCOUNT_ID: &str = "CLOUDFLARE_ACCOUNT_ID";
/// A token of Cloudflare's API that may write them.
pub const CLOUDFLARE_API_TOKEN: &str = "CLOUDFLARE_API_TOKEN";
/// Another address of Cloudflare's API; for tests.
pub const CLOUDFLARE_API_URL: &str = "CLOUDFLARE_API_URL";

const DEFAULT_API_URL: &str = "https://api.cloudflare.com/client/v4";
/// Characters of an account's or a configuration's id.
const ID_LENGTH: usize = 32;
/// A run ends this long before the function is stopped.
const MARGIN: Duration = Duration::from_secs(2);

/// The configurations, and access to them.
#[derive(Debug)]
pub struct Hyperdrive {
    cloudflare: Cloudflare,
    roles: SessionRoles,
    configurations: Vec<Configuration>,
}

/// One configuration of Hyperdrive.
#[derive(Debug)]
struct Configuration {
    login: String,
    id: String,
}

/// Why a login's configuration has no fresh token.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error("the login's IAM role cannot be read")]
    Database(#[source] dsql::Error),
    #[error(
        "the login has no IAM role of its own: it does not exist, or the deployment's are given out"
    )]
    NoRole,
    #[error("no token can be signed")]
    Role(#[from] RoleError),
    #[error("no token can be signed")]
    Token(#[from] TokenError),
    #[error("the configuration was not written")]
    Cloudflare(#[from] CloudflareError),
    #[error("the configuration was not written before the function's time was up")]
    Late,
}

/// What became of each login.
pub(crate) struct Refreshed {
    written: Vec<Value>,
    failed: Vec<Value>,
}

impl Refreshed {
    /// Whether every configuration has a fresh token.
    pub(crate) fn is_whole(&self) -> bool {
        self.failed.is_empty()
    }

    pub(crate) fn report(self) -> Value {
        json!({"task": "refresh-hyperdrive", "written": self.written, "failed": self.failed})
    }
}

impl Hyperdrive {
    /// Reads the configuration; `None` where no configuration is named.
    ///
    /// # Errors
    /// When a variable is missing or wrong; the error names it.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Option<Self>, ConfigError> {
        let Some(text) = lookup(HYPERDRIVE_CONFIGS).filter(|text| !text.trim().is_empty()) else {
            return Ok(None);
        };
        let configurations = configurations(&text)?;
        let required = |name| {
            let value = lookup(name).map(|text| text.trim().to_owned());
            let value = value.filter(|text| !text.is_empty());
            value.ok_or_else(|| ConfigError::new(name, "is not set"))
        };
        let account = required(CLOUDFLARE_ACCOUNT_ID)?;
        if !is_id(&account) {
            let expected = "must be the account's id: 32 hexadecimal digits";
            return Err(ConfigError::new(CLOUDFLARE_ACCOUNT_ID, expected));
        }
        let token = required(CLOUDFLARE_API_TOKEN)?;
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            let expected = "must be the text of the token alone";
            return Err(ConfigError::new(CLOUDFLARE_API_TOKEN, expected));
        }
        let base = lookup(CLOUDFLARE_API_URL);
        let base = base.as_deref().unwrap_or(DEFAULT_API_URL);
        Ok(Some(Self {
            cloudflare: Cloudflare::new(base, account, token),
            roles: SessionRoles::new(lookup(AWS_REGION), lookup(AWS_ENDPOINT_URL_STS)),
            configurations,
        }))
    }

    /// Gives every configuration a fresh token, all at once.
    pub(crate) async fn refresh(&self, dsql: &Dsql, deadline: SystemTime) -> Refreshed {
        let runs = self.configurations.iter().map(|configuration| async move {
            let left = deadline.duration_since(dsql.clock().now() + MARGIN);
            let one = self.refresh_one(dsql, configuration, deadline);
            let outcome = tokio::time::timeout(left.unwrap_or_default(), one).await;
            (
                &configuration.login,
                outcome.unwrap_or(Err(RefreshError::Late)),
            )
        });
        let mut refreshed = Refreshed {
            written: Vec::new(),
            failed: Vec::new(),
        };
        for (login, outcome) in join_all(runs).await {
            match outcome {
                Ok(expires_at) => {
                    let expires_at = expires_at.to_string();
                    tracing::info!(
                        sql.login = login,
                        "Hyperdrive has a token of the login {login} until {expires_at}"
                    );
                    let written = json!({"login": login, "expiresAt": expires_at});
                    refreshed.written.push(written);
                }
                Err(error) => {
                    let cause = runtime::chain(&error);
                    tracing::error!(
                        sql.login = login,
                        error.cause = cause,
                        "Hyperdrive has no fresh token of the login {login}: {cause}"
                    );
                    let failed = json!({"login": login, "reason": cause});
                    refreshed.failed.push(failed);
                }
            }
        }
        refreshed
    }

    /// Until when the token that was written opens sessions.
    async fn refresh_one(
        &self,
        dsql: &Dsql,
        Configuration { login, id }: &Configuration,
        deadline: SystemTime,
    ) -> Result<Timestamp, RefreshError> {
        let db = dsql.until(deadline);
        let params: [Param<'_>; 1] = [(login, Type::TEXT)];
        let row = db.query_opt_idempotent(ROLE_OF_LOGIN, &params).await;
        let row = row.map_err(RefreshError::Database)?;
        let arn: String = row.ok_or(RefreshError::NoRole)?.get(0);
        let now = dsql.clock().now();
        let times = (now, now + SESSION_LENGTH);
        let credentials = self.roles.credentials(&arn, login, times).await?;
        let tokens = dsql.tokens_for(login, credentials);
        let token = tokens.with_lifetime(SESSION_LENGTH).token().await?;
        let address = dsql.address();
        let origin = Origin {
            scheme: "postgresql",
            host: address.host,
            port: address.port,
            database: "postgres",
            user: login,
            password: token.expose(),
        };
        self.cloudflare.set_origin(id, &origin).await?;
        let expires_at = Timestamp::try_from(token.expires_at());
        Ok(expires_at.unwrap_or(Timestamp::MAX))
    }
}

/// Reads `blog=<id>,shop=<id>`. A login may have several configurations; a configuration has one
/// login.
fn configurations(text: &str) -> Result<Vec<Configuration>, ConfigError> {
    let wrong = |reason: &str| ConfigError::new(HYPERDRIVE_CONFIGS, reason);
    let mut read: Vec<Configuration> = Vec::new();
    for entry in text.split(',').map(str::trim) {
        let parts = entry.split_once('=');
        let parts = parts.map(|(login, id)| (login.trim(), id.trim()));
        let Some((login, id)) = parts.filter(|(login, id)| is_login(login) && is_id(id)) else {
            return Err(wrong(
                "must be logins and ids of configurations, such as blog=0123456789abcdef0123456789abcdef, separated by commas",
            ));
        };
        if read.iter().any(|known| known.id == id) {
            return Err(wrong("names a configuration twice"));
        }
        read.push(Configuration {
            login: login.to_owned(),
            id: id.to_owned(),
        });
    }
    Ok(read)
}

fn is_login(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    !text.is_empty() && text.bytes().all(is_plain)
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "f123456789abcdef0123456789abcdef";

    fn read(change: (&str, &str)) -> Result<Option<Hyperdrive>, ConfigError> {
        let configs = format!("blog={ID}");
        Hyperdrive::from_lookup(&|name| {
            let given = match name {
                HYPERDRIVE_CONFIGS => configs.as_str(),
                CLOUDFLARE_ACCOUNT_ID => ID,
                CLOUDFLARE_API_TOKEN => "token-of-the-api",
                _ => return None,
            };
            Some(if name == change.0 { change.1 } else { given }.to_owned())
        })
    }

    #[test]
    fn configurations_are_named_by_login() {
        let text = format!(" blog={ID} , shop = {OTHER} ");
        let read = read((HYPERDRIVE_CONFIGS, &text)).unwrap().unwrap();
        let named =
            |configuration: &Configuration| format!("{} {}", configuration.login, configuration.id);
        let named: Vec<String> = read.configurations.iter().map(named).collect();
        assert_eq!(named, [format!("blog {ID}"), format!("shop {OTHER}")]);
        assert!(!format!("{read:?}").contains("token-of-the-api"));
    }

    #[test]
    fn without_a_configuration_there_is_no_hyperdrive() {
        for text in ["", "  "] {
            assert!(read((HYPERDRIVE_CONFIGS, text)).unwrap().is_none());
        }
    }

    #[test]
    fn a_wrong_variable_is_named_and_not_shown() {
        let twice = format!("blog={ID},shop={ID}");
        for change in [
            (HYPERDRIVE_CONFIGS, "blog"),
            (HYPERDRIVE_CONFIGS, "blog=1"),
            (HYPERDRIVE_CONFIGS, &format!("Blog={ID}")),
            (HYPERDRIVE_CONFIGS, &format!("blog={ID},")),
            (HYPERDRIVE_CONFIGS, &format!("blog={ID}/../x")),
            (HYPERDRIVE_CONFIGS, &twice),
            (CLOUDFLARE_ACCOUNT_ID, " "),
            (CLOUDFLARE_ACCOUNT_ID, "me@example.com"),
            (CLOUDFLARE_API_TOKEN, ""),
            (CLOUDFLARE_API_TOKEN, "se\ncret"),
        ] {
            let error = read(change).unwrap_err().to_string();
            assert!(error.contains(change.0), "{error}");
            assert!(!error.contains("cret"), "{error}");
        }
    }
}
