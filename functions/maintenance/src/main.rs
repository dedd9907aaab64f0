//! Wiring: configuration, connection, queue, Hyperdrive, blog, bucket, handler.

use std::process::ExitCode;
use std::sync::Arc;

use bucket::Bucket;
use dsql::{Config, Dsql};
use lambda_runtime::{LambdaEvent, service_fn};
use maintenance::{App, Blog, Hyperdrive, Queue};
use runtime::{Metrics, StandardOutput};

fn main() -> ExitCode {
    runtime::start(async {
        let metrics = Metrics::new("maintenance", Arc::new(StandardOutput));
        let queue = Queue::from_lookup(&runtime::from_process)?;
        let hyperdrive = Hyperdrive::from_lookup(&runtime::from_process)?;
        let blog = Blog::from_lookup(&runtime::from_process)?;
        let bucket = Bucket::from_lookup(&runtime::from_process)?;
        let dsql = Dsql::new(Config::from_env()?.with_search_path(chat_store::SCHEMA));
        dsql.connect().await;
        let app = App::new(dsql, queue, hyperdrive, blog, metrics).with_bucket(bucket);
        let app = Arc::new(app);
        let handler = service_fn(move |event: LambdaEvent<serde_json::Value>| {
            let app = Arc::clone(&app);
            async move { maintenance::handle(&app, event).await }
        });
        lambda_runtime::run_concurrent(handler).await
    })
}
