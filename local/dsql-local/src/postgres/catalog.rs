//! The stand-in's own connection to PostgreSQL, for role mappings and the first statements.

use std::path::{Path, PathBuf};

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, NoTls};

use crate::principal::{Identity, Principal};

/// PostgreSQL's superuser; unreachable for clients, which see it as an owner alone.
pub(super) const SUPERUSER: &str = "postgres";

/// A commit writes the log out if its own transaction has put something into it.
const FLUSH_LOG: &str = "SELECT (pg_catalog.pg_logical_emit_message(true, 'dsql-local', $1)
    - '0/0'::pg_catalog.pg_lsn)::bigint::text";

const MAKE_CHECK: &str = "SELECT pg_catalog.dsql_make_check(split_part($1, ' ', 1)::oid, \
     split_part($1, ' ', 2)::bigint)::text";

/// One connection as the superuser, made again when it is lost.
pub(crate) struct Catalog {
    socket: PathBuf,
    connected: Mutex<Connected>,
}

/// A connection as the superuser, and the task that drives it.
type Connected = (Client, JoinSet<()>);

impl Catalog {
    pub(crate) async fn connect(socket: &Path) -> Result<Self, Error> {
        Ok(Self {
            socket: socket.to_owned(),
            connected: Mutex::new(connect(socket).await?),
        })
    }

    /// Runs statements that take no parameters.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), Error> {
        self.connected.lock().await.0.batch_execute(sql).await
    }

    /// The text in the first row of a query with one text parameter.
    pub(crate) async fn text(&self, sql: &str, parameter: &str) -> Result<Option<String>, Error> {
        let mut connected = self.connected.lock().await;
        if connected.0.is_closed() {
            *connected = connect(&self.socket).await?;
        }
        let rows = connected
            .0
            .query_typed(sql, &[(&parameter, Type::TEXT)])
            .await?;
        Ok(rows.first().and_then(|row| row.get(0)))
    }

    /// Has PostgreSQL write its log out, and tells how far it then is.
    pub(crate) async fn flush_log(&self) -> Result<Option<String>, Error> {
        self.text(FLUSH_LOG, "").await
    }

    /// Makes the functions that look for what is too large in tables, named by their oids, as of a
    /// version of the catalogue.
    pub(crate) async fn make_checks(&self, tables: &str, version: &str) -> Result<(), Error> {
        for table in tables.split(' ') {
            self.text(MAKE_CHECK, &format!("{table} {version}")).await?;
        }
        Ok(())
    }

    /// Whether `principal` may log in as `role` by a mapping.
    pub(crate) async fn is_mapped(&self, principal: &Principal, role: &str) -> Result<bool, Error> {
        let mut connected = self.connected.lock().await;
        if connected.0.is_closed() {
            *connected = connect(&self.socket).await?;
        }
        let rows = connected
            .0
            .query_typed(
                "SELECT m.arn FROM pg_catalog.dsql_iam_mapping m JOIN pg_roles r ON r.oid = m.role_oid \
                 WHERE r.rolname = $1 AND r.rolcanlogin AND NOT r.rolsuper",
                &[(&role, Type::TEXT)],
            )
            .await?;
        let identity = principal.identity().ok();
        Ok(rows
            .iter()
            .any(|row| identity.is_some() && Identity::parse(row.get(0)) == identity))
    }
}

/// Connects as the superuser.
pub(crate) async fn connect(socket: &Path) -> Result<Connected, Error> {
    let mut config = Config::new();
    config
        .user(SUPERUSER)
        .dbname("postgres")
        .application_name("dsql-local");
    config.host_path(socket.parent().unwrap_or(socket));
    let (client, connection) = config.connect(NoTls).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    Ok((client, driver))
}
