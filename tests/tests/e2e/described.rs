//! The API against a client that we did not write and that knows it by `docs/openapi.yaml` alone:
//! it sends what the description allows and what it does not, and holds every answer to it.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tests::binary::{target_dir, workspace};
use tests::clock::WallClock;
use tests::gateway::{Functions, Gateway};
use tokio::process::Command;
use tokio::time::timeout;

use crate::stack::{Stack, launch_chat, launch_chats};

/// Requests to each operation.
const EXAMPLES: &str = "40";
/// Requests in all, at least.
const CASES: u64 = 2_000;
/// The same run again; another one with `SCHEMATHESIS_SEED`.
const SEED: &str = "20261129";
const LIMIT: Duration = Duration::from_secs(900);

/// The client; installed first if it is not there.
async fn schemathesis() -> PathBuf {
    let status = Command::new("scripts/install-tools.sh")
        .arg("schemathesis")
        .current_dir(workspace())
        .status()
        .await
        .unwrap();
    assert!(status.success(), "it is not installed");
    workspace().join(".tools/schemathesis")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_knows_the_description_alone_finds_no_difference() {
    let packages = schemathesis().await;
    let stack = Stack::start().await;
    let key = Arc::clone(&stack.key);
    let functions = Functions {
        chat: launch_chat(&stack)
            .env("ECHO_DELAY_MS", "0")
            .env("REQUESTS_PER_MINUTE", "1000000")
            .env("TURNS_PER_MINUTE", "1000000")
            .env("TOKENS_PER_DAY", "1000000000")
            .env("TOKENS_PER_DAY_ADDRESS", "1000000000")
            .env("TOKENS_PER_DAY_ALL", "1000000000"),
        ..Functions::same(launch_chats(&stack))
    };
    let gateway = Gateway::start(functions, key, WallClock::new()).await;
    let seed = std::env::var("SCHEMATHESIS_SEED").unwrap_or_else(|_| SEED.to_owned());
    let run = Command::new("python3")
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(workspace().join("tests/schemathesis.toml"))
        .arg("run")
        .arg(workspace().join("docs/openapi.yaml"))
        .args([
            "--url",
            &gateway.url(),
            "--seed",
            &seed,
            "--max-examples",
            EXAMPLES,
        ])
        // What a schema cannot say of its values (a cursor is one that was answered) is refused,
        // and the SQL function is not here.
        .args([
            "--exclude-checks",
            "positive_data_acceptance,ensure_resource_availability,use_after_free",
        ])
        .args(["--exclude-path", "/token", "--header"])
        .arg(format!("Authorization: Bearer {}", stack.token("visitor")))
        .arg("--report-junit-path")
        .arg(target_dir().join("schemathesis.xml"))
        .env("PYTHONPATH", &packages)
        .env(
            "HYPOTHESIS_STORAGE_DIRECTORY",
            target_dir().join("hypothesis"),
        )
        .current_dir(target_dir()) // it leaves files behind
        .kill_on_drop(true)
        .output();
    let run = timeout(LIMIT, run).await.expect("it ends").unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let cases = told
        .lines()
        .find_map(|line| line.trim().split_once(" generated")?.0.parse::<u64>().ok());
    let cases = cases.unwrap_or_else(|| panic!("it does not say how many: {told}"));
    // Past what a test that succeeds is not heard with.
    let _ = writeln!(
        std::io::stderr(),
        "schemathesis: seed {seed}, {cases} cases"
    );
    assert!(cases >= CASES, "{cases}: {told}");
}
