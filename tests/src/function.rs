//! Owns a function's process: a real binary with Lambda's environment behind a Runtime API of its own. It can be frozen,
//! thawed and killed; its deadline kills it; every line it writes is kept. What a deployed function wrote is checked at
//! its end against the documented format, and for the secrets it was given: a test that started it fails otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::background::{self, Task};
use crate::binary::binary;
use crate::clock::WallClock;
use crate::log;
use crate::runtime_api::{Invocation, Outcome, RuntimeApi};
use crate::wait;

/// Init on default Lambda.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// How long an event may wait for a worker: the harness's own patience.
const DISPATCH_LIMIT: Duration = Duration::from_secs(60);
/// How long a signal may take.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);
/// How long a killed process's last lines may take to arrive.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// The programs whose log is checked: what is deployed.
const DEPLOYED: [&str; 6] = ["admin", "chat", "chats", "jobs", "maintenance", "sql"];
/// Variables whose values nobody may read in a log.
const SECRET_VARIABLES: [&str; 4] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "ADDRESS_HASH_KEY",
    "OPENAI_API_KEY",
];

/// What to start and how.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    env: BTreeMap<String, String>,
    clock: Option<WallClock>,
    concurrency: usize,
    is_killed_at_deadline: bool,
}

/// Why a function did not come up.
#[derive(Debug, thiserror::Error)]
#[error("{command} did not reach its first poll: {cause}; it wrote:\n{}", .output.join("\n"))]
pub struct StartError {
    /// Program and arguments.
    pub command: String,
    /// Exit status, posted error or time limit.
    pub cause: String,
    /// What it wrote.
    pub output: Vec<String>,
}

impl Launch {
    /// The function whose package and binary are called `name`.
    pub fn binary(name: &str) -> Self {
        Self::program(binary(name))
    }

    /// A program at a path.
    pub fn program(path: impl Into<PathBuf>) -> Self {
        let program = path.into();
        let name = program
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let lambda = [
            ("AWS_LAMBDA_FUNCTION_NAME", name.as_str()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/function"),
            (
                "AWS_LAMBDA_LOG_STREAM_NAME",
                "2026/11/22/[$LATEST]0123456789abcdef",
            ),
            ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("_HANDLER", "bootstrap"),
            ("TZ", ":UTC"),
            ("LANG", "en_US.UTF-8"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("RUST_BACKTRACE", "1"),
        ];
        let env = lambda
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            program,
            arguments: Vec::new(),
            env,
            clock: None,
            concurrency: 1,
            is_killed_at_deadline: true,
        }
    }

    /// Adds an argument, for a program that runs others, such as `node`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Has another program run this one: its path and arguments, then this program's. An empty list changes nothing.
    #[must_use]
    pub fn run_by(mut self, prefix: &[String]) -> Self {
        if let Some((program, arguments)) = prefix.split_first() {
            let inner = std::mem::replace(&mut self.program, program.into());
            let inner = std::iter::once(inner.to_string_lossy().into_owned());
            self.arguments = arguments
                .iter()
                .cloned()
                .chain(inner)
                .chain(self.arguments)
                .collect();
        }
        self
    }

    /// Sets a variable. The process has no others than these and Lambda's.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Sets several variables.
    #[must_use]
    pub fn envs(
        mut self,
        variables: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        self.env.extend(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        self
    }

    /// Removes a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// Puts the process under a movable clock.
    #[must_use]
    pub fn clock(mut self, clock: &WallClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Lambda Managed Instances: that many workers in one process, and no kill at the deadline.
    #[must_use]
    pub fn concurrency(mut self, workers: usize) -> Self {
        self.concurrency = workers;
        self.is_killed_at_deadline = false;
        self.env("AWS_LAMBDA_MAX_CONCURRENCY", workers.to_string())
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
        let api = Arc::new(RuntimeApi::start(self.clock.clone()).await);
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(&self.env)
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(clock) = &self.clock {
            command.envs(clock.env());
        }
        let started = Instant::now();
        let output = Output::default();
        let exited = watch::Sender::new(None);
        let program = self.program.clone();
        let supervisor = Supervisor {
            api: Arc::clone(&api),
            output: output.clone(),
            exited: exited.clone(),
        };
        let (pid, task) = background::run(async move {
            let child = command
                .spawn()
                .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
            let pid = child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(Pid::from_raw);
            (
                pid.expect("a new process has an id"),
                background::spawn(supervisor.run(child)),
            )
        })
        .await;
        let name = self.program.file_name().and_then(|name| name.to_str());
        let is_deployed = name.is_some_and(|name| DEPLOYED.contains(&name));
        let secrets = SECRET_VARIABLES
            .iter()
            .filter_map(|name| self.env.get(*name).cloned())
            .filter(|secret| !secret.is_empty());
        let mut function = Function {
            api,
            is_deployed,
            secrets: Mutex::new(secrets.collect()),
            pid,
            exited: exited.subscribe(),
            output,
            init_duration: Duration::ZERO,
            workers: self.concurrency,
            is_killed_at_deadline: self.is_killed_at_deadline,
            watchdogs: Mutex::default(),
            _supervisor: task,
        };
        let mut exit = function.exited.clone();
        let ended = tokio::select! {
            initialized = timeout(INIT_LIMIT, function.api.initialized()) => match initialized {
                Ok(Ok(())) => None,
                Ok(Err(outcome)) => Some(format!("{outcome:?}")),
                Err(_) => Some(format!("Init took longer than {INIT_LIMIT:?}")),
            },
            status = exit.wait_for(Option::is_some) => {
                Some(status.ok().and_then(|status| *status).map_or_else(String::new, |status| status.to_string()))
            }
        };
        function.init_duration = started.elapsed();
        match ended {
            None => Ok(function),
            Some(cause) => Err(StartError {
                command: std::iter::once(self.program.display().to_string())
                    .chain(self.arguments)
                    .collect::<Vec<_>>()
                    .join(" "),
                cause,
                output: function.output(),
            }),
        }
    }
}

/// A running function. Dropped, it is killed.
#[derive(Debug)]
pub struct Function {
    api: Arc<RuntimeApi>,
    pid: Pid,
    exited: watch::Receiver<Option<ExitStatus>>,
    output: Output,
    init_duration: Duration,
    workers: usize,
    is_killed_at_deadline: bool,
    watchdogs: Mutex<Vec<Task>>,
    is_deployed: bool,
    secrets: Mutex<BTreeSet<String>>,
    _supervisor: Task,
}

impl Function {
    /// From the start of the process to its first poll.
    pub fn init_duration(&self) -> Duration {
        self.init_duration
    }

    /// Its Runtime API.
    pub fn api(&self) -> &RuntimeApi {
        &self.api
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends an event and waits for the end. At the deadline a process that serves one request at a time is killed.
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
        let invocation = self.api.begin(event, limit);
        let mut watched = invocation.watch();
        let api = Arc::clone(&self.api);
        let exited = self.exited.clone();
        let (pid, is_killed) = (self.pid, self.is_killed_at_deadline);
        let watchdog = background::spawn(async move {
            watched.dispatched().await;
            if timeout(limit, watched.ended()).await.is_ok() {
                return;
            }
            api.time_out(watched.request_id());
            if is_killed {
                signal(pid, &exited, Signal::KILL);
            }
        });
        self.watchdogs
            .lock()
            .expect("no holder panics")
            .push(watchdog);
        invocation
    }

    /// Waits until every worker polls and nothing runs: what Lambda waits for before a freeze.
    ///
    /// # Panics
    /// When that takes longer than a minute.
    pub async fn idle(&self) {
        let idle = timeout(DISPATCH_LIMIT, self.api.idle(self.workers)).await;
        assert!(
            idle.is_ok(),
            "the function does not come back for work; it wrote:\n{}",
            self.output().join("\n")
        );
    }

    /// Stops the process where it stands.
    pub async fn freeze(&self) {
        signal(self.pid, &self.exited, Signal::STOP);
        let stopped = || (process_state(self.pid)? == 'T').then_some(());
        wait::until("the freeze", SIGNAL_LIMIT, stopped).await;
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal(self.pid, &self.exited, Signal::CONT);
    }

    /// Kills the process without notice, as Lambda does at a time-out, and waits for its end.
    pub async fn kill(&self) -> ExitStatus {
        signal(self.pid, &self.exited, Signal::KILL);
        self.exit().await
    }

    /// Asks it to end, as Lambda does before it takes a container away.
    pub fn terminate(&self) {
        signal(self.pid, &self.exited, Signal::TERM);
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
        *self.exited.borrow()
    }

    /// Ends it once it has come back for work, if it still runs, and gives every line that it ever wrote.
    ///
    /// # Panics
    /// When it neither comes back nor ends within a minute.
    pub async fn end(&self) -> Vec<String> {
        let mut exit = self.exited.clone();
        tokio::select! {
            () = self.idle() => { self.kill().await; }
            _ = exit.wait_for(Option::is_some) => {}
        }
        self.output()
    }

    /// Every line read from it so far, both streams, in order of arrival. An answer may be there before the lines that
    /// were written for it: who looks for a line asks [`Function::line_with`] or [`Function::end`].
    pub fn output(&self) -> Vec<String> {
        self.output.0.borrow().clone()
    }

    /// Waits for a line that contains `text`.
    ///
    /// # Panics
    /// When none comes within 10 s.
    pub async fn line_with(&self, text: &str) -> String {
        let find = || {
            self.output
                .0
                .borrow()
                .iter()
                .find(|line| line.contains(text))
                .cloned()
        };
        wait::until(&format!("a line with {text:?}"), SIGNAL_LIMIT, find).await
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        signal(self.pid, &self.exited, Signal::KILL);
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
        while self.exited.borrow().is_none() {
            assert!(
                begun.elapsed() < DRAIN_LIMIT,
                "a killed function does not end"
            );
            std::thread::yield_now();
        }
    }
}

/// Only a process not yet seen to end is signalled: its id may belong to another afterwards.
fn signal(pid: Pid, exited: &watch::Receiver<Option<ExitStatus>>, signal: Signal) {
    if exited.borrow().is_none() {
        // It may end between the look and the signal; then there is nothing to do.
        let _ = kill_process(pid, signal);
    }
}

/// The state letter of `/proc/PID/stat`, after the parenthesis that closes the program's name.
fn process_state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Lines written so far.
#[derive(Debug, Clone, Default)]
struct Output(Arc<watch::Sender<Vec<String>>>);

impl Output {
    async fn keep(self, stream: impl AsyncRead + Unpin) {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        // A line without an end is half a line, of a process that was killed.
        while stream.read_until(b'\n', &mut line).await.is_ok() && line.pop() == Some(b'\n') {
            let text = String::from_utf8_lossy(&line).into_owned();
            self.0.send_modify(|lines| lines.push(text));
            line.clear();
        }
    }
}

/// Reads what the process writes and sees its end.
struct Supervisor {
    api: Arc<RuntimeApi>,
    output: Output,
    exited: watch::Sender<Option<ExitStatus>>,
}

impl Supervisor {
    async fn run(self, mut child: Child) {
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        // Both streams are at their end before the exit is announced, so that nobody misses the last line.
        let (status, (), ()) = tokio::join!(
            child.wait(),
            self.output.clone().keep(stdout),
            self.output.clone().keep(stderr)
        );
        let Ok(status) = status else { return };
        self.exited.send_replace(Some(status));
        self.api
            .function_exited(&format!("Runtime exited with error: {status}"));
    }
}
