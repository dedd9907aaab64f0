//! What the tests share: a template's words with little in them, a function that records, clients
//! of the queue.

use std::path::PathBuf;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Region, retry::RetryConfig};
use bytes::Bytes;
use jiff::Timestamp;
use lambda_local::application::{Application, Function, Queue, QueueSource, Redrive};
use lambda_local::clock::StoppedClock;
use lambda_local::invoker::{InvokeError, Invoker};
use lambda_local::queue::{Endpoint, Queues, Receive, Received};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Anything that takes longer than this has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const FUNCTION_ARN: &str = "arn:aws:lambda:eu-central-1:111122223333:function:worker";

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = timeout(LIMIT, future).await;
    outcome.unwrap_or_else(|_| panic!("{what} did not come within {LIMIT:?}"))
}

/// Lets every task do what it can at the moment that the clock shows.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn stopped_clock() -> StoppedClock {
    StoppedClock::at("2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap())
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A queue as the template gives it without any property.
pub(crate) fn queue(name: &str) -> Queue {
    Queue {
        logical_id: name.to_owned(),
        name: name.to_owned(),
        arn: queue_arn(name),
        visibility_timeout: seconds(30),
        retention: seconds(4 * 86_400),
        delay: Duration::ZERO,
        redrive: None,
    }
}

pub(crate) fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:eu-central-1:111122223333:{name}")
}

/// `jobs`, which gives up after `max_receive_count`, and `dead`.
pub(crate) fn queues_with_dead_letters(max_receive_count: u32) -> [Queue; 2] {
    let redrive = Redrive {
        dead_letter_arn: queue_arn("dead"),
        max_receive_count,
    };
    let jobs = Queue {
        redrive: Some(redrive),
        ..queue("jobs")
    };
    [jobs, queue("dead")]
}

pub(crate) fn function() -> Function {
    Function {
        logical_id: "Worker".to_owned(),
        name: "worker".to_owned(),
        arn: FUNCTION_ARN.to_owned(),
        code_uri: PathBuf::from("worker"),
        binary: None,
        timeout: seconds(3),
        memory_mb: 128,
        environment: std::collections::BTreeMap::default(),
        role_arn: None,
        reserved_concurrency: None,
        container_concurrency: None,
        schedules: Vec::new(),
        queue_sources: Vec::new(),
    }
}

/// An event source on `jobs` as the template gives it without any property.
pub(crate) fn source() -> QueueSource {
    QueueSource {
        name: "Jobs".to_owned(),
        queue_arn: queue_arn("jobs"),
        batch_size: 10,
        batching_window: Duration::ZERO,
        reports_item_failures: true,
        maximum_concurrency: None,
        is_enabled: true,
    }
}

pub(crate) fn application(function: Function) -> Application {
    Application {
        stack: "chat".to_owned(),
        functions: vec![function],
        ..Application::default()
    }
}

/// One invocation of a recorded function, which waits for its answer.
pub(crate) struct Call {
    pub(crate) function: String,
    pub(crate) event: Value,
    answer: tokio::sync::oneshot::Sender<Result<Bytes, InvokeError>>,
}

impl Call {
    pub(crate) fn answer(self, answer: impl Into<Bytes>) {
        let _ = self.answer.send(Ok(answer.into()));
    }

    pub(crate) fn fail(self) {
        self.end(InvokeError::Function {
            error_type: "Runtime.ExitError".to_owned(),
            message: "exit status 1".to_owned(),
        });
    }

    pub(crate) fn end(self, error: InvokeError) {
        let _ = self.answer.send(Err(error));
    }

    /// Waits until nobody waits for the answer any more.
    pub(crate) async fn answer_is_unwanted(mut self) {
        soon("the end of the invocation", self.answer.closed()).await;
    }

    /// `messageId` of every record.
    pub(crate) fn message_ids(&self) -> Vec<String> {
        let records = self.event["Records"].as_array().unwrap().iter();
        records
            .map(|record| record["messageId"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        let records = self.event["Records"].as_array().unwrap().iter();
        records
            .map(|record| record["body"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// A function that the test plays: every call arrives here.
pub(crate) struct Calls(mpsc::UnboundedReceiver<Call>);

impl Calls {
    pub(crate) fn new() -> (Invoker, Self) {
        let (sender, calls) = mpsc::unbounded_channel();
        let invoker = Invoker::new(move |function, event: Bytes| {
            let (answer, answered) = tokio::sync::oneshot::channel();
            let event = serde_json::from_slice(&event).unwrap();
            let call = Call {
                function,
                event,
                answer,
            };
            let _ = sender.send(call);
            async move { answered.await.expect("the test answers every call") }
        });
        (invoker, Self(calls))
    }

    pub(crate) async fn next(&mut self) -> Call {
        soon("an invocation", self.0.recv()).await.unwrap()
    }

    /// Whether a call is there now.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A store with an endpoint, and the SDK as its client.
pub(crate) struct Sqs {
    pub(crate) clock: StoppedClock,
    pub(crate) queues: Queues,
    pub(crate) endpoint: Endpoint,
    pub(crate) client: Client,
}

impl Sqs {
    pub(crate) async fn start(queues: &[Queue]) -> Self {
        let clock = stopped_clock();
        let queues = Queues::new(queues, clock.clock());
        let endpoint = Endpoint::start(queues.clone(), 0).await.unwrap();
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("any", "any", None, None, "test"))
            .http_client(https::Connector::from(https::Client::new()))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(endpoint.url())
            .build();
        Self {
            clock,
            queues,
            endpoint,
            client: Client::from_conf(config),
        }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        let queue = self.queues.by_name(name).unwrap();
        self.endpoint.queue_url(queue).unwrap()
    }
}

/// What is visible in a queue now, taken.
pub(crate) async fn receive_now(queues: &Queues, name: &str) -> Vec<Received> {
    let receive = Receive {
        limit: 10,
        visibility: None,
        wait: Duration::ZERO,
    };
    let queue = queues.by_name(name).unwrap();
    queues.receive(queue, receive).await.unwrap()
}

/// One attribute of a queue.
pub(crate) fn attribute(queues: &Queues, name: &str, attribute: &str) -> String {
    let queue = queues.by_name(name).unwrap();
    queues.attributes(queue).unwrap()[attribute].clone()
}

/// Waits until an attribute of a queue has a value.
pub(crate) async fn attribute_becomes(queues: &Queues, name: &str, wanted: &str, value: &str) {
    let poll = async {
        while attribute(queues, name, wanted) != value {
            tokio::task::yield_now().await;
        }
    };
    soon(&format!("{wanted} = {value} of {name}"), poll).await;
}
