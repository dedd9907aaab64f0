//! A transaction with a conflict by SQLx alone, which takes all that it needs from libpq's variables.

use sqlx::{Acquire, ConnectOptions, PgConnection, Row, postgres::PgConnectOptions};

async fn number(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = sqlx::query("SELECT n FROM counts WHERE id = $1").bind(1);
    row.fetch_one(connection).await?.try_get(0)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), sqlx::Error> {
    let mut theirs = PgConnectOptions::new().connect().await?;
    for statement in [
        "CREATE TABLE counts (id int PRIMARY KEY, n int NOT NULL)",
        "INSERT INTO counts VALUES (1, 0)",
    ] {
        sqlx::query(statement).execute(&mut theirs).await?;
    }
    let mut ours = PgConnectOptions::new().connect().await?;
    for attempt in 1.. {
        let mut transaction = ours.begin().await?;
        let n = number(&mut transaction).await?;
        if attempt == 1 {
            let add = sqlx::query("UPDATE counts SET n = n + 1");
            add.execute(&mut theirs).await?;
        }
        let set = sqlx::query("UPDATE counts SET n = $1 WHERE id = 1").bind(n + 10);
        set.execute(&mut *transaction).await?;
        match transaction.commit().await {
            Ok(()) => break,
            Err(sqlx::Error::Database(lost)) => println!("{}", lost.code().unwrap_or_default()),
            Err(error) => return Err(error),
        }
    }
    println!("{}", number(&mut theirs).await?);
    Ok(())
}
