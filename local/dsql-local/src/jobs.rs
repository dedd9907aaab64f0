//! Jobs (`sys.jobs`): index builds and validations take a settable time by the movable clock, then end; their rows age
//! out 30 minutes later. The rows live in PostgreSQL, written by the transaction that starts the job.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::postgres::connect;
use crate::server::Server;

/// How long the row of a job that has ended stays.
const RETENTION_S: f64 = 1800.0;
/// Pause after a failed question; real time.
const PAUSE: Duration = Duration::from_millis(200);

/// Lock waits of ours end soon: whoever holds the lock goes first.
const SETTINGS: &str = "SET lock_timeout = '250ms'";
const START: &str = "UPDATE dsql_internal.job SET start_time = to_timestamp($1), update_time = to_timestamp($1), \
     due_time = to_timestamp($1 + $2) WHERE start_time IS NULL";
const PROCESS: &str = "UPDATE dsql_internal.job SET status = 'processing', update_time = to_timestamp($1) \
     WHERE status = 'submitted' AND start_time + (due_time - start_time) / 2 <= to_timestamp($1)";
const DUE: &str = "SELECT job_id FROM dsql_internal.job WHERE status = 'processing' \
     AND due_time <= to_timestamp($1) ORDER BY due_time";
const END: &str = "SELECT dsql_internal.end_job($1, to_timestamp($2))";
const FORGET: &str = "DELETE FROM dsql_internal.job WHERE status IN ('completed', 'failed') \
     AND update_time + make_interval(secs => $2) <= to_timestamp($1)";
const NEXT: &str = "SELECT extract(epoch FROM min(CASE status \
     WHEN 'submitted' THEN start_time + (due_time - start_time) / 2 \
     WHEN 'processing' THEN due_time \
     ELSE update_time + make_interval(secs => $1) END))::float8 FROM dsql_internal.job";
const STATUS: &str = "SELECT status FROM dsql_internal.job WHERE job_id = $1";

/// What sessions and the control interface know of the jobs.
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
}

/// Waits until a job has ended or is not there; whether it was completed.
pub(crate) async fn ended(server: &Server, job_id: &str) -> bool {
    let mut moved = server.jobs.moved.subscribe();
    loop {
        moved.borrow_and_update();
        match server.postgres.catalog.text(STATUS, job_id).await {
            Ok(Some(status)) if status == "submitted" || status == "processing" => {}
            Ok(Some(status)) => return status == "completed",
            _ => return false,
        }
        if moved.changed().await.is_err() {
            return false;
        }
    }
}

/// Moves jobs on for ever.
pub(crate) async fn run(server: Arc<Server>) {
    let mut connected = None;
    loop {
        let (client, driver) = match connected.take() {
            Some(connected) => connected,
            None => match open(&server).await {
                Ok(connected) => connected,
                Err(error) => {
                    tracing::warn!(error = %error, "cannot look after jobs");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let next = match advance(&client, &server).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(error = %error, "cannot look after jobs");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        connected = Some((client, driver));
        server.jobs.moved.send_modify(|moves| *moves += 1);
        let next = next.map(at);
        if next.is_some_and(|next| next <= server.clock.now()) {
            // Something could not be done just now.
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let sleep = async {
            match next {
                Some(next) => server.clock.sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = server.jobs.started.notified() => {}
            () = sleep => {}
        }
    }
}

async fn open(server: &Server) -> Result<(Client, tokio::task::JoinSet<()>), Error> {
    let (client, driver) = connect(&server.postgres.socket).await?;
    client.batch_execute(SETTINGS).await?;
    Ok((client, driver))
}

/// Does what is due now; when something is due next.
async fn advance(client: &Client, server: &Server) -> Result<Option<f64>, Error> {
    let now = seconds(server.clock.now());
    let duration = server.jobs.duration().as_secs_f64();
    client
        .execute_typed(START, &[(&now, Type::FLOAT8), (&duration, Type::FLOAT8)])
        .await?;
    client
        .execute_typed(PROCESS, &[(&now, Type::FLOAT8)])
        .await?;
    for due in client.query_typed(DUE, &[(&now, Type::FLOAT8)]).await? {
        let job_id: String = due.get(0);
        client
            .query_typed(END, &[(&job_id, Type::TEXT), (&now, Type::FLOAT8)])
            .await?;
    }
    client
        .execute_typed(
            FORGET,
            &[(&now, Type::FLOAT8), (&RETENTION_S, Type::FLOAT8)],
        )
        .await?;
    let next = client
        .query_typed(NEXT, &[(&RETENTION_S, Type::FLOAT8)])
        .await?;
    Ok(next.first().and_then(|row| row.get(0)))
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// A moment that is surely not before `seconds`.
fn at(seconds: f64) -> SystemTime {
    let since = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::ZERO);
    UNIX_EPOCH + since + Duration::from_millis(1)
}
