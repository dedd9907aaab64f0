//! A function on the official SQLx connector, unmodified: it connects in Init and keeps the
//! connection, or a pool of as many as there are requests at once. With `STATEMENT_LIMIT_SECONDS`
//! it gives up a statement on its one connection after so long, as all of ours are given up.

use std::env::var;
use std::sync::Arc;
use std::time::Duration;

use aurora_dsql_sqlx_connector::DsqlConnectOptions;
use aurora_dsql_sqlx_connector::connection::connect;
use aurora_dsql_sqlx_connector::pool;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::Mutex;
use tokio::time::timeout;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // The certificate comes by SQLx's own PGSSLROOTCERT.
    let url = format!(
        "postgres://{}@{}:{}/postgres",
        var("DSQL_ROLE")?,
        var("DSQL_ENDPOINT")?,
        var("DSQL_PORT")?
    );
    let at_once = var("AWS_LAMBDA_MAX_CONCURRENCY")
        .ok()
        .and_then(|n| n.parse().ok());
    if let Some(at_once) = at_once.filter(|at_once| *at_once > 1) {
        let config = DsqlConnectOptions::from_connection_string(&url)?;
        let options = PgPoolOptions::new().max_connections(at_once);
        let pool = pool::connect_with(&config, options).await?;
        return lambda_runtime::run_concurrent(service_fn(move |_: LambdaEvent<Value>| {
            let pool = pool.clone();
            async move {
                sqlx::query("SELECT 1").execute(&pool).await?;
                Ok::<_, Error>(ready())
            }
        }))
        .await;
    }
    let connection = Arc::new(Mutex::new(connect(&url).await?));
    let limit = var("STATEMENT_LIMIT_SECONDS").ok();
    let limit = limit.map(|seconds| seconds.parse().map(Duration::from_secs));
    let limit = limit.transpose()?;
    let handler = service_fn(move |_: LambdaEvent<Value>| {
        let connection = Arc::clone(&connection);
        async move {
            let mut connection = connection.lock().await;
            let answer = sqlx::query("SELECT 1").execute(&mut *connection);
            match limit {
                Some(limit) => timeout(limit, answer).await??,
                None => answer.await?,
            };
            Ok::<_, Error>(ready())
        }
    });
    // As a task, as our functions run: two system calls less in each invocation.
    tokio::spawn(lambda_runtime::run(handler)).await?
}

fn ready() -> Value {
    json!({"statusCode": 200, "headers": {}, "body": "ready"})
}
