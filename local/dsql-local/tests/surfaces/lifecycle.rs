//! Start, stop, restart, and sudden death.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use dsql_local::{DsqlLocal, Options, StartError};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::{Child, Command};

use crate::support::{admin, count, wait_until};

/// The binary, as a user runs it.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) env: HashMap<String, String>,
}

impl Served {
    pub(crate) async fn start(dir: &Path, arguments: &[&str]) -> Self {
        let env_file = dir.join("env");
        let _earlier = std::fs::remove_file(&env_file);
        let child = command(&env_file, arguments).spawn().unwrap();
        wait_until("the environment file is there", || env_file.exists()).await;
        let mode = env_file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let env = std::fs::read_to_string(&env_file).unwrap();
        let env = env
            .lines()
            .map(|line| line.split_once('=').unwrap())
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        Self { child, env }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
}

fn command(env_file: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dsql-local"));
    command
        .arg("serve")
        .arg("--env-file")
        .arg(env_file)
        .args(arguments);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// PostgreSQL's process of a cluster.
pub(crate) fn server_pid(cluster_dir: &Path) -> Pid {
    let text = std::fs::read_to_string(cluster_dir.join("postmaster.pid")).unwrap();
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap()).unwrap()
}

async fn ends_with_nothing_left(signal: Signal) {
    let dir = tempfile::tempdir().unwrap();
    let mut served = Served::start(dir.path(), &[]).await;
    let scratch = PathBuf::from(&served.env["DSQL_CA_FILE"])
        .parent()
        .unwrap()
        .to_owned();
    let server = server_pid(&scratch.join("postgres"));
    served.signal(signal);
    served.child.wait().await.unwrap();
    wait_until("PostgreSQL ended", || test_kill_process(server).is_err()).await;
    wait_until("the files are gone", || !scratch.exists()).await;
}

#[tokio::test]
async fn a_stop_leaves_no_process_and_no_file() {
    ends_with_nothing_left(Signal::TERM).await;
    ends_with_nothing_left(Signal::INT).await;
}

#[tokio::test]
async fn the_end_of_its_input_stops_it_if_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let env_file = dir.path().join("env");
    let mut child = command(&env_file, &["--stop-at-end-of-input"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the environment file is there", || env_file.exists()).await;
    drop(child.stdin.take());
    assert!(child.wait().await.unwrap().success());
    assert!(!env_file.exists());
}

#[tokio::test]
async fn a_sudden_death_leaves_no_process_and_no_file() {
    ends_with_nothing_left(Signal::KILL).await;
}

#[tokio::test]
async fn data_and_identity_survive_a_sudden_death() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let arguments = ["--data-dir", data.to_str().unwrap()];
    let mut first = Served::start(dir.path(), &arguments).await;
    first.signal(Signal::KILL);
    first.child.wait().await.unwrap();
    // At once, while the first one's PostgreSQL is still on its way out.
    let mut second = Served::start(dir.path(), &arguments).await;
    for name in [
        "DSQL_ENDPOINT",
        "DSQL_CA_FILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ] {
        assert_eq!(first.env[name], second.env[name], "{name}");
    }
    let output = command(&dir.path().join("other"), &arguments)
        .output()
        .await
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("another dsql-local is using"), "{error}");
    assert_eq!(error.lines().count(), 1);
    second.signal(Signal::TERM);
    assert!(second.child.wait().await.unwrap().success());
    assert!(!dir.path().join("env").exists());
}

#[tokio::test]
async fn rows_are_kept_in_a_data_directory_that_others_cannot_reach() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let options = || Options {
        data_dir: Some(dir.path().join("a/b")),
        ..Options::default()
    };
    let dsql = DsqlLocal::start(options()).await.unwrap();
    let client = admin(&dsql).await;
    client
        .batch_execute("CREATE TABLE kept (n int)")
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO kept VALUES (1)")
        .await
        .unwrap();
    let endpoint = dsql.endpoint().to_owned();
    let second = DsqlLocal::start(options()).await.unwrap_err();
    assert!(
        matches!(
            second,
            StartError::DataDir(dsql_local::DataDirError::InUse(_))
        ),
        "{second:?}"
    );
    dsql.stop().await;
    let start = Instant::now();
    let dsql = DsqlLocal::start(options()).await.unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(dsql.endpoint(), endpoint);
    assert_eq!(count(&admin(&dsql).await, "kept").await, 1);
    dsql.stop().await;
}

/// A copy of the repository's PostgreSQL, its `bin` directory; none where its package does not
/// exist for this system.
fn copy_of_the_package(dir: &Path) -> Option<PathBuf> {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/postgres/bin");
    let (package, copy) = (bin.canonicalize().ok()?.join("../."), dir.join("package"));
    std::fs::create_dir(&copy).unwrap();
    // Files that are shared, where the file system can.
    let is_copied = ["-Rl", "-R"].iter().any(|how| {
        let mut cp = std::process::Command::new("cp");
        let cp = cp.arg(how).arg(&package).arg(&copy);
        cp.output().unwrap().status.success()
    });
    assert!(is_copied);
    Some(copy.join("bin"))
}

#[tokio::test]
async fn a_packaged_server_runs_from_a_directory_that_others_cannot_reach() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let Some(bin) = copy_of_the_package(dir.path()) else {
        return;
    };
    let options = Options {
        postgres_bin: Some(bin),
        ..Options::default()
    };
    let dsql = DsqlLocal::start(options).await.unwrap();
    let scratch = dsql.ca_file().parent().unwrap().to_owned();
    let rows = admin(&dsql).await.query("SELECT 1", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    dsql.stop().await;
    assert!(!scratch.exists());
}

#[tokio::test]
async fn another_version_than_dsqls_is_told_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let Some(bin) = copy_of_the_package(dir.path()) else {
        return;
    };
    for (program, version) in [("initdb", ""), ("postgres", "postgres (PostgreSQL) 15.1")] {
        let path = dir.path().join(program);
        let real = bin.join(program);
        let text = format!(
            "#!/bin/sh\n[ \"$1\" != --version ] || {{ echo '{version}'; exit; }}\nexec {} \"$@\"\n",
            real.display()
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let env_file = dir.path().join("env");
    let child = command(&env_file, &[])
        .env("DSQL_LOCAL_POSTGRES_BIN", dir.path())
        .spawn()
        .unwrap();
    wait_until("the environment file is there", || env_file.exists()).await;
    let served = Served {
        child,
        env: HashMap::new(),
    };
    served.signal(Signal::TERM);
    let output = served.child.wait_with_output().await.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("PostgreSQL 15, while DSQL is PostgreSQL 16"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[tokio::test]
async fn a_stale_pid_file_and_a_half_made_cluster_are_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options {
        data_dir: Some(dir.path().to_owned()),
        ..Options::default()
    };
    let cluster = dir.path().join("postgres");
    std::fs::create_dir(&cluster).unwrap();
    // As if initdb had been killed.
    std::fs::write(cluster.join("PG_VERSION"), "15\n").unwrap();
    DsqlLocal::start(options()).await.unwrap().stop().await;
    // A process that lives and is no server of this cluster.
    std::fs::write(
        cluster.join("postmaster.pid"),
        format!("{}\n", std::process::id()),
    )
    .unwrap();
    DsqlLocal::start(options()).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_dropped_stand_in_takes_its_server_along() {
    let dsql = DsqlLocal::start(Options::default()).await.unwrap();
    let scratch = dsql.ca_file().parent().unwrap().to_owned();
    let server = server_pid(&scratch.join("postgres"));
    drop(dsql);
    wait_until("PostgreSQL ended", || test_kill_process(server).is_err()).await;
    wait_until("the files are gone", || !scratch.exists()).await;
}

#[tokio::test]
async fn what_cannot_be_served_is_told_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let env_file = dir.path().join("env");
    let principals = dir.path().join("principals.json");
    std::fs::write(&principals, r#"{"principals": [{"access_key_id": "x"}]}"#).unwrap();
    let principals = principals.to_str().unwrap();
    for (arguments, variable, expected) in [
        (
            vec!["--listen", "0.0.0.0:0"],
            "",
            "0.0.0.0:0 is not a loopback address",
        ),
        (
            vec!["--control", "192.0.2.1:0"],
            "",
            "192.0.2.1:0 is not a loopback address",
        ),
        (
            vec!["--region", "nowhere.example"],
            "",
            "`nowhere.example` is not a Region",
        ),
        (
            vec!["--principals", principals],
            "",
            "missing field `secret_access_key`",
        ),
        (vec![], "/nowhere", "/nowhere holds no PostgreSQL server"),
    ] {
        let mut command = command(&env_file, &arguments);
        if !variable.is_empty() {
            command.env("DSQL_LOCAL_POSTGRES_BIN", variable);
        }
        let output = command.output().await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(
            error.starts_with("dsql-local: ") && error.contains(expected),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!env_file.exists());
    }
}
