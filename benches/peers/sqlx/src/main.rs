//! A function on the official SQLx connector, unmodified: it connects in Init and keeps the
//! connection.

use std::env::var;

use aurora_dsql_sqlx_connector::connection::connect;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::sync::Mutex;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // The certificate comes by SQLx's own PGSSLROOTCERT.
    let url = format!(
        "postgres://{}@{}:{}/postgres",
        var("DSQL_ROLE")?,
        var("DSQL_ENDPOINT")?,
        var("DSQL_PORT")?
    );
    let connection = Mutex::new(connect(&url).await?);
    lambda_runtime::run(service_fn(async |_: LambdaEvent<Value>| {
        sqlx::query("SELECT 1")
            .execute(&mut *connection.lock().await)
            .await?;
        Ok::<_, Error>(json!({"statusCode": 200, "headers": {}, "body": "ready"}))
    }))
    .await
}
