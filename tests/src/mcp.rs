//! Owns an MCP server made with the protocol's own SDK: `tests/clients/mcp`, a process on loopback
//! whose calls can be read.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

use crate::binary::workspace;

/// Where the packages are; installed first if they are not.
static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let status = Command::new("scripts/install-tools.sh")
        .args(["mcp", "node"])
        .current_dir(workspace())
        .status()
        .expect("the script starts");
    assert!(status.success(), "scripts/install-tools.sh mcp failed");
    workspace().join(".tools/mcp")
});

/// A running server.
#[derive(Debug)]
pub struct McpServer {
    child: Child,
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl McpServer {
    /// Starts one; `variables` are those of its script.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new("node")
            .arg(workspace().join("tests/clients/mcp/server.mjs"))
            .env("MCP_ROOT", ROOT.as_path())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Not the test's own, which Node would make a stream that loses what is written fast.
            .stderr(Stdio::piped())
            .spawn()
            .expect("node starts");
        let output = child.stdout.take().expect("its output is piped");
        let complaints = child.stderr.take().expect("its output is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(complaints).lines().map_while(Result::ok) {
                eprintln!("{line}");
            }
        });
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, ready) = channel();
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(port) = line.strip_prefix("port ") {
                    let _ = sender.send(port.parse().expect("a port is a number"));
                } else {
                    kept.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(line);
                }
            }
        });
        let port = wait_for(&ready);
        Self { child, port, lines }
    }

    /// Its address, at this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// The configuration of a function that uses it, under the name `lab`; `more` is added.
    pub fn config(&self, more: &Value) -> String {
        let mut server = json!({"name": "lab", "url": self.url("mcp")});
        for (key, value) in more.as_object().into_iter().flatten() {
            server[key] = value.clone();
        }
        json!([server]).to_string()
    }

    /// Makes it forget every session, as a server that is started again.
    pub async fn forget(&self) {
        let request = Request::get(self.url("forget"));
        let request = request.body(Full::default()).expect("a plain request");
        https::Client::new()
            .send(request)
            .await
            .expect("the server answers");
    }

    /// The calls that it has executed, as `tool input`.
    pub fn calls(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = lines.iter().filter_map(|line| line.strip_prefix("called "));
        calls.map(str::to_owned).collect()
    }
}

fn wait_for(ready: &Receiver<u16>) -> u16 {
    ready
        .recv_timeout(Duration::from_secs(30))
        .expect("the server starts")
}

impl Drop for McpServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
