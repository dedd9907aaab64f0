//! The official connectors, unmodified: connect, DDL, DML, conflict, and their own retry; and boto3 with the control plane.
//!
//! They find the stand-in by what their drivers offer: an address beside the name (Python), a resolver of the program's own
//! (Node), an entry for the name (Rust). Certificates are verified by each driver's own setting.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use dsql_local::{DsqlLocal, Options};

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
3 clusters
{'a b': 'c/d'}
deletionProtectionEnabled
DELETING
its connections ended
admin of the other cluster goes on
";

/// A folder for what is installed; remade when `recipe` changed since it was filled.
fn installed(name: &str, recipe: &Path, install: impl FnOnce(&Path) -> Command) -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let stamp = folder.join("installed");
    let recipe = std::fs::read_to_string(recipe).unwrap();
    if std::fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == recipe) {
        return folder;
    }
    let _absent = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let output = install(&folder).output().unwrap();
    assert!(output.status.success(), "{name}: {}", errors(&output));
    std::fs::write(stamp, recipe).unwrap();
    folder
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a connector against a stand-in of its own.
async fn makes_the_round_trip(client: Command) {
    prints(client, Options::default(), ROUND_TRIP).await;
}

/// Runs a client against a stand-in of its own.
async fn prints(mut client: Command, options: Options, expected: &str) {
    let dsql = DsqlLocal::start(options).await.unwrap();
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
    dsql.stop().await;
}

/// The folder of what the programs of Python use.
pub(crate) fn python_packages() -> PathBuf {
    let requirements = sources("python/requirements.txt");
    installed("connectors-python", &requirements, |folder| {
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--root-user-action=ignore",
            "--target",
        ]);
        pip.arg(folder).arg("-r").arg(&requirements);
        pip
    })
}

/// The folder of what the programs of Node use.
pub(crate) fn node_packages() -> PathBuf {
    installed(
        "connectors-node",
        &sources("node/package-lock.json"),
        |folder| {
            for file in ["package.json", "package-lock.json", ".npmrc"] {
                std::fs::copy(sources("node").join(file), folder.join(file)).unwrap();
            }
            let mut npm = Command::new("npm");
            npm.args(["ci", "--silent"]).current_dir(folder);
            npm
        },
    )
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
    let folder = node_packages();
    // Node looks for packages beside the program.
    std::fs::copy(
        sources("node/round-trip.mjs"),
        folder.join("round-trip.mjs"),
    )
    .unwrap();
    let mut node = Command::new("node");
    node.arg(folder.join("round-trip.mjs"));
    makes_the_round_trip(node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_connector_makes_the_round_trip() {
    makes_the_round_trip(python("round_trip.py")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_makes_clusters_works_in_them_and_deletes_one() {
    let options = Options {
        control_plane: Some("127.0.0.1:0".parse().unwrap()),
        ..Options::default()
    };
    let mut client = python("control_plane.py");
    client.env("AWS_DEFAULT_REGION", "us-east-1");
    prints(client, options, CONTROL_PLANE).await;
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
    let shim = installed("connectors-shim", &sources("hosts_shim.c"), |folder| {
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.join("hosts.so"))
            .arg(sources("hosts_shim.c"))
            .arg("-ldl");
        cc
    });
    let mut client = Command::new(target.join("debug/dsql-local-connectors"));
    client.env("LD_PRELOAD", shim.join("hosts.so"));
    makes_the_round_trip(client).await;
}
