//! SQL over HTTP: a request through `sql`, beside a Node function with `pg` that does the same over the same database.

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

    async fn ask(&mut self, event: &str, counts: bool) {
        let before = cpu_time(self.function.pid());
        let begun = Instant::now();
        ask(&self.function, event).await;
        let taken = begun.elapsed();
        if counts {
            self.times.push(taken);
            self.cpu += cpu_time(self.function.pid()).saturating_sub(before);
        }
    }

    /// Times and CPU microseconds a request, and begins anew.
    fn take(&mut self) -> (Samples, f64) {
        let times = std::mem::take(&mut self.times);
        let cpu = std::mem::take(&mut self.cpu).as_secs_f64() * 1e6;
        let each = cpu / f64::from(u32::try_from(times.len()).unwrap());
        (Samples::times(times), each)
    }
}

pub(crate) async fn run(run: &Run, stack: &Stack, report: &mut Report) {
    report.section("SQL over HTTP");
    report.text(
        "One request through the Runtime API, in `sql` and in a plain Node function with `pg` that holds an open connection \
         of the same role. The Node side checks no password and never compresses. CPU is of each function, all threads.",
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
        ours.ask(
            &stack.sql_event(&json!({"query": sql, "params": []})),
            false,
        )
        .await;
    }
    // A just-in-time compiler needs its time, or what is measured first is measured cold.
    for work in works() {
        let event = stack.sql_event(&work.body);
        for _ in 0..WARM_UP / work.share {
            ours.ask(&event, false).await;
            theirs.ask(&event, false).await;
        }
    }
    let mut rows = Vec::new();
    for delay in [0, 1] {
        stack.set_delay(delay);
        for work in works() {
            let mut request = sql_request(&stack.login, &work.body);
            if work.accepts_gzip {
                request = request.header("Accept-Encoding", "gzip");
            }
            let event = request.rest_event().to_string();
            let samples =
                (run.of(600, 100) / work.share / (1 + usize::try_from(delay).unwrap())).max(10);
            for n in 0..samples + samples / 10 + 2 {
                let counts = n >= samples / 10 + 2;
                ours.ask(&event, counts).await;
                theirs.ask(&event, counts).await;
            }
            let ((sql, sql_cpu), (pg, pg_cpu)) = (ours.take(), theirs.take());
            rows.push(vec![
                format!(
                    "{}{}",
                    work.name,
                    if delay == 0 { "" } else { ", 1 ms a flight" }
                ),
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
