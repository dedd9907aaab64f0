//! Owns a container: a function's process with Lambda's environment behind a Runtime API of its
//! own. It can be frozen, thawed and killed; its deadline kills it; what it writes is kept and
//! passed on.
//!
//! The process leads a process group of its own. Should this program be killed, the kernel sends a
//! group that is stopped SIGHUP and SIGCONT, and a function that runs ends by itself at its next
//! poll.

mod output;
mod process;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::output::{Output, Sink};
use self::process::{process_state, signal, spawn};
use crate::application::Function;
use crate::clock::Clock;
use crate::runtime_api::{Invocation, Outcome, RuntimeApi};
use crate::task::Task;

/// Init on default Lambda (Lambda Developer Guide: *Lambda runtime environment lifecycle*).
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// What to start and how.
#[derive(Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    env: BTreeMap<String, String>,
    arn: String,
    clock: Clock,
    concurrency: usize,
    kept_lines: usize,
    sink: Option<Sink>,
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
    /// A program at a path, with the variables that Lambda sets and no others.
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
            arn: "arn:aws:lambda:us-east-1:123456789012:function:function".to_owned(),
            clock: Clock::wall(),
            concurrency: 1,
            kept_lines: usize::MAX,
            sink: None,
        }
    }

    /// The program at `path` as the template's `function`: its name, ARN, memory size and
    /// variables.
    pub fn function(path: impl Into<PathBuf>, function: &Function) -> Self {
        let mut launch = Self::program(path)
            .env("AWS_LAMBDA_FUNCTION_NAME", &function.name)
            .env(
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                function.memory_mb.to_string(),
            )
            .env(
                "AWS_LAMBDA_LOG_GROUP_NAME",
                format!("/aws/lambda/{}", function.name),
            )
            .envs(function.environment.clone());
        launch.arn.clone_from(&function.arn);
        match function.container_concurrency {
            Some(workers) => launch.concurrency(workers),
            None => launch,
        }
    }

    /// Adds an argument, for a program that runs others, such as `node`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Has another program run this one: its path and arguments, then this program's. An empty list
    /// changes nothing.
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

    /// Gives deadlines by another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Lambda Managed Instances: that many workers in one process, and no kill at the deadline.
    #[must_use]
    pub fn concurrency(mut self, workers: usize) -> Self {
        self.concurrency = workers.max(1);
        self.env("AWS_LAMBDA_MAX_CONCURRENCY", workers.to_string())
    }

    /// Keeps only the last `lines` lines that the process writes. Without it all are kept.
    #[must_use]
    pub fn keep_lines(mut self, lines: usize) -> Self {
        self.kept_lines = lines;
        self
    }

    /// Passes every line on, as it comes.
    #[must_use]
    pub fn pass_lines_to(mut self, sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.sink = Some(Arc::new(sink));
        self
    }

    /// The program's file.
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    /// How many requests a container serves at once.
    pub fn workers(&self) -> usize {
        self.concurrency
    }

    fn is_managed_instance(&self) -> bool {
        self.env.contains_key("AWS_LAMBDA_MAX_CONCURRENCY")
    }

    fn command_line(&self) -> String {
        std::iter::once(self.program.display().to_string())
            .chain(self.arguments.iter().cloned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Starts the process and waits for the end of Init. What belongs to the container runs on this
    /// call's runtime.
    ///
    /// # Errors
    /// [`StartError`] when it cannot be started, ends, reports an error, or takes longer than
    /// Lambda allows.
    #[expect(
        clippy::disallowed_methods,
        reason = "measures a process by the machine's clock"
    )]
    pub async fn start(self) -> Result<Container, StartError> {
        let command_line = self.command_line();
        let failed = |cause: String, output| StartError {
            command: command_line.clone(),
            cause,
            output,
        };
        let api = RuntimeApi::start(&self.arn, self.clock.clone())
            .await
            .map_err(|error| failed(error.to_string(), Vec::new()))?;
        let api = Arc::new(api);
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(&self.env)
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let started = Instant::now();
        let child = spawn(&mut command)
            .await
            .map_err(|error| failed(error.to_string(), Vec::new()))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let Some(pid) = id.and_then(Pid::from_raw) else {
            return Err(failed("it has no process id".to_owned(), Vec::new()));
        };
        let output = Output {
            lines: Arc::default(),
            kept: self.kept_lines,
            sink: self.sink.clone(),
        };
        let exited = watch::Sender::new(None);
        let supervisor = Supervisor {
            api: Arc::clone(&api),
            output: output.clone(),
            exited: exited.clone(),
        };
        let mut container = Container {
            api,
            pid,
            exited: exited.subscribe(),
            output,
            init_duration: Duration::ZERO,
            workers: self.concurrency,
            is_killed_at_deadline: !self.is_managed_instance(),
            watchdogs: Mutex::default(),
            runtime: Handle::current(),
            _supervisor: Task::spawn(supervisor.run(child)),
        };
        let mut exit = container.exited.clone();
        let cause = tokio::select! {
            initialized = timeout(INIT_LIMIT, container.api.initialized()) => match initialized {
                Ok(Ok(())) => None,
                Ok(Err(outcome)) => Some(format!("{outcome:?}")),
                Err(_) => Some(format!("Init took longer than {INIT_LIMIT:?}")),
            },
            status = exit.wait_for(Option::is_some) => {
                Some(status.ok().and_then(|status| *status).map_or_else(String::new, |status| status.to_string()))
            }
        };
        container.init_duration = started.elapsed();
        match cause {
            None => Ok(container),
            Some(cause) => Err(failed(cause, container.output())),
        }
    }
}

impl fmt::Debug for Launch {
    /// Names of variables only: their values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("env", &self.env.keys())
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// A running function. Dropped, it is killed.
#[derive(Debug)]
pub struct Container {
    api: Arc<RuntimeApi>,
    pid: Pid,
    exited: watch::Receiver<Option<ExitStatus>>,
    output: Output,
    init_duration: Duration,
    workers: usize,
    is_killed_at_deadline: bool,
    watchdogs: Mutex<JoinSet<()>>,
    runtime: Handle,
    _supervisor: Task,
}

impl Container {
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

    /// Sends an event and returns at once. At the deadline a process that serves one request at a
    /// time is killed.
    pub fn begin(&self, event: impl Into<Bytes>, limit: Duration) -> Invocation {
        let invocation = self.api.begin(event, limit);
        let mut watched = invocation.watch();
        let api = Arc::clone(&self.api);
        let exited = self.exited.clone();
        let (pid, is_killed) = (self.pid, self.is_killed_at_deadline);
        let watchdog = async move {
            watched.dispatched().await;
            if timeout(limit, watched.ended()).await.is_ok() {
                return;
            }
            api.time_out(watched.request_id());
            if is_killed {
                signal(pid, &exited, Signal::KILL);
            }
        };
        let mut watchdogs = self
            .watchdogs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while watchdogs.try_join_next().is_some() {}
        watchdogs.spawn_on(watchdog, &self.runtime);
        invocation
    }

    /// Sends an event and waits for the end.
    pub async fn invoke(&self, event: impl Into<Bytes>, limit: Duration) -> Outcome {
        self.begin(event, limit).outcome().await
    }

    /// Waits until every worker polls and nothing runs, which is what Lambda waits for before a
    /// freeze, or until the process ends.
    pub async fn idle(&self) {
        let mut exit = self.exited.clone();
        tokio::select! {
            () = self.api.idle(self.workers) => {}
            _ = exit.wait_for(Option::is_some) => {}
        }
    }

    /// Stops the process where it stands.
    pub fn freeze(&self) {
        signal(self.pid, &self.exited, Signal::STOP);
    }

    /// Whether the process is stopped.
    pub fn is_frozen(&self) -> bool {
        process_state(self.pid) == Some('T')
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal(self.pid, &self.exited, Signal::CONT);
    }

    /// Kills the process without notice, as Lambda does at a time-out. Its end comes later.
    pub fn kill(&self) {
        signal(self.pid, &self.exited, Signal::KILL);
    }

    /// Asks it to end, as Lambda does before it takes a container away.
    pub fn terminate(&self) {
        signal(self.pid, &self.exited, Signal::TERM);
    }

    /// Waits for its end.
    pub async fn exit(&self) -> Option<ExitStatus> {
        let mut exit = self.exited.clone();
        exit.wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|status| *status)
    }

    /// How it ended, if it did.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exited.borrow()
    }

    /// The lines read from it so far and still kept, both streams, in order of arrival. An answer
    /// may be there before the lines that were written for it.
    pub fn output(&self) -> Vec<String> {
        self.output.lines.borrow().iter().cloned().collect()
    }

    /// Waits for a line that contains `text`; `None` when the process ends without one.
    pub async fn line_with(&self, text: &str) -> Option<String> {
        let find =
            |lines: &VecDeque<String>| lines.iter().find(|line| line.contains(text)).cloned();
        let mut lines = self.output.lines.subscribe();
        let mut exit = self.exited.clone();
        tokio::select! {
            found = lines.wait_for(|lines| find(lines).is_some()) => found.ok().and_then(|lines| find(&lines)),
            _ = exit.wait_for(Option::is_some) => find(&self.output.lines.borrow()),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill();
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
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return;
        };
        // Both streams are at their end before the exit is announced, so that nobody misses the
        // last line.
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
