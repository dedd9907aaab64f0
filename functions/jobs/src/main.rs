//! Wiring: configuration, connection, handler.

use std::process::ExitCode;
use std::sync::Arc;

use api::{Metrics, StandardOutput};
use dsql::Dsql;
use jobs::App;
use lambda_runtime::{LambdaEvent, service_fn};

fn main() -> ExitCode {
    api::start(async {
        let metrics = Metrics::new("jobs", Arc::new(StandardOutput));
        let app = Arc::new(App::new(Dsql::from_env().await?, metrics));
        let handler = service_fn(move |event: LambdaEvent<serde_json::Value>| {
            let app = Arc::clone(&app);
            async move { jobs::handle(&app, event).await }
        });
        lambda_runtime::run_concurrent(handler).await
    })
}
