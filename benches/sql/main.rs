//! What a request costs through `sql`, beside a plain Node function with `pg` that does the same over the same database, both
//! behind the same Runtime API. Prints percentiles and ratios:
//!
//! `TEST_PROFILE=release cargo bench -p tests --bench sql`
//!
//! Each work is measured twice: on loopback as it is, and with 2 ms added to every flight, which is what a network makes of
//! round trips.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints its figures and stops at the first surprise"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use dsql_local::{DsqlLocal, Faults, Options};
use serde_json::{Value, json};
use tests::binary::workspace;
use tests::function::{Function, Launch};
use tests::http::{Request, Response};
use tests::logins::{Login, Logins};

const LIMIT: Duration = Duration::from_secs(20);
const WARM_UP: usize = 20;
const SAMPLES: usize = 400;

struct Work {
    name: &'static str,
    body: Value,
}

fn works() -> Vec<Work> {
    let one = json!({"query": "SELECT $1::int AS n, $2::text AS t", "params": ["1", "x"]});
    let write =
        json!({"query": "UPDATE blog.counter SET n = n + 1 WHERE id = $1", "params": ["1"]});
    let batch = json!({"queries": vec![one.clone(); 10]});
    let rows = json!({"query": "SELECT g, md5(g::text), now() FROM generate_series(1, 1000) g", "params": []});
    vec![
        Work {
            name: "one read",
            body: one,
        },
        Work {
            name: "one write",
            body: write,
        },
        Work {
            name: "batch of 10",
            body: batch,
        },
        Work {
            name: "1,000 rows",
            body: rows,
        },
    ]
}

/// Sorted times of one contender.
struct Times(Vec<Duration>);

impl Times {
    async fn of(function: &Function, event: &str, samples: usize) -> Self {
        let mut times = Vec::with_capacity(samples);
        for round in 0..WARM_UP + samples {
            let begun = Instant::now();
            let answer = function.invoke(event.to_owned(), LIMIT).await.response();
            if round >= WARM_UP {
                times.push(begun.elapsed());
            }
            assert_eq!(Response::from_answer(&answer).status, 200);
        }
        times.sort_unstable();
        Self(times)
    }

    fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }

    fn per_second(&self) -> f64 {
        let all: Duration = self.0.iter().sum();
        f64::from(u32::try_from(self.0.len()).unwrap()) / all.as_secs_f64()
    }
}

fn event(login: &Login, body: &Value) -> String {
    Request::new("POST", "/sql")
        .header("Neon-Connection-String", &login.connection_string())
        .header("Neon-Raw-Text-Output", "true")
        .header("Neon-Array-Mode", "true")
        .body(body.to_string())
        .rest_event()
        .to_string()
}

async fn contenders() -> (DsqlLocal, Login, Function, Function) {
    let server = DsqlLocal::start(Options::default()).await.unwrap();
    let logins = Logins::of(&server).await;
    let login = logins.create("blog").await;
    let ours = logins.launch().start().await;
    let theirs = logins
        .launch_program(Launch::program(workspace().join("benches/sql/node_pg.mjs")))
        .env("SQL_ENDPOINT", "unused")
        .env("DATABASE_URL", login.connection_string())
        .start()
        .await;
    for sql in [
        "CREATE TABLE blog.counter (id int PRIMARY KEY, n int NOT NULL)",
        "INSERT INTO blog.counter VALUES (1, 0)",
        "SELECT 1",
    ] {
        let ask = event(&login, &json!({"query": sql, "params": []}));
        ours.invoke(ask, LIMIT).await.response();
    }
    (server, login, ours, theirs)
}

fn output(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[tokio::main]
async fn main() {
    let installed = Command::new("scripts/install-tools.sh")
        .arg("sql-clients")
        .current_dir(workspace())
        .status();
    assert!(installed.is_ok_and(|status| status.success()));
    let (server, login, ours, theirs) = contenders().await;
    println!(
        "commit {}, {}, node {}, functions in {}, {SAMPLES} samples each",
        output("git", &["rev-parse", "--short", "HEAD"]),
        output("uname", &["-srm"]),
        output("node", &["--version"]),
        std::env::var("TEST_PROFILE").unwrap_or_else(|_| "debug".to_owned()),
    );
    println!("ms a request            sql p50    p99    /s    pg p50    p99    /s    p50 sql : pg");
    for delay_ms in [0, 2] {
        server
            .set_faults(Faults {
                delay_ms,
                ..Faults::default()
            })
            .unwrap();
        for Work { name, body } in works() {
            let event = event(&login, &body);
            let samples = if delay_ms == 0 { SAMPLES } else { SAMPLES / 4 };
            let (sql, pg) = (
                Times::of(&ours, &event, samples).await,
                Times::of(&theirs, &event, samples).await,
            );
            let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
            println!(
                "{name:<12} +{delay_ms} ms      {:>6.2} {:>6.2} {:>5.0}    {:>6.2} {:>6.2} {:>5.0}    {:>6.2}",
                ms(sql.percentile(50)),
                ms(sql.percentile(99)),
                sql.per_second(),
                ms(pg.percentile(50)),
                ms(pg.percentile(99)),
                pg.per_second(),
                ms(sql.percentile(50)) / ms(pg.percentile(50)),
            );
        }
    }
    server.stop().await;
}
