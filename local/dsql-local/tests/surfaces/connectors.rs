//! The official connectors, unmodified: connect, DDL, DML, conflict, and their own retry; and boto3
//! with the control plane.
//!
//! They find the stand-in by what their drivers offer: an address beside the name (Python), a
//! resolver of the program's own (Node), an entry for the name (Rust). Certificates are verified by
//! each driver's own setting.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use crate::support::steady;

/// What each connector prints.
const ROUND_TRIP: &str =
    "admin 110 after 2 attempts\n40001 change conflicts with another transaction (OC000)\n";

fn sources(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/connectors")
        .join(of)
}

/// What boto3's program prints.
const CONTROL_PLANE: &str = "\
0 tables of another cluster
2 clusters
{'a b': 'c/d'}
deletionProtectionEnabled
DELETING
its connections ended
admin of the other cluster goes on
";

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a connector's program.
async fn makes_the_round_trip(client: Command) {
    prints(client, ROUND_TRIP).await;
}

/// Runs a client's program, which names nothing as another one does.
async fn prints(mut client: Command, expected: &str) {
    let dsql = steady();
    client
        .envs(dsql.env())
        .env("PGSSLROOTCERT", dsql.ca_file())
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let output = tokio::task::spawn_blocking(move || client.output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        expected,
        "{}",
        errors(&output)
    );
}

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An empty folder.
pub(crate) fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _absent = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Installs what the programs use, if it is not there.
fn tools() -> PathBuf {
    static INSTALLED: LazyLock<PathBuf> = LazyLock::new(|| {
        let install = repository().join("scripts/install-tools.sh");
        let output = Command::new(install).arg("connectors").output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
        repository().join(".tools")
    });
    INSTALLED.clone()
}

/// The folder of what the programs of Python use.
pub(crate) fn python_packages() -> PathBuf {
    tools().join("connector-python")
}

/// The folder of what the programs of Node use.
pub(crate) fn node_packages() -> PathBuf {
    tools().join("connector-node")
}

/// A program of Python.
fn python(program: &str) -> Command {
    let mut python = Command::new("python3");
    python
        .arg(sources("python").join(program))
        .env("PYTHONPATH", python_packages());
    python
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_connector_makes_the_round_trip() {
    // Node looks for packages beside the program.
    let folder = fresh("connectors-node");
    let program = folder.join("round-trip.mjs");
    std::fs::copy(sources("node/round-trip.mjs"), &program).unwrap();
    let modules = node_packages().join("node_modules");
    std::os::unix::fs::symlink(modules, folder.join("node_modules")).unwrap();
    let mut node = Command::new("node");
    node.arg(program);
    makes_the_round_trip(node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_connector_makes_the_round_trip() {
    makes_the_round_trip(python("round_trip.py")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_makes_clusters_works_in_them_and_deletes_one() {
    let mut client = python("control_plane.py");
    client.env("AWS_DEFAULT_REGION", "us-east-1");
    prints(client, CONTROL_PLANE).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sqlx_connector_makes_the_round_trip() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("connectors-rust");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--manifest-path"])
        .arg(sources("rust/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", errors(&built));
    let shim = fresh("connectors-shim").join("hosts.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&shim)
        .arg(sources("hosts_shim.c"))
        .arg("-ldl")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", errors(&built));
    let mut client = Command::new(target.join("debug/dsql-local-connectors"));
    client.env("LD_PRELOAD", shim);
    makes_the_round_trip(client).await;
}
