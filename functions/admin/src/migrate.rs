//! Applies pending migrations. Without locks, which the service does not have: a statement may run
//! twice, its row in `schema_migrations` is written after it in a transaction of its own, and
//! whoever crashes in between or runs at the same time repeats a step that changes nothing.

use std::collections::BTreeMap;

use dsql::{Db, Error, Type};

use crate::ddl;
use crate::error::AdminError;
use crate::indexes;
use crate::migrations::{self, MIGRATIONS, Migration};

const CREATE_SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS chats";
const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS chats.schema_migrations (
    version bigint PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL
)";

/// Runs what is pending and returns the names of what this run applied.
pub(crate) async fn run(db: &Db) -> Result<Vec<&'static str>, AdminError> {
    let known = match applied(db).await {
        Ok(known) => known,
        Err(error) => return Err(error.into()),
    };
    if known.is_empty() {
        ddl::repeatable(db, CREATE_SCHEMA).await?;
        ddl::repeatable(db, CREATE_TABLE).await?;
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
    // The schema of a newer version is that version's: it may have replaced indexes that are wanted
    // here.
    let newest = known.keys().next_back().copied().unwrap_or_default();
    if newest <= migrations::latest() {
        for (migration, index) in indexes::lacking(db, &migrations::indexes()).await? {
            tracing::warn!("index {index} of {} is provided again", migration.name);
            indexes::provide(db, migration, index).await?;
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
    match migration.index() {
        Some(index) => indexes::provide(db, migration, index).await?,
        None => ddl::repeatable(db, migration.sql).await?,
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
