//! One physical connection: direct TLS with SNI and full verification, then startup and token. Four
//! round trips: TCP, TLS, startup, password; the last two in one if the configuration says so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::alarms::Alarms;
use crate::config::Config;
use crate::early::EarlyPassword;
use crate::error::{self, ConflictKind, Error, Failure};
use crate::statements::Statements;
use crate::tag::{LastCommand, Tagged};
use crate::token::Token;

/// Time for one attempt to connect, from name resolution to the first ReadyForQuery.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long sent bytes may stay unacknowledged before the kernel gives up the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(15);

/// An open connection.
#[derive(Debug)]
pub(crate) struct Session {
    client: Arc<Client>,
    last_command: LastCommand,
    statements: Arc<Statements>,
    alarms: Alarms,
    /// Moves bytes between socket and client, and prepares statements; ends with the session.
    driver: JoinHandle<()>,
    pub(crate) opened_at: SystemTime,
    /// Not handed out from here on.
    pub(crate) retire_at: SystemTime,
}

impl Session {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// What the server called the last command that it answered.
    pub(crate) fn last_command(&self) -> &LastCommand {
        &self.last_command
    }

    pub(crate) fn statements(&self) -> &Statements {
        &self.statements
    }

    /// For what is done on it.
    pub(crate) fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// What a failure of this session's means. One that tells of a changed catalog makes it forget
    /// its statements.
    pub(crate) fn failure(&self, error: tokio_postgres::Error) -> Failure {
        self.heed(Failure::of(error, self.is_closed()))
    }

    /// As [`failure`](Self::failure), while values were bound to a prepared statement.
    pub(crate) fn bind_failure(&self, error: tokio_postgres::Error) -> Failure {
        self.heed(Failure::of_bind(error, self.is_closed()))
    }

    fn heed(&self, failure: Failure) -> Failure {
        if matches!(
            failure,
            Failure::Stale(_) | Failure::Conflict(ConflictKind::Schema, _)
        ) {
            self.statements.forget_all();
        }
        failure
    }

    /// Ends the connection, whoever still holds the session.
    pub(crate) fn close(&self) {
        self.driver.abort();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

/// Opens sessions for one configuration.
#[derive(Debug)]
pub(crate) struct Connector {
    tls: Arc<rustls::ClientConfig>,
    server_name: ServerName<'static>,
    /// Taken off every connection's life, so that containers started together do not reconnect
    /// together.
    age_jitter: Duration,
}

impl Connector {
    pub(crate) fn new(config: &Config) -> Self {
        let span = u64::try_from(config.max_connection_age.as_millis() / 20).unwrap_or(0);
        Self {
            tls: Arc::new(crate::tls::client(Arc::clone(&config.roots))),
            server_name: ServerName::try_from(config.endpoint.host().to_owned())
                .expect("an endpoint is made of DNS labels"),
            age_jitter: Duration::from_millis(fastrand::u64(0..=span)),
        }
    }

    /// One attempt.
    pub(crate) async fn connect(
        &self,
        config: &Config,
        token: &Token,
        limit: Duration,
    ) -> Result<Session, Error> {
        within(config, limit, Box::pin(self.handshake(config, token))).await
    }

    /// TCP and TLS.
    pub(crate) async fn open(&self, config: &Config) -> Result<TlsStream<TcpStream>, Error> {
        let failed = |step, source: std::io::Error| Error::Connect {
            endpoint: place(config),
            step,
            source: Box::new(source),
        };
        let tcp = dial(config).await.map_err(|e| failed("TCP", e))?;
        TlsConnector::from(Arc::clone(&self.tls))
            .connect(self.server_name.clone(), tcp)
            .await
            .map_err(|e| failed("TLS", e))
    }

    /// When a connection opened at `opened_at` with `token` is not handed out any more.
    pub(crate) fn retire_at(
        &self,
        config: &Config,
        token: &Token,
        opened_at: SystemTime,
    ) -> SystemTime {
        let by_age = opened_at + config.max_connection_age.saturating_sub(self.age_jitter);
        if config.retire_with_token {
            by_age.min(token.expires_at())
        } else {
            by_age
        }
    }

    async fn handshake(&self, config: &Config, token: &Token) -> Result<Session, Error> {
        let stream = self.open(config).await?;
        let stream = if config.pipeline_connect {
            EarlyPassword::of(stream, token.expose()).map_err(|error| Error::Connect {
                endpoint: place(config),
                step: "startup",
                source: Box::new(error),
            })?
        } else {
            EarlyPassword::none(stream)
        };
        let stream = Tagged::new(stream);
        let last_command = stream.last_command();

        let mut startup = tokio_postgres::Config::new();
        startup
            .user(&config.role)
            .dbname("postgres")
            .password(token.expose())
            .application_name(&config.application_name)
            .ssl_mode(SslMode::Disable); // the stream is TLS already
        if let Some(schemas) = &config.search_path {
            startup.options(startup_option("search_path", schemas));
        }
        let (client, connection) = startup
            .connect_raw(stream, NoTls)
            .await
            .map_err(|e| error::startup(e, place(config)))?;

        let (client, statements) = (Arc::new(client), Arc::new(Statements::new()));
        let drive = {
            let (client, statements) = (Arc::clone(&client), Arc::clone(&statements));
            async move { statements.drive(client, connection).await }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "owned by the session, which aborts it on drop"
        )]
        let driver = tokio::spawn(async move {
            if let Err(error) = drive.await {
                tracing::debug!(
                    "a database connection ended: {}",
                    crate::chain::chain(&error)
                );
            }
        });
        let opened_at = config.clock.now();
        Ok(Session {
            client,
            last_command,
            statements,
            alarms: Alarms::default(),
            driver,
            opened_at,
            retire_at: self.retire_at(config, token, opened_at),
        })
    }
}

/// A setting as an option of the startup message, where a backslash protects blanks.
fn startup_option(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace(' ', "\\ ");
    format!("-c {name}={value}")
}

/// Host and port, for errors.
pub(crate) fn place(config: &Config) -> String {
    format!("{}:{}", config.endpoint.host(), config.port)
}

/// Ends an attempt to connect after `limit`, or after the crate's own limit for one.
pub(crate) async fn within<T>(
    config: &Config,
    limit: Duration,
    attempt: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit.min(CONNECT_TIMEOUT), attempt).await {
        Ok(result) => result,
        Err(elapsed) => Err(Error::Connect {
            endpoint: place(config),
            step: "time limit",
            source: Box::new(elapsed),
        }),
    }
}

/// The first address that answers, IPv4 first: many IPv4-only networks still resolve IPv6 names.
async fn dial(config: &Config) -> std::io::Result<TcpStream> {
    let mut addresses: Vec<SocketAddr> = match config.hostaddr {
        Some(ip) => vec![SocketAddr::new(ip, config.port)],
        None => tokio::net::lookup_host((config.endpoint.host(), config.port))
            .await?
            .collect(),
    };
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut last =
        std::io::Error::new(std::io::ErrorKind::NotFound, "the host name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let socket = SockRef::from(&stream);
                socket.set_tcp_keepalive(
                    &TcpKeepalive::new()
                        .with_time(Duration::from_secs(30))
                        .with_interval(Duration::from_secs(10)),
                )?;
                #[cfg(target_os = "linux")]
                socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
