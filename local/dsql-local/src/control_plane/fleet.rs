//! The lives of the clusters beside the default one: each is started, serves until it is deleted or
//! dsql-local stops, and is stopped.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::register::{Register, Status};
use crate::clusters::{Clusters, RunningCluster};
use crate::data_dir::DataDir;

/// What the life of a cluster needs.
pub(super) struct Site {
    pub(super) clusters: Arc<Clusters>,
    pub(super) data_dir: Arc<DataDir>,
    pub(super) register: Arc<Register>,
}

/// The running clusters. Dropped, they stop shortly after.
pub(crate) struct Fleet {
    starts: mpsc::UnboundedSender<String>,
    task: JoinSet<()>,
}

impl Fleet {
    /// Starts the clusters that the register knows.
    pub(super) fn start(site: Site) -> Self {
        let (starts, wanted) = mpsc::unbounded_channel();
        let known: Vec<String> = site.register.read(|state| {
            let to_start = state
                .list(None)
                .filter(|record| record.status == Status::Creating);
            to_start.map(|record| record.identifier.clone()).collect()
        });
        for cluster_id in site.data_dir.further_clusters() {
            if !known.contains(&cluster_id) {
                site.remove(&cluster_id);
            }
        }
        for cluster_id in known {
            // The receiver is still here.
            let _ = starts.send(cluster_id);
        }
        let mut task = JoinSet::new();
        task.spawn(run(Arc::new(site), wanted));
        Self { starts, task }
    }

    /// Takes the identifier of a cluster that is to be started.
    pub(super) fn starter(&self) -> mpsc::UnboundedSender<String> {
        self.starts.clone()
    }

    /// Stops all clusters, once nobody else can start one.
    pub(crate) async fn stop(mut self) {
        drop(self.starts);
        while self.task.join_next().await.is_some() {}
    }
}

async fn run(site: Arc<Site>, mut wanted: mpsc::UnboundedReceiver<String>) {
    let stop = watch::Sender::new(false);
    let mut lives = JoinSet::new();
    loop {
        tokio::select! {
            cluster_id = wanted.recv() => match cluster_id {
                Some(cluster_id) => {
                    lives.spawn(site.clone().live(cluster_id, stop.subscribe()));
                }
                None => break,
            },
            Some(_) = lives.join_next() => {}
        }
    }
    stop.send_replace(true);
    while lives.join_next().await.is_some() {}
}

impl Site {
    async fn live(self: Arc<Self>, cluster_id: String, mut stop: watch::Receiver<bool>) {
        let running = self.start(&cluster_id).await;
        let status = match running {
            Some(_) => Status::Active,
            None => Status::Failed,
        };
        self.register.set_status(&cluster_id, status);
        let deleted = self.register.wait_for(|state| {
            state
                .get(&cluster_id)
                .is_ok_and(|record| record.status == Status::Deleting)
        });
        let is_deleted = tokio::select! {
            () = deleted => true,
            _ = stop.wait_for(|stop| *stop) => false,
        };
        if let Some(running) = running {
            self.clusters.stop(running).await;
        }
        if is_deleted {
            self.remove(&cluster_id);
            self.register.remove(&cluster_id);
        }
    }

    async fn start(&self, cluster_id: &str) -> Option<RunningCluster> {
        let dir = match self.data_dir.server_dir(cluster_id) {
            Ok(dir) => dir,
            Err(error) => {
                tracing::warn!(error = %error, "cannot make cluster {cluster_id}");
                return None;
            }
        };
        match self.clusters.start(cluster_id, dir).await {
            Ok(running) => Some(running),
            Err(error) => {
                tracing::warn!(error = %error, "cannot start cluster {cluster_id}");
                None
            }
        }
    }

    fn remove(&self, cluster_id: &str) {
        if let Err(error) = self.data_dir.remove_server_dir(cluster_id) {
            tracing::warn!(error = %error, "cannot remove the files of cluster {cluster_id}");
        }
    }
}
