//! A function that connects in every invocation. It does so with the project's own layer, so that
//! nothing but the reuse of the connection is compared: a sample's own way (loading all
//! configuration, `SSLRequest`, two round trips a statement) costs more.
#![allow(
    clippy::disallowed_methods,
    reason = "a measuring program under the machine's clock"
)]

use std::time::{Duration, SystemTime};

use dsql::{Config, Dsql};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(async |_: LambdaEvent<Value>| {
        let dsql = Dsql::new(Config::from_env()?);
        let db = dsql.until(SystemTime::now() + LIMIT);
        db.query_idempotent("SELECT 1", &[]).await?;
        Ok::<_, Error>(json!({"statusCode": 200, "headers": {}, "body": "ready"}))
    }))
    .await
}
