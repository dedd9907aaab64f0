//! SQL over HTTP: a request through `sql`, beside a Node function with `pg` that does the same over
//! the same database.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::binary::workspace;
use tests::function::{Function, Launch};

use crate::Run;
use crate::machine::cpu_time;
use crate::report::{Report, Target};
use crate::samples::{Samples, short};
use crate::stack::{Stack, ask, sql_request};

/// Requests of each kind before anything is measured.
const WARM_UP: usize = 1_000;

struct Work {
    name: &'static str,
    body: Value,
    accepts_gzip: bool,
    /// Large answers are measured less often.
    share: usize,
}

impl Work {
    fn event(&self, stack: &Stack) -> String {
        let mut request = sql_request(&stack.login, &self.body);
        if self.accepts_gzip {
            request = request.header("Accept-Encoding", "gzip");
        }
        request.rest_event().to_string()
    }
}

fn works() -> Vec<Work> {
    let one = json!({"query": "SELECT $1::int AS n, $2::text AS t", "params": ["1", "x"]});
    let rows = |rows: u32| {
        let sql = format!("SELECT g, md5(g::text), now() FROM generate_series(1, {rows}) g");
        json!({"query": sql, "params": []})
    };
    let work = |name, body, accepts_gzip, share| Work {
        name,
        body,
        accepts_gzip,
        share,
    };
    vec![
        work("one read", one.clone(), false, 1),
        work(
            "one write",
            json!({"query": "UPDATE blog.counter SET n = n + 1 WHERE id = $1", "params": ["1"]}),
            false,
            1,
        ),
        work(
            "batch of 10 reads",
            json!({"queries": vec![one; 10]}),
            false,
            2,
        ),
        work("1 row", rows(1), false, 1),
        work("1 row, gzip", rows(1), true, 1),
        work("100 rows", rows(100), false, 1),
        work("100 rows, gzip", rows(100), true, 1),
        work("10,000 rows", rows(10_000), false, 20),
        work("10,000 rows, gzip", rows(10_000), true, 20),
    ]
}

/// One of the two, and what it took.
struct Side {
    function: Function,
    times: Vec<Duration>,
    /// CPU time before the first of them.
    cpu: Duration,
}

impl Side {
    async fn of(launch: Launch) -> Self {
        Self {
            function: launch.start().await,
            times: Vec::new(),
            cpu: Duration::ZERO,
        }
    }

    async fn ask(&mut self, event: &str) {
        let begun = Instant::now();
        ask(&self.function, event).await;
        self.times.push(begun.elapsed());
    }

    /// CPU time so far. A request costs until the function polls for the next: the last one's end
    /// is waited for.
    async fn cpu(&self) -> Duration {
        self.function.idle().await;
        cpu_time(self.function.pid())
    }

    async fn begin(&mut self) {
        self.times.clear();
        self.cpu = self.cpu().await;
    }

    /// Times and CPU microseconds a request, since the beginning.
    async fn end(&mut self) -> (Samples, f64) {
        let cpu = self.cpu().await.saturating_sub(self.cpu).as_secs_f64() * 1e6;
        let times = std::mem::take(&mut self.times);
        let each = cpu / f64::from(u32::try_from(times.len()).unwrap());
        (Samples::times(times), each)
    }
}

pub(crate) async fn run(run: &Run, stack: &Stack, report: &mut Report) {
    report.section("SQL over HTTP");
    report.text(
        "One request through the Runtime API, in `sql` and in a plain Node function with `pg` that holds an open connection \
         of the same role. The Node side checks no password. Where a client takes gzip, both compress, at the same level. CPU is \
         of each function, all threads, until it polls for the next request.",
    );
    let mut ours = Side::of(stack.logins.launch()).await;
    let node = crate::machine::told_by("node", &["-p", "process.execPath"]);
    let theirs = Launch::program(node)
        .argument(
            workspace()
                .join("benches/peers/pg.mjs")
                .display()
                .to_string(),
        )
        .env("SQL_ENDPOINT", "unused")
        .env("DATABASE_URL", stack.login.connection_string());
    let mut theirs = Side::of(stack.logins.launch_program(theirs)).await;
    for sql in [
        "CREATE TABLE blog.counter (id int PRIMARY KEY, n int NOT NULL)",
        "INSERT INTO blog.counter VALUES (1, 0)",
    ] {
        ours.ask(&stack.sql_event(&json!({"query": sql, "params": []})))
            .await;
    }
    // A just-in-time compiler needs its time, or what is measured first is measured cold.
    for work in works() {
        let event = work.event(stack);
        for _ in 0..WARM_UP / work.share {
            ours.ask(&event).await;
            theirs.ask(&event).await;
        }
    }
    let mut rows = Vec::new();
    for (delay, distance) in [(0, ""), (1, ", 1 ms a round trip")] {
        stack.set_delay(delay);
        for work in works() {
            let event = work.event(stack);
            let samples =
                (run.of(600, 100) / work.share / (1 + usize::try_from(delay).unwrap())).max(10);
            let warm_up = samples / 10 + 2;
            for n in 0..warm_up + samples {
                if n == warm_up {
                    ours.begin().await;
                    theirs.begin().await;
                }
                ours.ask(&event).await;
                theirs.ask(&event).await;
            }
            let (sql, sql_cpu) = ours.end().await;
            let (pg, pg_cpu) = theirs.end().await;
            rows.push(vec![
                work.name.to_owned() + distance,
                short(sql.p50()),
                short(sql.p99()),
                short(sql_cpu),
                short(pg.p50()),
                short(pg.p99()),
                short(pg_cpu),
                short(sql.p50() / pg.p50()),
                short(sql_cpu / pg_cpu),
            ]);
            if delay == 0 && ["one read", "10,000 rows"].contains(&work.name) {
                report.verdict(
                    format!("SQL over HTTP, {}: p50 of sql, of Node with pg", work.name),
                    sql.p50() / pg.p50(),
                    Target::AtMost(1.0),
                    "×",
                );
                report.verdict(
                    format!("SQL over HTTP, {}: CPU of sql, of Node with pg", work.name),
                    sql_cpu / pg_cpu,
                    Target::AtMost(0.5),
                    "×",
                );
            }
        }
    }
    stack.set_delay(0);
    report.table(
        &[
            "",
            "sql p50 ms",
            "p99",
            "CPU µs",
            "pg p50 ms",
            "p99",
            "CPU µs",
            "p50 sql : pg",
            "CPU sql : pg",
        ],
        &rows,
    );
}
