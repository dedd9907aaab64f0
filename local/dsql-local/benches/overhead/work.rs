//! Ways to use the database, and how long each takes in turns.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

/// Turns that all of them take, one after the other, so that what disturbs one disturbs all.
const TURNS: usize = 30;
const PARAMETERS: usize = 33;

/// A way to use the database, repeated for each sample.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Read,
    NewRead,
    Write,
    NewWrite,
    Large,
    NewLarge,
    Block,
}

impl Work {
    pub(crate) const ALL: [Self; 7] = [
        Self::Read,
        Self::NewRead,
        Self::Write,
        Self::NewWrite,
        Self::Large,
        Self::NewLarge,
        Self::Block,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "SELECT by key",
            Self::NewRead => "SELECT, new each time",
            Self::Write => "UPDATE by key",
            Self::NewWrite => "UPDATE, new each time",
            Self::Large => "33 parameters",
            Self::NewLarge => "33 parameters, new",
            Self::Block => "BEGIN, UPDATE, COMMIT",
        }
    }

    /// The ratio that it is held to.
    pub(crate) fn target(self) -> Option<f64> {
        match self {
            Self::Read | Self::Write | Self::Large => Some(1.5),
            Self::NewLarge => Some(2.0),
            Self::NewRead | Self::NewWrite | Self::Block => None,
        }
    }

    async fn run(self, client: &Client) {
        let update = "UPDATE bench SET n = n + 1 WHERE k = $1";
        match self {
            Self::Read => by_key(client, "SELECT n FROM bench WHERE k = $1").await,
            Self::NewRead => {
                let select = format!("SELECT n + {} FROM bench WHERE k = $1", next());
                by_key(client, &select).await;
            }
            Self::Write => by_key(client, update).await,
            Self::NewWrite => {
                let update = format!("UPDATE bench SET n = {} WHERE k = $1", next());
                by_key(client, &update).await;
            }
            Self::Large => all_parameters(client, &large(0)).await,
            Self::NewLarge => all_parameters(client, &large(next())).await,
            Self::Block => {
                client.batch_execute("BEGIN").await.unwrap();
                by_key(client, update).await;
                client.batch_execute("COMMIT").await.unwrap();
            }
        }
    }

    async fn turn(self, client: &Client, samples: usize) -> Vec<Duration> {
        let mut durations = Vec::with_capacity(samples);
        for _ in 0..samples {
            let start = Instant::now();
            self.run(client).await;
            durations.push(start.elapsed());
        }
        durations
    }

    /// Sorted durations of each client, which take turns.
    pub(crate) async fn measure<const N: usize>(
        self,
        clients: [&Client; N],
        samples: usize,
    ) -> [Vec<Duration>; N] {
        let mut measured = [const { Vec::new() }; N];
        for turn in 0..=TURNS {
            for (client, durations) in clients.iter().zip(&mut measured) {
                let taken = self.turn(client, samples.div_ceil(TURNS)).await;
                // The first one is for caches.
                if turn > 0 {
                    durations.extend(taken);
                }
            }
        }
        for durations in &mut measured {
            durations.sort_unstable();
        }
        measured
    }
}

/// A number that no statement has had.
fn next() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn by_key(client: &Client, sql: &str) {
    client.query_typed(sql, &[(&1, Type::INT4)]).await.unwrap();
}

async fn all_parameters(client: &Client, sql: &str) {
    let parameter: (&(dyn ToSql + Sync), Type) = (&1, Type::INT4);
    client
        .query_typed(sql, &vec![parameter; PARAMETERS])
        .await
        .unwrap();
}

/// A statement of the size of the one that opens a turn of a chat: parts that read, one of which
/// writes.
fn large(number: usize) -> String {
    let mut sql = format!(
        "WITH written AS (UPDATE bench SET n = n + 1 WHERE k = $1 RETURNING n), p0 AS (SELECT {number} AS n)"
    );
    for part in 1..PARAMETERS {
        let (key, before) = (part + 1, part - 1);
        write!(
            sql,
            ", p{part} AS (SELECT CASE WHEN EXISTS (SELECT FROM bench WHERE k = ${key} AND n < 0) THEN 'less' \
             WHEN p{before}.n > 7 AND ${key} <> 1 THEN 'more' ELSE 'same' END AS how, p{before}.n \
             FROM p{before} ORDER BY 1 LIMIT 1)"
        )
        .unwrap();
    }
    sql + &format!(
        " SELECT p.n, w.n, how FROM p{} p, written w",
        PARAMETERS - 1
    )
}
