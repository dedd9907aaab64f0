//! What all connections share: the cluster that the stand-in pretends to be.

use std::sync::Arc;

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
use crate::tls::ServerConfigs;
use crate::writers::Writers;

/// The cluster's state.
pub(crate) struct Cluster {
    /// Knows the cluster's names, too.
    pub(crate) auth: TokenVerifier,
    pub(crate) tls: ServerConfigs,
    pub(crate) clock: Clock,
    pub(crate) limits: ConnectionLimits,
    pub(crate) faults: Injector,
    pub(crate) counters: Counters,
    pub(crate) postgres: Arc<Access>,
    pub(crate) lock_waits: Arc<LockWaits>,
    pub(crate) schema: Schema,
    pub(crate) writers: Writers,
    pub(crate) judgements: Judgements,
    pub(crate) jobs: Jobs,
    pub(crate) rules: Rules,
}
