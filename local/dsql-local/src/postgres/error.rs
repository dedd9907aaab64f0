//! Why there is no PostgreSQL server.

use std::path::PathBuf;
use std::time::Duration;

use crate::account::NoAccount;

/// How long a server may take until it is ready.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no PostgreSQL server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// None is installed.
    #[error(
        "PostgreSQL 14 to 18 was not found; run `scripts/install-tools.sh postgres` in dsql-local's repository, or \
         `apt-get install postgresql` (Debian, Ubuntu), `dnf install postgresql-server` (Fedora, RHEL), \
         `apk add postgresql` (Alpine) or `brew install postgresql@16` (macOS), or name its bin directory in \
         DSQL_LOCAL_POSTGRES_BIN"
    )]
    NotFound,
    /// The named directory holds none.
    #[error("{0} holds no PostgreSQL server (postgres and initdb)")]
    NotThere(PathBuf),
    /// The data directory needs another version.
    #[error(
        "the data directory was made by PostgreSQL {data}, but PostgreSQL {found} was found; remove the directory to \
         start afresh, or name PostgreSQL {data}'s bin directory in DSQL_LOCAL_POSTGRES_BIN"
    )]
    OtherVersion {
        /// Version that made the data.
        data: u32,
        /// Version that is installed.
        found: u32,
    },
    /// Started by root on a system without the accounts that PostgreSQL could use.
    #[error(
        "PostgreSQL refuses to run as root, and there is no account `postgres` or `nobody` to run it as"
    )]
    NoAccount,
    /// The data directory cannot be reached by the unprivileged account.
    #[error(
        "the account that PostgreSQL runs as cannot reach {0}; choose another data directory or do not run as root"
    )]
    Unreachable(PathBuf),
    /// A process could not be started, or a file not be used.
    #[error("cannot run PostgreSQL: {0}")]
    Run(#[from] std::io::Error),
    /// The server ended before it was ready.
    #[error("PostgreSQL did not start: {0}")]
    Ended(String),
    /// The server is still not ready after a minute.
    #[error("PostgreSQL is not ready after {} s", START_PATIENCE.as_secs())]
    NotReady,
    /// The first statements failed.
    #[error("cannot prepare the database")]
    Bootstrap(#[source] tokio_postgres::Error),
}

impl From<NoAccount> for PostgresError {
    fn from(NoAccount: NoAccount) -> Self {
        Self::NoAccount
    }
}
