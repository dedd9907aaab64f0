//! What open sessions cost: the memory of a dsql-local in another process, and of the PostgreSQL
//! behind it.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use futures_util::future::join_all;

use crate::connect::{Env, Through};

const SESSIONS: usize = 1000;
/// Sessions that log in at once.
const AT_ONCE: usize = 50;

/// Ends its process with itself.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// One `dsql-local serve`, and what it tells its clients.
async fn serve(env_file: &Path) -> (Served, Env) {
    let child = Command::new(env!("CARGO_BIN_EXE_dsql-local"))
        .arg("serve")
        .arg("--env-file")
        .arg(env_file)
        .spawn()
        .unwrap();
    let served = Served(child);
    while !env_file.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let env = std::fs::read_to_string(env_file).unwrap();
    let pairs = env.lines().filter_map(|line| line.split_once('='));
    let env = pairs.map(|(name, value)| (name.into(), value.into()));
    (served, env.collect())
}

/// A line of a file of /proc, in KiB.
fn kib(path: &Path, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The process's resident memory, and the share of its PostgreSQL's processes, in KiB.
fn resident(served: &Served, env: &Env) -> (u64, u64) {
    let own = format!("/proc/{}/status", served.0.id());
    let scratch = Path::new(&env["DSQL_CA_FILE"]).parent().unwrap();
    let pid_file = std::fs::read_to_string(scratch.join("postgres/postmaster.pid")).unwrap();
    let server = pid_file.lines().next().unwrap();
    let processes = Path::new("/proc").read_dir().unwrap().flatten();
    let of_server = processes.filter(|process| {
        let is_it = process.file_name().to_str() == Some(server);
        let status = std::fs::read_to_string(process.path().join("status")).unwrap_or_default();
        is_it || status.contains(&format!("PPid:\t{server}\n"))
    });
    let shares = of_server.filter_map(|process| kib(&process.path().join("smaps_rollup"), "Pss:"));
    (kib(Path::new(&own), "VmRSS:").unwrap(), shares.sum())
}

/// Prints what a thousand sessions take, each of which has run a statement.
pub(crate) async fn print() {
    let dir = tempfile::tempdir().unwrap();
    let (served, env) = serve(&dir.path().join("env")).await;
    let through = Through::new(&env).await;
    let mut open = vec![through.connect().await];
    open[0].batch_execute("SELECT 1").await.unwrap();
    let (before, behind_before) = resident(&served, &env);
    while open.len() < SESSIONS {
        let more = AT_ONCE.min(SESSIONS - open.len());
        let new = join_all((0..more).map(|_| through.connect())).await;
        join_all(new.iter().map(|session| session.batch_execute("SELECT 1"))).await;
        open.extend(new);
    }
    let (after, behind_after) = resident(&served, &env);
    let sessions = u64::try_from(SESSIONS).unwrap();
    println!(
        "{SESSIONS} sessions: {} MiB here, {} KiB each; {} MiB more in PostgreSQL",
        after / 1024,
        (after - before) / sessions,
        behind_after.saturating_sub(behind_before) / 1024,
    );
}
