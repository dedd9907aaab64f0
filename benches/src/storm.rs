//! Connect storm: many containers start at once against the service's limit of connects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dsql::Dsql;
use dsql_local::{DsqlLocal, Options};
use tokio::task::JoinSet;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::report::{Report, Target};
use crate::samples::{Samples, short};
use crate::stack::{config, raw_config, tls};

/// The service's limits (User Guide: *Cluster quotas and database limits*).
const BURST: u32 = 1_000;
const PER_SECOND: u32 = 100;

/// Who tries again, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Ours,
    /// At once, as a client without a pause does.
    Immediate,
}

/// What keeps a connection open.
enum Kept {
    Ours(#[expect(dead_code, reason = "held open")] Dsql),
    Raw(#[expect(dead_code, reason = "held open")] tokio_postgres::Client),
}

/// A container of ours: Init connects, and when its time is up, the first request goes on.
async fn ours(client: Dsql, refused: &AtomicU64) -> Kept {
    while !client.connect().await {}
    refused.fetch_add(client.stats().connect_failures, Ordering::Relaxed);
    Kept::Ours(client)
}

async fn immediately(
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    refused: &AtomicU64,
) -> Kept {
    loop {
        match config.connect(tls.clone()).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                return Kept::Raw(client);
            }
            Err(error) => {
                let is_limit = error.code().is_some_and(|code| code.code() == "53400");
                assert!(
                    is_limit || error.is_closed() || error.as_db_error().is_none(),
                    "{error}"
                );
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

struct Storm {
    times: Vec<Duration>,
    refused: u64,
    seconds: f64,
}

async fn storm(containers: usize, policy: Policy, limit: Duration) -> Storm {
    let server = DsqlLocal::start(Options {
        connect_burst: BURST,
        connect_rate_per_s: PER_SECOND,
        ..Options::default()
    })
    .await
    .unwrap();
    let refused = Arc::new(AtomicU64::new(0));
    let (raw, tls) = (raw_config(&server, "admin").await, tls(&server));
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..containers {
        let (config, raw, tls) = (config(&server), raw.clone(), tls.clone());
        let refused = Arc::clone(&refused);
        tasks.spawn(async move {
            let kept = match policy {
                Policy::Ours => ours(Dsql::new(config), &refused).await,
                Policy::Immediate => immediately(raw, tls, &refused).await,
            };
            (begun.elapsed(), kept)
        });
    }
    let (mut times, mut kept) = (Vec::new(), Vec::new());
    let all = async {
        while let Some(connected) = tasks.join_next().await {
            let (time, client) = connected.unwrap();
            times.push(time);
            kept.push(client);
        }
    };
    // Whoever is not connected by then is counted as such.
    let _ = tokio::time::timeout(limit, all).await;
    let seconds = begun.elapsed().as_secs_f64();
    tasks.shutdown().await;
    drop(kept);
    server.stop().await;
    Storm {
        times,
        refused: refused.load(Ordering::Relaxed),
        seconds,
    }
}

pub(crate) async fn run(report: &mut Report) {
    let containers = 2_000_u32;
    report.section("Connect storm");
    report.text(&format!(
        "{containers} containers connect at once, against {PER_SECOND} connects a second after a burst of {BURST}. They are sessions \
         of one process, each with a connector and a token of its own. A refused connect costs TCP, TLS and a startup too."
    ));
    let least = f64::from(containers - BURST) / f64::from(PER_SECOND);
    let all = usize::try_from(containers).unwrap();
    let limit = Duration::from_secs_f64(least * 4.0);
    let mut rows = Vec::new();
    for (name, policy) in [
        ("ours", Policy::Ours),
        ("immediate retry", Policy::Immediate),
    ] {
        let storm = storm(all, policy, limit).await;
        let connected = storm.times.len();
        let percent =
            |percent| short(Samples::times(storm.times.clone()).percentile(percent) / 1_000.0);
        rows.push(vec![
            name.to_owned(),
            format!("{connected}"),
            short(storm.seconds),
            short(storm.seconds / least),
            percent(50),
            percent(99),
            storm.refused.to_string(),
        ]);
        if policy == Policy::Ours {
            report.verdict(
                "Storm: containers that are not connected",
                f64::from(containers) - f64::from(u32::try_from(connected).unwrap()),
                Target::AtMost(0.0),
                "",
            );
            report.verdict(
                "Storm: the last is connected, of the limiter's own least",
                storm.seconds / least,
                Target::AtMost(1.2),
                "×",
            );
        }
    }
    rows.push(vec![
        "the limiter's own least".to_owned(),
        containers.to_string(),
        short(least),
        "1.00".to_owned(),
        String::new(),
        String::new(),
        String::new(),
    ]);
    report.table(
        &[
            "",
            "connected",
            "s until the last",
            "of the least",
            "p50 s",
            "p99 s",
            "refused connects",
        ],
        &rows,
    );
}
