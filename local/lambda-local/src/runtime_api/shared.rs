//! What the server of a Runtime API and its owner share: the events that wait, those that run, and
//! who waits for one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

use super::invocation::{Invoked, Outcome};
use crate::clock::Clock;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: watch::Sender<State>,
    pub(super) clock: Clock,
    /// The ARN that the function is told.
    pub(super) arn: String,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) queue: VecDeque<Arc<Invoked>>,
    pub(super) running: HashMap<String, Arc<Invoked>>,
    /// Polls waiting now.
    pub(super) waiting_workers: usize,
    /// Polls since the start.
    pub(super) polls: u64,
    pub(super) init_error: Option<Outcome>,
    pub(super) extensions: Vec<String>,
    /// Why the process ended, once it has.
    pub(super) exit: Option<String>,
}

impl Shared {
    pub(super) fn running(&self, id: &str) -> Option<Arc<Invoked>> {
        self.state.borrow().running.get(id).cloned()
    }

    /// Takes the next event off the queue.
    pub(super) fn dispatch(&self) -> Option<Arc<Invoked>> {
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

    pub(super) fn end(&self, invoked: &Invoked, outcome: Outcome) {
        self.forget(invoked);
        invoked.finish(outcome);
    }

    pub(super) fn end_stream(
        &self,
        invoked: &Invoked,
        is_complete: bool,
        error_type: Option<String>,
    ) {
        self.forget(invoked);
        invoked.finish_stream(is_complete, error_type);
    }

    pub(super) fn forget(&self, invoked: &Invoked) {
        self.state.send_modify(|state| {
            state.running.remove(&invoked.id);
        });
    }

    pub(super) fn count_worker(&self) -> WaitingWorker<'_> {
        self.state.send_modify(|state| {
            state.waiting_workers += 1;
            state.polls += 1;
        });
        WaitingWorker(self)
    }
}

/// One waiting poll.
pub(super) struct WaitingWorker<'a>(&'a Shared);

impl Drop for WaitingWorker<'_> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.waiting_workers -= 1);
    }
}

pub(super) fn exited(cause: &str) -> Outcome {
    Outcome::FunctionError {
        error_type: "Runtime.ExitError".to_owned(),
        message: cause.to_owned(),
    }
}
