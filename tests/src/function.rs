//! Owns functions under test: containers of `lambda-local` that live on the harness's own runtime,
//! so that several tests may share one. What a deployed function wrote is checked at its end
//! against the documented format, and for the secrets it was given: a test that started it fails
//! otherwise.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lambda_local::clock::Clock;
use lambda_local::container::{self, Container};
use tokio::time::timeout;

pub use lambda_local::container::StartError;

use crate::background;
use crate::binary::{binary, full_binary};
use crate::clock::WallClock;
use crate::log;
use crate::runtime_api::{Invocation, Outcome, RuntimeApi};
use crate::wait;

/// How long an event may wait for a worker: the harness's own patience.
const DISPATCH_LIMIT: Duration = Duration::from_secs(60);
/// How long a signal may take.
const SIGNAL_LIMIT: Duration = Duration::from_secs(60);
/// How long a killed process's last lines may take to arrive.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// The programs whose log is checked: what is deployed.
const DEPLOYED: [&str; 6] = ["admin", "chat", "chats", "jobs", "maintenance", "sql"];
/// Variables whose values nobody may read in a log.
const SECRET_VARIABLES: [&str; 5] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "ADDRESS_HASH_KEY",
    "OPENAI_API_KEY",
    "CLOUDFLARE_API_TOKEN",
];

/// What to start and how.
#[derive(Debug, Clone)]
pub struct Launch(container::Launch);

impl Launch {
    /// The function whose package and binary are called `name`.
    pub fn binary(name: &str) -> Self {
        Self::program(binary(name))
    }

    /// The same with every feature that tests use, whatever a deployment has.
    pub fn full_binary(name: &str) -> Self {
        Self::program(full_binary(name))
    }

    /// A program at a path.
    pub fn program(path: impl Into<PathBuf>) -> Self {
        Self(container::Launch::program(path))
    }

    /// Adds an argument, for a program that runs others, such as `node`.
    #[must_use]
    pub fn argument(self, argument: impl Into<String>) -> Self {
        Self(self.0.argument(argument))
    }

    /// Has another program run this one: its path and arguments, then this program's. An empty list
    /// changes nothing.
    #[must_use]
    pub fn run_by(self, prefix: &[String]) -> Self {
        Self(self.0.run_by(prefix))
    }

    /// Sets a variable. The process has no others than these and Lambda's.
    #[must_use]
    pub fn env(self, name: &str, value: impl Into<String>) -> Self {
        Self(self.0.env(name, value))
    }

    /// Sets several variables.
    #[must_use]
    pub fn envs(
        self,
        variables: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        Self(self.0.envs(variables))
    }

    /// Removes a variable.
    #[must_use]
    pub fn without(self, name: &str) -> Self {
        Self(self.0.without(name))
    }

    /// Puts the process under a movable clock.
    #[must_use]
    pub fn clock(self, clock: &WallClock) -> Self {
        let shown = clock.clone();
        Self(
            self.0
                .clock(Clock::new(move || shown.now()))
                .envs(clock.env()),
        )
    }

    /// Lambda Managed Instances: that many workers in one process, and no kill at the deadline.
    #[must_use]
    pub fn concurrency(self, workers: usize) -> Self {
        Self(self.0.concurrency(workers))
    }

    /// Starts the process and waits for the end of Init.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(self) -> Function {
        match self.try_start().await {
            Ok(function) => function,
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts the process and waits for the end of Init.
    ///
    /// # Errors
    /// [`StartError`] when it ends, reports an error, or takes longer than Lambda allows.
    pub async fn try_start(self) -> Result<Function, StartError> {
        let name = self.0.path().file_name().and_then(|name| name.to_str());
        let is_deployed = name.is_some_and(|name| DEPLOYED.contains(&name));
        let secrets = SECRET_VARIABLES
            .iter()
            .filter_map(|name| self.0.variable(name).map(str::to_owned))
            .filter(|secret| !secret.is_empty())
            .collect();
        let secrets: BTreeSet<String> = secrets;
        match background::run(self.0.start()).await {
            Ok(container) => Ok(Function {
                container,
                is_deployed,
                secrets: Mutex::new(secrets),
            }),
            Err(error) => {
                if is_deployed {
                    log::check(&error.output);
                    log::check_secrets(&error.output, &secrets);
                }
                Err(error)
            }
        }
    }

    /// Passes every line that the process writes on, as it comes.
    #[must_use]
    pub fn pass_lines_to(self, sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(self.0.pass_lines_to(sink))
    }

    /// What `lambda-local` starts.
    pub fn into_inner(self) -> container::Launch {
        self.0
    }
}

/// A running function. Dropped, it is killed.
#[derive(Debug)]
pub struct Function {
    container: Container,
    is_deployed: bool,
    secrets: Mutex<BTreeSet<String>>,
}

impl Function {
    /// From the start of the process to its first poll.
    pub fn init_duration(&self) -> Duration {
        self.container.init_duration()
    }

    /// Its Runtime API.
    pub fn api(&self) -> &RuntimeApi {
        self.container.api()
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.container.pid()
    }

    /// The most memory that the process ever had, in KiB.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("a running process has a status");
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .expect("the status has a peak")
    }

    /// Sends an event and waits for the end. At the deadline a process that serves one request at a
    /// time is killed.
    ///
    /// # Panics
    /// When no worker takes the event within a minute.
    pub async fn invoke(&self, event: impl Into<Bytes>, limit: Duration) -> Outcome {
        let mut invocation = self.begin(event, limit);
        if timeout(DISPATCH_LIMIT, invocation.dispatched())
            .await
            .is_err()
        {
            panic!(
                "no worker took the event; the function wrote:\n{}",
                self.output().join("\n")
            );
        }
        invocation.outcome().await
    }

    /// Sends an event and returns at once.
    pub fn begin(&self, event: impl Into<Bytes>, limit: Duration) -> Invocation {
        let event = event.into();
        self.secrets
            .lock()
            .expect("no holder panics")
            .extend(log::secrets_of(&event));
        self.container.begin(event, limit)
    }

    /// Waits until every worker polls and nothing runs: what Lambda waits for before a freeze.
    ///
    /// # Panics
    /// When that takes longer than a minute.
    pub async fn idle(&self) {
        let idle = timeout(DISPATCH_LIMIT, self.container.idle()).await;
        assert!(
            idle.is_ok(),
            "the function does not come back for work; it wrote:\n{}",
            self.output().join("\n")
        );
    }

    /// Stops the process where it stands.
    pub async fn freeze(&self) {
        self.container.freeze();
        let stopped = || self.container.is_frozen().then_some(());
        wait::until("the freeze", SIGNAL_LIMIT, stopped).await;
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.container.thaw();
    }

    /// Kills the process without notice, as Lambda does at a time-out, and waits for its end.
    pub async fn kill(&self) -> ExitStatus {
        self.container.kill();
        self.exit().await
    }

    /// Asks it to end, as Lambda does before it takes a container away.
    pub fn terminate(&self) {
        self.container.terminate();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn exit(&self) -> ExitStatus {
        wait::until("the process's end", SIGNAL_LIMIT, || self.exit_status()).await
    }

    /// How it ended, if it did.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.container.exit_status()
    }

    /// Ends it once it has come back for work, if it still runs, and gives every line that it ever
    /// wrote.
    ///
    /// # Panics
    /// When it neither comes back nor ends within a minute.
    pub async fn end(&self) -> Vec<String> {
        self.idle().await;
        self.kill().await;
        self.output()
    }

    /// Every line read from it so far, both streams, in order of arrival. An answer may be there
    /// before the lines that were written for it: who looks for a line asks [`Function::line_with`]
    /// or [`Function::end`].
    pub fn output(&self) -> Vec<String> {
        self.container.output()
    }

    /// Waits for a line that contains `text`.
    ///
    /// # Panics
    /// When none comes within 10 s.
    pub async fn line_with(&self, text: &str) -> String {
        let line = timeout(SIGNAL_LIMIT, self.container.line_with(text)).await;
        line.ok()
            .flatten()
            .unwrap_or_else(|| panic!("no line with {text:?}"))
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.container.kill();
        if std::env::var_os("TEST_LOG").is_some() {
            for line in self.output() {
                eprintln!("[{}] {line}", self.pid());
            }
        }
        // A test that fails already says why by itself.
        if self.is_deployed && !std::thread::panicking() {
            self.drain();
            let lines = self.output();
            log::check(&lines);
            log::check_secrets(&lines, &self.secrets.lock().expect("no holder panics"));
        }
    }
}

impl Function {
    /// Waits for the last lines, which the background's own runtime reads.
    fn drain(&self) {
        let begun = Instant::now();
        while self.exit_status().is_none() {
            assert!(
                begun.elapsed() < DRAIN_LIMIT,
                "a killed function does not end"
            );
            std::thread::yield_now();
        }
    }
}
