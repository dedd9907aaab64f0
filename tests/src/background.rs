//! Owns the runtime that the harness itself lives on. Servers and child processes must outlive the
//! runtime of the single test that started them when several tests share them, so they all run
//! here.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

pub use lambda_local::task::Task;

/// The harness's runtime.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("harness")
            .enable_all()
            .build()
            .expect("a tokio runtime starts")
    })
}

/// Runs `work` on the harness's runtime until it ends or the [`Task`] is dropped.
pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Task {
    Task::spawn_on(runtime().handle(), work)
}

/// Runs `work` on the harness's runtime and waits for its result. What `work` spawns lives there
/// too.
pub async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match runtime().spawn(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
