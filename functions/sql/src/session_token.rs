//! `POST /token`: a login's password, or a JWT that opens it, in exchange for a DSQL token of its
//! role. With it a client that needs a session (a transaction with decisions in it, a pool, a tool)
//! connects to the cluster itself.
//!
//! 1. A login is admitted as for `/sql`, and its row is read again, so that a password which was
//!    changed gives no token.
//! 2. The token opens the login's role and no other: it is signed as an IAM role that is the
//!    login's alone (`session_role`).
//! 3. It allows `DbConnect`, nothing else, and lives as long as was asked for, at most as long as
//!    the deployment allows, and never longer than the credentials that sign it.
//! 4. A container gives a login [`MAX_PER_MINUTE`] tokens a minute: one opens any number of
//!    sessions until it expires.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dsql::text::{TextRole, TextSessions};
use dsql::{AWS_REGION, DSQL_CA_FILE, Dsql, TOKEN_LIFETIME};
use runtime::{ConfigError, Lookup};
use serde::{Deserialize, Serialize};
use session_roles::{AWS_ENDPOINT_URL_STS, SessionRoles};

use crate::failure::Failure;
use crate::session_role;

/// Whether tokens are given: `on` or `off`.
pub const SQL_TOKENS: &str = "SQL_TOKENS";
/// Seconds that a token lives at most, 60 to 3600.
pub const SQL_TOKEN_SECONDS: &str = "SQL_TOKEN_SECONDS";

/// What a deployment may allow: credentials of a role that a role assumed end after an hour.
const SECONDS: RangeInclusive<u64> = 60..=3_600;
const MINUTE: Duration = Duration::from_secs(60);
const MAX_PER_MINUTE: u32 = 60;
/// A body has one number.
const MAX_BODY_BYTES: usize = 1_024;

/// What is given, and to whom it was given of late.
#[derive(Debug)]
pub(crate) struct SessionTokens {
    max_lifetime: Duration,
    /// Where libpq finds the authorities to trust.
    root_certificates: String,
    roles: SessionRoles,
    /// By login: only logins that were admitted are in it.
    given: Mutex<HashMap<String, Given>>,
}

/// How many tokens a login was given since then.
#[derive(Debug)]
struct Given {
    since: SystemTime,
    tokens: u32,
}

/// What a client may ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    /// Seconds.
    expires_in: Option<u64>,
}

/// How to connect: what stands before `expiresAt` are libpq's own words, and those of most drivers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection<'a> {
    host: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostaddr: Option<String>,
    port: u16,
    user: &'a str,
    password: &'a str,
    #[serde(rename = "dbname")]
    libpq_database: &'static str,
    database: &'static str,
    sslmode: &'static str,
    sslrootcert: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<String>,
    expires_at: String,
}

impl SessionTokens {
    /// Reads the configuration; `None` where no tokens are given.
    ///
    /// # Errors
    /// When a variable is wrong; the error names it.
    pub(crate) fn from_lookup(lookup: Lookup<'_>) -> Result<Option<Self>, ConfigError> {
        let var = |name| {
            let text: Option<String> = lookup(name);
            text.map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        match var(SQL_TOKENS).as_deref() {
            None | Some("on") => {}
            Some("off") => return Ok(None),
            Some(_) => return Err(ConfigError::new(SQL_TOKENS, "must be on or off")),
        }
        let max_lifetime = match var(SQL_TOKEN_SECONDS) {
            None => TOKEN_LIFETIME,
            Some(text) => {
                let seconds = text.parse().ok().filter(|n| SECONDS.contains(n));
                Duration::from_secs(seconds.ok_or_else(|| {
                    ConfigError::new(SQL_TOKEN_SECONDS, "must be a whole number from 60 to 3600")
                })?)
            }
        };
        Ok(Some(Self {
            max_lifetime,
            roles: SessionRoles::new(lookup(AWS_REGION), lookup(AWS_ENDPOINT_URL_STS)),
            root_certificates: var(DSQL_CA_FILE).unwrap_or_else(|| "system".to_owned()),
            given: Mutex::default(),
        }))
    }

    /// How long the token of a request shall live.
    pub(crate) fn lifetime(&self, body: &[u8]) -> Result<Duration, Failure> {
        if body.len() > MAX_BODY_BYTES {
            return Err(Failure::new(
                "54000",
                format!("request is too large (max is {MAX_BODY_BYTES} bytes)"),
            ));
        }
        let wanted = if body.trim_ascii().is_empty() {
            Wanted::default()
        } else {
            serde_json::from_slice(body).map_err(|_| {
                Failure::new("08P01", "the body does not say what token is wanted")
                    .hint("Send {\"expiresIn\": 300}, in seconds, or nothing.")
            })?
        };
        let max = self.max_lifetime.as_secs();
        match wanted.expires_in {
            None => Ok(self.max_lifetime),
            Some(seconds) if (1..=max).contains(&seconds) => Ok(Duration::from_secs(seconds)),
            Some(_) => Err(Failure::new(
                "22023",
                format!("expiresIn must be between 1 and {max} seconds"),
            )),
        }
    }

    /// Counts one more token of a login.
    pub(crate) fn take(&self, login: &str, now: SystemTime) -> Result<(), Failure> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let given = given.entry(login.to_owned()).or_insert(Given {
            since: now,
            tokens: 0,
        });
        if !now
            .duration_since(given.since)
            .is_ok_and(|passed| passed < MINUTE)
        {
            *given = Given {
                since: now,
                tokens: 0,
            };
        }
        if given.tokens == MAX_PER_MINUTE {
            return Err(
                Failure::new("53400", "too many tokens were asked for in this minute").hint(
                    "A token opens any number of sessions: keep it until shortly before expiresAt.",
                ),
            );
        }
        given.tokens += 1;
        Ok(())
    }

    /// The body of the answer: how an admitted login connects.
    ///
    /// # Errors
    /// The login has no IAM role of its own, or it cannot be assumed.
    pub(crate) async fn give(
        &self,
        dsql: &Dsql,
        sessions: &TextSessions,
        login: &TextRole,
        (lifetime, deadline): (Duration, SystemTime),
    ) -> Result<String, Failure> {
        let failed = |cause: String| Failure::new("08006", "no token can be made").cause(cause);
        let role = session_role::of(sessions, &login.name, deadline).await?;
        let now = dsql.clock().now();
        let times = (now, now + lifetime);
        let credentials = self.roles.credentials(&role, &login.name, times).await;
        let credentials = credentials.map_err(|error| failed(runtime::chain(&error)))?;
        let tokens = dsql.tokens_for(&login.name, credentials);
        let tokens = tokens.with_lifetime(lifetime);
        let token = tokens.token().await;
        let token = token.map_err(|error| failed(error.to_string()))?;
        let expires_at = jiff::Timestamp::try_from(token.expires_at())
            .map_err(|error| failed(error.to_string()))?;
        let address = dsql.address();
        let connection = Connection {
            host: address.host,
            hostaddr: address.hostaddr.map(|address| address.to_string()),
            port: address.port,
            user: &login.name,
            password: token.expose(),
            libpq_database: "postgres",
            database: "postgres",
            sslmode: "verify-full",
            sslrootcert: &self.root_certificates,
            options: login
                .search_path
                .as_ref()
                .map(|schemas| format!("-c search_path={schemas}")),
            expires_at: expires_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        Ok(serde_json::to_string(&connection).expect("texts and a number can be serialised"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(variables: &[(&str, &str)]) -> Result<Option<SessionTokens>, ConfigError> {
        SessionTokens::from_lookup(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_token_lives_as_long_as_was_asked_for_and_allowed() {
        let tokens = tokens(&[(SQL_TOKEN_SECONDS, "600")]).unwrap().unwrap();
        let seconds = |body: &str| tokens.lifetime(body.as_bytes()).map(|l| l.as_secs());
        for (body, expected) in [
            ("", 600),
            (" \n", 600),
            ("{}", 600),
            ("{\"expiresIn\":null}", 600),
            ("{\"expiresIn\":1}", 1),
            ("{\"expiresIn\":600}", 600),
        ] {
            assert_eq!(seconds(body).unwrap(), expected, "{body}");
        }
        let long = format!("{{\"expiresIn\":{}1}}", " ".repeat(2_000));
        for (body, code) in [
            ("{\"expiresIn\":0}", "22023"),
            ("{\"expiresIn\":601}", "22023"),
            ("{\"expiresIn\":-1}", "08P01"),
            ("{\"expiresIn\":1.5}", "08P01"),
            ("{\"expiresIn\":\"60\"}", "08P01"),
            ("{\"role\":\"admin\"}", "08P01"),
            ("[]", "08P01"),
            ("{", "08P01"),
            (long.as_str(), "54000"),
        ] {
            assert_eq!(seconds(body).unwrap_err().code(), code, "{body}");
        }
    }

    #[test]
    fn a_wrong_variable_is_named() {
        assert!(tokens(&[(SQL_TOKENS, "off")]).unwrap().is_none());
        for (name, value) in [
            (SQL_TOKENS, "false"),
            (SQL_TOKEN_SECONDS, "59"),
            (SQL_TOKEN_SECONDS, "3601"),
            (SQL_TOKEN_SECONDS, "15m"),
        ] {
            let error = tokens(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_login_gets_a_limited_number_of_tokens_a_minute_and_others_get_theirs() {
        let tokens = tokens(&[]).unwrap().unwrap();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let given = |login: &str, after_s: u64| {
            let now = start + Duration::from_secs(after_s);
            (0..100).filter(|_| tokens.take(login, now).is_ok()).count()
        };
        assert_eq!(given("a", 0), 60);
        assert_eq!(given("b", 1), 60);
        assert_eq!(given("a", 59), 0);
        assert_eq!(given("a", 60), 60);
    }
}
