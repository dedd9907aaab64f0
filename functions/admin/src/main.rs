//! Wiring: configuration, connection, handler.

use std::process::ExitCode;

use dsql::Dsql;
use lambda_runtime::{LambdaEvent, service_fn};

fn main() -> ExitCode {
    api::start(async {
        let dsql = Dsql::from_env().await?;
        let handler = service_fn(move |event: LambdaEvent<serde_json::Value>| {
            let dsql = dsql.clone();
            async move { admin::handle(&dsql, event).await }
        });
        lambda_runtime::run_concurrent(handler).await
    })
}
