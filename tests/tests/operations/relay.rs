//! The relay from the outbox to a real implementation of SQS (moto), and the whole way through
//! `jobs`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::QueueAttributeName;
use chat_store::JobKind;
use dsql_local::Faults;
use serde_json::{Value, json};
use tests::clock::WallClock;
use tests::function::{Function, Launch};
use tests::python::python_path;
use tests::runtime_api::Outcome;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::stack::{LIMIT, Stack};
use crate::support::{batch, database, discard, fill, insert_job, invoke, job, number, sample};

/// A queue, its dead-letter queue and the server they live in, which ends with this.
struct Sqs {
    client: Client,
    endpoint: String,
    jobs: String,
    dead: String,
    _server: Child,
}

impl Sqs {
    async fn start() -> Self {
        let folder: PathBuf = python_path();
        let mut server = Command::new("python3")
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONPATH", folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
        let endpoint = timeout(Duration::from_secs(60), async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, address)) = line.split_once("Running on ") {
                    return address.trim().to_owned();
                }
            }
            panic!("moto ended before it listened")
        })
        .await
        .expect("moto listens within a minute");
        // Its log must be read, or it blocks one day.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(https::Connector::from(https::Client::new()))
            .endpoint_url(&endpoint)
            .build();
        let client = Client::from_conf(config);
        let mut urls = Vec::new();
        for name in ["jobs-dead", "jobs"] {
            let created = client.create_queue().queue_name(name).send().await.unwrap();
            urls.push(created.queue_url.unwrap());
        }
        let redrive = json!({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:jobs-dead", "maxReceiveCount": "3"});
        client
            .set_queue_attributes()
            .queue_url(&urls[1])
            .attributes(QueueAttributeName::RedrivePolicy, redrive.to_string())
            .attributes(QueueAttributeName::VisibilityTimeout, "0")
            .send()
            .await
            .unwrap();
        Self {
            client,
            endpoint,
            jobs: urls[1].clone(),
            dead: urls[0].clone(),
            _server: server,
        }
    }

    /// Receives up to ten messages: receipt handle and body.
    async fn receive(&self, url: &str) -> Vec<(String, Value)> {
        let received = self
            .client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10)
            .send()
            .await
            .unwrap();
        received
            .messages
            .unwrap_or_default()
            .into_iter()
            .map(|message| {
                let body = message.body.unwrap();
                let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
                (message.receipt_handle.unwrap(), body)
            })
            .collect()
    }

    async fn delete(&self, url: &str, handle: &str) {
        self.client
            .delete_message()
            .queue_url(url)
            .receipt_handle(handle)
            .send()
            .await
            .unwrap();
    }

    fn launch(&self, stack: &Stack) -> Launch {
        stack
            .launch("maintenance")
            .env("JOBS_QUEUE_URL", &self.jobs)
            .env("JOBS_DLQ_URL", &self.dead)
            .env("AWS_ENDPOINT_URL_SQS", &self.endpoint)
    }

    /// What Lambda's event source does: hands a batch to the function and deletes what was taken.
    async fn deliver(&self, jobs: &Function) -> usize {
        let received = self.receive(&self.jobs).await;
        if received.is_empty() {
            return 0;
        }
        let bodies: Vec<Value> = received.iter().map(|(_, body)| body.clone()).collect();
        let answer = invoke(jobs, &batch(&bodies)).await;
        let failed: Vec<&str> = answer["batchItemFailures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|failure| failure["itemIdentifier"].as_str().unwrap())
            .collect();
        for (n, (handle, _)) in received.iter().enumerate() {
            if !failed.contains(&format!("m{n}").as_str()) {
                self.delete(&self.jobs, handle).await;
            }
        }
        received.len()
    }
}

#[tokio::test]
async fn jobs_go_through_the_queue_and_are_done_once() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let sqs = Sqs::start().await;
    for n in 0..23 {
        let owner = format!("owner{n}");
        fill(&db, &owner, 1, 2).await;
        discard(&db, &format!("job-{n}"), JobKind::EraseUser, &owner).await;
    }
    let relay = sqs.launch(&stack).start().await;
    let report = invoke(&relay, &sample("maintenance", "relay")).await;
    assert_eq!(
        (&report["sent"], &report["refused"]),
        (&json!(23), &json!(0))
    );
    let again = invoke(&relay, &json!({"task": "relay"})).await;
    assert_eq!(again["sent"], 0, "what was sent is not sent again at once");

    let jobs = stack.launch("jobs").start().await;
    while sqs.deliver(&jobs).await > 0 {}
    assert_eq!(
        number(
            &db,
            "SELECT count(*) FROM jobs WHERE state = 'done' AND attempts = 1"
        )
        .await,
        23
    );
    assert_eq!(number(&db, "SELECT count(*) FROM chats").await, 0);
}

#[tokio::test]
async fn a_dropped_send_and_a_dead_worker_are_repeated_later() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let sqs = Sqs::start().await;
    fill(&db, "owner", 1, 2).await;
    discard(&db, "job-1", JobKind::EraseUser, "owner").await;
    let clock = WallClock::new();
    let advance = |by| {
        clock.advance(by);
        stack.server.advance(by);
    };

    // The queue is away: the relay says so, and the job stays due.
    let away = sqs
        .launch(&stack)
        .env("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")
        .start()
        .await;
    let outcome = away
        .invoke(json!({"task": "relay"}).to_string(), LIMIT)
        .await;
    assert!(
        matches!(&outcome, Outcome::FunctionError { error_type, .. } if error_type == "Queue"),
        "{outcome:?}"
    );
    assert_eq!(job(&db, "job-1").await.state, "pending");

    // Sent, and lost by the queue.
    let relay = sqs.launch(&stack).clock(&clock).start().await;
    assert_eq!(invoke(&relay, &json!({"task": "relay"})).await["sent"], 1);
    let lost = sqs.receive(&sqs.jobs).await;
    assert_eq!(lost[0].1["jobId"], "job-1");
    sqs.delete(&sqs.jobs, &lost[0].0).await;
    advance(Duration::from_secs(601));
    assert_eq!(invoke(&relay, &json!({"task": "relay"})).await["sent"], 1);

    // Begun, and killed: frozen at the database, then gone.
    let worker = stack.launch("jobs").clock(&clock).start().await;
    let received = sqs.receive(&sqs.jobs).await;
    stack
        .server
        .set_faults(Faults {
            delay_ms: 200,
            ..Faults::default()
        })
        .unwrap();
    let running = worker.begin(batch(&[received[0].1.clone()]).to_string(), LIMIT);
    let side = database(&stack.server);
    let mut looks = 0;
    while job(&side, "job-1").await.state != "running" {
        looks += 1;
        assert!(looks < 500, "the job was never begun");
    }
    worker.kill().await;
    drop(running);
    stack.server.set_faults(Faults::default()).unwrap();
    sqs.delete(&sqs.jobs, &received[0].0).await;
    advance(Duration::from_secs(601));
    assert_eq!(invoke(&relay, &json!({"task": "relay"})).await["sent"], 1);
    let worker = stack.launch("jobs").clock(&clock).start().await;
    while sqs.deliver(&worker).await > 0 {}
    assert_eq!(job(&db, "job-1").await.state, "done");
    assert_eq!(number(&db, "SELECT count(*) FROM messages").await, 0);
}

#[tokio::test]
async fn a_given_up_job_reaches_the_dead_letter_queue_with_its_reason() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let sqs = Sqs::start().await;
    insert_job(&db, "job-1", "fly", &json!({"owner": "owner"})).await;
    let relay = sqs.launch(&stack).start().await;
    invoke(&relay, &json!({"task": "relay"})).await;
    let jobs = stack.launch("jobs").start().await;
    while sqs.deliver(&jobs).await > 0 {}
    let report = invoke(&relay, &json!({"task": "relay"})).await;
    assert_eq!(report["deadLettered"], 1);
    let dead = sqs.receive(&sqs.dead).await;
    assert_eq!(
        dead[0].1,
        json!({"jobId": "job-1", "kind": "fly", "attempts": 1, "reason": "unknown kind \"fly\""})
    );
    assert_eq!(job(&db, "job-1").await.state, "dead");
    assert_eq!(
        invoke(&relay, &json!({"task": "relay"})).await["deadLettered"],
        0
    );
}

#[tokio::test]
async fn a_message_that_is_no_job_is_redriven_by_the_queue() {
    let stack = Stack::start().await;
    let sqs = Sqs::start().await;
    sqs.client
        .send_message()
        .queue_url(&sqs.jobs)
        .message_body("{ not json")
        .send()
        .await
        .unwrap();
    let jobs = stack.launch("jobs").start().await;
    let mut deliveries = 0;
    while sqs.deliver(&jobs).await > 0 {
        deliveries += 1;
        assert!(deliveries < 10, "it is never redriven");
    }
    assert_eq!(sqs.receive(&sqs.dead).await[0].1, json!("{ not json"));
    jobs.line_with("goes back to the queue").await;
}

#[tokio::test]
async fn two_relays_at_once_and_conflicts_send_each_job_at_least_once_and_do_it_once() {
    let stack = Stack::start().await;
    let db = database(&stack.server);
    let sqs = Sqs::start().await;
    for n in 0..40 {
        let owner = format!("owner{n}");
        fill(&db, &owner, 1, 1).await;
        discard(&db, &format!("job-{n}"), JobKind::EraseUser, &owner).await;
    }
    stack
        .server
        .set_faults(Faults {
            conflict_rate: 0.3,
            seed: Some(3),
            ..Faults::default()
        })
        .unwrap();
    let (one, two) = (
        sqs.launch(&stack).start().await,
        sqs.launch(&stack).start().await,
    );
    let event = json!({"task": "relay"});
    let (first, second) = tokio::join!(invoke(&one, &event), invoke(&two, &event));
    let sent = first["sent"].as_i64().unwrap() + second["sent"].as_i64().unwrap();
    assert!(sent >= 40, "{first} {second}");
    let (left, right) = (
        stack.launch("jobs").start().await,
        stack.launch("jobs").start().await,
    );
    while sqs.deliver(&left).await + sqs.deliver(&right).await > 0 {}
    stack.server.set_faults(Faults::default()).unwrap();
    assert_eq!(
        number(&db, "SELECT count(*) FROM jobs WHERE state = 'done'").await,
        40
    );
    let receipts = number(
        &db,
        "SELECT sum((result::json -> 'deleted' ->> 'messages')::bigint)::bigint FROM jobs",
    )
    .await;
    assert_eq!(receipts, 40);
}
