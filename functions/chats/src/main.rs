//! Wiring: configuration, connection, handler.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use chats::App;
use dsql::{Config, Dsql};
use lambda_http::{Request, service_fn};

fn main() -> ExitCode {
    runtime::start(async {
        let dsql = Dsql::new(Config::from_env()?.with_search_path(chat_store::SCHEMA));
        dsql.connect().await;
        let app = Arc::new(App::from_lookup(
            dsql,
            &runtime::from_process,
            Arc::new(runtime::StandardOutput),
        )?);
        let handler = service_fn(move |request: Request| {
            let app = Arc::clone(&app);
            async move { Ok::<_, Infallible>(chats::handle(&app, request).await) }
        });
        http_api::serve(handler).await
    })
}
