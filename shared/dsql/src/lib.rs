//! Amazon Aurora DSQL from AWS Lambda: IAM tokens, one warm guarded connection per container, OCC
//! retry.
//!
//! ```no_run
//! # async fn handler() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::{Duration, SystemTime};
//! use dsql::{Dsql, Type};
//!
//! let dsql = Dsql::from_env().await?; // Init: configuration, credentials, eager connect
//!
//! // An invocation: until its deadline.
//! let db = dsql.until(dsql.clock().now() + Duration::from_secs(3));
//! let sql = "SELECT title FROM chats WHERE owner_id = $1";
//! let rows = db.query_idempotent(sql, &[(&"me", Type::TEXT)]).await?;
//! # Ok(()) }
//! ```
//!
//! # Promises
//! 1. A session is checked **on use**, by the wall clock: open, younger than its retirement, not in
//!    a transaction, and alive if it was idle for more than 5 s. No timer: a frozen container runs
//!    none.
//! 2. A token only opens a connection. It is minted when needed and cached until shortly before the
//!    earlier of its own and the credentials' expiry.
//! 3. A statement on a warm connection is one round trip; a transaction is one per statement, BEGIN
//!    and COMMIT. From its third use on a connection a statement is a prepared one, which adds no
//!    round trip either. DDL by others between two uses costs at most one retry more.
//! 4. Conflicts (SQLSTATE 40001) are retried with full jitter, within attempts and the deadline.
//! 5. A statement is repeated after a lost connection only if the caller declared it idempotent; a
//!    lost COMMIT never.
//! 6. No token or key reaches a log line, an error or a `Debug`.
//!
//! # Configuration
//! | Variable | Default | |
//! |---|---|---|
//! | `DSQL_ENDPOINT` | required | host name, or 26-character cluster id |
//! | `DSQL_ROLE` | `app` | database role; `admin` selects `DbConnectAdmin` |
//! | `AWS_REGION` | from the host | region that tokens are signed for |
//! | `DSQL_HOSTADDR` | by DNS | IP address to connect to |
//! | `DSQL_PORT` | 5432 | |
//! | `DSQL_CA_FILE` | the web's roots | PEM file that replaces them |
//! | `DSQL_MAX_CONNECTION_AGE_S` | 3300 | 60 to 3540 |
//! | `DSQL_RETIRE_WITH_TOKEN` | `false` | strict: retire the connection with its token |
//! | `DSQL_PIPELINE_CONNECT` | `false` | send the token with the startup message: a connect in 3 round trips, not seen on a cluster yet |
//! | `DSQL_MAX_SESSIONS` | 4 | 1 to 64, per container; [`Dsql::pinned`] has one beyond them |

mod alarms;
mod batch;
mod chain;
mod client;
mod clock;
mod config;
mod db;
mod early;
mod endpoint;
mod error;
mod lead;
mod param;
mod quote;
mod retry;
mod session;
mod statements;
mod stats;
mod tag;
#[cfg(feature = "text")]
pub mod text;
mod tls;
mod token;
mod transaction;
mod warm;

pub use batch::{BatchLimits, Weight, batches};
pub use client::Dsql;
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{
    AWS_REGION, Config, ConfigError, DEFAULT_ROLE, DSQL_CA_FILE, DSQL_ENDPOINT, DSQL_HOSTADDR,
    DSQL_MAX_CONNECTION_AGE_S, DSQL_MAX_SESSIONS, DSQL_PIPELINE_CONNECT, DSQL_PORT,
    DSQL_RETIRE_WITH_TOKEN, DSQL_ROLE,
};
pub use db::Db;
pub use endpoint::{Address, Endpoint};
pub use error::{ConflictKind, Error, ErrorKind, Stage};
pub use lead::leading_words;
pub use param::Param;
pub use quote::{quote_identifier, quote_literal};
pub use retry::RetryPolicy;
pub use stats::Stats;
pub use token::{TOKEN_LIFETIME, Token, TokenError, TokenSource};
pub use tokio_postgres::Row;
pub use tokio_postgres::types::{FromSql, Json, ToSql, Type};
pub use transaction::Transaction;

#[cfg(all(doctest, feature = "text"))]
#[doc = include_str!("../README.md")]
mod readme {}
