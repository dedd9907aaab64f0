//! Configuration: the environment variables, their defaults, and one clear error for each wrong
//! value.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_config::environment::credentials::EnvironmentVariableCredentialsProvider;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};

use crate::clock::{Clock, SystemClock};
use crate::endpoint::{self, Endpoint};
use crate::retry::RetryPolicy;
use crate::tls;

/// The cluster: its full host name, or its 26-character id (the region then comes from
/// [`AWS_REGION`]). Required.
pub const DSQL_ENDPOINT: &str = "DSQL_ENDPOINT";
/// The database role to connect as. Default [`DEFAULT_ROLE`]; `admin` selects the action
/// `DbConnectAdmin`.
pub const DSQL_ROLE: &str = "DSQL_ROLE";
/// The region that tokens are signed for. Default: the one in the endpoint's host name.
pub const AWS_REGION: &str = "AWS_REGION";
/// An IP address to connect to instead of resolving the endpoint; the endpoint stays the TLS and
/// token host.
pub const DSQL_HOSTADDR: &str = "DSQL_HOSTADDR";
/// The TCP port. Default 5432.
pub const DSQL_PORT: &str = "DSQL_PORT";
/// A PEM file of certificate authorities that replaces the web's roots, for `dsql-local`.
pub const DSQL_CA_FILE: &str = "DSQL_CA_FILE";
/// Seconds after which a connection is not used again, 60 to 3540. Default 3300: the service cuts
/// at 3600.
pub const DSQL_MAX_CONNECTION_AGE_S: &str = "DSQL_MAX_CONNECTION_AGE_S";
/// `true`: a connection is retired together with the token that opened it (15 minutes). Default
/// `false`.
pub const DSQL_RETIRE_WITH_TOKEN: &str = "DSQL_RETIRE_WITH_TOKEN";
/// `true`: the token is sent with the startup message, a round trip less for each connect. Default
/// `false`: it is not known yet whether clusters accept it.
pub const DSQL_PIPELINE_CONNECT: &str = "DSQL_PIPELINE_CONNECT";
/// The most connections one container opens, 1 to 64. Default 4; one is opened while requests come
/// one at a time.
pub const DSQL_MAX_SESSIONS: &str = "DSQL_MAX_SESSIONS";

/// The role when [`DSQL_ROLE`] is not set. Not `admin`, on purpose.
pub const DEFAULT_ROLE: &str = "app";

/// Why a configuration is refused. The text names the variable and never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A required variable is not set.
    #[error("{variable} is not set: {expected}")]
    Missing {
        /// The variable's name.
        variable: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// A variable holds something else than it should.
    #[error("{variable} is {value:?}: {expected}")]
    Invalid {
        /// The variable's name.
        variable: &'static str,
        /// The value found.
        value: String,
        /// What it should hold.
        expected: String,
    },
}

impl ConfigError {
    fn invalid(variable: &'static str, value: &str, expected: impl Into<String>) -> Self {
        Self::Invalid {
            variable,
            value: value.to_owned(),
            expected: expected.into(),
        }
    }
}

/// Everything that a [`Dsql`](crate::Dsql) needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) endpoint: Endpoint,
    pub(crate) role: String,
    pub(crate) search_path: Option<String>,
    pub(crate) hostaddr: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) roots: Arc<rustls::RootCertStore>,
    pub(crate) max_connection_age: Duration,
    pub(crate) retire_with_token: bool,
    /// The token goes along with the startup message.
    pub(crate) pipeline_connect: bool,
    pub(crate) max_sessions: usize,
    pub(crate) credentials: SharedCredentialsProvider,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) retry: RetryPolicy,
    pub(crate) application_name: String,
}

impl Config {
    /// Reads the process environment.
    ///
    /// # Errors
    /// The first variable that is missing or wrong.
    ///
    /// # Examples
    /// ```no_run
    /// # fn example() -> Result<(), dsql::ConfigError> {
    /// let config = dsql::Config::from_env()?.with_role("reports");
    /// # Ok(()) }
    /// ```
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }

    /// Reads variables from a function, so that a test needs no process environment. Credentials
    /// still come from the process environment unless [`with_credentials`](Self::with_credentials)
    /// replaces them.
    ///
    /// # Errors
    /// The first variable that is missing or wrong.
    ///
    /// # Examples
    /// ```
    /// use dsql::Config;
    ///
    /// let lookup = |name: &str| match name {
    ///     "DSQL_ENDPOINT" => Some("abcdefghijklmnopqrstuvwxyz".to_owned()),
    ///     "AWS_REGION" => Some("eu-west-1".to_owned()),
    ///     _ => None,
    /// };
    /// let config = Config::from_lookup(&lookup)?;
    /// assert_eq!(config.endpoint().host(), "abcdefghijklmnopqrstuvwxyz.dsql.eu-west-1.on.aws");
    ///
    /// let error = Config::from_lookup(&|_| None).unwrap_err();
    /// assert!(error.to_string().contains("DSQL_ENDPOINT"));
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let var = |name: &str| {
            lookup(name)
                .map(|v| v.trim().to_owned())
                .filter(|v| !v.is_empty())
        };
        let host = var(DSQL_ENDPOINT).ok_or(ConfigError::Missing {
            variable: DSQL_ENDPOINT,
            expected: "the cluster's host name, or its 26-character id",
        })?;
        let region = var(AWS_REGION);
        if let Some(region) = &region
            && !endpoint::is_region(region)
        {
            return Err(ConfigError::invalid(
                AWS_REGION,
                region,
                "not a region such as us-east-1",
            ));
        }
        let endpoint = Endpoint::parse(&host, region.as_deref())
            .map_err(|expected| ConfigError::invalid(DSQL_ENDPOINT, &host, expected))?;

        let role = var(DSQL_ROLE).unwrap_or_else(|| DEFAULT_ROLE.to_owned());
        if role.len() > 63 || role.contains('\0') {
            return Err(ConfigError::invalid(
                DSQL_ROLE,
                &role,
                "a role's name has at most 63 bytes and no NUL",
            ));
        }
        let hostaddr = match var(DSQL_HOSTADDR) {
            Some(text) => Some(text.parse().map_err(|_| {
                ConfigError::invalid(
                    DSQL_HOSTADDR,
                    &text,
                    "not an IP address (names belong into DSQL_ENDPOINT)",
                )
            })?),
            None => None,
        };
        let port = number(&var, DSQL_PORT, 1..=u16::MAX, 5432)?;
        let age = number(&var, DSQL_MAX_CONNECTION_AGE_S, 60..=3540_u64, 3300)?;
        let max_sessions = number(&var, DSQL_MAX_SESSIONS, 1..=64_usize, 4)?;
        let retire_with_token = switch(&var, DSQL_RETIRE_WITH_TOKEN)?;
        let pipeline_connect = switch(&var, DSQL_PIPELINE_CONNECT)?;
        let roots = match var(DSQL_CA_FILE) {
            Some(file) => tls::roots_from_file(&file)
                .map_err(|why| ConfigError::invalid(DSQL_CA_FILE, &file, why))?,
            None => tls::web_roots(),
        };
        Ok(Self {
            endpoint,
            role,
            search_path: None,
            hostaddr,
            port,
            roots: Arc::new(roots),
            max_connection_age: Duration::from_secs(age),
            retire_with_token,
            pipeline_connect,
            max_sessions,
            credentials: SharedCredentialsProvider::new(
                EnvironmentVariableCredentialsProvider::new(),
            ),
            clock: Arc::new(SystemClock),
            retry: RetryPolicy::default(),
            application_name: "dsql-rs".to_owned(),
        })
    }

    /// Replaces the clock.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// let clock = dsql::ManualClock::new(std::time::SystemTime::UNIX_EPOCH);
    /// let config = config.with_clock(clock.clone()); // a test moves its own
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Replaces the credentials of the environment, for example with a provider chain of
    /// `aws-config`.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// # let (key_id, secret) = ("", "");
    /// # use aws_credential_types::Credentials;
    /// let credentials = Credentials::new(key_id, secret, None, None, "example");
    /// let config = config.with_credentials(credentials);
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_credentials(mut self, provider: impl ProvideCredentials + 'static) -> Self {
        self.credentials = SharedCredentialsProvider::new(provider);
        self
    }

    /// Replaces the retry policy for OCC conflicts and refused connections.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// let impatient = dsql::RetryPolicy { attempts: 3, ..dsql::RetryPolicy::default() };
    /// let config = config.with_retry(impatient);
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The database role, in place of [`DSQL_ROLE`].
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// assert_eq!(config.with_role("reports").role(), "reports");
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_role(mut self, role: impl Into<String>) -> Self {
        self.role = role.into();
        self
    }

    /// The `search_path` that every session starts with, schemas separated by commas; it costs no
    /// round trip. Without it the server's default holds, since the service keeps no settings by
    /// role.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// let config = config.with_role("blog").with_search_path("blog, public");
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_search_path(mut self, schemas: impl Into<String>) -> Self {
        self.search_path = Some(schemas.into());
        self
    }

    /// Whether the token is sent with the startup message, in place of [`DSQL_PIPELINE_CONNECT`].
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// let config = config.with_pipeline_connect(true); // a connect in three round trips
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_pipeline_connect(mut self, pipeline_connect: bool) -> Self {
        self.pipeline_connect = pipeline_connect;
        self
    }

    /// The name sessions show in the server's views. At most 64 characters are sent.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// let config = config.with_application_name("nightly reports");
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_application_name(mut self, name: &str) -> Self {
        self.application_name = name.chars().take(64).collect();
        self
    }

    /// The cluster.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// assert_eq!(config.endpoint().region(), "us-east-1");
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The database role.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// assert_eq!(config.role(), dsql::DEFAULT_ROLE);
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn role(&self) -> &str {
        &self.role
    }
}

fn number<N: std::str::FromStr + PartialOrd + std::fmt::Display>(
    var: &dyn Fn(&str) -> Option<String>,
    variable: &'static str,
    range: std::ops::RangeInclusive<N>,
    default: N,
) -> Result<N, ConfigError> {
    let Some(text) = var(variable) else {
        return Ok(default);
    };
    text.parse()
        .ok()
        .filter(|n| range.contains(n))
        .ok_or_else(|| {
            let expected = format!(
                "not a whole number from {} to {}",
                range.start(),
                range.end()
            );
            ConfigError::invalid(variable, &text, expected)
        })
}

fn switch(
    var: &dyn Fn(&str) -> Option<String>,
    variable: &'static str,
) -> Result<bool, ConfigError> {
    match var(variable).as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(ConfigError::invalid(
            variable,
            other,
            "neither true nor false",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws";

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        Config::from_lookup(&move |name| {
            pairs
                .iter()
                .find(|(k, _)| k == name)
                .map(|(_, v)| v.clone())
        })
    }

    #[test]
    fn a_host_alone_is_enough_and_the_role_is_not_admin() {
        let config = read(&[(DSQL_ENDPOINT, HOST)]).unwrap();
        assert_eq!(config.endpoint().region(), "us-east-1");
        assert_eq!(config.role(), "app");
        assert_eq!(config.port, 5432);
        assert_eq!(config.max_connection_age, Duration::from_mins(55));
        assert!(!config.retire_with_token);
    }

    #[test]
    fn an_id_needs_a_region() {
        let id = "abcdefghijklmnopqrstuvwxyz";
        let config = read(&[(DSQL_ENDPOINT, id), (AWS_REGION, "eu-west-1")]).unwrap();
        assert_eq!(
            config.endpoint().host(),
            format!("{id}.dsql.eu-west-1.on.aws")
        );
        let error = read(&[(DSQL_ENDPOINT, id)]).unwrap_err().to_string();
        assert!(
            error.contains(DSQL_ENDPOINT) && error.contains(AWS_REGION),
            "{error}"
        );
    }

    #[test]
    fn every_wrong_value_names_its_variable() {
        for (variable, value) in [
            (DSQL_ENDPOINT, "localhost"),
            (
                DSQL_ENDPOINT,
                "https://abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws",
            ),
            (AWS_REGION, "US EAST"),
            (
                DSQL_ROLE,
                "a-role-with-a-name-of-more-than-sixty-three-bytes-is-not-possible",
            ),
            (DSQL_HOSTADDR, "localhost"),
            (DSQL_PORT, "0"),
            (DSQL_PORT, "65536"),
            (DSQL_PORT, "five"),
            (DSQL_CA_FILE, "/nonexistent/ca.pem"),
            (DSQL_MAX_CONNECTION_AGE_S, "3600"),
            (DSQL_MAX_CONNECTION_AGE_S, "-1"),
            (DSQL_RETIRE_WITH_TOKEN, "yes please"),
            (DSQL_MAX_SESSIONS, "0"),
        ] {
            let mut pairs = vec![(variable, value)];
            if variable != DSQL_ENDPOINT {
                pairs.push((DSQL_ENDPOINT, HOST));
            }
            let error = read(&pairs).expect_err(variable).to_string();
            assert!(error.starts_with(variable), "{error}");
        }
    }

    #[test]
    fn a_missing_endpoint_says_what_it_should_hold() {
        assert!(
            read(&[])
                .unwrap_err()
                .to_string()
                .starts_with("DSQL_ENDPOINT is not set")
        );
    }
}
