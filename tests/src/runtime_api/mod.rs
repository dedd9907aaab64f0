//! Owns a mock of the Lambda Runtime API on loopback, one for each function process: the long poll for events, the
//! answers (buffered, streamed, errors), and the registration of extensions. It knows no process; `function` does.

mod invocation;
mod prelude;
mod server;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::background::{self, Task};
use crate::clock::WallClock;
use invocation::Invoked;

pub use invocation::{Chunk, Invocation, Outcome, Streamed};

/// The ARN that every function is told.
pub const FUNCTION_ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:function";

/// The mock. Requests are answered until it is dropped.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serve: Task,
}

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    clock: Option<WallClock>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Arc<Invoked>>,
    running: HashMap<String, Arc<Invoked>>,
    /// Polls waiting now.
    waiting_workers: usize,
    /// Polls since the start.
    polls: u64,
    init_error: Option<Outcome>,
    extensions: Vec<String>,
}

impl RuntimeApi {
    /// Listens on a free loopback port. Deadlines are given on `clock`, the one the function sees.
    pub async fn start(clock: Option<WallClock>) -> Self {
        let shared = Arc::new(Shared {
            state: watch::Sender::default(),
            clock,
        });
        background::run(async move {
            let listener = TcpListener::bind(("127.0.0.1", 0))
                .await
                .expect("a free port");
            let address = listener
                .local_addr()
                .expect("a bound socket has an address");
            let serve = background::spawn(server::serve(listener, Arc::clone(&shared)));
            Self {
                address,
                shared,
                _serve: serve,
            }
        })
        .await
    }

    /// Value of `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Queues an event for the next free worker. Its deadline is `timeout` after a worker takes it; the mock tells the
    /// function the deadline, but only [`Function`](crate::function::Function) enforces it.
    pub fn begin(&self, event: impl Into<Bytes>, timeout: Duration) -> Invocation {
        let id = uuid::Uuid::new_v4().to_string();
        let invoked = Arc::new(Invoked::new(id, event.into(), timeout));
        self.shared
            .state
            .send_modify(|state| state.queue.push_back(Arc::clone(&invoked)));
        Invocation::new(invoked)
    }

    /// Queues an event and waits for the end.
    pub async fn invoke(&self, event: impl Into<Bytes>, timeout: Duration) -> Outcome {
        self.begin(event, timeout).outcome().await
    }

    /// Waits until at least `workers` polls wait and nothing runs.
    pub async fn idle(&self, workers: usize) {
        self.wait_for(|state| state.waiting_workers >= workers && state.running.is_empty())
            .await;
    }

    /// Waits for the first poll, which ends Init. An error that the function posted instead is returned.
    ///
    /// # Errors
    /// What the function posted to `/init/error`.
    pub async fn initialized(&self) -> Result<(), Outcome> {
        self.wait_for(|state| state.polls > 0 || state.init_error.is_some())
            .await;
        self.shared
            .state
            .borrow()
            .init_error
            .clone()
            .map_or(Ok(()), Err)
    }

    /// Polls that wait for an event now.
    pub fn waiting_workers(&self) -> usize {
        self.shared.state.borrow().waiting_workers
    }

    /// Names of the extensions that registered, in order.
    pub fn extensions(&self) -> Vec<String> {
        self.shared.state.borrow().extensions.clone()
    }

    /// The deadline of an invocation passed: without an answer it has timed out. One that already streams keeps what it
    /// sent; the cut shows when its connection breaks.
    pub(crate) fn time_out(&self, request_id: &str) {
        if let Some(invoked) = self.shared.running(request_id)
            && !invoked.is_streaming()
        {
            self.shared.end(&invoked, Outcome::TimedOut);
        }
    }

    /// The process is gone: what it was working on ends as on Lambda.
    pub(crate) fn function_exited(&self, cause: &str) {
        let running: Vec<_> = self
            .shared
            .state
            .borrow()
            .running
            .values()
            .cloned()
            .collect();
        for invoked in running {
            if !invoked.is_streaming() {
                let error_type = "Runtime.ExitError".to_owned();
                self.shared.end(
                    &invoked,
                    Outcome::FunctionError {
                        error_type,
                        message: cause.to_owned(),
                    },
                );
            }
        }
    }

    async fn wait_for(&self, condition: impl FnMut(&State) -> bool) {
        let mut state = self.shared.state.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = state.wait_for(condition).await;
    }
}

impl Shared {
    fn now(&self) -> SystemTime {
        self.clock
            .as_ref()
            .map_or_else(SystemTime::now, WallClock::now)
    }

    fn running(&self, id: &str) -> Option<Arc<Invoked>> {
        self.state.borrow().running.get(id).cloned()
    }

    /// Takes the next event off the queue.
    fn dispatch(&self) -> Option<Arc<Invoked>> {
        let mut taken = None;
        self.state.send_if_modified(|state| {
            taken = state.queue.pop_front();
            if let Some(invoked) = &taken {
                state
                    .running
                    .insert(invoked.id.clone(), Arc::clone(invoked));
            }
            taken.is_some()
        });
        taken
    }

    fn end(&self, invoked: &Invoked, outcome: Outcome) {
        self.forget(invoked);
        invoked.finish(outcome);
    }

    fn end_stream(&self, invoked: &Invoked, is_complete: bool, error_type: Option<String>) {
        self.forget(invoked);
        invoked.finish_stream(is_complete, error_type);
    }

    fn forget(&self, invoked: &Invoked) {
        self.state.send_modify(|state| {
            state.running.remove(&invoked.id);
        });
    }

    fn count_worker(&self) -> WaitingWorker<'_> {
        self.state.send_modify(|state| {
            state.waiting_workers += 1;
            state.polls += 1;
        });
        WaitingWorker(self)
    }
}

/// One waiting poll.
struct WaitingWorker<'a>(&'a Shared);

impl Drop for WaitingWorker<'_> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.waiting_workers -= 1);
    }
}

fn unix_millis(time: SystemTime) -> u64 {
    let since = time
        .duration_since(UNIX_EPOCH)
        .expect("tests run after 1970");
    u64::try_from(since.as_millis()).expect("milliseconds fit for 500 million years")
}
