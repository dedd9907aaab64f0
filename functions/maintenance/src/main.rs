//! Wiring: configuration, connection, queue, handler.

use std::process::ExitCode;
use std::sync::Arc;

use api::{Metrics, StandardOutput};
use dsql::Dsql;
use lambda_runtime::{LambdaEvent, service_fn};
use maintenance::{App, Queue};

fn main() -> ExitCode {
    api::start(async {
        let metrics = Metrics::new("maintenance", Arc::new(StandardOutput));
        let queue = Queue::from_lookup(&api::from_process)?;
        let app = Arc::new(App::new(Dsql::from_env().await?, queue, metrics));
        let handler = service_fn(move |event: LambdaEvent<serde_json::Value>| {
            let app = Arc::clone(&app);
            async move { maintenance::handle(&app, event).await }
        });
        lambda_runtime::run_concurrent(handler).await
    })
}
