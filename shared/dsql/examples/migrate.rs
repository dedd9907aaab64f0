//! Migrations as DSQL takes them: one DDL statement a transaction, each with its record, an index
//! asynchronously. May be killed at any point and started again.
//!
//! ```sh
//! DSQL_ENDPOINT=… DSQL_ROLE=admin cargo run --example migrate
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::error::Error;
use std::time::Duration;

use dsql::{Db, Dsql, Type};

/// In order. Each may run twice, since a kill can come between a statement and its record.
const MIGRATIONS: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS visits (name text PRIMARY KEY, visits bigint NOT NULL)",
    "CREATE TABLE IF NOT EXISTS words (id int PRIMARY KEY, word text NOT NULL)",
    "CREATE INDEX ASYNC IF NOT EXISTS words_by_word ON words (word)",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dsql = Dsql::from_env().await?;
    let db = dsql.until(dsql.clock().now() + Duration::from_secs(60));
    db.execute_sql("CREATE TABLE IF NOT EXISTS migrations (version int PRIMARY KEY)")
        .await?;
    for (version, sql) in (1_i32..).zip(MIGRATIONS) {
        let done = apply(&db, version, sql).await?;
        println!("{version} {}", if done { "applied" } else { "was there" });
    }
    Ok(())
}

async fn apply(db: &Db, version: i32, sql: &str) -> Result<bool, dsql::Error> {
    let known = "SELECT 1 FROM migrations WHERE version = $1";
    let param = [(&version as _, Type::INT4)];
    if db.query_opt_idempotent(known, &param).await?.is_some() {
        return Ok(false);
    }
    db.execute_sql(sql).await?;
    let record = "INSERT INTO migrations (version) VALUES ($1) ON CONFLICT DO NOTHING";
    db.execute_idempotent(record, &param).await?;
    Ok(true)
}
