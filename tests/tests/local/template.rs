//! The template decides: what is changed in a copy of it changes here, with no other change. With
//! the real functions and a database of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use lambda_local::gateway::NoFront;
use lambda_local::stack::{Options, Stack};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::binary::{binary, workspace};
use tests::wait;

use crate::support::{Answer, LIMIT, send};

/// Deployed functions, which all have to be built.
const FUNCTIONS: [&str; 6] = ["admin", "chat", "chats", "jobs", "maintenance", "sql"];

struct Running {
    stack: Stack,
    folder: TempDir,
    connection_string: String,
}

/// The repository's template with each `(text, replacement)` made once.
async fn start(edits: &[(&str, &str)]) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut text = fs::read_to_string(workspace().join("template.yaml")).unwrap();
    for (from, to) in edits {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    let template = folder.path().join("template.yaml");
    fs::write(&template, text).unwrap();
    symlink(
        workspace().join("functions"),
        folder.path().join("functions"),
    )
    .unwrap();
    let programs: Vec<PathBuf> = FUNCTIONS.map(binary).to_vec();
    let parameters = [
        ("AuthJwks", r#"{"keys":[]}"#),
        ("AuthIssuer", "http://localhost"),
        ("SqlHostName", "localhost"),
    ];
    let options = Options {
        parameters: parameters
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        programs: programs[0].parent().unwrap().to_owned(),
        state: folder.path().join("state"),
        ..Options::new(template)
    };
    let stack = Stack::start(options, NoFront, &|_| {}).await.unwrap();
    let login = json!({ "command": "create-login", "name": "blog", "access": "owner" });
    let report = stack.invoke("admin", login.to_string()).await.unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    Running {
        stack,
        folder,
        connection_string: report["connectionString"].as_str().unwrap().to_owned(),
    }
}

impl Running {
    async fn query(&self, path: &str) -> Answer {
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header("host", "localhost")
            .header("accept", "*/*")
            .header("neon-connection-string", &self.connection_string)
            .body(Full::new(Bytes::from(r#"{"query":"SELECT 1 AS one"}"#)))
            .unwrap();
        send(&self.stack.api_url().unwrap(), request).await
    }

    /// What the function wrote that the template calls `maintenance`, once it holds `text`.
    async fn log_with(&self, text: &str) {
        let path = self.folder.path().join("state/logs/maintenance.log");
        let seen = || {
            let log = fs::read_to_string(&path).ok()?;
            log.contains(text).then_some(())
        };
        wait::until(text, LIMIT, seen).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_template_as_it_is_serves_sql_under_its_path_and_waits_for_a_slow_database() {
    let running = start(&[]).await;
    let answer = running.query("/sql").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["rows"], json!([{ "one": 1 }]));
    assert_eq!(running.query("/v2/sql").await.status, StatusCode::FORBIDDEN);
    running.log_with("Relay: ").await;
    slow_down(&running);
    assert_eq!(running.query("/sql").await.status, StatusCode::OK);
    let outputs = &running.stack.application().outputs;
    assert!(outputs.contains_key("SchemaVersion"), "{outputs:?}");
    running.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_route_variable_schedule_and_time_out_are_followed() {
    let running = start(&[
        ("Path: /sql, Method: post", "Path: /v2/sql, Method: post"),
        (
            "SQL_HOST: !If [HasSqlHost, !Ref SqlHostName, !Ref AWS::NoValue]",
            "SQL_HOST: db.copy.example.com",
        ),
        (
            "      CodeUri: functions/sql\n",
            "      CodeUri: functions/sql\n      Timeout: 2\n",
        ),
        (
            r#"Input: '{"task":"relay"}'"#,
            r#"Input: '{"task":"purge"}'"#,
        ),
    ])
    .await;
    assert_eq!(running.query("/sql").await.status, StatusCode::FORBIDDEN);
    assert_eq!(running.query("/v2/sql").await.status, StatusCode::OK);
    let string = &running.connection_string;
    assert!(string.contains("@db.copy.example.com/"), "{string}");
    running.log_with("Purge: ").await;
    slow_down(&running);
    let answer = running.query("/v2/sql").await;
    assert_ne!(answer.status, StatusCode::OK, "{:?}", answer.body);
    running.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_may_read_what_the_gateway_refuses_by_itself() {
    const TOO_LARGE: usize = 10 * 1024 * 1024 + 1;
    // A function that does not start: the gateway's own 502.
    let audience = "          SQL_AUTH_AUDIENCE: !Ref SqlAuthAudience\n";
    let broken = format!("{audience}          AWS_LAMBDA_LOG_LEVEL: loud\n");
    let running = start(&[(audience, &broken)]).await;
    for (path, bytes, status) in [
        ("/nowhere", 0, 403),
        ("/sql", TOO_LARGE, 413),
        ("/sql", 0, 502),
    ] {
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header("host", "localhost")
            .body(Full::new(Bytes::from(vec![b' '; bytes])))
            .unwrap();
        let answer = send(&running.stack.api_url().unwrap(), request).await;
        assert_eq!(answer.status, status, "{:?}", answer.body);
        assert_readable_by_a_page(&answer);
    }
    running.stack.stop().await;
}

/// A browser hands an answer to a page of another origin only with these headers.
fn assert_readable_by_a_page(answer: &Answer) {
    let origin = answer.headers.get("access-control-allow-origin");
    assert_eq!(origin.unwrap(), "*", "{:?}", answer.status);
}

/// From now on the database takes longer than the shorter time-out for each round trip.
fn slow_down(running: &Running) {
    let database = running.stack.database().unwrap();
    let faults = dsql_local::Faults {
        delay_ms: 3_000,
        ..dsql_local::Faults::default()
    };
    database.set_faults(faults).unwrap();
}
