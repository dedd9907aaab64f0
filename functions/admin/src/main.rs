//! Wiring: configuration, connection, handler.

use std::process::ExitCode;
use std::sync::Arc;

use dsql::{Config, Dsql};
use lambda_runtime::{LambdaEvent, service_fn};

fn main() -> ExitCode {
    runtime::start(async {
        let settings = Arc::new(admin::Settings::from_lookup(&runtime::from_process)?);
        let dsql = Dsql::new(Config::from_env()?.with_retry(admin::RETRY));
        dsql.connect().await;
        let handler = service_fn(move |event: LambdaEvent<serde_json::Value>| {
            let (dsql, settings) = (dsql.clone(), Arc::clone(&settings));
            async move { admin::handle(&dsql, &settings, event).await }
        });
        lambda_runtime::run_concurrent(handler).await
    })
}
