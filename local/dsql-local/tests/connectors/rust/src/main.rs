//! A round trip with the official SQLx connector, unmodified.

use std::env::var;
use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};

use aurora_dsql_sqlx_connector::connection::connect;
use aurora_dsql_sqlx_connector::{OCCRetryConfig, retry_on_occ};
use sqlx::{Acquire, PgConnection, Row};
use tokio::sync::Mutex;

/// Adds 100 in a transaction, and 10 in another session's while the first attempt is open.
async fn add(
    connection: &mut PgConnection,
    rival: &mut PgConnection,
    attempt: u32,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query("UPDATE item_rust SET n = n + $1 WHERE k = $2")
        .bind(100)
        .bind(1)
        .execute(&mut *transaction)
        .await?;
    if attempt == 1 {
        sqlx::query("UPDATE item_rust SET n = n + 10 WHERE k = 1")
            .execute(rival)
            .await?;
    }
    transaction.commit().await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // The certificate comes by SQLx's own PGSSLROOTCERT.
    let url = format!(
        "postgres://admin@{}:{}/postgres",
        var("DSQL_ENDPOINT")?,
        var("DSQL_PORT")?
    );
    let mut connection = connect(&url).await?;
    sqlx::query("CREATE TABLE item_rust (k int PRIMARY KEY, n int NOT NULL)")
        .execute(&mut connection)
        .await?;
    sqlx::query("INSERT INTO item_rust VALUES (1, 0)")
        .execute(&mut connection)
        .await?;
    let mut rival = connect(&url).await?;
    let attempts = AtomicU32::new(0);
    let both = Mutex::new((&mut connection, &mut rival));
    retry_on_occ(&OCCRetryConfig::default(), || async {
        let attempt = attempts.fetch_add(1, Ordering::Relaxed) + 1;
        let (connection, rival) = &mut *both.lock().await;
        add(connection, rival, attempt).await
    })
    .await?;
    let row = sqlx::query("SELECT current_user::text, n FROM item_rust WHERE k = 1")
        .fetch_one(&mut connection)
        .await?;
    println!(
        "{} {} after {} attempts",
        row.get::<String, _>(0),
        row.get::<i32, _>(1),
        attempts.into_inner()
    );
    let lost = add(&mut connection, &mut rival, 1)
        .await
        .expect_err("a conflict");
    let lost = lost.as_database_error().expect("an answer of the server");
    println!("{} {}", lost.code().unwrap_or_default(), lost.message());
    Ok(())
}
