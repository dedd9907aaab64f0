//! What a statement costs through dsql-local, against the same PostgreSQL server asked directly;
//! transactions a second; the memory of open sessions; and how long a start takes.
//!
//! `cargo bench -p dsql-local` prints ratios; `QUICK=1` takes fewer samples. The floor is the
//! server behind, over loopback without TLS and without dsql-local; the subject is loopback, TLS, a
//! session's bookkeeping, and a socket to the same server. Between them is a relay, which passes bytes
//! on and does nothing else: a second way to the server costs about as much as a small statement.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench prints its figures and stops at the first surprise"
)]

mod connect;
mod load;
mod memory;
mod work;

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use dsql_local::{DsqlLocal, Options};

use crate::connect::{Direct, Env, Through};
use crate::work::Work;

/// Samples of each work, and turns of each load.
const WHOLE: (usize, u32) = (3000, 10);
const QUICK: (usize, u32) = (300, 2);

fn at(samples: &[Duration], percent: usize) -> f64 {
    let index = (samples.len() * percent / 100).min(samples.len() - 1);
    samples.get(index).unwrap().as_secs_f64() * 1e6
}

fn told_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

async fn start_twice() {
    let kept = tempfile::tempdir().unwrap();
    let options = || Options {
        data_dir: Some(kept.path().join("data")),
        ..Options::default()
    };
    for what in ["fresh", "existing"] {
        let start = Instant::now();
        let dsql = DsqlLocal::start(options()).await.unwrap();
        println!("start, {what} data: {:.2} s", start.elapsed().as_secs_f64());
        dsql.stop().await;
    }
}

async fn statements(floor: &Direct, subject: &Through, samples: usize) {
    println!(
        "{:24}{:>10}{:>10}{:>10}{:>10}{:>8}{:>10}{:>8}",
        "µs", "floor p50", "relay p50", "here p50", "p90", "ratio", "of relay", "target"
    );
    let relay = floor.relayed().await;
    let clients = [
        &floor.connect().await,
        &relay.connect().await,
        &subject.connect().await,
    ];
    for work in Work::ALL {
        let [floor, relay, subject] = work.measure(clients, samples).await;
        println!(
            "{:24}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>8.2}{:>10.2}{:>8}",
            work.name(),
            at(&floor, 50),
            at(&relay, 50),
            at(&subject, 50),
            at(&subject, 90),
            at(&subject, 50) / at(&floor, 50),
            at(&subject, 50) / at(&relay, 50),
            work.target()
                .map_or(String::new(), |most| format!("{most:.1}")),
        );
    }
}

async fn loads(floor: &Direct, subject: &Through, turns: u32) {
    println!(
        "{:24}{:>10}{:>10}{:>8}",
        "transactions a second", "floor", "here", "ratio"
    );
    for sessions in [1, 8, 32] {
        let (mut floors, mut subjects) = (Vec::new(), Vec::new());
        for _ in 0..sessions {
            floors.push(floor.connect().await);
            subjects.push(subject.connect().await);
        }
        let [floor, subject] = load::measure([&floors, &subjects], turns).await;
        println!(
            "{sessions:<24}{floor:>10.0}{subject:>10.0}{:>8.2}",
            subject / floor
        );
    }
}

#[tokio::main]
async fn main() {
    let (samples, turns) = if std::env::var_os("QUICK").is_some() {
        QUICK
    } else {
        WHOLE
    };
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    println!(
        "{} · {} cores · commit {} · {profile} · {samples} samples",
        told_by("uname", &["-sm"]),
        std::thread::available_parallelism().map_or(0, usize::from),
        told_by("git", &["rev-parse", "--short", "HEAD"]),
    );
    start_twice().await;
    // Loopback is a whole network; the port is one that the server's own socket is named by.
    let address = IpAddr::V4(Ipv4Addr::new(
        127,
        fastrand::u8(1..255),
        fastrand::u8(..),
        1,
    ));
    let options = Options {
        postgres_settings: vec![format!("listen_addresses={address}")],
        ..Options::default()
    };
    let dsql = DsqlLocal::start(options).await.unwrap();
    let env: Env = dsql.env().into_iter().collect();
    let (subject, floor) = (Through::new(&env).await, Direct::at(address));
    let owner = subject.connect().await;
    for sql in [
        "CREATE TABLE bench (k int PRIMARY KEY, n int NOT NULL)",
        "INSERT INTO bench VALUES (1, 0)",
        "CREATE TABLE account (k int PRIMARY KEY, balance int NOT NULL)",
        "CREATE TABLE history (id uuid PRIMARY KEY, k int, amount int, at timestamptz)",
    ] {
        owner.batch_execute(sql).await.unwrap();
    }
    for first in (0..load::ACCOUNTS).step_by(2500) {
        let sql = format!(
            "INSERT INTO account SELECT k, 0 FROM generate_series({first}, {first} + 2499) k"
        );
        owner.batch_execute(&sql).await.unwrap();
    }
    statements(&floor, &subject, samples).await;
    loads(&floor, &subject, turns).await;
    dsql.stop().await;
    if cfg!(target_os = "linux") {
        memory::print().await;
    }
}
