//! The official connectors, unmodified: connect, DDL, DML, conflict, and their own retry.
//!
//! They find the stand-in by what their drivers offer: an address beside the name (Python), a resolver of the program's own
//! (Node), an entry for the name (Rust). Certificates are verified by each driver's own setting.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dsql_local::{DsqlLocal, Options};

/// What each of them prints.
const EXPECTED: &str =
    "admin 110 after 2 attempts\n40001 change conflicts with another transaction (OC000)\n";

fn sources(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/connectors")
        .join(of)
}

/// A folder for what is installed; remade when `recipe` changed since it was filled.
fn installed(name: &str, recipe: &Path, install: impl FnOnce(&Path) -> Command) -> PathBuf {
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

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a client against a stand-in of its own.
async fn makes_the_round_trip(mut client: Command) {
    let dsql = DsqlLocal::start(Options::default()).await.unwrap();
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
        EXPECTED,
        "{}",
        errors(&output)
    );
    dsql.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_connector_makes_the_round_trip() {
    let folder = installed(
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
    );
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
    let requirements = sources("python/requirements.txt");
    let folder = installed("connectors-python", &requirements, |folder| {
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
    });
    let mut python = Command::new("python3");
    python
        .arg(sources("python/round_trip.py"))
        .env("PYTHONPATH", folder);
    makes_the_round_trip(python).await;
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
