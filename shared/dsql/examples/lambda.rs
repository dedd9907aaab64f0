//! A Lambda function: one `Dsql` for the container, connected in Init, and each invocation within
//! what is left of its time.
//!
//! ```sh
//! cargo lambda invoke lambda --data-ascii '{"name": "Ada"}'
//! ```

use std::time::Duration;

use dsql::{Db, Dsql, Type};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde::{Deserialize, Serialize};

/// Kept for the answer and the log.
const RESERVE: Duration = Duration::from_millis(500);

#[derive(Debug, Deserialize)]
struct Request {
    name: String,
}

#[derive(Debug, Serialize)]
struct Response {
    visits: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let dsql = Dsql::from_env().await?;
    run(service_fn(|event: LambdaEvent<Request>| {
        let deadline = event.context.deadline() - RESERVE;
        visit(dsql.until(deadline), event.payload)
    }))
    .await
}

/// Not idempotent, so it is not sent again when its connection is lost: the caller is told that the
/// outcome is unknown.
async fn visit(db: Db, request: Request) -> Result<Response, Error> {
    let sql = "INSERT INTO visits (name, visits) VALUES ($1, 1)
        ON CONFLICT (name) DO UPDATE SET visits = visits.visits + 1 RETURNING visits";
    let rows = db.query(sql, &[(&request.name, Type::TEXT)]).await?;
    let row = rows.first().ok_or("RETURNING gave no row")?;
    Ok(Response {
        visits: row.try_get(0)?,
    })
}
