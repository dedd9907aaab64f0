//! A running stand-in: its options, its start and its end.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::acceptor::{Carrier, accept};
use crate::account::unprivileged;
use crate::auth::TokenVerifier;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::control;
use crate::data_dir::{DataDir, DataDirError, write_file};
use crate::dialect::Rules;
use crate::faults::{Faults, FaultsError, Injector};
use crate::job_runner;
use crate::jobs::Jobs;
use crate::judgements::Judgements;
use crate::limits::{Bucket, ConnectionLimits};
use crate::lock_waits::LockWaits;
use crate::postgres::{Postgres, PostgresError};
use crate::principal::{Action, Principal, PrincipalError, Principals, Secret};
use crate::schema::Schema;
use crate::stats::{Counters, Stats};
use crate::tls::TlsError;
use crate::writers::Writers;

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// How a stand-in is started. The defaults are those of Aurora DSQL, with all data thrown away at the end.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where data, certificates and credentials are kept; without it they are thrown away.
    pub data_dir: Option<PathBuf>,
    /// Address for clients, on loopback; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Port of PostgreSQL over WebSocket, beside `listen`; 0 picks a free one. A cluster has it at 443.
    pub websocket_port: u16,
    /// Address of the control interface, on loopback; port 0 picks a free one.
    pub control: SocketAddr,
    /// AWS Region that the cluster pretends to be in.
    pub region: String,
    /// Account of the cluster, 12 digits; principals of other accounts are refused.
    pub account_id: String,
    /// Principals besides the admin principal that every stand-in has.
    pub principals: Vec<Principal>,
    /// PostgreSQL's `bin` directory; searched for if absent.
    pub postgres_bin: Option<PathBuf>,
    /// Further settings of the PostgreSQL behind, `name=value`, for looking into it; they win over ours.
    pub postgres_settings: Vec<String>,
    /// How far in the future a token may be dated.
    pub clock_skew: Duration,
    /// Longest life of a connection, by the movable clock.
    pub connection_life: Duration,
    /// New connections per second once the burst is used up.
    pub connect_rate_per_s: u32,
    /// New connections that may come at once.
    pub connect_burst: u32,
    /// Connections that may be open.
    pub max_connections: u32,
    /// Statements are judged by DSQL's rules and limits; otherwise PostgreSQL gets them untouched.
    pub dialect: bool,
    /// How long an index build or a validation takes, by the movable clock.
    pub job_duration: Duration,
    /// Whether a committed change of the catalog fails the next statement of every other session
    /// with 40001 OC001, as on DSQL. Tests that share a stand-in and create their tables in it may
    /// want to do without.
    pub schema_conflicts: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_dir: None,
            listen: LOOPBACK,
            websocket_port: 0,
            control: LOOPBACK,
            region: "us-east-1".to_owned(),
            account_id: "111122223333".to_owned(),
            principals: Vec::new(),
            postgres_bin: None,
            postgres_settings: Vec::new(),
            clock_skew: Duration::from_secs(300),
            connection_life: Duration::from_secs(3600),
            connect_rate_per_s: 100,
            connect_burst: 1000,
            max_connections: 10_000,
            dialect: true,
            job_duration: Duration::from_millis(100),
            schema_conflicts: true,
        }
    }
}

/// Why a stand-in does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It never listens where another machine could reach it.
    #[error(
        "{0} is not a loopback address; dsql-local is a development tool and listens on loopback only"
    )]
    NotLoopback(SocketAddr),
    /// An address is taken or may not be used.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A region or account number that does not look like one.
    #[error("`{0}` is not a Region or account number")]
    Name(String),
    /// Files.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A principal.
    #[error(transparent)]
    Principal(#[from] PrincipalError),
}

/// A running stand-in. Dropping it ends connections at once and PostgreSQL shortly after; [`stop`](Self::stop) also
/// waits for that.
pub struct DsqlLocal {
    cluster: Arc<Cluster>,
    postgres: Postgres,
    /// Accepting tasks and, through them, all connections.
    tasks: JoinSet<()>,
    address: SocketAddr,
    websocket_address: SocketAddr,
    control_address: SocketAddr,
    ca_file: PathBuf,
    postgres_log: PathBuf,
    admin: Principal,
    /// Keeps others out of the data directory.
    _lock: Option<File>,
}

impl std::fmt::Debug for DsqlLocal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DsqlLocal")
            .field("endpoint", &self.cluster.auth.host)
            .field("address", &self.address)
            .field("websocket_address", &self.websocket_address)
            .field("control_address", &self.control_address)
            .finish_non_exhaustive()
    }
}

impl DsqlLocal {
    /// Starts a stand-in and waits until it accepts connections.
    ///
    /// # Errors
    /// PostgreSQL is missing or does not start, an address is not loopback or taken, the data directory is in use or
    /// unusable, or a principal is malformed.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        check_names(&options)?;
        let listener = listen(options.listen).await?;
        let websocket_address = SocketAddr::new(options.listen.ip(), options.websocket_port);
        let websocket_listener = listen(websocket_address).await?;
        let control_listener = listen(options.control).await?;
        let address = local_address(&listener)?;
        let websocket_address = local_address(&websocket_listener)?;
        let control_address = local_address(&control_listener)?;
        let account = unprivileged().map_err(PostgresError::from)?;
        let data_dir = DataDir::open(options.data_dir.as_deref(), account)?;
        let clock = Clock::new();
        let cluster_id = data_dir.identity.cluster_id.clone();
        let host = format!("{cluster_id}.dsql.{}.on.aws", options.region);
        let tls =
            data_dir
                .identity
                .authority()
                .server_configs(&host, &options.region, clock.now())?;
        let admin = Principal {
            access_key_id: data_dir.identity.access_key_id.clone(),
            secret_access_key: Secret::new(data_dir.identity.secret_access_key.clone()),
            session_token: None,
            arn: format!("arn:aws:iam::{}:user/dsql-local-admin", options.account_id),
            actions: vec![Action::DbConnect, Action::DbConnectAdmin],
            expires_at: None,
        };
        let principals = Principals::default();
        for principal in options.principals.into_iter().chain([admin.clone()]) {
            principals.add(principal)?;
        }
        let (ca_file, postgres_log) = (data_dir.ca_file.clone(), data_dir.log_file.clone());
        let (bin, settings) = (options.postgres_bin.as_deref(), &options.postgres_settings);
        let (postgres, lock) = Postgres::start(data_dir, bin, settings).await?;
        let rate = Bucket::new(
            options.connect_rate_per_s,
            options.connect_burst,
            clock.now(),
        );
        let cluster = Arc::new(Cluster {
            auth: TokenVerifier {
                host,
                cluster_id,
                region: options.region,
                account_id: options.account_id,
                principals,
                skew: options.clock_skew,
            },
            tls,
            limits: ConnectionLimits::new(rate, options.max_connections, options.connection_life),
            clock,
            faults: Injector::new(),
            counters: Counters::default(),
            postgres: postgres.access.clone(),
            lock_waits: Arc::new(LockWaits::new(&postgres.access.socket)),
            schema: Schema::new(options.schema_conflicts),
            writers: Writers::default(),
            judgements: Judgements::default(),
            jobs: Jobs::new(options.job_duration),
            rules: if options.dialect {
                Rules::On
            } else {
                Rules::Off
            },
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(cluster.lock_waits.clone().run());
        for (listener, carrier) in [
            (listener, Carrier::Tcp),
            (websocket_listener, Carrier::WebSocket),
        ] {
            tasks.spawn(accept(cluster.clone(), listener, carrier));
        }
        tasks.spawn(job_runner::run(cluster.clone()));
        tasks.spawn(control::serve(cluster.clone(), control_listener));
        Ok(Self {
            cluster,
            postgres,
            tasks,
            address,
            websocket_address,
            control_address,
            ca_file,
            postgres_log,
            admin,
            _lock: lock,
        })
    }

    /// The environment of a client of the admin principal: the lines of the env file.
    pub fn env(&self) -> Vec<(String, String)> {
        let pairs = [
            ("DSQL_ENDPOINT", self.endpoint().to_owned()),
            ("DSQL_HOSTADDR", self.hostaddr()),
            ("DSQL_PORT", self.port().to_string()),
            ("DSQL_WEBSOCKET_PORT", self.websocket_port().to_string()),
            ("DSQL_CA_FILE", self.ca_file.display().to_string()),
            ("DSQL_CONTROL_URL", self.control_url()),
            ("AWS_REGION", self.cluster.auth.region.clone()),
            ("AWS_ACCESS_KEY_ID", self.admin.access_key_id.clone()),
            (
                "AWS_SECRET_ACCESS_KEY",
                self.admin.secret_access_key.expose().to_owned(),
            ),
            ("DSQL_PRINCIPAL_ARN", self.admin.arn.clone()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// Writes [`env`](Self::env) to a file of mode 0600, one `KEY=value` a line, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_env_file(&self, path: &Path) -> Result<(), StartError> {
        let lines = self
            .env()
            .into_iter()
            .fold(String::new(), |lines, (name, value)| {
                lines
                    + &name
                    + "="
                    + &value
                    + "
"
            });
        Ok(write_file(path, lines.as_bytes(), 0o600)?)
    }

    /// The cluster's host name, for SNI and tokens.
    pub fn endpoint(&self) -> &str {
        &self.cluster.auth.host
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The IP address where clients connect.
    pub fn hostaddr(&self) -> String {
        self.address.ip().to_string()
    }

    /// The port where clients connect.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where clients connect that speak PostgreSQL over WebSocket.
    pub fn websocket_address(&self) -> SocketAddr {
        self.websocket_address
    }

    /// The port of [`websocket_address`](Self::websocket_address).
    pub fn websocket_port(&self) -> u16 {
        self.websocket_address.port()
    }

    /// The certificate that clients have to trust.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// What the PostgreSQL behind writes.
    pub fn postgres_log(&self) -> &Path {
        &self.postgres_log
    }

    /// The control interface, without a slash at the end.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control_address)
    }

    /// The principal that may do everything.
    pub fn admin(&self) -> &Principal {
        &self.admin
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.cluster.clock.advance(by);
    }

    /// The time by the movable clock.
    pub fn now(&self) -> std::time::SystemTime {
        self.cluster.clock.now()
    }

    /// How long index builds and validations take that start from now on, by the movable clock.
    pub fn set_job_duration(&self, duration: Duration) {
        self.cluster.jobs.set_duration(duration);
    }

    /// Replaces all faults.
    ///
    /// # Errors
    /// A share is not between 0 and 1; the faults stay as they were.
    pub fn set_faults(&self, faults: Faults) -> Result<(), FaultsError> {
        self.cluster.faults.set(faults)
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.cluster.counters.snapshot()
    }

    /// Closes all client connections now, as at the end of their life.
    pub fn cut_connections(&self) {
        self.cluster.limits.cut();
    }

    /// Adds a principal, or replaces the one with the same access key.
    ///
    /// # Errors
    /// The ARN is of no accepted form.
    pub fn add_principal(&self, principal: Principal) -> Result<(), PrincipalError> {
        self.cluster.auth.principals.add(principal)
    }

    /// Closes all connections, stops PostgreSQL and removes what is to be thrown away.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.postgres.stop().await;
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    if !address.ip().is_loopback() {
        return Err(StartError::NotLoopback(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen {
        address: LOOPBACK,
        source,
    })
}

fn check_names(options: &Options) -> Result<(), StartError> {
    let is_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let region = &options.region;
    if region.is_empty() || region.len() > 30 || !region.bytes().all(is_region) {
        return Err(StartError::Name(region.clone()));
    }
    let account = &options.account_id;
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(StartError::Name(account.clone()));
    }
    Ok(())
}
