//! The clusters that serve, by host, and how one begins and ends: a PostgreSQL server of its own, a
//! state of its own, and the tasks that look after it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::auth::TokenVerifier;
use crate::cluster::Cluster;
use crate::data_dir::ServerDir;
use crate::dialect::Rules;
use crate::job_runner;
use crate::jobs::Jobs;
use crate::judgements::Judgements;
use crate::limits::{Bucket, ConnectionLimits};
use crate::lock_waits::LockWaits;
use crate::postgres::{Postgres, PostgresError};
use crate::region::Region;
use crate::schema::Schema;
use crate::writers::Writers;

/// How every cluster is made.
pub(crate) struct ClusterSettings {
    pub(crate) postgres_bin: Option<PathBuf>,
    pub(crate) postgres_settings: Vec<String>,
    pub(crate) connection_life: Duration,
    pub(crate) connect_rate_per_s: u32,
    pub(crate) connect_burst: u32,
    pub(crate) max_connections: u32,
    pub(crate) schema_conflicts: bool,
    pub(crate) rules: Rules,
}

/// All clusters of the stand-in.
pub(crate) struct Clusters {
    pub(crate) region: Region,
    settings: ClusterSettings,
    /// Those that accept connections.
    by_host: RwLock<HashMap<String, Arc<Cluster>>>,
    /// Changes when all connections are cut.
    cuts: watch::Sender<u64>,
}

/// A cluster that serves. Dropped, its server stops shortly after.
pub(crate) struct RunningCluster {
    pub(crate) cluster: Arc<Cluster>,
    postgres: Postgres,
    tasks: JoinSet<()>,
}

impl Clusters {
    pub(crate) fn new(region: Region, settings: ClusterSettings) -> Self {
        Self {
            region,
            settings,
            by_host: RwLock::default(),
            cuts: watch::Sender::new(0),
        }
    }

    /// The cluster that serves as `host`.
    pub(crate) fn find(&self, host: &str) -> Option<Arc<Cluster>> {
        self.by_host
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(host)
            .cloned()
    }

    /// Closes all connections of all clusters now, without a word.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Changes when all connections are cut.
    pub(crate) fn watch_cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }

    /// Starts the cluster's server; it accepts connections from then on.
    pub(crate) async fn start(
        &self,
        cluster_id: &str,
        dir: ServerDir,
    ) -> Result<RunningCluster, PostgresError> {
        let settings = &self.settings;
        let bin = settings.postgres_bin.as_deref();
        let postgres = Postgres::start(dir, bin, &settings.postgres_settings).await?;
        let cluster = Arc::new(self.cluster(cluster_id, &postgres));
        let mut tasks = JoinSet::new();
        tasks.spawn(cluster.lock_waits.clone().run());
        tasks.spawn(job_runner::run(cluster.clone()));
        self.by_host
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(cluster.auth.host.clone(), cluster.clone());
        Ok(RunningCluster {
            cluster,
            postgres,
            tasks,
        })
    }

    /// Ends a cluster: its connections at once, then its server.
    pub(crate) async fn stop(&self, mut running: RunningCluster) {
        self.by_host
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&running.cluster.auth.host);
        running.cluster.end.send_replace(true);
        running.tasks.shutdown().await;
        running.postgres.stop().await;
    }

    fn cluster(&self, cluster_id: &str, postgres: &Postgres) -> Cluster {
        let (region, settings) = (&self.region, &self.settings);
        let rate = Bucket::new(
            settings.connect_rate_per_s,
            settings.connect_burst,
            region.clock.now(),
        );
        Cluster {
            auth: TokenVerifier {
                host: region.host(cluster_id),
                cluster_id: cluster_id.to_owned(),
                region: region.name.clone(),
                account_id: region.account_id.clone(),
                principals: region.principals.clone(),
                skew: region.skew,
            },
            clock: region.clock.clone(),
            limits: ConnectionLimits::new(rate, settings.max_connections, settings.connection_life),
            faults: region.faults.clone(),
            counters: region.counters.clone(),
            postgres: postgres.access.clone(),
            lock_waits: Arc::new(LockWaits::new(&postgres.access.socket)),
            schema: Schema::new(settings.schema_conflicts),
            commits: AtomicU64::new(0),
            writers: Writers::default(),
            judgements: Judgements::default(),
            jobs: Jobs::new(region.job_duration.clone()),
            rules: settings.rules,
            end: watch::Sender::new(false),
        }
    }
}
