//! One DDL statement at a time, each in a transaction of its own as the service demands, and each
//! looked for before it is sent: whoever crashed half way, lost a connection or ran at the same
//! time repeats steps that change nothing.

use dsql::{Db, Error, Param};

/// Attempts at a statement that met its like, or whose answer was lost.
const ATTEMPTS: u32 = 5;

/// Runs `sql` unless `present` answers true, and returns whether this call may have changed
/// something. After a lost answer it looks again.
pub(crate) async fn ensure(
    db: &Db,
    present: &'static str,
    params: &[Param<'_>],
    sql: &str,
) -> Result<bool, Error> {
    let mut attempt = 0;
    loop {
        let row = db.query_opt_idempotent(present, params).await?;
        if row.is_some_and(|row| row.get::<_, Option<bool>>(0) == Some(true)) {
            return Ok(attempt > 0);
        }
        attempt += 1;
        match db.execute_sql(sql).await {
            Ok(_) => return Ok(true),
            Err(error) if attempt < ATTEMPTS && may_be_done(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Runs a statement that may run twice (`IF NOT EXISTS`), and runs it again where it met its like:
/// such a clause does not see what another transaction is creating just now.
pub(crate) async fn repeatable(db: &Db, sql: &'static str) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        match db.execute_idempotent(sql, &[]).await {
            Err(error) if attempt < ATTEMPTS && may_be_done(&error) => attempt += 1,
            outcome => return outcome.map(drop),
        }
    }
}

/// Whether the next look decides: the answer was lost, or another run was faster.
fn may_be_done(error: &Error) -> bool {
    let faster = ["42710", "23505", "42P06", "42P07", "42704", "3F000"];
    error.is_outcome_unknown() || error.sqlstate().is_some_and(|code| faster.contains(&code))
}
