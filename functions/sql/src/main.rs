//! Wiring: configuration, connection, handler.

use std::process::ExitCode;
use std::sync::Arc;

use dsql::{Config, Dsql};
use lambda_http::lambda_runtime::{self, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use sql::{App, Event};

fn main() -> ExitCode {
    api::start(async {
        let dsql = Dsql::new(Config::from_env()?.with_application_name("sql"));
        let line = Arc::new(api::StandardOutput);
        let app = Arc::new(App::from_lookup(dsql, &api::from_process, line)?);
        app.connect().await;
        let handler = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
            let app = Arc::clone(&app);
            async move {
                let (event, context) = event.into_parts();
                let (form, request) = Event::read(&event)?.into_request(context);
                Ok::<_, lambda_http::Error>(form.answer(sql::handle(&app, request).await))
            }
        });
        lambda_runtime::run_concurrent(handler).await
    })
}
