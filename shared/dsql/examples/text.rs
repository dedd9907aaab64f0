//! Statements that this program did not write: each argument is one, all of them run in one
//! transaction and one round trip, and results come as PostgreSQL's text.
//!
//! ```sh
//! DSQL_ENDPOINT=… cargo run --features text --example text -- 'SELECT now()' 'TABLE words LIMIT 3'
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::error::Error;
use std::time::Duration;

use dsql::Dsql;
use dsql::text::{AnswerLimits, Begin, TextRequest, TextSessions, TextStatement};

const LIMITS: AnswerLimits = AnswerLimits {
    rows: 1_000,
    bytes: 1024 * 1024,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let statements: Vec<TextStatement<'_>> = std::env::args()
        .skip(1)
        .map(|sql| TextStatement {
            sql: sql.into(),
            params: Vec::new(),
        })
        .collect();
    let dsql = Dsql::from_env().await?;
    let sessions = TextSessions::new(&dsql, 1);
    let deadline = dsql.clock().now() + Duration::from_secs(10);
    let batch = TextRequest::batch(&statements, Begin::default(), LIMITS);
    for answer in sessions.run(&sessions.own_role(), batch, deadline).await? {
        for row in &answer.rows {
            let values: Vec<_> = row
                .values()
                .map(|value| value.unwrap_or("NULL".into()))
                .collect();
            println!("{}", values.join("\t"));
        }
        println!("{}", answer.tag.unwrap_or_default());
    }
    Ok(())
}
