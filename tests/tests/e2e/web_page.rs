//! The chat page in a real browser, against the real functions. Two browsers keep two processors
//! busy, and a story waits as a person does; tests begin in the order of their names, so by this one
//! it begins when little else runs.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tests::binary::{target_dir, workspace};
use tests::blog::Blog;
use tests::bucket::Bucket;
use tests::clock::WallClock;
use tests::function::Launch;
use tests::gateway::{Functions, Gateway};
use tests::mcp::McpServer;
use tokio::process::Command;
use tokio::time::timeout;

use crate::stack::{Stack, launch_chat, launch_chats, slow};

/// All stories, with screenshots and a look at every state by axe.
const STORIES_LIMIT: Duration = Duration::from_secs(1200);

/// A dozen posts, read and indexed.
const INDEX_LIMIT: Duration = Duration::from_secs(120);

/// Installs and builds what is not there yet.
async fn tools(parts: &[&str]) {
    let status = Command::new("scripts/install-tools.sh")
        .args(parts)
        .current_dir(workspace())
        .status()
        .await
        .unwrap();
    assert!(
        status.success(),
        "scripts/install-tools.sh {parts:?} failed"
    );
}

/// The real functions, with a model that does as it is told and limits that no story meets.
async fn site() -> (Stack, Gateway) {
    let stack = Stack::start().await;
    let chat = launch_chat(&stack);
    gateway(stack, chat).await
}

async fn gateway(stack: Stack, chat: Launch) -> (Stack, Gateway) {
    let key = Arc::clone(&stack.key);
    let functions = functions(chat, launch_chats(&stack));
    let gateway = Gateway::start(functions, key, WallClock::new()).await;
    (stack, gateway)
}

fn functions(chat: Launch, chats: Launch) -> Functions {
    Functions {
        chat: chat
            .env("ECHO_DIRECTIVES", "true")
            .env("REQUESTS_PER_MINUTE", "1000000")
            .env("TURNS_PER_MINUTE", "1000")
            .env("TOKENS_PER_DAY", "10000000")
            // All visitors have one address here.
            .env("TOKENS_PER_DAY_ADDRESS", "1000000000"),
        ..Functions::same(chats)
    }
}

/// Runs a script of `tests/clients/page`, which has to end well.
async fn run(node: &Path, script: &str, arguments: &[&OsStr], gateway: &Gateway) {
    let script = workspace().join("tests/clients/page").join(script);
    let run = Command::new(node)
        .arg(script)
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = timeout(STORIES_LIMIT, run).await.unwrap().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        gateway.output().join("\n")
    );
}

fn browser() -> OsString {
    std::env::var_os("CHROMIUM").unwrap_or_else(|| "/usr/bin/chromium".into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_tells_its_stories_in_a_browser() {
    tools(&["blog", "page"]).await;
    let (_stack, gateway) = site().await;
    let (url, browser, pictures) = (gateway.url(), browser(), target_dir().join("page"));
    let arguments = [url.as_ref(), browser.as_ref(), pictures.as_ref()];
    run(Path::new("node"), "run.mjs", &arguments, &gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_asks_before_a_tool_changes_things() {
    tools(&["blog", "page"]).await;
    let server = McpServer::start(&[]);
    let stack = Stack::start().await;
    let chat = slow(stack.set_up("chat", Launch::full_binary("chat")));
    let chat = chat.env("MCP_SERVERS", server.config(&json!({})));
    let (_stack, gateway) = gateway(stack, chat).await;
    let (url, browser, pictures) = (gateway.url(), browser(), target_dir().join("page"));
    let (url, tools) = (url.as_ref(), "--tools".as_ref());
    let arguments = [url, browser.as_ref(), pictures.as_ref(), tools];
    run(Path::new("node"), "run.mjs", &arguments, &gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_the_posts_that_an_answer_rests_on() {
    tools(&["blog", "page"]).await;
    let (stack, blog) = (Stack::start().await, Blog::with_posts(12).await);
    let feed = blog.url("/sitemap.xml");
    let maintenance = stack.launch("maintenance").env("BLOG_FEED", feed.as_str());
    let event = json!({"task": "index-posts"}).to_string();
    let report = maintenance.start().await.invoke(event, INDEX_LIMIT).await;
    let report: Value = serde_json::from_slice(&report.response()).unwrap();
    assert_eq!(report["written"], 12, "{report}");
    let chat = launch_chat(&stack).env("BLOG_FEED", feed);
    let (_stack, gateway) = gateway(stack, chat).await;
    let (url, browser, pictures) = (gateway.url(), browser(), target_dir().join("page"));
    let (url, posts) = (url.as_ref(), "--posts".as_ref());
    let arguments = [url, browser.as_ref(), pictures.as_ref(), posts];
    run(Path::new("node"), "run.mjs", &arguments, &gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_uploads_what_is_too_large_for_a_message_and_shows_it_again() {
    tools(&["blog", "page"]).await;
    let stack = Stack::start().await;
    let (clock, key) = (WallClock::new(), Arc::clone(&stack.key));
    let shown = clock.clone();
    let bucket = Bucket::start(&stack, move || shown.now()).await;
    let chats = launch_chats(&stack)
        .env("UPLOAD_BYTES", "8000000")
        .env("UPLOAD_BYTES_PER_DAY", "40000000");
    let functions = functions(bucket.given_to(launch_chat(&stack)), bucket.given_to(chats));
    // A PDF is taken for a token of 16 bytes: one of 7 MB is within the day, two are not.
    let functions = Functions {
        chat: functions.chat.env("TOKENS_PER_DAY", "600000"),
        ..functions
    };
    let gateway = Gateway::start(functions, key, clock).await;
    gateway.allow_bucket(&bucket.url());
    let (url, browser, pictures) = (gateway.url(), browser(), target_dir().join("page"));
    let (url, uploads) = (url.as_ref(), "--uploads".as_ref());
    let arguments = [url, browser.as_ref(), pictures.as_ref(), uploads];
    run(Path::new("node"), "run.mjs", &arguments, &gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_nuxt_project_takes_the_page_over_as_its_guide_says() {
    tools(&["nuxt", "page", "ai-sdk"]).await;
    let (_stack, gateway) = site().await;
    let (url, browser, root) = (gateway.url(), browser(), workspace());
    let project = root.join(".tools/nuxt");
    let arguments = [
        root.as_os_str(),
        project.as_ref(),
        url.as_ref(),
        browser.as_ref(),
    ];
    // Nuxt needs a newer Node than everything else here.
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x64",
    };
    let node = format!(".tools/ai-sdk/node_modules/node-linux-{architecture}/bin/node");
    run(&root.join(node), "nuxt.mjs", &arguments, &gateway).await;
}
