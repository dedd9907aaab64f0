//! Applies pending migrations. Without locks, which the service does not have: a statement may run twice, its row in
//! `schema_migrations` is written after it in a transaction of its own, and whoever crashes in between or runs at the
//! same time repeats a step that changes nothing.

use std::collections::BTreeMap;

use dsql::{Db, Error, Type};

use crate::AdminError;
use crate::migrations::{MIGRATIONS, Migration};

/// The schema of the functions' tables: one that logins can neither see into nor be given.
pub(crate) const SCHEMA: &str = "chats";

const CREATE_SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS chats";
const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS chats.schema_migrations (
    version bigint PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL
)";

/// Attempts at a statement that met its like running at the same time.
const ATTEMPTS: usize = 5;

/// Runs what is pending and returns the names of what this run applied.
pub(crate) async fn run(db: &Db) -> Result<Vec<&'static str>, AdminError> {
    let known = match applied(db).await {
        Ok(known) => known,
        Err(error) => return Err(error.into()),
    };
    if known.is_empty() {
        ddl(db, CREATE_SCHEMA).await?;
        ddl(db, CREATE_TABLE).await?;
    }
    let mut done = Vec::new();
    for migration in MIGRATIONS {
        match known.get(&migration.version) {
            Some(checksum) if *checksum == migration.checksum() => {}
            Some(_) => {
                return Err(AdminError::ChecksumChanged {
                    version: migration.version,
                    name: migration.name.to_owned(),
                });
            }
            None => {
                apply(db, migration).await?;
                done.push(migration.name);
            }
        }
    }
    Ok(done)
}

/// Checksums of what has been applied, by number; empty before the first migration.
pub(crate) async fn applied(db: &Db) -> Result<BTreeMap<i64, String>, Error> {
    match db
        .query_idempotent("SELECT version, checksum FROM chats.schema_migrations", &[])
        .await
    {
        Ok(rows) => rows
            .iter()
            .map(|row| Ok((row.get(0), row.get(1))))
            .collect(),
        Err(error) if error.sqlstate() == Some("42P01") => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

async fn apply(db: &Db, migration: &Migration) -> Result<(), AdminError> {
    let mut job = ddl(db, migration.sql).await?;
    if job.is_none()
        && let Some(index) = migration.index()
    {
        job = unfinished_build(db, index).await?;
    }
    if let Some(job_id) = job {
        wait_for(db, migration, job_id).await?;
    }
    db.execute_idempotent(
        "INSERT INTO chats.schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, now())
         ON CONFLICT (version) DO NOTHING",
        &[
            (&migration.version, Type::INT8),
            (&migration.name, Type::TEXT),
            (&migration.checksum(), Type::TEXT),
        ],
    )
    .await?;
    tracing::info!(
        migration.version,
        "applied migration {} {}",
        migration.version,
        migration.name
    );
    Ok(())
}

/// Runs one statement; an asynchronous one answers the id of its job.
async fn ddl(db: &Db, sql: &'static str) -> Result<Option<String>, Error> {
    let mut attempt = 1;
    loop {
        match db.query_idempotent(sql, &[]).await {
            Ok(rows) => return Ok(rows.first().map(|row| row.get(0))),
            // IF NOT EXISTS does not see what another transaction is creating just now.
            Err(error)
                if attempt < ATTEMPTS
                    && matches!(
                        error.sqlstate(),
                        Some("23505" | "42P06" | "42P07" | "42710")
                    ) =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The job of an index that an earlier run began and that is not valid yet.
async fn unfinished_build(db: &Db, index: &str) -> Result<Option<String>, Error> {
    let invalid = db
        .query_opt_idempotent(
            "SELECT 1 FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
             WHERE relname = $1 AND NOT indisvalid AND relnamespace = 'chats'::regnamespace",
            &[(&index, Type::TEXT)],
        )
        .await?;
    if invalid.is_none() {
        return Ok(None);
    }
    let job = db
        .query_opt_idempotent(
            "SELECT job_id::text FROM sys.jobs WHERE job_type = 'INDEX_BUILD' AND object_name LIKE '%' || $1
             ORDER BY start_time DESC LIMIT 1",
            &[(&index, Type::TEXT)],
        )
        .await?;
    Ok(job.map(|row| row.get(0)))
}

/// Waits until an index build ends. A run that hits its deadline here is repeated by the next one, which finds the
/// statement done.
async fn wait_for(db: &Db, migration: &Migration, job_id: String) -> Result<(), AdminError> {
    let call = format!("CALL sys.wait_for_job({})", dsql::quote_literal(&job_id));
    db.execute_sql(&call).await?;
    let failed = db
        .query_opt_idempotent(
            "SELECT 1 FROM sys.jobs WHERE job_id = $1 AND status = 'failed'",
            &[(&job_id, Type::TEXT)],
        )
        .await?;
    match failed {
        None => Ok(()),
        Some(_) => Err(AdminError::JobFailed {
            version: migration.version,
            name: migration.name,
            job_id,
        }),
    }
}
