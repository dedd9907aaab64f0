//! What all connections of one cluster share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::watch;

use crate::auth::TokenVerifier;
use crate::clock::Clock;
use crate::dialect::Rules;
use crate::faults::Injector;
use crate::jobs::Jobs;
use crate::judgements::Judgements;
use crate::limits::ConnectionLimits;
use crate::lock_waits::LockWaits;
use crate::postgres::Access;
use crate::schema::Schema;
use crate::stats::Counters;
use crate::writers::Writers;

/// The cluster's state.
pub(crate) struct Cluster {
    /// Knows the cluster's names, too.
    pub(crate) auth: TokenVerifier,
    pub(crate) clock: Arc<Clock>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) faults: Arc<Injector>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) postgres: Arc<Access>,
    pub(crate) lock_waits: Arc<LockWaits>,
    pub(crate) schema: Schema,
    /// Counts committed transactions that changed rows.
    pub(crate) commits: AtomicU64,
    pub(crate) writers: Writers,
    pub(crate) judgements: Judgements,
    pub(crate) jobs: Jobs,
    pub(crate) rules: Rules,
    /// Set when the cluster is deleted.
    pub(crate) end: watch::Sender<bool>,
}

impl Cluster {
    /// Waits until the cluster is deleted.
    pub(crate) async fn ended(&self) {
        // The sender lives in `self`.
        let _ = self.end.subscribe().wait_for(|ended| *ended).await;
    }
}
