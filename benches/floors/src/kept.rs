//! A function on the project's own layer and nothing else: it connects in Init and keeps the
//! connection, as the peers on other connectors do.
#![allow(
    clippy::disallowed_methods,
    reason = "a measuring program under the machine's clock"
)]

use std::time::{Duration, SystemTime};

use dsql::Dsql;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let dsql = Dsql::from_env().await?;
    let handler = service_fn(move |_: LambdaEvent<Value>| {
        let db = dsql.until(SystemTime::now() + LIMIT);
        async move {
            db.query_idempotent("SELECT 1", &[]).await?;
            Ok::<_, Error>(json!({"statusCode": 200, "headers": {}, "body": "ready"}))
        }
    });
    // As a task, as the functions run.
    tokio::spawn(lambda_runtime::run_concurrent(handler)).await?
}
