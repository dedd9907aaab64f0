//! Jobs (`sys.jobs`): what sessions and the control interface know of them. The rows live in
//! PostgreSQL, written by the transaction that starts the job; `job_runner` moves them on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::postgres::Catalog;

const STATUS: &str = "SELECT status FROM pg_catalog.dsql_job WHERE job_id = $1";

/// How long jobs take, by the movable clock; in milliseconds.
#[derive(Debug)]
pub(crate) struct JobDuration(AtomicU64);

impl JobDuration {
    pub(crate) fn new(duration: Duration) -> Self {
        Self(AtomicU64::new(millis(duration)))
    }

    /// Holds for jobs that start from now on.
    pub(crate) fn set(&self, duration: Duration) {
        self.0.store(millis(duration), Ordering::Release);
    }

    fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Acquire))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The handle of a cluster's jobs.
#[derive(Debug)]
pub(crate) struct Jobs {
    duration: Arc<JobDuration>,
    started: Notify,
    /// Changes when a job may have ended.
    moved: watch::Sender<u64>,
}

impl Jobs {
    pub(crate) fn new(duration: Arc<JobDuration>) -> Self {
        Self {
            duration,
            started: Notify::new(),
            moved: watch::Sender::new(0),
        }
    }

    /// How long jobs take that start now.
    pub(crate) fn duration(&self) -> Duration {
        self.duration.get()
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
