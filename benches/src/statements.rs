//! What a prepared statement saves: the server's own time for the statement that opens a turn, sent
//! whole and prepared, and a warm `SELECT` by a function on `dsql` alone beside one on the official
//! `SQLx` connector, which prepares what it sends.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::{Duration, Instant, SystemTime};

use chat_store::{Opening, OwnerId, Place};
use dsql::Db;
use tests::function::Function;
use tests::opener::{Opener, message};

use crate::Run;
use crate::machine::cpu_time;
use crate::report::{Report, Target};
use crate::samples::{Samples, short};
use crate::stack::{Contender, Stack, ask, database};

/// Stands in the text of the statement that opens a turn, and in no other.
const OPEN: &str = "AS is_mine, next_seq, title FROM chats";
/// After this many uses PostgreSQL has chosen between plans for the values and plans for any.
const WARM_UP: usize = 10;
/// Invocations in a row before the other function's turn.
const BLOCK: usize = 25;

pub(crate) async fn run(run: &Run, stack: &Stack, report: &mut Report) {
    report.section("Prepared statements");
    open(run, report).await;
    select(run, stack, report).await;
}

/// The log of a PostgreSQL that notes how long each step of a statement took.
struct Durations(File);

impl Durations {
    fn of(stack: &Stack) -> Self {
        let mut log = File::open(stack.base.server.postgres_log()).unwrap();
        log.seek(SeekFrom::End(0)).unwrap();
        Self(log)
    }

    /// Milliseconds of each use of `OPEN` since the last look. What prepares it for later is not
    /// part of a use.
    fn uses(&mut self) -> Vec<f64> {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        let (mut uses, mut spent) = (Vec::new(), 0.0);
        for step in text.split("duration: ").filter(|step| step.contains(OPEN)) {
            let (ms, rest) = step.split_once(" ms  ").unwrap();
            let ms: f64 = ms.parse().unwrap();
            let words: Vec<&str> = rest.split_whitespace().take(2).collect();
            match words[..] {
                ["parse", name] if name != "<unnamed>:" => {}
                ["execute", _] => uses.push(std::mem::take(&mut spent) + ms),
                _ => spent += ms,
            }
        }
        uses
    }
}

async fn open(run: &Run, report: &mut Report) {
    report.text(
        "The statement that opens a turn, of 50 parameters, each time in a new chat. The server's time is PostgreSQL's own, for parsing, \
         binding (which plans) and executing; the client's is that of the whole call, through `dsql-local`. What is sent whole is planned \
         each time; of a prepared statement PostgreSQL chooses after five uses between a plan for its values and one for any.",
    );
    let settings = ["log_min_duration_statement=0", "log_min_messages=log"];
    let stack = Stack::start_with(settings.map(str::to_owned).to_vec()).await;
    let db = database(&stack.base.server);
    let owner = OwnerId::parse("owner").unwrap();
    let opener = Opener::of(&db, &owner, chat_store::microseconds(SystemTime::now()));
    let mut durations = Durations::of(&stack);
    let samples = run.of(300, 100);
    let mut found = Vec::new();
    for name in ["whole", "prepared"] {
        let mut times = Vec::new();
        for n in 0..WARM_UP + samples {
            if name == "whole" {
                // After a text that was made at run time nothing is prepared any more.
                db.execute_sql("SELECT 1").await.unwrap();
            }
            times.push(turn(&opener, &format!("{name}-{n}")).await);
        }
        let uses = durations.uses();
        let server = Samples::of(uses[uses.len() - samples..].to_vec());
        found.push((name, server, Samples::times(times.split_off(WARM_UP))));
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|(name, server, client)| {
            let cells = [server.p50(), server.p99(), client.p50(), client.p99()];
            [vec![(*name).to_owned()], cells.map(short).to_vec()].concat()
        })
        .collect();
    report.table(
        &["", "server p50 ms", "p99 ms", "client p50 ms", "p99 ms"],
        &rows,
    );
    report.text(&plans(&db).await);
    report.verdict(
        "Server time of opening a turn, prepared, of the same sent whole, p50",
        found[1].1.p50() / found[0].1.p50(),
        Target::AtMost(0.5),
        "×",
    );
    stack.base.server.stop().await;
}

async fn turn(opener: &Opener<'_>, chat: &str) -> Duration {
    let question = message("u1", "hi");
    let begun = Instant::now();
    let (opening, _) = opener.open(chat, &question, Place::End).await;
    assert!(matches!(opening, Opening::Opened { .. }), "{opening:?}");
    begun.elapsed()
}

async fn plans(db: &Db) -> String {
    let sql = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '%AS is_mine, next_seq, title FROM chats%'";
    let rows = db.query(sql, &[]).await.unwrap();
    let (any, own): (i64, i64) = (rows[0].get(0), rows[0].get(1));
    format!("Of the prepared uses {any} had the plan for any values, {own} one for their own.")
}

struct Asked {
    name: &'static str,
    function: Function,
    event: String,
    times: Vec<Duration>,
    cpu: Duration,
}

async fn select(run: &Run, stack: &Stack, report: &mut Report) {
    report.text(
        "A warm `SELECT 1` by functions that do nothing else, through the Runtime API, in turns of 25. CPU is the function's own. A \
         statement on `dsql` has a time limit; one on the connector has none, unless its function puts one around it.",
    );
    let samples = run.of(2_000, 500);
    let peer = stack.peers().swap_remove(0);
    let limited = Contender {
        name: "SQLx connector, with a limit",
        launch: peer.launch.clone().env("STATEMENT_LIMIT_SECONDS", "10"),
        event: peer.event.clone(),
    };
    let mut all = Vec::new();
    for contender in [Stack::hello(), stack.dsql_alone(), peer, limited] {
        all.push(Asked {
            name: contender.name,
            function: contender.launch.start().await,
            event: contender.event,
            times: Vec::new(),
            cpu: Duration::ZERO,
        });
    }
    for block in 0..=samples / BLOCK {
        for one in &mut all {
            if block == 1 {
                one.cpu = cpu_time(one.function.pid());
            }
            for _ in 0..BLOCK {
                let begun = Instant::now();
                ask(&one.function, &one.event).await;
                if block > 0 {
                    one.times.push(begun.elapsed());
                }
            }
        }
    }
    let found: Vec<(&str, Samples, f64)> = all
        .into_iter()
        .map(|one| {
            let cpu = cpu_time(one.function.pid()).saturating_sub(one.cpu);
            let invocations = u32::try_from(one.times.len()).unwrap();
            let each = cpu.as_secs_f64() * 1e6 / f64::from(invocations);
            (one.name, Samples::times(one.times), each)
        })
        .collect();
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|(name, times, cpu)| {
            let cells = [times.p50(), times.p99(), *cpu];
            [vec![(*name).to_owned()], cells.map(short).to_vec()].concat()
        })
        .collect();
    report.table(&["", "p50 ms", "p99 ms", "CPU µs"], &rows);
    let [_, (_, ours, our_cpu), peers @ ..] = &found[..] else {
        unreachable!("hello world and dsql were asked first")
    };
    for (name, theirs, their_cpu) in peers {
        for (what, ratio) in [
            ("p50", ours.p50() / theirs.p50()),
            ("CPU", our_cpu / their_cpu),
        ] {
            report.verdict(
                format!("A warm SELECT on dsql alone, of the same on the {name}, {what}"),
                ratio,
                Target::AtMost(1.0),
                "×",
            );
        }
    }
}
