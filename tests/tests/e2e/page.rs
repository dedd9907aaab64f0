//! The chat page in a real browser, against the real functions.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tests::binary::{target_dir, workspace};
use tests::clock::WallClock;
use tests::gateway::{Functions, Gateway};
use tokio::process::Command;
use tokio::time::timeout;

use crate::stack::Stack;

const STORY_LIMIT: Duration = Duration::from_secs(300);

/// The browser and the packages that drive it; installed first if they are not there.
async fn tools() -> PathBuf {
    let status = Command::new("scripts/install-tools.sh")
        .arg("page")
        .current_dir(workspace())
        .status()
        .await
        .unwrap();
    assert!(status.success(), "scripts/install-tools.sh page failed");
    workspace().join(".tools/page")
}

/// node finds packages beside the script: it is copied to where they are.
async fn story(tools: &Path, url: &str) -> std::process::Output {
    let script = tools.join("story.mjs");
    let text = std::fs::read(workspace().join("tests/clients/page/story.mjs")).unwrap();
    std::fs::write(&script, text).unwrap();
    let browser = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    let story = Command::new("node")
        .arg(script)
        .args([url, &browser])
        .arg(target_dir().join("page.png"))
        .kill_on_drop(true)
        .output();
    timeout(STORY_LIMIT, story).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_tells_its_whole_story_in_a_browser() {
    let tools = tools().await;
    let stack = Stack::start().await;
    let key = Arc::clone(&stack.key);
    let functions = Functions {
        chat: stack.launch_chat(),
        ..Functions::same(stack.launch_chats())
    };
    let gateway = Gateway::start(functions, key, WallClock::new()).await;
    let output = story(&tools, &gateway.url()).await;
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        gateway.output().join("\n")
    );
    assert!(target_dir().join("page.png").exists());
}
