//! How a stand-in is started.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::principal::Principal;

/// Loopback, with whatever port is free.
pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How a stand-in is started. The defaults are those of Aurora DSQL, with all data deleted at the
/// end.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where data, certificates and credentials are kept; without it they are deleted at the end.
    pub data_dir: Option<PathBuf>,
    /// Address for clients, on loopback; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Port of PostgreSQL over WebSocket, beside `listen`; 0 picks a free one. A cluster has it at
    /// 443.
    pub websocket_port: u16,
    /// Address of the control interface, on loopback; port 0 picks a free one.
    pub control: SocketAddr,
    /// Address of the control plane, the AWS API that creates further clusters, on loopback; port 0
    /// picks a free one. Without it there is no control plane, but clusters that were created
    /// before are served.
    pub control_plane: Option<SocketAddr>,
    /// AWS Region that the cluster pretends to be in.
    pub region: String,
    /// Account of the cluster, 12 digits; principals of other accounts are refused.
    pub account_id: String,
    /// Principals besides the admin principal that every stand-in has.
    pub principals: Vec<Principal>,
    /// PostgreSQL's `bin` directory; searched for if absent.
    pub postgres_bin: Option<PathBuf>,
    /// Further settings of the PostgreSQL server, `name=value`, to examine it; they override ours.
    pub postgres_settings: Vec<String>,
    /// How far in the future a token may be dated.
    pub clock_skew: Duration,
    /// Longest life of a connection, by the movable clock.
    pub connection_life: Duration,
    /// New connections per second once the burst is used up, of each cluster.
    pub connect_rate_per_s: u32,
    /// New connections that may come at once.
    pub connect_burst: u32,
    /// Connections that may be open, of each cluster.
    pub max_connections: u32,
    /// The most clusters.
    pub max_clusters: u32,
    /// Whether DSQL's rules and limits apply to statements; otherwise PostgreSQL gets them
    /// unchanged.
    pub dialect: bool,
    /// How long an index build or a validation takes, by the movable clock.
    pub job_duration: Duration,
    /// Whether a committed change of the catalog fails the next statement of every other session
    /// with 40001 OC001, as on DSQL. Tests that share a stand-in and create their tables in it may
    /// want to turn this off.
    pub schema_conflicts: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_dir: None,
            listen: LOOPBACK,
            websocket_port: 0,
            control: LOOPBACK,
            control_plane: None,
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
            max_clusters: 20,
            dialect: true,
            job_duration: Duration::from_millis(100),
            schema_conflicts: true,
        }
    }
}

impl Options {
    /// The Region or account number that does not look like one.
    pub(crate) fn invalid_name(&self) -> Option<&str> {
        let is_region = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let (region, account) = (&self.region, &self.account_id);
        if region.is_empty() || region.len() > 30 || !region.bytes().all(is_region) {
            return Some(region);
        }
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return Some(account);
        }
        None
    }
}
