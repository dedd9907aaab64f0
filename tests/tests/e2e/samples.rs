//! Every event in `events/`, given to the function that it is for.

use serde_json::{Value, json};
use tests::function::Launch;
use tests::http::Response;
use tests::response_url::ResponseUrl;
use tests::runtime_api::Outcome;
use tests::sample::Sample;

use crate::stack::{LIMIT, Stack, launch_chats};

#[tokio::test]
async fn every_sample_event_runs_against_its_function() {
    let stack = Stack::start().await;
    let (chats, admin) = (
        launch_chats(&stack).start().await,
        stack.launch_admin().start().await,
    );
    // The relay has nothing to send here: tests/tests/operations/relay.rs gives it a queue and
    // jobs.
    let operations = |name: &str| {
        Launch::binary(name)
            .envs(stack.server.env())
            .env("DSQL_ROLE", name)
            .env("JOBS_QUEUE_URL", "http://127.0.0.1:9/jobs")
            .env("JOBS_DLQ_URL", "http://127.0.0.1:9/jobs-dead")
            .start()
    };
    let arn = &stack.server.admin().arn;
    let roles = json!({"command": "migrate", "roles": {"jobs": arn, "maintenance": arn}});
    admin.invoke(roles.to_string(), LIMIT).await.response();
    let (jobs, maintenance) = (operations("jobs").await, operations("maintenance").await);
    let token = stack.token("visitor");
    let samples = Sample::all();
    assert!(samples.len() >= 17, "{} sample events", samples.len());
    for sample in samples {
        let event = sample.event_for(&token).to_string();
        match sample.function.as_str() {
            "chats" => {
                let response = Response::from_answer(&chats.invoke(event, LIMIT).await.response());
                assert!(
                    (200..300).contains(&response.status),
                    "{}: {} {:?}",
                    sample.name,
                    response.status,
                    response.body
                );
            }
            "admin" if sample.event.get("ResponseURL").is_some() => {
                let url = ResponseUrl::start().await;
                let mut event = sample.event.clone();
                event["ResponseURL"] = json!(url.url());
                admin.invoke(event.to_string(), LIMIT).await.response();
                assert_eq!(
                    url.answer().await.body["Status"],
                    "SUCCESS",
                    "{}",
                    sample.name
                );
            }
            "admin" => {
                let report: Value =
                    serde_json::from_slice(&admin.invoke(event, LIMIT).await.response()).unwrap();
                let keys = ["schemaVersion", "login", "logins", "healthy"];
                assert!(
                    keys.iter().any(|key| !report[key].is_null()),
                    "{}: {report}",
                    sample.name
                );
            }
            // tests/tests/operations has somebody to write to (hyperdrive.rs), and to read
            // (posts.rs).
            "maintenance" if ["refresh-hyperdrive", "index-posts"].contains(&&*sample.name) => {}
            "jobs" | "maintenance" => {
                let function = if sample.function == "jobs" {
                    &jobs
                } else {
                    &maintenance
                };
                let outcome = function.invoke(event, LIMIT).await;
                assert!(
                    matches!(outcome, Outcome::Response(_)),
                    "{}: {outcome:?}",
                    sample.name
                );
            }
            // Run by the tests of that function; shapes by those of every HTTP function.
            "chat" | "sql" | "shapes" => {}
            other => panic!("events/{other}: no such function"),
        }
    }
    for function in [chats, admin, jobs, maintenance] {
        function.terminate();
        function.exit().await;
        let lines = function.output();
        assert!(lines.iter().any(|line| line.contains("\"xrayTraceId\"")));
        tests::log::check(&lines);
    }
}
