//! The runner of the jobs: index builds and validations take a settable time by the movable clock,
//! then end; their rows age out 30 minutes later.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::cluster::Cluster;
use crate::postgres::connect;

/// How long the row of a job that has ended stays.
const RETENTION_S: f64 = 1800.0;
/// Pause after a failed question; real time.
const PAUSE: Duration = Duration::from_millis(200);

/// Lock waits of ours end soon: whoever holds the lock goes first.
const SETTINGS: &str = "SET lock_timeout = '250ms'";
const START: &str = "UPDATE pg_catalog.dsql_job SET start_time = to_timestamp($1), update_time = to_timestamp($1), \
     due_time = to_timestamp($1 + $2) WHERE start_time IS NULL";
const PROCESS: &str = "UPDATE pg_catalog.dsql_job SET status = 'processing', update_time = to_timestamp($1) \
     WHERE status = 'submitted' AND start_time + (due_time - start_time) / 2 <= to_timestamp($1)";
const DUE: &str = "SELECT job_id FROM pg_catalog.dsql_job WHERE status = 'processing' \
     AND due_time <= to_timestamp($1) ORDER BY due_time";
const END: &str = "SELECT pg_catalog.dsql_end_job($1, to_timestamp($2))";
const FORGET: &str = "DELETE FROM pg_catalog.dsql_job WHERE status IN ('completed', 'failed') \
     AND update_time + make_interval(secs => $2) <= to_timestamp($1)";
const NEXT: &str = "SELECT extract(epoch FROM min(CASE status \
     WHEN 'submitted' THEN start_time + (due_time - start_time) / 2 \
     WHEN 'processing' THEN due_time \
     ELSE update_time + make_interval(secs => $1) END))::float8 FROM pg_catalog.dsql_job";
/// Moves jobs on until it is dropped.
pub(crate) async fn run(cluster: Arc<Cluster>) {
    let mut connected = None;
    loop {
        let (client, driver) = match connected.take() {
            Some(connected) => connected,
            None => match open(&cluster).await {
                Ok(connected) => connected,
                Err(error) => {
                    tracing::warn!(error = %error, "cannot look after jobs");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let next = match advance(&client, &cluster).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(error = %error, "cannot look after jobs");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        connected = Some((client, driver));
        cluster.jobs.moved();
        let next = next.map(at);
        if next.is_some_and(|next| next <= cluster.clock.now()) {
            // Something could not be done just now.
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let sleep = async {
            match next {
                Some(next) => cluster.clock.sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cluster.jobs.started() => {}
            () = sleep => {}
        }
    }
}

async fn open(cluster: &Cluster) -> Result<(Client, tokio::task::JoinSet<()>), Error> {
    let (client, driver) = connect(&cluster.postgres.socket).await?;
    client.batch_execute(SETTINGS).await?;
    Ok((client, driver))
}

/// Does what is due now; when something is due next.
async fn advance(client: &Client, cluster: &Cluster) -> Result<Option<f64>, Error> {
    let now = seconds(cluster.clock.now());
    let duration = cluster.jobs.duration().as_secs_f64();
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
