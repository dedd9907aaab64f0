//! A running stand-in: its start and its end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::acceptor::{Carrier, accept};
use crate::account::unprivileged;
use crate::clock::Clock;
use crate::clusters::{ClusterSettings, Clusters, RunningCluster};
use crate::control;
use crate::control_plane::{ControlPlane, Fleet};
use crate::data_dir::{DataDir, DataDirError, Identity, write_file};
use crate::dialect::Rules;
use crate::faults::{Faults, FaultsError, Injector};
use crate::jobs::JobDuration;
use crate::options::{LOOPBACK, Options};
use crate::postgres::PostgresError;
use crate::principal::{Action, Principal, PrincipalError, Principals, Secret};
use crate::region::{Region, host};
use crate::stats::Stats;
use crate::tls::TlsError;

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

/// A running stand-in. Dropping it ends connections at once and PostgreSQL shortly after;
/// [`stop`](Self::stop) also waits for that.
pub struct DsqlLocal {
    clusters: Arc<Clusters>,
    /// The cluster that every stand-in has.
    default: RunningCluster,
    /// The others.
    fleet: Fleet,
    /// Accepting tasks and, through them, all connections.
    tasks: JoinSet<()>,
    address: SocketAddr,
    websocket_address: SocketAddr,
    control_address: SocketAddr,
    control_plane_address: Option<SocketAddr>,
    postgres_log: PathBuf,
    admin: Principal,
    /// Keeps others out of the data directory.
    data_dir: Arc<DataDir>,
}

impl std::fmt::Debug for DsqlLocal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DsqlLocal")
            .field("endpoint", &self.endpoint())
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
    /// PostgreSQL is missing or does not start, an address is not loopback or taken, the data
    /// directory is in use or unusable, or a principal is malformed.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        if let Some(name) = options.invalid_name() {
            return Err(StartError::Name(name.to_owned()));
        }
        let listener = listen(options.listen).await?;
        let websocket_address = SocketAddr::new(options.listen.ip(), options.websocket_port);
        let websocket_listener = listen(websocket_address).await?;
        let control_listener = listen(options.control).await?;
        let control_plane_listener = match options.control_plane {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let address = local_address(&listener)?;
        let websocket_address = local_address(&websocket_listener)?;
        let control_address = local_address(&control_listener)?;
        let control_plane_address = control_plane_listener
            .as_ref()
            .map(local_address)
            .transpose()?;
        let account = unprivileged().map_err(PostgresError::from)?;
        let (data_dir, server_dir) = DataDir::open(options.data_dir.as_deref(), account)?;
        let admin = admin(&data_dir.identity, &options.account_id);
        let postgres_log = server_dir.log_file.clone();
        let cluster_id = &data_dir.identity.cluster_id;
        let max_clusters = options.max_clusters;
        let clusters = Arc::new(clusters(options, &data_dir, &admin)?);
        let default = clusters.start(cluster_id, server_dir).await?;
        let data_dir = Arc::new(data_dir);
        let (control_plane, fleet) =
            ControlPlane::open(clusters.clone(), data_dir.clone(), max_clusters).await?;
        let mut tasks = JoinSet::new();
        for (listener, carrier) in [
            (listener, Carrier::Tcp),
            (websocket_listener, Carrier::WebSocket),
        ] {
            tasks.spawn(accept(clusters.clone(), listener, carrier));
        }
        tasks.spawn(control::serve(clusters.clone(), control_listener));
        if let Some(listener) = control_plane_listener {
            tasks.spawn(control_plane.serve(listener));
        }
        Ok(Self {
            clusters,
            default,
            fleet,
            tasks,
            address,
            websocket_address,
            control_address,
            control_plane_address,
            postgres_log,
            admin,
            data_dir,
        })
    }

    /// The environment of a client of the admin principal: the lines of the env file.
    pub fn env(&self) -> Vec<(String, String)> {
        let pairs = [
            ("DSQL_ENDPOINT", self.endpoint().to_owned()),
            ("DSQL_HOSTADDR", self.hostaddr()),
            ("DSQL_PORT", self.port().to_string()),
            ("DSQL_WEBSOCKET_PORT", self.websocket_port().to_string()),
            ("DSQL_CA_FILE", self.ca_file().display().to_string()),
            ("DSQL_CONTROL_URL", self.control_url()),
            ("AWS_REGION", self.clusters.region.name.clone()),
            ("AWS_ACCESS_KEY_ID", self.admin.access_key_id.clone()),
            (
                "AWS_SECRET_ACCESS_KEY",
                self.admin.secret_access_key.expose().to_owned(),
            ),
            ("DSQL_PRINCIPAL_ARN", self.admin.arn.clone()),
        ];
        let endpoint_url = self.control_plane_url();
        let endpoint_url = endpoint_url.map(|url| ("AWS_ENDPOINT_URL_DSQL", url));
        let pairs = pairs.into_iter().chain(endpoint_url);
        pairs
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Writes [`env`](Self::env) to a file of mode 0600, one `KEY=value` a line, whole or not at
    /// all.
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
        &self.default.cluster.auth.host
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
        &self.data_dir.ca_file
    }

    /// What the PostgreSQL behind writes.
    pub fn postgres_log(&self) -> &Path {
        &self.postgres_log
    }

    /// The control interface, without a slash at the end.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control_address)
    }

    /// The control plane, for `AWS_ENDPOINT_URL_DSQL`; `None` if it was not asked for.
    pub fn control_plane_url(&self) -> Option<String> {
        let address = self.control_plane_address?;
        Some(format!("http://{address}"))
    }

    /// The principal that may do everything.
    pub fn admin(&self) -> &Principal {
        &self.admin
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.clusters.region.clock.advance(by);
    }

    /// The time by the movable clock.
    pub fn now(&self) -> std::time::SystemTime {
        self.clusters.region.clock.now()
    }

    /// How long index builds and validations take that start from now on, by the movable clock.
    pub fn set_job_duration(&self, duration: Duration) {
        self.clusters.region.job_duration.set(duration);
    }

    /// Replaces all faults.
    ///
    /// # Errors
    /// A share is not between 0 and 1; the faults stay as they were.
    pub fn set_faults(&self, faults: Faults) -> Result<(), FaultsError> {
        self.clusters.region.faults.set(faults)
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.clusters.region.counters.snapshot()
    }

    /// Closes all client connections now, as at the end of their life.
    pub fn cut_connections(&self) {
        self.clusters.cut();
    }

    /// Adds a principal, or replaces the one with the same access key.
    ///
    /// # Errors
    /// The ARN is of no accepted form.
    pub fn add_principal(&self, principal: Principal) -> Result<(), PrincipalError> {
        self.clusters.region.principals.add(principal)
    }

    /// Closes all connections, stops PostgreSQL and removes what is to be thrown away.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        tokio::join!(self.fleet.stop(), self.clusters.stop(self.default));
    }
}

/// The principal that every stand-in has.
fn admin(identity: &Identity, account_id: &str) -> Principal {
    Principal {
        access_key_id: identity.access_key_id.clone(),
        secret_access_key: Secret::new(identity.secret_access_key.clone()),
        session_token: None,
        arn: format!("arn:aws:iam::{account_id}:user/dsql-local-admin"),
        actions: Action::ALL.to_vec(),
        expires_at: None,
    }
}

/// The Region and how clusters are made in it.
fn clusters(
    options: Options,
    data_dir: &DataDir,
    admin: &Principal,
) -> Result<Clusters, StartError> {
    let clock = Clock::new();
    let identity = &data_dir.identity;
    let host = host(&identity.cluster_id, &options.region);
    let authority = identity.authority();
    let tls = authority.server_configs(&host, &options.region, clock.now())?;
    let principals = Principals::default();
    for principal in options.principals.into_iter().chain([admin.clone()]) {
        principals.add(principal)?;
    }
    let region = Region {
        name: options.region,
        account_id: options.account_id,
        principals: Arc::new(principals),
        skew: options.clock_skew,
        tls,
        clock: Arc::new(clock),
        faults: Arc::new(Injector::new()),
        counters: Arc::default(),
        job_duration: Arc::new(JobDuration::new(options.job_duration)),
    };
    let settings = ClusterSettings {
        postgres_bin: options.postgres_bin,
        postgres_settings: options.postgres_settings,
        connection_life: options.connection_life,
        connect_rate_per_s: options.connect_rate_per_s,
        connect_burst: options.connect_burst,
        max_connections: options.max_connections,
        schema_conflicts: options.schema_conflicts,
        rules: if options.dialect {
            Rules::On
        } else {
            Rules::Off
        },
    };
    Ok(Clusters::new(region, settings))
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
