//! Owns the Lambda Runtime API on loopback, one for each container: the long poll for events, the
//! answers (buffered, streamed, errors), and the registration of extensions. It knows no process;
//! `container` does.

mod invocation;
mod prelude;
mod server;
mod shared;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::task::Task;
use invocation::Invoked;
use shared::{Shared, State, exited};

pub use invocation::{Chunk, Invocation, Outcome, Streamed};

/// A container's Runtime API. Requests are answered until it is dropped.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serve: Task,
}

impl RuntimeApi {
    /// Listens on a free loopback port. Deadlines are given on `clock`, the one the function sees.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(arn: &str, clock: Clock) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: watch::Sender::default(),
            clock,
            arn: arn.to_owned(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let serve = Task::spawn(server::serve(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            _serve: serve,
        })
    }

    /// Value of `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Queues an event for the next free worker. Its deadline is `timeout` after a worker takes it;
    /// the function is told, but only a [`Container`](crate::container::Container) enforces it.
    pub fn begin(&self, event: impl Into<Bytes>, timeout: Duration) -> Invocation {
        let id = uuid::Uuid::new_v4().to_string();
        let invoked = Arc::new(Invoked::new(id, event.into(), timeout));
        let mut exit = None;
        self.shared.state.send_modify(|state| {
            exit.clone_from(&state.exit);
            if exit.is_none() {
                state.queue.push_back(Arc::clone(&invoked));
            }
        });
        if let Some(cause) = exit {
            invoked.finish(exited(&cause));
        }
        Invocation::new(invoked)
    }

    /// Queues an event and waits for the end.
    pub async fn invoke(&self, event: impl Into<Bytes>, timeout: Duration) -> Outcome {
        self.begin(event, timeout).outcome().await
    }

    /// Waits until at least `workers` polls wait, and nothing runs or is about to.
    pub async fn idle(&self, workers: usize) {
        self.wait_for(|state| {
            state.waiting_workers >= workers && state.running.is_empty() && state.queue.is_empty()
        })
        .await;
    }

    /// Whether an event runs or is about to.
    pub fn is_working(&self) -> bool {
        let state = self.shared.state.borrow();
        !state.running.is_empty() || !state.queue.is_empty()
    }

    /// Waits for the first poll, which ends Init. An error that the function posted instead is
    /// returned.
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

    /// The deadline of an invocation passed: without an answer it has timed out. One that already
    /// streams keeps what it sent; the cut shows when its connection breaks.
    pub(crate) fn time_out(&self, request_id: &str) {
        if let Some(invoked) = self.shared.running(request_id)
            && !invoked.is_streaming()
        {
            self.shared.end(&invoked, Outcome::TimedOut);
        }
    }

    /// The process is gone: what it was working on, and what waited for it, ends as on Lambda. An
    /// answer that streams ends where its connection broke.
    pub(crate) fn function_exited(&self, cause: &str) {
        let mut left: Vec<Arc<Invoked>> = Vec::new();
        self.shared.state.send_modify(|state| {
            state.exit = Some(cause.to_owned());
            left.extend(state.queue.drain(..));
            left.extend(state.running.values().cloned());
        });
        for invoked in left {
            if !invoked.is_streaming() {
                self.shared.end(&invoked, exited(cause));
            }
        }
    }

    async fn wait_for(&self, condition: impl FnMut(&State) -> bool) {
        let mut state = self.shared.state.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = state.wait_for(condition).await;
    }
}
