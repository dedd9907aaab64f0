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
    pub async fn from_env() -> Result<Self, ConfigError> {
        let dsql = Self::new(Config::from_env()?);
        dsql.connect().await;
        Ok(dsql)
    }

    /// Without I/O: the first statement connects.
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
    #[must_use]
    pub fn pinned(&self) -> Self {
        Self {
            warm: Arc::clone(&self.warm),
            pin: Some(Arc::new(self.warm.pin())),
        }
    }

    /// Everything done through the result ends by `deadline` on the wall clock.
    pub fn until(&self, deadline: SystemTime) -> Db {
        Db {
            warm: Arc::clone(&self.warm),
            pin: self.pin.clone(),
            deadline,
        }
    }

    /// Connects now, unless a session is open. Returns whether one is; a failure is logged.
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
    pub fn stats(&self) -> Stats {
        self.warm.counters.read()
    }

    /// The clock for ages and deadlines.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.warm.config.clock
    }
}
