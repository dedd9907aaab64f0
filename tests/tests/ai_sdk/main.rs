//! The AI SDK's own clients, in every version we support, against the real `chat` and `chats`
//! through a front that streams. The scenarios are in `tests/clients/ai-sdk`; each client runs all
//! of them.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "../e2e/stack.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod stack;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use serde_json::json;
use tests::binary::workspace;
use tests::clock::WallClock;
use tests::function::Launch;
use tests::gateway::{Functions, Gateway};
use tests::mcp::McpServer;
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::stack::{Stack, launch_chats};

/// At most two sites at once: each starts a dozen processes, but its client waits for half the
/// time.
static SITES: Semaphore = Semaphore::const_new(2);

/// How many scenarios there are: fewer would mean that some did not run.
const SCENARIOS: usize = 43;

/// The same of those with tools.
const WITH_TOOLS: usize = 7;

/// Those of them that ask nothing, which version 5 does not know, have this in their names.
const ASKS_NOTHING: &str = "a tool";

/// Where the packages are; installed first if they are not.
static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let status = std::process::Command::new("scripts/install-tools.sh")
        .arg("ai-sdk")
        .current_dir(workspace())
        .status()
        .unwrap();
    assert!(status.success(), "scripts/install-tools.sh ai-sdk failed");
    workspace().join(".tools/ai-sdk")
});

fn node() -> PathBuf {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x64",
    };
    ROOT.join(format!("node_modules/node-linux-{architecture}/bin/node"))
}

async fn site(chat: impl FnOnce(&Stack) -> Launch) -> (Stack, Gateway) {
    let stack = Stack::start().await;
    let clock = WallClock::new();
    let key = Arc::clone(&stack.key);
    let functions = Functions {
        chat: chat(&stack),
        chats: launch_chats(&stack),
        maintenance: stack.launch("maintenance"),
    };
    let gateway = Gateway::start(functions, key, clock).await;
    (stack, gateway)
}

/// The function as deployed, but for the model, the rhythm, and limits that would meet every
/// visitor at once.
fn launch_chat(stack: &Stack) -> Launch {
    in_this_rhythm(stack.launch("chat"))
}

fn in_this_rhythm(launch: Launch) -> Launch {
    launch
        .env("MODEL_PROVIDER", "echo")
        .env("ECHO_DELAY_MS", "5")
        .env("ECHO_DIRECTIVES", "true")
        .env("CHECKPOINT_MS", "100")
        .env("RESUME_POLL_MS", "100")
        .env("KEEP_ALIVE_MS", "150")
        .env("TURNS_PER_MINUTE_GUEST", "2")
        .env("TURNS_PER_MINUTE_ADDRESS", "1000000")
}

/// Runs every scenario with one client.
async fn run(client: &str) {
    let _place = SITES.acquire().await.unwrap();
    let (_stack, gateway) = site(launch_chat).await;
    run_at(&gateway, client, &[], SCENARIOS).await;
}

/// Runs those with tools, on a site that has some.
async fn run_with_tools(client: &str, only: &str, scenarios: usize) {
    let _place = SITES.acquire().await.unwrap();
    let server = McpServer::start(&[]);
    let servers = json!([
        {"name": "lab", "url": server.url("mcp")},
        {"name": "any", "url": server.url("mcp"), "dynamic": true},
    ]);
    let servers = servers.to_string();
    let launch = |stack: &Stack| {
        in_this_rhythm(stack.set_up("chat", Launch::full_binary("chat")))
            .env("MCP_SERVERS", servers)
    };
    let (_stack, gateway) = site(launch).await;
    let variables = [("TOOLS", "true"), ("ONLY", only)];
    run_at(&gateway, client, &variables, scenarios).await;
}

async fn run_at(gateway: &Gateway, client: &str, variables: &[(&str, &str)], scenarios: usize) {
    let output = Command::new(node())
        .arg(workspace().join("tests/clients/ai-sdk/run.mjs"))
        .arg(client)
        .envs(variables.iter().copied())
        .env("AI_SDK_ROOT", ROOT.as_path())
        .env("API_URL", gateway.url())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    let warnings: Vec<_> = gateway
        .output()
        .into_iter()
        .filter(|line| line.contains("ERROR") || line.contains("WARN") || line.contains("panicked"))
        .collect();
    assert!(
        output.status.success(),
        "{told}\n{complaints}\n{}",
        warnings.join("\n")
    );
    let passed = told.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(passed, scenarios, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ai_7_0_173_passes_every_scenario() {
    run("7.0.173").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ai_6_0_326_passes_every_scenario() {
    run("6.0.326").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ai_6_0_200_with_its_strict_schema_passes_every_scenario() {
    run("6.0.200").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ai_5_0_277_passes_every_scenario() {
    run("5.0.277").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ai_5_0_100_with_its_strict_schema_passes_every_scenario() {
    run("5.0.100").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vue_4_passes_every_scenario() {
    run("vue").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn react_4_passes_every_scenario() {
    run("react").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn svelte_5_passes_every_scenario() {
    run("svelte").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ai_7_0_173_has_tools_called_and_allows_them() {
    run_with_tools("7.0.173", "", WITH_TOOLS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ai_6_0_326_has_tools_called_and_allows_them() {
    run_with_tools("6.0.326", "", WITH_TOOLS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vue_4_has_tools_called_and_allows_them() {
    run_with_tools("vue", "", WITH_TOOLS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ai_6_0_200_with_its_strict_schema_has_tools_called_and_allows_them() {
    run_with_tools("6.0.200", "", WITH_TOOLS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ai_5_0_100_with_its_strict_schema_has_tools_called() {
    run_with_tools("5.0.100", ASKS_NOTHING, 3).await;
}
