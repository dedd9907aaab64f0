//! `lambda-local` beside `cargo lambda watch`, by the Invoke API that both have, from clients that
//! keep their connections: a function that asks a database, each as it runs unasked; and one that
//! answers at once, in one container each. `lambda-local` also serves its API, from as many
//! connections as the other does not survive.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use lambda_local::application::{RestApi, Route};
use lambda_local::clock::Clock;
use lambda_local::container::Launch;
use lambda_local::gateway::{Gateway, NoFront};
use lambda_local::invoke_api::InvokeApi;
use lambda_local::lambda::Lambda;
use lambda_local::pool::{Limits, Pool};
use tests::binary::workspace;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::Run;
use crate::network::Network;
use crate::report::{Report, Target};
use crate::samples::{Samples, short};
use crate::stack::{Stack, floor};

/// Connections that both serve.
const CONNECTIONS: usize = 20;
/// Connections that only one of them survives.
const CROWD: usize = 200;
/// Paths to the function in the Invoke API of each.
const OURS: &str = "/2015-03-31/functions/hello/invocations";
const THEIRS: &str = "/2015-03-31/functions/_/invocations";
/// Containers of a function where nothing else is asked for.
const AS_RUN: usize = 8;
const START_LIMIT: Duration = Duration::from_secs(60);
/// Whoever does not answer within this has stopped answering.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Of a database in the function's region.
const DISTANCE: Duration = Duration::from_millis(5);

/// A program that both run as a function, with the variables it needs.
struct Subject {
    program: PathBuf,
    variables: Vec<(String, String)>,
}

impl Subject {
    fn hello() -> Self {
        Self {
            program: floor("hello"),
            variables: Vec::new(),
        }
    }

    /// Asks the database behind a network.
    fn on_database(stack: &Stack, network: &Network) -> Self {
        let port = ("DSQL_PORT".to_owned(), network.port().to_string());
        let mut variables = stack.variables();
        variables.push(port);
        Self {
            program: floor("kept"),
            variables,
        }
    }

    fn launch(&self) -> Launch {
        Launch::program(&self.program).envs(self.variables.clone())
    }
}

/// What one measurement found.
struct Found {
    per_s: f64,
    times: Samples,
}

pub(crate) async fn run(run: &Run, stack: &Stack, report: &mut Report) {
    report.section("A function on this machine");
    with_a_database(run, stack, report).await;
    without(run, report).await;
}

/// What a function takes is what it waits for: as each runs it where nothing else is asked for.
async fn with_a_database(run: &Run, stack: &Stack, report: &mut Report) {
    report.text(&format!(
        "A function that asks a database {} ms away, over HTTP connections that are kept, by the Invoke API of both, as `make dev` \
         and `cargo lambda watch` run it unasked: in up to {AS_RUN} containers, one request at a time each, and in one.",
        DISTANCE.as_millis(),
    ));
    let requests = run.of(1_000, 400);
    let network = Network::to(stack.base.server.address(), DISTANCE);
    let subject = Subject::on_database(stack, &network);
    let ours = start_ours(&subject, AS_RUN).await;
    let few = measure(ours.invoke, OURS, CONNECTIONS, requests).await;
    let crowd = measure(ours.invoke, OURS, CROWD, requests).await;
    drop(ours);
    let (_watch, _function, address) = start_theirs(&subject).await;
    let theirs = measure(address, THEIRS, CONNECTIONS, requests).await;
    let rows = [
        row("lambda-local, 20 connections", &few),
        row("lambda-local, 200 connections", &crowd),
        row("cargo lambda watch, 20 connections", &theirs),
    ];
    report.table(&["", "requests/s", "p50 ms", "p99 ms"], &rows);
    report.verdict(
        "Requests per second to a function on a database, lambda-local with 200 connections, of cargo lambda watch with 20"
            .to_owned(),
        crowd.per_s / theirs.per_s,
        Target::AtLeast(3.0),
        "×",
    );
    report.verdict(
        "p50 of a request to a function on a database, 20 connections, cargo lambda watch, of lambda-local".to_owned(),
        theirs.times.p50() / few.times.p50(),
        Target::AtLeast(3.0),
        "×",
    );
}

async fn without(run: &Run, report: &mut Report) {
    report.text(
        "The floor function, which answers at once, likewise: `lambda-local` freezes its containers when idle, `cargo lambda watch` \
         has its control plane alone. One container each, unless the row says more. Clients, function and what is between them \
         share the processors.",
    );
    let requests = run.of(4_000, 1_000);
    let hello = Subject::hello();
    let ours = start_ours(&hello, 1).await;
    let found = measure(ours.invoke, OURS, CONNECTIONS, requests).await;
    let alone = alone(requests).await;
    let mut rows = vec![
        row("the container alone, its next event waiting", &alone),
        row("lambda-local, invoked, 20 connections", &found),
    ];
    let (_watch, _function, address) = start_theirs(&hello).await;
    let theirs = measure(address, THEIRS, CONNECTIONS, requests).await;
    rows.push(row("cargo lambda watch, invoked, 20 connections", &theirs));
    let as_run = start_ours(&hello, AS_RUN).await;
    let many = measure(as_run.invoke, OURS, CONNECTIONS, requests).await;
    rows.push(row(
        "lambda-local, invoked, 20 connections, as make dev runs it",
        &many,
    ));
    let few = measure(ours.api.address(), "/hello", CONNECTIONS, requests).await;
    rows.push(row("lambda-local, REST API, 20 connections", &few));
    let crowd = measure(ours.api.address(), "/hello", CROWD, requests).await;
    rows.push(row("lambda-local, REST API, 200 connections", &crowd));
    let four = start_ours(&hello, 4).await;
    let crowd = measure(four.api.address(), "/hello", CROWD, requests).await;
    rows.push(row(
        "lambda-local, REST API, 200 connections, 4 containers",
        &crowd,
    ));
    report.table(&["", "requests/s", "p50 ms", "p99 ms"], &rows);
    report.verdict(
        "Invocations per second of a function that answers at once, lambda-local as make dev runs it, of cargo lambda watch"
            .to_owned(),
        many.per_s / theirs.per_s,
        Target::AtLeast(3.0),
        "×",
    );
}

fn row(name: &str, found: &Found) -> Vec<String> {
    vec![
        name.to_owned(),
        short(found.per_s),
        short(found.times.p50()),
        short(found.times.p99()),
    ]
}

/// Both ways to the function.
struct Ours {
    api: Gateway,
    invoke: SocketAddr,
    _invoke_api: InvokeApi,
}

async fn start_ours(subject: &Subject, containers: usize) -> Ours {
    let timeout = Duration::from_secs(29);
    let limits = Limits {
        containers,
        is_frozen_when_idle: true,
        timeout,
    };
    let mut lambda = Lambda::default();
    let pool = Pool::new(subject.launch(), limits);
    lambda.add("Hello", "hello", [], pool);
    let route = Route {
        method: "GET".to_owned(),
        path: "/hello".to_owned(),
        function: "Hello".to_owned(),
        is_streamed: false,
        timeout,
    };
    let api = RestApi {
        logical_id: "Api".to_owned(),
        name: "Api".to_owned(),
        stage: "v1".to_owned(),
        routes: vec![route],
        binary_media_types: Vec::new(),
        gateway_responses: std::collections::BTreeMap::new(),
        cors: None,
        throttle: None,
        method_throttles: [].into(),
    };
    let lambda = Arc::new(lambda);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let invoke_listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (clock, account) = (Clock::wall(), "111122223333");
    Ours {
        invoke: invoke_listener.local_addr().unwrap(),
        _invoke_api: InvokeApi::serve(invoke_listener, Arc::clone(&lambda)),
        api: Gateway::serve(listener, api, account, lambda, clock, NoFront).unwrap(),
    }
}

/// What the function itself allows: its Runtime API holds its events before it asks for them.
async fn alone(requests: usize) -> Found {
    let container = Subject::hello().launch().start().await.unwrap();
    let begun = Instant::now();
    let invocations = (0..requests).map(|_| async {
        container.invoke("{}", ANSWER_LIMIT).await.response();
        begun.elapsed()
    });
    let times = join_all(invocations).await;
    let elapsed = begun.elapsed().as_secs_f64();
    let count = f64::from(u32::try_from(times.len()).unwrap());
    Found {
        per_s: count / elapsed,
        times: Samples::times(times),
    }
}

/// The control plane, a function that polls it, and where clients find both.
async fn start_theirs(subject: &Subject) -> (Child, Child, SocketAddr) {
    let port = TcpListener::bind(("127.0.0.1", 0))
        .await
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let watch = Command::new(workspace().join(".tools/python/bin/cargo-lambda"))
        .args(["lambda", "watch", "--only-lambda-apis", "--ignore-changes"])
        .args(["--invoke-address", "127.0.0.1", "--invoke-port"])
        .arg(port.to_string())
        .current_dir(workspace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("scripts/install-tools.sh tools installs it");
    let listens = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(START_LIMIT, listens).await.expect("it starts");
    let function = Command::new(&subject.program)
        .env_clear()
        .envs(subject.variables.clone())
        .env("AWS_LAMBDA_RUNTIME_API", format!("http://{address}/.rt"))
        .env("AWS_LAMBDA_FUNCTION_NAME", "_")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    (watch, function, address)
}

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn ask(sender: &mut SendRequest<Full<Bytes>>, path: &str) -> Duration {
    let (method, body) = if path.ends_with("/invocations") {
        ("POST", "{}")
    } else {
        ("GET", "")
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .body(Full::from(body))
        .unwrap();
    let begun = Instant::now();
    let answered = async {
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body().collect().await.unwrap();
    };
    timeout(ANSWER_LIMIT, answered)
        .await
        .expect("every request is answered");
    begun.elapsed()
}

async fn measure(address: SocketAddr, path: &str, connections: usize, requests: usize) -> Found {
    let mut senders = join_all((0..connections).map(|_| connect(address))).await;
    for sender in &mut senders {
        ask(sender, path).await;
    }
    let each = requests / connections;
    let begun = Instant::now();
    let times = join_all(senders.into_iter().map(|mut sender| async move {
        let mut times = Vec::with_capacity(each);
        for _ in 0..each {
            times.push(ask(&mut sender, path).await);
        }
        times
    }))
    .await
    .concat();
    let elapsed = begun.elapsed().as_secs_f64();
    let count = f64::from(u32::try_from(times.len()).unwrap());
    Found {
        per_s: count / elapsed,
        times: Samples::times(times),
    }
}
