//! Contention: transactions on one hot row and on many, with our retry policy and with the official connectors'.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use dsql::{Dsql, Error, RetryPolicy, Type};
use dsql_local::{DsqlLocal, Faults, Options};
use tokio::task::JoinSet;

use crate::Run;
use crate::plot::Plot;
use crate::report::{Report, Target};
use crate::samples::short;
use crate::stack::{config, database};

/// What a transaction may take: an HTTP request behind API Gateway ends after 29 s.
const DEADLINE: Duration = Duration::from_secs(25);
const WARM_UP: Duration = Duration::from_secs(2);
const ROWS: i32 = 10_000;

/// Who tries again, when and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Ours,
    /// 3 attempts; pauses of 1 and 2 ms, the jitter lost to rounding.
    Sqlx,
    /// 4 attempts; 1, 2 and 4 ms, up to a quarter longer.
    Node,
}

impl Policy {
    const ALL: [Self; 3] = [Self::Ours, Self::Sqlx, Self::Node];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Sqlx => "SQLx connector's default",
            Self::Node => "Node and Python connectors' default",
        }
    }

    fn attempts(self) -> u32 {
        match self {
            Self::Ours => 1,
            Self::Sqlx => 3,
            Self::Node => 4,
        }
    }

    fn pause(self, attempt: u32) -> Duration {
        let base = Duration::from_millis(1 << (attempt - 1));
        match self {
            Self::Node => base.mul_f64(1.0 + 0.25 * fastrand::f64()),
            _ => base,
        }
    }
}

/// Which row a writer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    Hot,
    Many,
    Own,
}

#[derive(Debug, Default)]
struct Counts {
    commits: AtomicU64,
    given_up: AtomicU64,
    attempts: AtomicU64,
}

/// What a number of writers got done.
#[derive(Debug, Clone, Copy)]
struct Done {
    per_second: f64,
    given_up_percent: f64,
    attempts_each: f64,
}

async fn once(client: &Dsql, id: i32) -> Result<(), Error> {
    let db = client.until(SystemTime::now() + DEADLINE);
    db.transaction(move |tx| async move {
        let id = [(&id as _, Type::INT4)];
        let rows = tx.query("SELECT n FROM counter WHERE id = $1", &id).await?;
        let n: i64 = rows[0].get(0);
        let next = [(&(n + 1) as _, Type::INT8), id[0].clone()];
        tx.execute("UPDATE counter SET n = $1 WHERE id = $2", &next)
            .await?;
        Ok::<_, Error>(())
    })
    .await
}

/// A container of its own that writes until it is told to stop.
async fn write(
    client: Dsql,
    own: i32,
    rows: Rows,
    policy: Policy,
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
) {
    while !stop.load(Ordering::Relaxed) {
        let id = match rows {
            Rows::Hot => 0,
            Rows::Own => own,
            Rows::Many => fastrand::i32(0..ROWS),
        };
        let mut attempt = 1;
        loop {
            match once(&client, id).await {
                Ok(()) => counts.commits.fetch_add(1, Ordering::Relaxed),
                Err(Error::Conflict { .. }) if attempt < policy.attempts() => {
                    tokio::time::sleep(policy.pause(attempt)).await;
                    attempt += 1;
                    continue;
                }
                Err(Error::Conflict { .. }) => counts.given_up.fetch_add(1, Ordering::Relaxed),
                Err(error) => panic!("{error}"),
            };
            break;
        }
    }
    counts
        .attempts
        .fetch_add(client.stats().attempts, Ordering::Relaxed);
}

async fn contend(
    server: &DsqlLocal,
    writers: i32,
    rows: Rows,
    policy: Policy,
    time: Duration,
) -> Done {
    let retry = match policy {
        Policy::Ours => RetryPolicy::default(),
        _ => RetryPolicy {
            attempts: 1,
            ..RetryPolicy::default()
        },
    };
    let (stop, counts) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Counts::default()),
    );
    let mut clients = Vec::new();
    for _ in 0..writers {
        let client = Dsql::new(config(server).with_retry(retry));
        assert!(client.connect().await);
        clients.push(client);
    }
    let mut tasks = JoinSet::new();
    for (own, client) in (0..).zip(clients) {
        tasks.spawn(write(
            client,
            own,
            rows,
            policy,
            Arc::clone(&stop),
            Arc::clone(&counts),
        ));
    }
    // Begun all at once they collide more than in any second after.
    tokio::time::sleep(WARM_UP).await;
    let begun = Instant::now();
    let before = counts.commits.load(Ordering::Relaxed);
    tokio::time::sleep(time).await;
    let in_time = counts.commits.load(Ordering::Relaxed) - before;
    let taken = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let ended = value(&counts.commits) + value(&counts.given_up);
    Done {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        per_second: in_time as f64 / taken.as_secs_f64(),
        given_up_percent: 100.0 * value(&counts.given_up) / ended,
        attempts_each: value(&counts.attempts) / ended,
    }
}

/// What is judged is measured so many times, in turns, and the middle one counts: what else the machine does comes and goes.
const TURNS: usize = 3;

/// The middle one of several turns for each case.
async fn in_turns(
    server: &DsqlLocal,
    writers: i32,
    cases: &[(Rows, Policy)],
    turns: usize,
    time: Duration,
) -> Vec<Done> {
    let mut done = vec![Vec::new(); cases.len()];
    for _ in 0..turns {
        for ((rows, policy), done) in cases.iter().zip(&mut done) {
            done.push(contend(server, writers, *rows, *policy, time).await);
        }
    }
    done.into_iter()
        .map(|mut turns| {
            turns.sort_unstable_by(|a, b| a.per_second.total_cmp(&b.per_second));
            let given_up_percent = turns.iter().map(|t| t.given_up_percent).fold(0.0, f64::max);
            Done {
                given_up_percent,
                ..turns[turns.len() / 2]
            }
        })
        .collect()
}

/// A database with the rows, at a flight of 1 ms.
async fn start() -> DsqlLocal {
    let server = DsqlLocal::start(Options::default()).await.unwrap();
    let db = database(&server);
    for sql in [
        "CREATE TABLE counter (id int PRIMARY KEY, n bigint NOT NULL)",
        "INSERT INTO counter SELECT g, 0 FROM generate_series(0, 2500) g",
        "INSERT INTO counter SELECT g, 0 FROM generate_series(2501, 5000) g",
        "INSERT INTO counter SELECT g, 0 FROM generate_series(5001, 7500) g",
        "INSERT INTO counter SELECT g, 0 FROM generate_series(7501, 9999) g",
    ] {
        db.execute_sql(sql).await.unwrap();
    }
    server
        .set_faults(Faults {
            delay_ms: 1,
            ..Faults::default()
        })
        .unwrap();
    server
}

pub(crate) async fn run(run: &Run, report: &mut Report) {
    report.section("Contention");
    report.text(
        "Read one row, add one, write it back, commit: four flights of 1 ms. Every writer is a container of its own and \
         begins the next transaction when the last has ended, in a commit or given up. The official policies run over our \
         connections, so that nothing but the policy is compared.",
    );
    let server = start().await;
    let time = Duration::from_millis(run.of(5_000, 2_000));
    let mut rows = Vec::new();
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Policy::ALL
        .map(|policy| (policy.name().to_owned(), Vec::new()))
        .to_vec();
    let counts: &[i32] = run.of(&[1, 2, 4, 8, 16, 32, 64], &[1, 8, 32]);
    for &writers in counts {
        let cases = Policy::ALL.map(|policy| (Rows::Hot, policy));
        let turns = if writers == 32 { TURNS } else { 1 };
        let done = in_turns(&server, writers, &cases, turns, time).await;
        for ((policy, line), one) in Policy::ALL.into_iter().zip(&mut lines).zip(&done) {
            line.1.push((f64::from(writers), one.per_second));
            rows.push(vec![
                format!("{writers} on one row, {}", policy.name()),
                short(one.per_second),
                short(one.given_up_percent),
                short(one.attempts_each),
            ]);
        }
        if writers == 32 {
            let best = done[1].per_second.max(done[2].per_second);
            report.verdict(
                "One hot row, 32 writers: given up",
                done[0].given_up_percent,
                Target::AtMost(0.0),
                "%",
            );
            report.verdict(
                "One hot row, 32 writers: commits a second, of the better official default",
                done[0].per_second / best,
                Target::AtLeast(3.0),
                "×",
            );
        }
    }
    let cases = [
        (Rows::Own, Policy::Ours),
        (Rows::Many, Policy::Ours),
        (Rows::Many, Policy::Node),
    ];
    let done = in_turns(&server, 32, &cases, TURNS, time).await;
    for (what, one) in [
        "32, each its own row",
        "32 on 10,000 rows, ours",
        "32 on 10,000 rows, Node and Python connectors' default",
    ]
    .into_iter()
    .zip(&done)
    {
        rows.push(vec![
            what.to_owned(),
            short(one.per_second),
            short(one.given_up_percent),
            short(one.attempts_each),
        ]);
    }
    report.verdict(
        "10,000 rows, 32 writers: commits a second, of the same without contention",
        done[1].per_second / done[0].per_second,
        Target::AtLeast(0.95),
        "×",
    );
    report.table(
        &["Writers", "commits a second", "given up %", "attempts each"],
        &rows,
    );
    let title = "Commits a second on one hot row".to_owned();
    report.plot(
        "contention",
        &Plot::Lines {
            title,
            x: "writers",
            lines,
        },
    );
    server.stop().await;
}
