//! Wiring: configuration, connection, model, handler.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use chat::{App, RuntimeSockets};
use dsql::{Config, Dsql};
use lambda_http::{Request, service_fn};
use model::Provider;

fn main() -> ExitCode {
    runtime::start(async {
        let provider = Provider::from_env().await?;
        let dsql = Dsql::new(Config::from_env()?.with_search_path(chat_store::SCHEMA));
        dsql.connect().await;
        let app = App::from_lookup(
            dsql,
            provider,
            &runtime::from_process,
            Arc::new(runtime::StandardOutput),
        )?;
        #[cfg(feature = "mcp")]
        let app = app
            .with_servers(mcp::Servers::from_lookup(&runtime::from_process)?)
            .await;
        let app = Arc::new(app);
        let sockets = Arc::new(RuntimeSockets::from_lookup(&runtime::from_process));
        let handler = service_fn(move |request: Request| {
            sockets.send_at_once();
            let app = Arc::clone(&app);
            // Boxed: a turn's future nests deeper than the compiler cares to lay out in another.
            async move { Ok::<_, Infallible>(Box::pin(chat::handle(&app, request)).await) }
        });
        lambda_http::run_with_streaming_response_concurrent(handler).await
    })
}
