//! Transactions a second with some sessions at once, in the manner of pgbench: an account is
//! changed and read, and a line written about it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

pub(crate) const ACCOUNTS: i32 = 10_000;
/// How long one turn lasts.
const TURN: Duration = Duration::from_secs(1);

/// One transaction.
async fn transact(client: &Client) -> Result<(), Error> {
    let (key, amount) = (fastrand::i32(0..ACCOUNTS), fastrand::i32(-50..50));
    let change = "UPDATE account SET balance = balance + $2 WHERE k = $1";
    let read = "SELECT balance FROM account WHERE k = $1";
    let note = "INSERT INTO history VALUES (gen_random_uuid(), $1, $2, now())";
    let both = [(&key as _, Type::INT4), (&amount as _, Type::INT4)];
    client.batch_execute("BEGIN").await?;
    client.query_typed(change, &both).await?;
    client.query_typed(read, &both[..1]).await?;
    client.query_typed(note, &both).await?;
    client.batch_execute("COMMIT").await
}

async fn work(client: &Client, until: Instant) -> u32 {
    let mut done = 0;
    while Instant::now() < until {
        match transact(client).await {
            Ok(()) => done += 1,
            // Two chose the same account.
            Err(conflict) if conflict.code().is_some_and(|code| code.code() == "40001") => {
                client.batch_execute("ROLLBACK").await.unwrap();
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    done
}

/// Transactions a second of each group of sessions, in turns.
pub(crate) async fn measure(groups: [&[Client]; 2], turns: u32) -> [f64; 2] {
    let mut done = [0; 2];
    for _ in 0..turns {
        for (sessions, done) in groups.iter().zip(&mut done) {
            let until = Instant::now() + TURN;
            let counts = join_all(sessions.iter().map(|session| work(session, until))).await;
            *done += counts.iter().sum::<u32>();
        }
    }
    let seconds = TURN.as_secs_f64() * f64::from(turns);
    done.map(|done| f64::from(done) / seconds)
}
