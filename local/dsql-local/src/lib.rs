//! `dsql-local`, a local Aurora DSQL: a PostgreSQL-wire front (TLS, IAM tokens, DSQL's connection
//! semantics) over a real PostgreSQL server that it starts and stops itself.
//!
//! Tests start it in-process, move its clock and inject faults:
//!
//! ```no_run
//! # async fn example() -> Result<(), dsql_local::StartError> {
//! use dsql_local::{DsqlLocal, Options};
//!
//! let dsql = DsqlLocal::start(Options::default()).await?;
//! println!("connect to {} at {}", dsql.endpoint(), dsql.address());
//! dsql.advance(std::time::Duration::from_secs(16 * 60));
//! dsql.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! The way of a connection: `acceptor` accepts it, `negotiate` or `websocket` encrypts it into a
//! `transport`, `login` finds its cluster and does startup and token (which `auth` verifies), and
//! `session` serves its flights over a `backend`. `region` is what all `clusters` share, `cluster`
//! what all connections of one share. `dialect` reads SQL into `statement`s, `wire` reads and
//! writes messages, `job_runner` moves index builds and validations on. `lock_waits` sees which
//! session waits for a lock of which, and `conflict` knows what a conflict is called.
//! `control_plane` makes and deletes clusters for whoever signs as `sigv4` has it.

mod acceptor;
mod account;
mod auth;
mod backend;
mod clock;
mod cluster;
mod clusters;
mod conflict;
mod control;
mod control_plane;
mod data_dir;
mod dialect;
mod faults;
#[cfg(test)]
mod fuzz;
mod http;
mod instance;
mod internal_query;
mod job_runner;
mod jobs;
mod judgements;
mod limits;
mod lock_waits;
mod login;
mod negotiate;
mod options;
mod postgres;
mod prestart;
mod principal;
mod region;
mod schema;
mod session;
pub mod sigv4;
mod socket;
mod startup;
mod statement;
mod stats;
mod tls;
mod token;
mod transport;
mod websocket;
mod wire;
mod writers;

pub use data_dir::DataDirError;
pub use faults::{Faults, FaultsError, Refuse};
pub use instance::{DsqlLocal, StartError};
pub use options::Options;
pub use postgres::PostgresError;
pub use principal::{Action, Principal, PrincipalError, Secret};
pub use stats::Stats;
pub use tls::TlsError;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
