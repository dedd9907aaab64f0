//! Whether requests cost the same when everyone uses the service: the real functions on two databases, one with a single
//! owner and one with a thousand, of 20 chats with 50 messages each, which makes a million messages. Prints percentiles and
//! ratios:
//!
//! `TEST_PROFILE=release cargo bench -p tests --bench growth`
//!
//! Requests alternate between the two, so that what else the machine does slows both. `GROWTH_OWNERS` is the number of owners,
//! `GROWTH_SAMPLES` that of requests of each kind.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints its figures and stops at the first surprise"
)]

mod load;

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use dsql_local::{DsqlLocal, Options};
use serde_json::{Value, json};
use tests::function::{Function, Launch};
use tests::http::{Request, Response};
use tests::jwt::{AUDIENCE, ISSUER, SigningKey, key_set};
use tests::logins::as_role;
use tests::runtime_api::Outcome;

use crate::load::{CHATS, MESSAGES, Owners};

const LIMIT: Duration = Duration::from_secs(30);
const MIGRATION_LIMIT: Duration = Duration::from_secs(180);
const GROWTH_OWNERS: &str = "GROWTH_OWNERS";
const GROWTH_SAMPLES: &str = "GROWTH_SAMPLES";
const OWNERS: usize = 1_000;
const WARM_UP: usize = 30;
const SAMPLES: usize = 500;
/// What a request may cost more, at the median, with all owners than with one.
const TARGET: f64 = 1.5;

/// A database with functions in front.
struct Site {
    server: DsqlLocal,
    chats: Function,
    chat: Function,
    maintenance: Function,
    key: SigningKey,
    owners: Owners,
    random: fastrand::Rng,
}

impl Site {
    async fn start(owners: usize) -> Self {
        let server = DsqlLocal::start(Options::default()).await.unwrap();
        let arn = &server.admin().arn;
        let roles = json!({"chat": arn, "chats": arn, "maintenance": arn});
        let admin = Launch::binary("admin")
            .envs(server.env())
            .env("DSQL_ROLE", "admin")
            .start()
            .await;
        let command = json!({"command": "migrate", "roles": roles}).to_string();
        let outcome = admin.invoke(command, MIGRATION_LIMIT).await;
        assert!(matches!(outcome, Outcome::Response(_)), "{outcome:?}");
        let dsql = as_role(&server, "admin");
        let loaded = Owners::load(&dsql, owners, 20_261_125).await;
        let db = dsql.until(SystemTime::now() + MIGRATION_LIMIT);
        for table in ["ANALYZE chats", "ANALYZE messages"] {
            db.execute_sql(table).await.unwrap();
        }
        let key = SigningKey::ed25519("bench");
        let launch = |function: &str| {
            Launch::binary(function)
                .envs(server.env())
                .env("DSQL_ROLE", function)
                .env("AUTH_ISSUER", ISSUER)
                .env("AUTH_AUDIENCE", AUDIENCE)
                .env("AUTH_JWKS", key_set(&[&key]))
                .env("WRITES_PER_MINUTE", "1000000")
                .env("TURNS_PER_MINUTE", "100000")
                .env("TOKENS_PER_DAY", "1000000000")
                .env("MODEL_PROVIDER", "echo")
                .env("ECHO_DELAY_MS", "0")
        };
        Self {
            chats: launch("chats").start().await,
            chat: launch("chat").start().await,
            maintenance: launch("maintenance").start().await,
            server,
            key,
            owners: loaded,
            random: fastrand::Rng::with_seed(7),
        }
    }

    fn request(&self, owner: &str, method: &str, path: &str) -> Request {
        Request::new(method, path).bearer(&self.key.token(owner, SystemTime::now()))
    }

    async fn ask(&self, request: &Request) -> Response {
        let event = request.rest_event().to_string();
        Response::from_answer(&self.chats.invoke(event, LIMIT).await.response())
    }

    /// Does a work once, for anyone, and tells how long its request took.
    async fn time(&mut self, work: Work) -> Duration {
        let mut random = self.random.fork();
        let owner = self.owners.any(&mut random).to_owned();
        let (chats_owner, chat) = self.owners.any_chat(&mut random);
        let (chats_owner, chat) = (chats_owner.to_owned(), chat.to_owned());
        let path = format!("/api/chats/{chat}");
        let request = match work {
            Work::Ready => Request::new("GET", "/api/ready"),
            Work::List => self.request(&owner, "GET", "/api/chats?limit=10"),
            Work::ListFurther => {
                let first = self.request(&owner, "GET", "/api/chats?limit=10");
                let first = self.ask(&first).await.json();
                let cursor = first["nextCursor"].as_str().unwrap();
                let path = format!("/api/chats?limit=10&cursor={cursor}");
                self.request(&owner, "GET", &path)
            }
            Work::Get => self.request(&chats_owner, "GET", &path),
            Work::GetLast => self.request(&chats_owner, "GET", &format!("{path}?limit=10")),
            Work::Rename => self
                .request(&chats_owner, "PATCH", &path)
                .json(&json!({"title": "Renamed"})),
            Work::Delete => {
                let new = self
                    .request(&owner, "POST", "/api/chats")
                    .json(&json!({"message": {"parts": [{"type": "text", "text": "hi"}]}}));
                let made = self.ask(&new).await.json();
                let path = format!("/api/chats/{}", made["id"].as_str().unwrap());
                self.request(&owner, "DELETE", &path)
            }
            Work::Send => {
                let id = format!("u{:016x}", random.u64(..));
                let message =
                    json!({"id": id, "role": "user", "parts": [{"type": "text", "text": "hi"}]});
                let body = json!({"id": chat, "messages": [message], "trigger": "submit-message"});
                self.request(&chats_owner, "POST", "/api/chat").json(&body)
            }
            Work::Purge => return self.time_maintenance(json!({"task": "purge"})).await,
            Work::Reap => return self.time_maintenance(json!({"task": "reap"})).await,
        };
        let event = request.rest_event().to_string();
        if work == Work::Send {
            let begun = Instant::now();
            let outcome = self.chat.invoke(event, LIMIT).await;
            let elapsed = begun.elapsed();
            let said = Response::from_streamed(&outcome.streamed());
            let body = String::from_utf8(said.body.to_vec()).unwrap();
            assert!(body.contains(r#""type":"finish""#), "{body}");
            return elapsed;
        }
        let begun = Instant::now();
        let outcome = self.chats.invoke(event, LIMIT).await;
        let elapsed = begun.elapsed();
        let answer = Response::from_answer(&outcome.response());
        assert!(answer.status < 300, "{} {}", answer.status, answer.json());
        if work == Work::List {
            assert_eq!(answer.json()["items"].as_array().unwrap().len(), 10);
        }
        elapsed
    }

    async fn time_maintenance(&self, event: Value) -> Duration {
        let begun = Instant::now();
        let report = self.maintenance.invoke(event.to_string(), LIMIT).await;
        let elapsed = begun.elapsed();
        let report: Value = serde_json::from_slice(&report.response()).unwrap();
        assert_eq!(report["complete"], true, "{report}");
        elapsed
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Ready,
    List,
    ListFurther,
    Get,
    GetLast,
    Rename,
    Delete,
    Send,
    Purge,
    Reap,
}

const WORKS: [(Work, &str); 10] = [
    (Work::Ready, "the floor: SELECT 1"),
    (Work::List, "list, first page"),
    (Work::ListFurther, "list, second page"),
    (Work::Get, "get, all messages"),
    (Work::GetLast, "get, last messages"),
    (Work::Rename, "rename"),
    (Work::Delete, "delete a new chat"),
    (Work::Send, "send, with its reply"),
    (Work::Purge, "purge, nothing due"),
    (Work::Reap, "reap, nothing due"),
];

/// Sorted times.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// In milliseconds.
    fn percentile(&self, percent: usize) -> f64 {
        let index = (self.0.len() * percent / 100).min(self.0.len() - 1);
        self.0[index].as_secs_f64() * 1_000.0
    }
}

fn output(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[tokio::main]
async fn main() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (owners, samples) = (
        number(GROWTH_OWNERS, OWNERS),
        number(GROWTH_SAMPLES, SAMPLES),
    );
    let mut one = Site::start(1).await;
    let begun = Instant::now();
    let mut all = Site::start(owners).await;
    println!(
        "commit {}, {}, functions in {}, {samples} samples each",
        output("git", &["rev-parse", "--short", "HEAD"]),
        output("uname", &["-srm"]),
        std::env::var("TEST_PROFILE").unwrap_or_else(|_| "debug".to_owned()),
    );
    println!(
        "{} messages of {owners} owners, set up and loaded in {:.0} s, beside {} of one owner",
        owners * CHATS * MESSAGES,
        begun.elapsed().as_secs_f64(),
        CHATS * MESSAGES,
    );
    println!("ms a request             one p50    p99    all p50    p99    all : one p50    p99");
    let mut worst: f64 = 0.0;
    for (work, name) in WORKS {
        let (mut few, mut many) = (Vec::new(), Vec::new());
        for round in 0..WARM_UP + samples {
            let times = if round % 2 == 0 {
                let first = one.time(work).await;
                (first, all.time(work).await)
            } else {
                let first = all.time(work).await;
                (one.time(work).await, first)
            };
            if round >= WARM_UP {
                few.push(times.0);
                many.push(times.1);
            }
        }
        let (few, many) = (Times::of(few), Times::of(many));
        let ratio = |percent| many.percentile(percent) / few.percentile(percent);
        if matches!(
            work,
            Work::List | Work::ListFurther | Work::Get | Work::GetLast
        ) {
            worst = worst.max(ratio(50));
        }
        println!(
            "{name:<24} {:>7.2} {:>6.2}    {:>7.2} {:>6.2}    {:>13.2} {:>6.2}",
            few.percentile(50),
            few.percentile(99),
            many.percentile(50),
            many.percentile(99),
            ratio(50),
            ratio(99),
        );
    }
    println!(
        "list and get: {worst:.2} times at most, {} the target of {TARGET}",
        if worst <= TARGET { "within" } else { "above" }
    );
    one.server.stop().await;
    all.server.stop().await;
}
