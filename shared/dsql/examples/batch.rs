//! Loads more rows than a transaction may change: 10,000, in transactions within the service's
//! limits, each of which may be run again. Started a second time it changes nothing.
//!
//! ```sh
//! DSQL_ENDPOINT=… cargo run --example batch
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::error::Error;
use std::time::Duration;

use dsql::{BatchLimits, Dsql, Type, Weight, batches};

const WORDS: i32 = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dsql = Dsql::from_env().await?;
    let rows: Vec<(i32, String)> = (0..WORDS).map(|id| (id, format!("word {id}"))).collect();
    let weigh = |(_, word): &(i32, String)| Weight {
        rows: 1,
        bytes: word.len() + 32,
    };
    let mut inserted = 0;
    for batch in batches(&rows, BatchLimits::default(), weigh) {
        let ids: Vec<i32> = batch.iter().map(|(id, _)| *id).collect();
        let words: Vec<&str> = batch.iter().map(|(_, word)| word.as_str()).collect();
        let sql =
            "INSERT INTO words (id, word) SELECT * FROM unnest($1, $2) ON CONFLICT DO NOTHING";
        let params: [dsql::Param<'_>; 2] = [(&ids, Type::INT4_ARRAY), (&words, Type::TEXT_ARRAY)];
        let db = dsql.until(dsql.clock().now() + Duration::from_secs(30));
        inserted += db.execute_idempotent(sql, &params).await?;
        eprintln!("{inserted} of {}", rows.len());
    }
    println!("{inserted} inserted");
    Ok(())
}
