//! Owns tasks that end with their owner.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// A task that ends when this is dropped.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Task {
    /// Runs `work` on the runtime that this is called from.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::spawn_on(&Handle::current(), work)
    }

    /// Runs `work` on the runtime of `handle`.
    pub fn spawn_on(handle: &Handle, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(handle.spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
