//! The Region and account that the stand-in pretends to be: what all of its clusters share.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::faults::Injector;
use crate::jobs::JobDuration;
use crate::principal::Principals;
use crate::stats::Counters;
use crate::tls::ServerConfigs;

/// The Region's state.
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) account_id: String,
    pub(crate) principals: Arc<Principals>,
    /// How far in the future something may be signed.
    pub(crate) skew: Duration,
    pub(crate) tls: ServerConfigs,
    pub(crate) clock: Arc<Clock>,
    pub(crate) faults: Arc<Injector>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) job_duration: Arc<JobDuration>,
}

impl Region {
    /// The host name of a cluster.
    pub(crate) fn host(&self, cluster_id: &str) -> String {
        host(cluster_id, &self.name)
    }

    /// The ARN of a cluster; `*` stands for all of them.
    pub(crate) fn cluster_arn(&self, cluster_id: &str) -> String {
        let (region, account) = (&self.name, &self.account_id);
        format!("arn:aws:dsql:{region}:{account}:cluster/{cluster_id}")
    }
}

/// The host name of a cluster in a Region.
pub(crate) fn host(cluster_id: &str, region: &str) -> String {
    format!("{cluster_id}.dsql.{region}.on.aws")
}
