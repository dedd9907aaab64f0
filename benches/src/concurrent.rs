//! Several requests at once in one container, as Lambda Managed Instances send them: a warm
//! statement by functions that do nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tests::function::Function;
use tests::wait;

use crate::Run;
use crate::machine::cpu_time;
use crate::report::{Report, Target};
use crate::samples::{Samples, short};
use crate::stack::{Contender, LIMIT, Stack, ask};

const AT_ONCE: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Turns that contenders take with each number of requests at once.
const TURNS: usize = 4;
const OURS: &str = "dsql alone";
const SQLX: &str = "SQLx connector";

/// What a contender did with this many requests at once.
struct Found {
    name: &'static str,
    times: Vec<Duration>,
    spent: Duration,
    cpu: Duration,
    connections: u64,
}

impl Found {
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    fn requests(&self) -> f64 {
        self.times.len() as f64
    }

    fn per_s(&self) -> f64 {
        self.requests() / self.spent.as_secs_f64()
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests()
    }
}

/// As many requests as `at_once` clients send one after another.
async fn send(function: &Arc<Function>, event: &str, at_once: usize, each: usize) -> Vec<Duration> {
    let clients = (0..at_once).map(|_| {
        let (function, event) = (Arc::clone(function), event.to_owned());
        tokio::spawn(async move {
            let mut times = Vec::with_capacity(each);
            for _ in 0..each {
                let begun = Instant::now();
                ask(&function, &event).await;
                times.push(begun.elapsed());
            }
            times
        })
    });
    let times = join_all(clients).await.into_iter();
    times.flat_map(|times| times.unwrap()).collect()
}

async fn measure(
    stack: &Stack,
    contenders: &[Contender],
    at_once: usize,
    requests: usize,
) -> Vec<Found> {
    let is_quiet = || (stack.base.server.stats().connections_open == stack.kept()).then_some(());
    wait::until("the end of other connections", LIMIT, is_quiet).await;
    let (mut all, mut others) = (Vec::new(), stack.kept());
    for contender in contenders {
        let function = Arc::new(contender.launch.clone().concurrency(at_once).start().await);
        send(&function, &contender.event, at_once, 20).await;
        let connections = stack.base.server.stats().connections_open - others;
        others += connections;
        let found = Found {
            name: contender.name,
            times: Vec::new(),
            spent: Duration::ZERO,
            cpu: Duration::ZERO,
            connections,
        };
        all.push((contender, function, found));
    }
    for _ in 0..TURNS {
        for (contender, function, found) in &mut all {
            let each = requests / TURNS / at_once;
            let (begun, cpu) = (Instant::now(), cpu_time(function.pid()));
            found
                .times
                .extend(send(function, &contender.event, at_once, each).await);
            found.spent += begun.elapsed();
            found.cpu += cpu_time(function.pid()).saturating_sub(cpu);
        }
    }
    all.into_iter().map(|(_, _, found)| found).collect()
}

pub(crate) async fn run(run: &Run, stack: &Stack, report: &mut Report) {
    report.section("Several requests at once");
    report.text(
        "One container that takes several requests at once, and as many clients that wait for their answers: a warm `SELECT 1`. Peers have \
         a pool of as many connections as there are requests; `dsql` sends statements of several requests over each of at most four. \
         The clients, the server and the container share this machine's processors.",
    );
    let mut contenders = vec![Stack::hello(), stack.dsql_alone()];
    // Python's connector is a blocking one.
    contenders.extend(stack.peers().into_iter().take(2));
    let requests = run.of(3_200, 640);
    let mut rows = Vec::new();
    let mut ratios = Vec::new();
    for at_once in AT_ONCE {
        let found = measure(stack, &contenders, at_once, requests).await;
        let of = |name: &str| found.iter().find(|found| found.name == name).unwrap();
        ratios.push((
            at_once,
            of(OURS).per_s() / of(SQLX).per_s(),
            of(OURS).cpu_us() / of(SQLX).cpu_us(),
        ));
        for one in &found {
            let times = Samples::times(one.times.clone());
            rows.push(vec![
                format!("{at_once}: {}", one.name),
                short(one.per_s()),
                short(times.p50()),
                short(times.p99()),
                short(one.cpu_us()),
                one.connections.to_string(),
            ]);
        }
    }
    report.table(
        &[
            "at once",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "CPU µs",
            "connections",
        ],
        &rows,
    );
    for (at_once, per_s, cpu) in ratios {
        report.verdict(
            format!("Requests per second of dsql, {at_once} at once in a container, of the SQLx connector's"),
            per_s,
            Target::AtLeast(1.0),
            "×",
        );
        report.verdict(
            format!("CPU of dsql for one of {at_once} requests at once, of the SQLx connector's"),
            cpu,
            Target::AtMost(1.0),
            "×",
        );
    }
}
