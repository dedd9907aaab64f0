//! What a client far from the database gets: the unmodified Neon driver through `sql`, a request
//! each, beside node-postgres with a token on a connection of its own, at growing distances.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tests::binary::workspace;
use tests::clock::WallClock;
use tests::gateway::{Functions, Gateway};

use crate::Run;
use crate::machine::told_by;
use crate::network::Network;
use crate::report::{Report, Target};
use crate::samples::{Samples, short};
use crate::stack::Stack;

/// Milliseconds of a round trip between the client and what it asks.
const DISTANCES: [u64; 4] = [0, 1, 5, 30];

/// What a client found.
struct Found {
    /// The first statement of each process, connect included.
    first: Samples,
    further: Samples,
}

/// Where both clients find what they ask.
struct Site<'a> {
    stack: &'a Stack,
    sql: &'a Network,
    database: &'a Network,
}

impl Site<'_> {
    /// Runs one client in a process of its own: the first statement's time, and the others'.
    async fn ask(&self, how: &str, further: usize) -> (f64, Vec<f64>) {
        let mut node = Command::new(told_by("node", &["-p", "process.execPath"]));
        node.args(["peers/distance.mjs", how, &further.to_string()])
            .current_dir(workspace().join("benches"))
            .envs(self.stack.base.server.env())
            .env("DSQL_PORT", self.database.port().to_string())
            .env(
                "SQL_ENDPOINT",
                format!("http://127.0.0.1:{}/sql", self.sql.port()),
            )
            .env("DATABASE_URL", self.stack.login.connection_string())
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || node.output())
            .await
            .unwrap()
            .unwrap();
        assert!(output.status.success(), "{how}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut times = text.split_whitespace().map(|time| time.parse().unwrap());
        (times.next().unwrap(), times.collect())
    }

    async fn measure(&self, how: &str, clients: usize, further: usize) -> Found {
        let (mut first, mut all) = (Vec::new(), Vec::new());
        for _ in 0..clients {
            let (begun, mut others) = self.ask(how, further).await;
            first.push(begun);
            // Whatever a just-in-time compiler does comes at first.
            all.extend(others.split_off(others.len() / 3));
        }
        Found {
            first: Samples::of(first),
            further: Samples::of(all),
        }
    }
}

pub(crate) async fn run(run: &Run, stack: &Stack, report: &mut Report) {
    report.section("Distance");
    report.text(
        "A client of the connection string, by the unmodified Neon driver through `lambda-local` and a warm `sql`, beside node-postgres \
         with a token straight to the database; each process makes its first statement, connect included, and further ones. The \
         distance is between the client and what it asks: `sql` lies beside the database.",
    );
    let (clients, further) = run.of((8, 90), (3, 30));
    let functions = Functions::same(stack.logins.launch());
    let gateway = Gateway::start(functions, Arc::clone(&stack.base.key), WallClock::new()).await;
    let url = gateway.url();
    let address = url.trim_start_matches("http://").parse().unwrap();
    let mut rows = Vec::new();
    for ms in DISTANCES {
        let distance = Duration::from_millis(ms);
        let site = Site {
            stack,
            sql: &Network::to(address, distance),
            database: &Network::to(stack.base.server.address(), distance),
        };
        site.ask("neon", 3).await; // a container, and its session
        let neon = site.measure("neon", clients, further).await;
        let pg = site.measure("pg", clients, further).await;
        let pairs = [(&neon.first, &pg.first), (&neon.further, &pg.further)];
        let mut row = vec![format!("{ms} ms")];
        for (ours, theirs) in pairs {
            let ratio = ours.p50() / theirs.p50();
            row.extend([ours.p50(), ours.p99(), theirs.p50(), theirs.p99(), ratio].map(short));
        }
        rows.push(row);
        if ms == 30 {
            report.verdict(
                "First statement of a client 30 ms away: the Neon driver through sql, of node-postgres with a token",
                neon.first.p50() / pg.first.p50(),
                Target::AtMost(0.6),
                "×",
            );
            report.verdict(
                "Further statements of a client 30 ms away: the Neon driver through sql, of node-postgres with a token",
                neon.further.p50() / pg.further.p50(),
                Target::AtMost(1.1),
                "×",
            );
        }
    }
    report.table(
        &[
            "away",
            "first: driver p50 ms",
            "p99",
            "pg p50",
            "p99",
            "driver : pg",
            "further: driver p50 ms",
            "p99",
            "pg p50",
            "p99",
            "driver : pg",
        ],
        &rows,
    );
}
