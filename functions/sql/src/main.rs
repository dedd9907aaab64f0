//! Wiring: configuration, connection, handler.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use dsql::{Config, Dsql};
use lambda_http::{Request, service_fn};
use sql::App;

fn main() -> ExitCode {
    runtime::start(async {
        let dsql = Dsql::new(Config::from_env()?.with_application_name("sql"));
        let line = Arc::new(runtime::StandardOutput);
        let app = Arc::new(App::from_lookup(dsql, &runtime::from_process, line)?);
        app.connect().await;
        let handler = service_fn(move |request: Request| {
            let app = Arc::clone(&app);
            async move { Ok::<_, Infallible>(sql::handle(&app, request).await) }
        });
        http_api::serve(handler).await
    })
}
