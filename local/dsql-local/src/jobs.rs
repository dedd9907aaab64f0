//! Jobs (`sys.jobs`): what sessions and the control interface know of them. The rows live in PostgreSQL, written by the
//! transaction that starts the job; `job_runner` moves them on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::postgres::Catalog;

const STATUS: &str = "SELECT status FROM pg_catalog.dsql_job WHERE job_id = $1";

/// The handle of the jobs.
#[derive(Debug)]
pub(crate) struct Jobs {
    duration_ms: AtomicU64,
    started: Notify,
    /// Changes when a job may have ended.
    moved: watch::Sender<u64>,
}

impl Jobs {
    pub(crate) fn new(duration: Duration) -> Self {
        let jobs = Self {
            duration_ms: AtomicU64::new(0),
            started: Notify::new(),
            moved: watch::Sender::new(0),
        };
        jobs.set_duration(duration);
        jobs
    }

    /// How long jobs take that start from now on, by the movable clock.
    pub(crate) fn set_duration(&self, duration: Duration) {
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.duration_ms.store(duration_ms, Ordering::Release);
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms.load(Ordering::Acquire))
    }

    /// A transaction that started a job was committed.
    pub(crate) fn wake(&self) {
        self.started.notify_one();
    }

    /// Waits until a transaction that started a job is committed.
    pub(crate) async fn started(&self) {
        self.started.notified().await;
    }

    /// A job may have ended.
    pub(crate) fn moved(&self) {
        self.moved.send_modify(|moves| *moves += 1);
    }

    /// Waits until a job has ended or is not there; whether it was completed.
    pub(crate) async fn ended(&self, catalog: &Catalog, job_id: &str) -> bool {
        let mut moved = self.moved.subscribe();
        loop {
            moved.borrow_and_update();
            match catalog.text(STATUS, job_id).await {
                Ok(Some(status)) if status == "submitted" || status == "processing" => {}
                Ok(Some(status)) => return status == "completed",
                _ => return false,
            }
            if moved.changed().await.is_err() {
                return false;
            }
        }
    }
}
