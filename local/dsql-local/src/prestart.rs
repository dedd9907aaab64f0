//! A backend that is started while its client sends its token and then its first statement, which
//! need not wait for PostgreSQL to start a process: on DSQL it waits for none. A refused token
//! costs a process for nothing; there are never many such processes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::backend::{AttachError, BackendConnection};
use crate::postgres::Access;
use crate::startup::Startup;

/// How long one waits for the first statement; then the session is an idle one and costs no
/// process. Real time.
const PATIENCE: Duration = Duration::from_secs(1);

/// A backend on its way. Dropped, it goes.
pub(crate) struct Prestart {
    wanted: oneshot::Sender<()>,
    /// The one that starts it.
    task: JoinSet<Option<Result<BackendConnection, AttachError>>>,
}

impl Prestart {
    /// Begins to start one for a client that says who it is, unless too many are under way.
    pub(crate) fn begin(access: &Arc<Access>, startup: &Startup) -> Option<Self> {
        let place = access.prestarts.clone().try_acquire_owned().ok()?;
        let (access, startup) = (access.clone(), startup.clone());
        let (wanted, first_statement) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _place = place;
            let backend = BackendConnection::attach(&access, &startup).await;
            match tokio::time::timeout(PATIENCE, first_statement).await {
                Ok(Ok(())) => Some(backend),
                _ => None,
            }
        });
        Some(Self { wanted, task })
    }

    /// The backend; `None` when its time was over.
    pub(crate) async fn take(mut self) -> Option<Result<BackendConnection, AttachError>> {
        // Nobody listens when its time is over.
        let _ = self.wanted.send(());
        self.task.join_next().await?.ok().flatten()
    }
}
