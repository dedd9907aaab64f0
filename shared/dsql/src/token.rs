//! Tokens: minted with `aws-sdk-dsql`, cached until shortly before the earlier of their own and the
//! credentials' expiry. A token only opens a connection; an open connection outlives it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_dsql::auth_token::{AuthTokenGenerator, Config as GeneratorConfig};
use aws_smithy_async::time::TimeSource;

use crate::clock::Clock;
use crate::endpoint::Endpoint;

/// How long a token is valid: the service's default of 15 minutes.
pub const TOKEN_LIFETIME: Duration = Duration::from_mins(15);

/// A token is not used in the last part of its life: a connect takes a moment, and clocks differ.
const MARGIN: Duration = Duration::from_mins(1);

/// An IAM token, which the server takes as the password. It has no `Display`, and `Debug` does not
/// show it.
#[derive(Clone)]
pub struct Token {
    text: Arc<str>,
    minted_at: SystemTime,
    expires_at: SystemTime,
}

impl Token {
    /// The token itself, for the password message alone.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    /// # use dsql::{Clock, SystemClock, TOKEN_LIFETIME, TokenSource};
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// # let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "example");
    /// # let credentials = SharedCredentialsProvider::new(credentials);
    /// # let endpoint = config.endpoint().clone();
    /// # let source = TokenSource::new(endpoint, "app", credentials, Arc::new(SystemClock));
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let token = source.token().await.unwrap();
    /// assert!(token.expose().contains("Action=DbConnect&"));
    /// assert!(!format!("{token:?}").contains("DbConnect")); // no log shows it
    /// # }); Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// When it stops opening connections: the earlier of its own expiry and the credentials'.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    /// # use dsql::{Clock, SystemClock, TOKEN_LIFETIME, TokenSource};
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// # let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "example");
    /// # let credentials = SharedCredentialsProvider::new(credentials);
    /// # let endpoint = config.endpoint().clone();
    /// # let source = TokenSource::new(endpoint, "app", credentials, Arc::new(SystemClock));
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let token = source.token().await.unwrap();
    /// assert!(token.expires_at() > SystemClock.now());
    /// # }); Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    fn is_fresh(&self, now: SystemTime) -> bool {
        now >= self.minted_at && now + MARGIN < self.expires_at
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Why no token could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The provider has no credentials.
    #[error("no AWS credentials: {0}")]
    NoCredentials(String),
    /// The credentials have expired, so a token signed with them would be refused.
    #[error("the AWS credentials expired {ago:?} ago")]
    CredentialsExpired {
        /// Time since the expiry.
        ago: Duration,
    },
    /// The SDK could not sign.
    #[error("the token could not be signed: {0}")]
    Signing(String),
}

/// Mints tokens for one cluster and one role.
#[derive(Debug)]
pub struct TokenSource {
    endpoint: Endpoint,
    admin: bool,
    credentials: SharedCredentialsProvider,
    clock: Arc<dyn Clock>,
    lifetime: Duration,
    cached: Mutex<Option<Token>>,
}

#[derive(Debug)]
struct SigningTime(Arc<dyn Clock>);

impl TimeSource for SigningTime {
    fn now(&self) -> SystemTime {
        self.0.now()
    }
}

impl TokenSource {
    /// `role` decides the action: `admin`, exactly, is `DbConnectAdmin`; any other is `DbConnect`.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    ///
    /// use aws_credential_types::Credentials;
    /// use aws_credential_types::provider::SharedCredentialsProvider;
    /// use dsql::{SystemClock, TokenSource};
    ///
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "example");
    /// let credentials = SharedCredentialsProvider::new(credentials);
    /// let endpoint = config.endpoint().clone();
    /// let source = TokenSource::new(endpoint, "app", credentials, Arc::new(SystemClock));
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn new(
        endpoint: Endpoint,
        role: &str,
        credentials: SharedCredentialsProvider,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            endpoint,
            admin: role == "admin",
            credentials,
            clock,
            lifetime: TOKEN_LIFETIME,
            cached: Mutex::new(None),
        }
    }

    /// How long its tokens are valid, from one second to a week; [`TOKEN_LIFETIME`] otherwise.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    /// # use dsql::{Clock, SystemClock, TOKEN_LIFETIME, TokenSource};
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// # let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "example");
    /// # let credentials = SharedCredentialsProvider::new(credentials);
    /// # let endpoint = config.endpoint().clone();
    /// # let source = TokenSource::new(endpoint, "app", credentials, Arc::new(SystemClock));
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let hour = source.with_lifetime(std::time::Duration::from_hours(1));
    /// let token = hour.token().await.unwrap();
    /// assert!(token.expires_at() > SystemClock.now() + TOKEN_LIFETIME);
    /// # }); Ok::<(), dsql::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The cached token, or a new one.
    ///
    /// # Errors
    /// No credentials, expired credentials, or a failure to sign.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    /// # use dsql::{Clock, SystemClock, TOKEN_LIFETIME, TokenSource};
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// # let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "example");
    /// # let credentials = SharedCredentialsProvider::new(credentials);
    /// # let endpoint = config.endpoint().clone();
    /// # let source = TokenSource::new(endpoint, "app", credentials, Arc::new(SystemClock));
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let token = source.token().await.unwrap();
    /// let again = source.token().await.unwrap();
    /// assert_eq!(token.expose(), again.expose()); // made once
    /// # }); Ok::<(), dsql::ConfigError>(())
    /// ```
    pub async fn token(&self) -> Result<Token, TokenError> {
        let now = self.clock.now();
        let cached = self
            .cached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match cached {
            Some(token) if token.is_fresh(now) => Ok(token),
            _ => self.mint(now).await,
        }
    }

    /// Forgets the cached token, for example after the server called its signature expired.
    ///
    /// # Examples
    /// ```
    /// # use std::sync::Arc;
    /// # use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    /// # use dsql::{Clock, SystemClock, TOKEN_LIFETIME, TokenSource};
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// # let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "example");
    /// # let credentials = SharedCredentialsProvider::new(credentials);
    /// # let endpoint = config.endpoint().clone();
    /// # let source = TokenSource::new(endpoint, "app", credentials, Arc::new(SystemClock));
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let token = source.token().await.unwrap();
    /// source.forget();
    /// let other = source.token().await.unwrap(); // signed anew
    /// assert!(other.expires_at() >= token.expires_at());
    /// # }); Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn forget(&self) {
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn mint(&self, now: SystemTime) -> Result<Token, TokenError> {
        let credentials = self
            .credentials
            .provide_credentials()
            .await
            .map_err(|error| TokenError::NoCredentials(crate::chain::chain(&error)))?;
        let credentials_expire_at = credentials.expiry();
        if let Some(at) = credentials_expire_at
            && at <= now
        {
            return Err(TokenError::CredentialsExpired {
                ago: now.duration_since(at).unwrap_or_default(),
            });
        }
        let of_credentials = credentials_expire_at.and_then(|at| at.duration_since(now).ok());
        let lifetime = of_credentials.map_or(self.lifetime, |left| left.min(self.lifetime));
        let token = Token {
            text: self.sign(credentials, lifetime).await?,
            minted_at: now,
            expires_at: now + lifetime,
        };
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        Ok(token)
    }

    async fn sign(
        &self,
        credentials: Credentials,
        lifetime: Duration,
    ) -> Result<Arc<str>, TokenError> {
        let signing = |error: aws_smithy_runtime_api::box_error::BoxError| {
            TokenError::Signing(error.to_string())
        };
        let config = GeneratorConfig::builder()
            .hostname(self.endpoint.host())
            .region(Region::new(self.endpoint.region().to_owned()))
            .credentials(credentials)
            .expires_in(lifetime.as_secs().max(1))
            .build()
            .map_err(signing)?;
        let sdk = SdkConfig::builder()
            .time_source(SigningTime(Arc::clone(&self.clock)))
            .build();
        let generator = AuthTokenGenerator::new(config);
        let token = if self.admin {
            generator.db_connect_admin_auth_token(&sdk).await
        } else {
            generator.db_connect_auth_token(&sdk).await
        };
        token.map(|token| token.as_str().into()).map_err(signing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const HOST: &str = "peccy.dsql.us-east-1.on.aws";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_724_716_800 + seconds)
    }

    fn source(
        role: &str,
        session_token: Option<&str>,
        expiry: Option<SystemTime>,
    ) -> (TokenSource, ManualClock) {
        let clock = ManualClock::new(at(0));
        let credentials = Credentials::new(
            "akid",
            "secret",
            session_token.map(str::to_owned),
            expiry,
            "test",
        );
        let source = TokenSource::new(
            Endpoint::parse(HOST, None).unwrap(),
            role,
            SharedCredentialsProvider::new(credentials),
            Arc::new(clock.clone()),
        );
        (source, clock)
    }

    #[tokio::test]
    async fn a_token_with_a_session_token_matches_the_reference_vector() {
        let (source, _) = source("app", Some("AQo/+=EXAMPLE"), None);
        // The order of the parameters is the signer's own; the signature covers them sorted.
        let token = source.token().await.unwrap();
        let mut parameters: Vec<&str> = token.expose().split(['?', '&']).collect();
        parameters.sort_unstable();
        assert_eq!(
            parameters,
            [
                "Action=DbConnect",
                "X-Amz-Algorithm=AWS4-HMAC-SHA256",
                "X-Amz-Credential=akid%2F20240827%2Fus-east-1%2Fdsql%2Faws4_request",
                "X-Amz-Date=20240827T000000Z",
                "X-Amz-Expires=900",
                "X-Amz-Security-Token=AQo%2F%2B%3DEXAMPLE",
                "X-Amz-Signature=236ab1b16d42d35876f034d8f04605ea98c73b46efea74f901dc6c1b67374f56",
                "X-Amz-SignedHeaders=host",
                "peccy.dsql.us-east-1.on.aws/",
            ]
        );
    }

    #[tokio::test]
    async fn only_the_role_admin_selects_the_admin_action() {
        for (role, action) in [
            ("admin", "DbConnectAdmin"),
            ("app", "DbConnect"),
            ("Admin", "DbConnect"),
        ] {
            let (source, _) = source(role, None, None);
            let token = source.token().await.unwrap();
            assert!(
                token.expose().contains(&format!("?Action={action}&")),
                "{role}"
            );
        }
    }

    #[tokio::test]
    async fn a_token_is_kept_until_shortly_before_its_expiry() {
        let (source, clock) = source("app", None, None);
        let first = source.token().await.unwrap();
        clock.advance(Duration::from_secs(839));
        assert_eq!(source.token().await.unwrap().expose(), first.expose());
        clock.advance(Duration::from_secs(2));
        assert_ne!(source.token().await.unwrap().expose(), first.expose());
    }

    #[tokio::test]
    async fn a_token_lives_as_long_as_it_was_made_for() {
        let source = source("app", None, Some(at(5_000))).0;
        let source = source.with_lifetime(Duration::from_secs(3_600));
        let token = source.token().await.unwrap();
        assert_eq!(token.expires_at(), at(3_600));
        assert!(token.expose().contains("X-Amz-Expires=3600&"));
    }

    #[tokio::test]
    async fn a_clock_that_stepped_back_makes_a_new_token() {
        let (source, clock) = source("app", None, None);
        let first = source.token().await.unwrap();
        clock.set(at(0) - Duration::from_secs(5));
        assert_ne!(source.token().await.unwrap().expose(), first.expose());
    }

    #[tokio::test]
    async fn a_token_dies_with_its_credentials() {
        let (source, clock) = source("app", None, Some(at(300)));
        let token = source.token().await.unwrap();
        assert_eq!(token.expires_at(), at(300));
        assert!(token.expose().contains("X-Amz-Expires=300&"));
        clock.advance(Duration::from_secs(310));
        let error = source.token().await.unwrap_err();
        assert!(error.to_string().contains("credentials expired"), "{error}");
    }

    #[tokio::test]
    async fn debug_shows_neither_token_nor_key() {
        let (source, _) = source("app", Some("session-secret"), None);
        let token = source.token().await.unwrap();
        let shown = format!("{token:?} {source:?}");
        for secret in ["X-Amz-Signature", "session-secret", "\"secret\""] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
