//! Cold start: from the start of the process to its first poll, and to the first answer from the
//! database.

use std::time::{Duration, Instant};

use tests::wait;

use crate::Run;
use crate::machine::Share;
use crate::network::Network;
use crate::plot::Plot;
use crate::report::{Report, Target};
use crate::samples::{Samples, ms, short};
use crate::stack::{Contender, LIMIT, Stack, ask};

const RAW: &str = "raw connect + query";

/// What one contender took in one setting.
struct Line {
    name: &'static str,
    first_poll: Option<Samples>,
    first_answer: Samples,
    flights: Option<f64>,
}

/// Where and how the contenders run.
struct Setting<'a> {
    stack: &'a Stack,
    rounds: usize,
    network: Option<Network>,
    prefix: Vec<String>,
}

impl Setting<'_> {
    fn port(&self) -> u16 {
        let direct = self.stack.base.server.port();
        self.network.as_ref().map_or(direct, Network::port)
    }

    fn flights(&self) -> u64 {
        self.network.as_ref().map_or(0, Network::flights)
    }

    /// One start of a contender; then its connections are gone.
    async fn start(&self, contender: &Contender) -> (Duration, Duration) {
        let function = contender
            .launch
            .clone()
            .env("DSQL_PORT", self.port().to_string())
            .run_by(&self.prefix)
            .start()
            .await;
        let first_poll = function.init_duration();
        let begun = Instant::now();
        ask(&function, &contender.event).await;
        let first_answer = first_poll + begun.elapsed();
        function.kill().await;
        drop(function);
        let server = &self.stack.base.server;
        let closed = || (server.stats().connections_open == self.stack.kept()).then_some(());
        wait::until("the end of the connections", LIMIT, closed).await;
        (first_poll, first_answer)
    }

    /// All contenders in turns, so that whatever else the machine does falls on all of them.
    async fn measure(&self, contenders: &[Contender]) -> Vec<Line> {
        let mut times = vec![Vec::new(); contenders.len()];
        let mut raw = Vec::new();
        let mut flights = vec![Vec::new(); contenders.len() + 1];
        // The first round fills the caches of files, and is not counted.
        for round in 0..=self.rounds {
            let before = self.flights();
            let answered = self.stack.raw(self.port(), &self.prefix, 0).await[0];
            flights[contenders.len()].push(self.flights() - before);
            if round > 0 {
                raw.push(answered);
            }
            for turn in 0..contenders.len() {
                let at = (turn + round) % contenders.len();
                let before = self.flights();
                let taken = self.start(&contenders[at]).await;
                flights[at].push(self.flights() - before);
                if round > 0 {
                    times[at].push(taken);
                }
            }
        }
        let count = |flights: &Vec<u64>| {
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            let flights = flights.iter().map(|flights| *flights as f64).collect();
            self.network.as_ref().map(|_| Samples::of(flights).p50())
        };
        let mut lines: Vec<Line> = contenders
            .iter()
            .zip(times)
            .zip(&flights)
            .map(|((contender, times), flights)| Line {
                name: contender.name,
                first_poll: Some(Samples::times(times.iter().map(|t| t.0).collect())),
                first_answer: Samples::times(times.iter().map(|t| t.1).collect()),
                flights: count(flights),
            })
            .collect();
        lines.push(Line {
            name: RAW,
            first_poll: None,
            first_answer: Samples::times(raw),
            flights: count(&flights[contenders.len()]),
        });
        lines
    }
}

fn of<'a>(lines: &'a [Line], name: &str) -> &'a Line {
    lines.iter().find(|line| line.name == name).unwrap()
}

/// Hello world's first answer plus a connect and a query.
fn floor(lines: &[Line]) -> f64 {
    of(lines, "hello world").first_answer.p50() + of(lines, RAW).first_answer.p50()
}

fn table(report: &mut Report, lines: &[Line]) {
    let ours = of(lines, "chats").first_answer.p50();
    let mut rows = vec![vec![
        "floor: hello world + raw connect + query".to_owned(),
        String::new(),
        short(floor(lines)),
        String::new(),
        String::new(),
        short(floor(lines) / ours),
    ]];
    rows.extend(lines.iter().map(|line| {
        vec![
            line.name.to_owned(),
            line.first_poll
                .as_ref()
                .map_or_else(String::new, |samples| short(samples.p50())),
            short(line.first_answer.p50()),
            short(line.first_answer.percentile(90)),
            line.flights.map_or_else(String::new, short),
            short(line.first_answer.p50() / ours),
        ]
    }));
    report.table(
        &[
            "ms",
            "first poll p50",
            "first answer p50",
            "p90",
            "round trips",
            "to chats",
        ],
        &rows,
    );
}

pub(crate) async fn run(run: &Run, stack: &Stack, report: &mut Report) {
    report.section("Cold start");
    report.text(
        "From the start of the process to its first poll for an event, and to its first answer that needed the database. \
         The contenders take turns; between two starts all connections are closed. The raw program counts from its own start.",
    );
    let rounds: usize = run.of(15, 3);
    let contenders: Vec<Contender> = [
        Stack::hello(),
        stack.ready(),
        stack.sql(),
        stack.sql_ahead(),
        stack.dsql_alone(),
        stack.reconnect(),
    ]
    .into_iter()
    .chain(stack.peers())
    .collect();
    for (delay, rounds) in [
        (0, rounds),
        (1, rounds.div_ceil(2)),
        (5, rounds * 2), // what is promised is promised here
    ] {
        let network = (delay > 0)
            .then(|| Network::to(stack.base.server.address(), Duration::from_millis(delay)));
        let setting = Setting {
            stack,
            rounds,
            network,
            prefix: Vec::new(),
        };
        let lines = setting.measure(&contenders).await;
        let what = match delay {
            0 => "loopback".to_owned(),
            delay => format!("{delay} ms a round trip"),
        };
        report.text(&format!("All of the CPU, {what}, {rounds} starts each:"));
        table(report, &lines);
        let ours = of(&lines, "chats").first_answer.p50();
        let to = |name: &str| of(&lines, name).first_answer.p50() / ours;
        report.verdict(
            format!("Cold start of chats to the first answer, of the floor ({what})"),
            ours / floor(&lines),
            Target::AtMost(1.3),
            "×",
        );
        report.verdict(
            format!("Node connector's cold start, of chats' ({what})"),
            to("Node connector"),
            Target::AtLeast(5.0),
            "×",
        );
        report.verdict(
            format!("SQLx connector's cold start, of chats' ({what})"),
            to("SQLx connector"),
            Target::AtLeast(1.0),
            "×",
        );
        if let Some(flights) = of(&lines, "chats").flights {
            report.verdict(
                format!("Round trips of chats from start to answer: connect 4, query 1 ({what})"),
                flights,
                Target::AtMost(5.0),
                "",
            );
        }
        if delay == 5 {
            report.verdict(
                format!(
                    "Cold start of sql to the first answer, of chats', its login named ({what})"
                ),
                to("sql, its login named"),
                Target::AtMost(1.25),
                "×",
            );
        }
        if delay == 0 {
            let bars = lines
                .iter()
                .map(|line| (line.name.to_owned(), line.first_answer.p50()))
                .collect();
            let title = "Start to first answer from the database, p50".to_owned();
            report.plot(
                "cold",
                &Plot::Bars {
                    title,
                    unit: "ms",
                    bars,
                },
            );
        }
    }
    throttled(run, stack, report).await;
}

/// With as much of a CPU as small functions get.
async fn throttled(run: &Run, stack: &Stack, report: &mut Report) {
    // Python's start takes seconds here, and says nothing new.
    let contenders: Vec<Contender> = [Stack::hello(), stack.ready(), stack.sql()]
        .into_iter()
        .chain(stack.peers().into_iter().take(2))
        .collect();
    for (percent, memory) in [(7, 128), (14, 256), (29, 512)] {
        let Some(share) = Share::of_cpu(percent) else {
            report.text("Shares of a CPU were not measured: this machine has no cgroup controller that may be used.");
            return;
        };
        let setting = Setting {
            stack,
            rounds: run.of(4, 1),
            network: None,
            prefix: share.prefix(),
        };
        let begun = Instant::now();
        let lines = setting.measure(&contenders).await;
        report.text(&format!(
            "{percent} % of a CPU, about what {memory} MB get outside of Init ({} starts each, {:.0} s):",
            setting.rounds,
            ms(begun.elapsed()) / 1_000.0
        ));
        table(report, &lines);
    }
}
