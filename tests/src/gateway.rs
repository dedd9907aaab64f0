//! Owns the API that clients we did not write talk to: `lambda-local`'s gateway with the routes of
//! the template, before functions whose clock can be moved, and before it the chat page with its
//! visitor's token, as in `make dev`.
//!
//! A client steers it with headers that the function does not see, [`NAME`] and [`LIMIT_MS`], and
//! with requests to `/control/…`: `token/SUBJECT` and `guest/SUBJECT` mint as a site's server does,
//! `kill/NAME` kills the container that serves the request of that name, `advance/SECONDS` moves
//! the functions' wall clock, `upkeep/TASK` runs a task of `maintenance` as its schedule does.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::HeaderName;
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use lambda_local::application::RestApi;
use lambda_local::clock::Clock;
use lambda_local::container::Container;
use lambda_local::gateway::{self, Body, Front};
use lambda_local::lambda::Lambda;
use lambda_local::pool::{Limits, Pool};
use lambda_local::site::{self, Site};
use tokio::net::TcpListener;

use crate::background;
use crate::binary::workspace;
use crate::clock::WallClock;
use crate::function::Launch;
use crate::jwt::SigningKey;
use crate::log;
use crate::template;

/// A request's name, for `/control/kill/NAME`.
pub const NAME: &str = "x-test-name";
/// The invocation's time limit in milliseconds; otherwise 30 s.
pub const LIMIT_MS: &str = "x-test-limit-ms";

/// Whom the page's token is for.
const VISITOR: &str = "visitor";
const LIMIT: Duration = Duration::from_secs(30);
/// A function is given as many containers as tests have requests at once.
const CONTAINERS: usize = 64;
/// How long a killed container's last lines may take to arrive.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// What the front starts.
#[derive(Debug)]
pub struct Functions {
    /// Gets the routes of a reply and what belongs to it, streamed.
    pub chat: Launch,
    /// Gets the other routes.
    pub chats: Launch,
    /// Gets the tasks of schedules.
    pub maintenance: Launch,
}

impl Functions {
    /// One function for all routes.
    pub fn same(function: Launch) -> Self {
        Self {
            chat: function.clone(),
            chats: function.clone(),
            maintenance: function,
        }
    }
}

/// The front. Requests are answered until it is dropped.
#[derive(Debug)]
pub struct Gateway {
    serve: gateway::Gateway,
    lambda: Arc<Lambda>,
    site: Site,
    written: Arc<Written>,
}

/// What containers wrote, and what they must not.
#[derive(Debug, Default)]
struct Written {
    lines: Mutex<Vec<String>>,
    secrets: Mutex<BTreeSet<String>>,
    containers: Mutex<Vec<Arc<Container>>>,
}

impl Gateway {
    /// Listens on a free loopback port. All functions run under `clock`.
    pub async fn start(functions: Functions, key: Arc<SigningKey>, clock: WallClock) -> Self {
        let written = Arc::<Written>::default();
        let api = template::api();
        let kept = Arc::clone(&written);
        let site = Site::new(workspace().join("examples/blog/dist"));
        let shown = site.clone();
        let serve = background::run(serve(api, functions, key, clock, kept, shown));
        let (serve, lambda) = serve.await;
        Self {
            serve,
            lambda,
            site,
            written,
        }
    }

    /// The page may upload to the bucket at this URL.
    pub fn allow_bucket(&self, url: &str) {
        self.site.allow_bucket(url);
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        self.serve.url()
    }

    /// Every line that any container wrote.
    pub fn output(&self) -> Vec<String> {
        self.written.lines.lock().expect("no holder panics").clone()
    }
}

async fn serve(
    api: RestApi,
    functions: Functions,
    key: Arc<SigningKey>,
    clock: WallClock,
    written: Arc<Written>,
    site: Site,
) -> (gateway::Gateway, Arc<Lambda>) {
    let mut lambda = Lambda::default();
    for (logical_id, launch) in [
        ("ChatFunction", &functions.chat),
        ("ChatsFunction", &functions.chats),
        ("SqlFunction", &functions.chats),
        ("MaintenanceFunction", &functions.maintenance),
    ] {
        let kept = Arc::clone(&written);
        let launch = launch.clone().clock(&clock).pass_lines_to(move |line| {
            let mut lines = kept.lines.lock().expect("no holder panics");
            lines.push(line.to_owned());
        });
        let limits = Limits {
            containers: CONTAINERS,
            is_frozen_when_idle: true,
            timeout: LIMIT,
        };
        let pool = Pool::new(launch.into_inner(), limits);
        lambda.add(logical_id, logical_id, [], pool);
    }
    let lambda = Arc::new(lambda);
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a free port");
    let shown = clock.clone();
    let controls = Controls {
        site,
        key,
        clock,
        lambda: Arc::clone(&lambda),
        named: Mutex::default(),
        written,
    };
    let serve = gateway::Gateway::serve(
        listener,
        api,
        "123456789012",
        Arc::clone(&lambda),
        Clock::new(move || shown.now()),
        controls,
    );
    (serve.expect("a bound socket has an address"), lambda)
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for function in [
            "ChatFunction",
            "ChatsFunction",
            "SqlFunction",
            "MaintenanceFunction",
        ] {
            if let Some(pool) = self.lambda.pool(function) {
                pool.stop();
            }
        }
        // A test that fails already says why by itself.
        if std::thread::panicking() {
            return;
        }
        let begun = Instant::now();
        for container in self
            .written
            .containers
            .lock()
            .expect("no holder panics")
            .iter()
        {
            container.kill();
            while container.exit_status().is_none() {
                assert!(
                    begun.elapsed() < DRAIN_LIMIT,
                    "a killed function does not end"
                );
                std::thread::yield_now();
            }
        }
        let lines = self.output();
        log::check(&lines);
        log::check_secrets(
            &lines,
            &self.written.secrets.lock().expect("no holder panics"),
        );
    }
}

/// What a test asks for beside the API.
struct Controls {
    site: Site,
    key: Arc<SigningKey>,
    clock: WallClock,
    lambda: Arc<Lambda>,
    named: Mutex<HashMap<String, Arc<Container>>>,
    written: Arc<Written>,
}

impl Front for Controls {
    async fn answer(&self, head: &Parts, _body: &Bytes) -> Option<Response<Body>> {
        let path = head.uri.path();
        if path == "/token" && head.method == Method::POST && !site::is_of_a_login(&head.headers) {
            return Some(site::token(&self.key.token(VISITOR, self.clock.now())));
        }
        let Some(order) = path.strip_prefix("/control/") else {
            return self.site.answer(&head.method, path);
        };
        let (verb, object) = order.split_once('/').unwrap_or((order, ""));
        Some(match verb {
            "token" => plain(StatusCode::OK, &self.key.token(object, self.clock.now())),
            "guest" => plain(
                StatusCode::OK,
                &self.key.guest_token(object, self.clock.now()),
            ),
            "kill" => {
                let named = self.named.lock().expect("no holder panics").remove(object);
                match named {
                    Some(container) => {
                        container.kill();
                        let status = container.exit().await;
                        plain(StatusCode::OK, &format!("{status:?}"))
                    }
                    None => plain(StatusCode::NOT_FOUND, "no request has that name"),
                }
            }
            "advance" => {
                let seconds = object.parse().unwrap_or_default();
                self.clock.advance(Duration::from_secs(seconds));
                plain(StatusCode::OK, "")
            }
            "upkeep" => {
                let event = serde_json::json!({ "task": object }).to_string();
                let result = self
                    .lambda
                    .invoke("MaintenanceFunction", event.into())
                    .await;
                match result {
                    Ok(report) => plain(StatusCode::OK, &String::from_utf8_lossy(&report)),
                    Err(error) => plain(StatusCode::BAD_GATEWAY, &error.to_string()),
                }
            }
            _ => plain(StatusCode::NOT_FOUND, "no such order"),
        })
    }

    fn time_limit(&self, head: &Parts) -> Option<Duration> {
        let text = head.headers.get(LIMIT_MS)?.to_str().ok()?;
        Some(Duration::from_millis(text.parse().ok()?))
    }

    fn began(&self, head: &Parts, container: &Arc<Container>) {
        let mut containers = self.written.containers.lock().expect("no holder panics");
        if !containers.iter().any(|known| Arc::ptr_eq(known, container)) {
            containers.push(Arc::clone(container));
        }
        drop(containers);
        let text = format!("{:?}", head.headers);
        let mut secrets = self.written.secrets.lock().expect("no holder panics");
        secrets.extend(log::secrets_of(text.as_bytes()));
        drop(secrets);
        if let Some(name) = head.headers.get(NAME).and_then(|name| name.to_str().ok()) {
            let mut named = self.named.lock().expect("no holder panics");
            named.insert(name.to_owned(), Arc::clone(container));
        }
    }

    fn hides(&self, header: &HeaderName) -> bool {
        header.as_str() == NAME || header.as_str() == LIMIT_MS
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::copy_from_slice(
        text.as_bytes(),
    ))));
    *response.status_mut() = status;
    response
}
