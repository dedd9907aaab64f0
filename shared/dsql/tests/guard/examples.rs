//! The examples of the `dsql` crate, as programs, one after the other on one database.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use tests::binary::{cargo, target_dir};
use tests::function::Launch;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::fixture::Fixture;

const EXAMPLES: [&str; 5] = ["axum", "batch", "lambda", "migrate", "text"];

/// Built with the whole workspace's features, as the tests are, so that nothing below is built once
/// more.
fn build() -> PathBuf {
    let target = target_dir();
    let examples = EXAMPLES.iter().flat_map(|name| ["--example", name]);
    let output = cargo()
        .args(["build", "--quiet", "--features", "dsql/text"])
        .args(examples)
        .arg("--target-dir")
        .arg(&target)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("debug/examples")
}

#[tokio::test]
async fn each_example_of_the_dsql_crate_does_what_it_says() {
    let folder = build();
    let fixture = Fixture::start().await;
    let mut env = fixture.server.env();
    env.push(("DSQL_ROLE".to_owned(), "admin".to_owned()));
    let run = |name: &'static str, arguments: &'static [&'static str]| {
        let mut command = Command::new(folder.join(name));
        command.args(arguments).env_clear().envs(env.clone());
        async move {
            let output = command.output().await.unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {errors}");
            String::from_utf8(output.stdout).unwrap()
        }
    };
    assert_eq!(
        run("migrate", &[]).await,
        "1 applied\n2 applied\n3 applied\n"
    );
    assert_eq!(
        run("migrate", &[]).await,
        "1 was there\n2 was there\n3 was there\n"
    );
    assert_eq!(run("batch", &[]).await, "10000 inserted\n");
    assert_eq!(run("batch", &[]).await, "0 inserted\n");
    let read = &[
        "SELECT count(*), NULL FROM words",
        "DELETE FROM words WHERE id = 7",
    ];
    assert_eq!(run("text", read).await, "10000\tNULL\nSELECT 1\nDELETE 1\n");
    let function = Launch::program(folder.join("lambda"))
        .envs(env.clone())
        .start()
        .await;
    for visits in 1..=2 {
        let outcome = function.invoke(r#"{"name":"Ada"}"#, Duration::from_secs(10));
        let answer: serde_json::Value = serde_json::from_slice(&outcome.await.response()).unwrap();
        assert_eq!(answer["visits"], visits);
    }
    function.end().await;
    serves(&folder, &env).await;
}

/// The body of the answer, and its status behind it.
async fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--max-time",
        "20",
        "--write-out",
        " %{http_code}",
    ]);
    let output = command.args(arguments).output().await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The service that runs all the time, with requests at once, until it is interrupted.
async fn serves(folder: &Path, env: &[(String, String)]) {
    let mut service = Command::new(folder.join("axum"))
        .env_clear()
        .envs(env.iter().cloned())
        .env("LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(service.stdout.take().unwrap()).lines();
    let url = lines.next_line().await.unwrap().unwrap();
    let grace = format!("{url}/visits/Grace");
    assert_eq!(curl(&[&grace]).await, r#"{"visits":0} 200"#);
    let post = ["--request", "POST", &grace];
    let visits = join_all((0..8).map(|_| curl(&post))).await;
    assert!(
        visits.iter().all(|answer| answer.ends_with(" 200")),
        "{visits:?}"
    );
    assert_eq!(curl(&[&grace]).await, r#"{"visits":8} 200"#);
    let too_long = format!("{url}/visits/{}", "a".repeat(3_000));
    let refused = curl(&["--request", "POST", &too_long]).await;
    assert!(refused.ends_with(" 400"), "{refused}");
    let pid = service.id().unwrap().to_string();
    let interrupt = Command::new("kill").args(["-INT", &pid]).status();
    assert!(interrupt.await.unwrap().success());
    assert!(service.wait().await.unwrap().success());
}
