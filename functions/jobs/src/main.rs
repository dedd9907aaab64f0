//! Wiring: configuration, connection, handler.

use std::process::ExitCode;
use std::sync::Arc;

use bucket::Bucket;
use dsql::{Config, Dsql};
use jobs::App;
use lambda_runtime::{LambdaEvent, service_fn};
use runtime::{Metrics, StandardOutput};

fn main() -> ExitCode {
    runtime::start(async {
        let metrics = Metrics::new("jobs", Arc::new(StandardOutput));
        let dsql = Dsql::new(Config::from_env()?.with_search_path(chat_store::SCHEMA));
        let bucket = Bucket::from_lookup(&runtime::from_process)?;
        dsql.connect().await;
        let app = App::new(dsql, metrics).with_bucket(bucket);
        #[cfg(feature = "titles")]
        let app = match provider().await? {
            Some(provider) => app.with_titles(provider, &runtime::from_process)?,
            None => app,
        };
        let app = Arc::new(app);
        let handler = service_fn(move |event: LambdaEvent<serde_json::Value>| {
            let app = Arc::clone(&app);
            async move { jobs::handle(&app, event).await }
        });
        lambda_runtime::run_concurrent(handler).await
    })
}

/// The model that makes titles, where one is configured.
#[cfg(feature = "titles")]
async fn provider() -> Result<Option<model::Provider>, model::ConfigError> {
    let is_configured =
        runtime::from_process(model::MODEL_PROVIDER).is_some_and(|name| !name.trim().is_empty());
    Ok(if is_configured {
        Some(model::Provider::from_env().await?)
    } else {
        None
    })
}
