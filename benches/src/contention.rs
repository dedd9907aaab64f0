//! Contention: transactions on one hot row and on many, with our retry policy and with the official
//! connectors'.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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
/// Begun all at once, writers collide more than in any second after.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long the same writers stay with one kind of rows before they take another.
const SLICE: Duration = Duration::from_millis(250);
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
        let rows = tx
            .query("SELECT n FROM public.counter WHERE id = $1", &id)
            .await?;
        let n: i64 = rows[0].get(0);
        let next = [(&(n + 1) as _, Type::INT8), id[0].clone()];
        tx.execute("UPDATE public.counter SET n = $1 WHERE id = $2", &next)
            .await?;
        Ok::<_, Error>(())
    })
    .await
}

/// Which rows are written now, and what came out for each kind.
#[derive(Debug)]
struct Stage {
    rows: Vec<Rows>,
    now: AtomicUsize,
    counts: Vec<Counts>,
    is_over: AtomicBool,
}

impl Stage {
    fn commits(&self) -> Vec<u64> {
        let commits = |counts: &Counts| counts.commits.load(Ordering::Relaxed);
        self.counts.iter().map(commits).collect()
    }
}

/// A container of its own that writes until it is told to stop.
async fn write(client: Dsql, own: i32, policy: Policy, stage: Arc<Stage>) {
    while !stage.is_over.load(Ordering::Relaxed) {
        let now = stage.now.load(Ordering::Relaxed);
        let counts = &stage.counts[now];
        let id = match stage.rows[now] {
            Rows::Hot => 0,
            Rows::Own => own,
            Rows::Many => fastrand::i32(0..ROWS),
        };
        let before = client.stats().attempts;
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
        let attempts = client.stats().attempts - before;
        counts.attempts.fetch_add(attempts, Ordering::Relaxed);
    }
}

/// What the same writers get done on each kind of rows, each for `time` in all, in slices and in
/// turns: a machine that gets slower for a while disturbs no kind more than another.
async fn contend(
    server: &DsqlLocal,
    writers: i32,
    rows: &[Rows],
    policy: Policy,
    time: Duration,
) -> Vec<Done> {
    let slices = match rows {
        [_] => 1,
        _ => u32::try_from(time.as_millis() / SLICE.as_millis()).expect("less than a year"),
    };
    let retry = match policy {
        Policy::Ours => RetryPolicy::default(),
        _ => RetryPolicy {
            attempts: 1,
            ..RetryPolicy::default()
        },
    };
    let stage = Arc::new(Stage {
        rows: rows.to_vec(),
        now: AtomicUsize::new(0),
        counts: rows.iter().map(|_| Counts::default()).collect(),
        is_over: AtomicBool::new(false),
    });
    let mut clients = Vec::new();
    for _ in 0..writers {
        let client = Dsql::new(config(server).with_retry(retry));
        assert!(client.connect().await);
        clients.push(client);
    }
    let mut tasks = JoinSet::new();
    for (own, client) in (0..).zip(clients) {
        tasks.spawn(write(client, own, policy, Arc::clone(&stage)));
    }
    tokio::time::sleep(WARM_UP).await;
    let before = stage.commits();
    let mut taken = vec![Duration::ZERO; rows.len()];
    for slice in 0..slices * u32::try_from(rows.len()).expect("a few") {
        let now = slice as usize % rows.len();
        stage.now.store(now, Ordering::Relaxed);
        let begun = Instant::now();
        tokio::time::sleep(time / slices).await;
        taken[now] += begun.elapsed();
    }
    let after = stage.commits();
    stage.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    (0..rows.len())
        .map(|at| {
            let counts = &stage.counts[at];
            let ended = value(&counts.commits) + value(&counts.given_up);
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let in_time = (after[at] - before[at]) as f64;
            Done {
                per_second: in_time / taken[at].as_secs_f64(),
                given_up_percent: 100.0 * value(&counts.given_up) / ended,
                attempts_each: value(&counts.attempts) / ended,
            }
        })
        .collect()
}

/// What is judged is measured this many times, in turns, and the middle one counts: what else the
/// machine does comes and goes.
const TURNS: usize = 3;

/// The middle one of several turns for each policy, on the hot row.
async fn in_turns(
    server: &DsqlLocal,
    writers: i32,
    turns: usize,
    time: Duration,
) -> [Done; Policy::ALL.len()] {
    let mut done = Policy::ALL.map(|_| Vec::new());
    for _ in 0..turns {
        for (policy, done) in Policy::ALL.into_iter().zip(&mut done) {
            done.extend(contend(server, writers, &[Rows::Hot], policy, time).await);
        }
    }
    done.map(|mut turns| {
        turns.sort_unstable_by(|a, b| a.per_second.total_cmp(&b.per_second));
        let given_up_percent = turns.iter().map(|t| t.given_up_percent).fold(0.0, f64::max);
        Done {
            given_up_percent,
            ..turns[turns.len() / 2]
        }
    })
}

/// A database with the rows, at a round trip of 1 ms.
async fn start() -> DsqlLocal {
    let server = DsqlLocal::start(Options::default()).await.unwrap();
    let db = database(&server);
    for sql in [
        "CREATE TABLE public.counter (id int PRIMARY KEY, n bigint NOT NULL)",
        "INSERT INTO public.counter SELECT g, 0 FROM generate_series(0, 2500) g",
        "INSERT INTO public.counter SELECT g, 0 FROM generate_series(2501, 5000) g",
        "INSERT INTO public.counter SELECT g, 0 FROM generate_series(5001, 7500) g",
        "INSERT INTO public.counter SELECT g, 0 FROM generate_series(7501, 9999) g",
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
        "Read one row, add one, write it back, commit: four round trips of 1 ms. Every writer is a container of its own and \
         begins the next transaction when the last has ended, in a commit or given up. The official policies run over our \
         connections, so that nothing but the policy is compared. A row of its own and one of 10,000 are written by the same \
         writers, a quarter of a second each in turns.",
    );
    let server = start().await;
    let time = Duration::from_millis(run.of(5_000, 2_000));
    let mut rows = Vec::new();
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Policy::ALL
        .map(|policy| (policy.name().to_owned(), Vec::new()))
        .to_vec();
    let counts: &[i32] = run.of(&[1, 2, 4, 8, 16, 32, 64], &[1, 8, 32]);
    for &writers in counts {
        let turns = if writers == 32 { TURNS } else { 1 };
        let done = in_turns(&server, writers, turns, time).await;
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
    let time = Duration::from_secs(run.of(16, 10));
    for policy in Policy::ALL {
        let cases = [Rows::Own, Rows::Many];
        let done = contend(&server, 32, &cases, policy, time).await;
        for (what, one) in ["each its own row", "on 10,000 rows"].iter().zip(&done) {
            rows.push(vec![
                format!("32, {what}, {}", policy.name()),
                short(one.per_second),
                short(one.given_up_percent),
                short(one.attempts_each),
            ]);
        }
        if policy == Policy::Ours {
            report.verdict(
                "10,000 rows, 32 writers: commits a second, of the same without contention",
                done[1].per_second / done[0].per_second,
                Target::AtLeast(0.95),
                "×",
            );
        }
    }
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
