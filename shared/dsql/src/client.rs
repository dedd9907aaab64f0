//! A container's way to its database.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};

use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::db::Db;
use crate::endpoint::Address;
use crate::stats::Stats;
use crate::token::TokenSource;
use crate::warm::{Pin, Use, Warm};

/// Time for the eager connect, well inside Lambda's 10 s of Init.
const EAGER_CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A container's access to its database: configuration, tokens and warm sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dsql {
    pub(crate) warm: Arc<Warm>,
    pin: Option<Arc<Pin>>,
}

impl Dsql {
    /// Reads the environment and connects, so that the first request finds a warm connection. A
    /// connect that fails is logged, and tried again by the first request within its own deadline.
    ///
    /// # Errors
    /// A configuration that cannot work.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn init() -> Result<(), dsql::ConfigError> {
    /// let dsql = dsql::Dsql::from_env().await?; // once, in Init
    /// # Ok(()) }
    /// ```
    pub async fn from_env() -> Result<Self, ConfigError> {
        let dsql = Self::new(Config::from_env()?);
        dsql.connect().await;
        Ok(dsql)
    }

    /// Without I/O: the first statement connects.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// let dsql = dsql::Dsql::new(config.with_role("reports"));
    /// assert_eq!(dsql.stats().connects, 0);
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn new(config: Config) -> Self {
        Self {
            warm: Arc::new(Warm::new(config)),
            pin: None,
        }
    }

    /// The same database through a session of its own, for something long, such as a stream: its
    /// statements and those of others never wait for each other's answers. The session is taken
    /// from the shared ones, or opened beyond [`DSQL_MAX_SESSIONS`](crate::DSQL_MAX_SESSIONS), with
    /// the first statement, replaced like any other, and shared again when the last clone is
    /// dropped. Without I/O.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn answer(dsql: dsql::Dsql) -> Result<(), dsql::Error> {
    /// let own = dsql.pinned(); // for as long as an answer is streamed
    /// let db = own.until(dsql.clock().now() + std::time::Duration::from_secs(60));
    /// db.query_idempotent("SELECT 1", &[]).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn pinned(&self) -> Self {
        Self {
            warm: Arc::clone(&self.warm),
            pin: Some(Arc::new(self.warm.pin())),
        }
    }

    /// Everything done through the result ends by `deadline` on the wall clock.
    ///
    /// # Examples
    /// ```no_run
    /// # use std::time::{Duration, SystemTime};
    /// # async fn handler(dsql: dsql::Dsql, deadline: SystemTime) -> Result<(), dsql::Error> {
    /// let db = dsql.until(deadline - Duration::from_millis(500)); // kept for the answer
    /// db.query_idempotent("SELECT 1", &[]).await?;
    /// # Ok(()) }
    /// ```
    pub fn until(&self, deadline: SystemTime) -> Db {
        Db {
            warm: Arc::clone(&self.warm),
            pin: self.pin.clone(),
            deadline,
        }
    }

    /// Connects now, unless a session is open. Returns whether one is; a failure is logged.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn init(config: dsql::Config) {
    /// let dsql = dsql::Dsql::new(config);
    /// if !dsql.connect().await {
    ///     // Logged; the first request tries again.
    /// }
    /// # }
    /// ```
    pub async fn connect(&self) -> bool {
        let deadline = self.clock().now() + EAGER_CONNECT_LIMIT;
        match self
            .warm
            .lease(Use::Statement, self.pin.as_deref(), deadline)
            .await
        {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(
                    "the eager database connect failed, the first request tries again: {}",
                    error.report()
                );
                false
            }
        }
    }

    /// Where the cluster is.
    ///
    /// # Examples
    /// ```
    /// # let lookup = |name: &str| (name == "DSQL_ENDPOINT")
    /// #     .then(|| "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws".to_owned());
    /// # let config = dsql::Config::from_lookup(&lookup)?;
    /// let dsql = dsql::Dsql::new(config);
    /// let address = dsql.address();
    /// assert_eq!(address.host, "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws");
    /// assert_eq!((address.hostaddr, address.port), (None, 5432));
    /// # Ok::<(), dsql::ConfigError>(())
    /// ```
    pub fn address(&self) -> Address<'_> {
        let config = &self.warm.config;
        Address {
            host: config.endpoint.host(),
            hostaddr: config.hostaddr,
            port: config.port,
        }
    }

    /// Tokens of another role than this one's, signed with other credentials: with one and the
    /// [`address`](Self::address) a client connects by itself. A token names no role: it opens
    /// every role that its signer is mapped to. Each call makes a source of its own.
    ///
    /// # Examples
    /// ```no_run
    /// use aws_credential_types::Credentials;
    ///
    /// # async fn print(dsql: dsql::Dsql) -> Result<(), dsql::TokenError> {
    /// # let (key_id, secret) = ("", "");
    /// let credentials = Credentials::new(key_id, secret, None, None, "reports");
    /// let tokens = dsql.tokens_for("reports", credentials);
    /// let password = tokens.token().await?;
    /// # Ok(()) }
    /// ```
    pub fn tokens_for(
        &self,
        role: &str,
        credentials: impl ProvideCredentials + 'static,
    ) -> TokenSource {
        let config = &self.warm.config;
        TokenSource::new(
            config.endpoint.clone(),
            role,
            SharedCredentialsProvider::new(credentials),
            Arc::clone(&config.clock),
        )
    }

    /// Counters since the container started.
    ///
    /// # Examples
    /// ```no_run
    /// # fn log(dsql: dsql::Dsql) {
    /// let stats = dsql.stats();
    /// println!("{} connects, {} attempts", stats.connects, stats.attempts);
    /// # }
    /// ```
    pub fn stats(&self) -> Stats {
        self.warm.counters.read()
    }

    /// The clock for ages and deadlines.
    ///
    /// # Examples
    /// ```no_run
    /// # fn example(dsql: dsql::Dsql) {
    /// let db = dsql.until(dsql.clock().now() + std::time::Duration::from_secs(3));
    /// # }
    /// ```
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.warm.config.clock
    }
}
