//! A service that runs all the time: one `Dsql` that all requests share, connected before it
//! listens, and a time limit for each request. It keeps up to `DSQL_MAX_SESSIONS` connections, and
//! replaces each before the service would end it.
//!
//! ```sh
//! DSQL_ENDPOINT=… cargo run --example axum
//! curl -X POST http://127.0.0.1:3000/visits/Ada
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use dsql::{Db, Dsql, ErrorKind, Row, Type};
use serde::Serialize;
use tokio::net::TcpListener;

/// For the statements of one request, with their retries.
const TIME: Duration = Duration::from_secs(3);

#[derive(Debug, Serialize)]
struct Visits {
    visits: i64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dsql = Dsql::from_env().await?;
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    let visits = get(read).post(visit);
    let routes = Router::new()
        .route("/visits/{name}", visits)
        .with_state(dsql);
    // What has begun is answered before the program ends.
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    axum::serve(listener, routes)
        .with_graceful_shutdown(interrupted)
        .await?;
    Ok(())
}

/// May be sent again when its connection is lost.
async fn read(State(dsql): State<Dsql>, Path(name): Path<String>) -> Result<Json<Visits>, Failure> {
    let sql = "SELECT visits FROM visits WHERE name = $1";
    let row = limited(&dsql)
        .query_opt_idempotent(sql, &[(&name, Type::TEXT)])
        .await?;
    Ok(Json(of(row.as_ref())?))
}

/// Not idempotent, so it is not sent again when its connection is lost: the client is told that the
/// outcome is unknown.
async fn visit(
    State(dsql): State<Dsql>,
    Path(name): Path<String>,
) -> Result<Json<Visits>, Failure> {
    let sql = "INSERT INTO visits (name, visits) VALUES ($1, 1)
        ON CONFLICT (name) DO UPDATE SET visits = visits.visits + 1 RETURNING visits";
    let row = limited(&dsql)
        .query_opt(sql, &[(&name, Type::TEXT)])
        .await?;
    Ok(Json(of(row.as_ref())?))
}

fn limited(dsql: &Dsql) -> Db {
    dsql.until(dsql.clock().now() + TIME)
}

fn of(row: Option<&Row>) -> Result<Visits, Failure> {
    let visits = row.map(|row| row.try_get(0)).transpose();
    Ok(Visits {
        visits: visits.map_err(|_| Failure::Internal)?.unwrap_or(0),
    })
}

/// What a client is told. What was wrong in our own house is in the log alone.
#[derive(Debug)]
enum Failure {
    Refused(String),
    OutcomeUnknown,
    TryLater,
    Internal,
}

impl From<dsql::Error> for Failure {
    fn from(error: dsql::Error) -> Self {
        eprintln!("{}", error.report());
        match error.kind() {
            _ if error.is_outcome_unknown() => Self::OutcomeUnknown,
            ErrorKind::Client => Self::Refused(error.to_string()),
            ErrorKind::Conflict | ErrorKind::Unavailable => Self::TryLater,
            ErrorKind::Bug => Self::Internal,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let later = "the database cannot be reached, try again later";
        let unknown = "the visit may have been counted: read before you try again";
        let internal = "something is wrong here";
        match self {
            Self::Refused(reason) => (StatusCode::BAD_REQUEST, reason).into_response(),
            Self::OutcomeUnknown => (StatusCode::BAD_GATEWAY, unknown).into_response(),
            Self::TryLater => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                (status, [(RETRY_AFTER, "1")], later).into_response()
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, internal).into_response(),
        }
    }
}
