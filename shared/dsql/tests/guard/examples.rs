//! The examples of the `dsql` crate, as programs, one after the other on one database.

use std::path::PathBuf;
use std::time::Duration;

use tests::binary::{cargo, target_dir};
use tests::function::Launch;
use tokio::process::Command;

use crate::fixture::Fixture;

const EXAMPLES: [&str; 4] = ["lambda", "batch", "migrate", "text"];

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
}
