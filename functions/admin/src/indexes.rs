//! Indexes as a state machine. An index is built by a job of the cluster that outlives every
//! statement and every invocation, so nothing here waits inside one: the state is looked at, a step
//! is made where one is due, and looked at again. Two runs at once, or one that died at any step,
//! find a state that leads to the same end.
//!
//! | State | Step |
//! |---|---|
//! | absent | begin the build |
//! | building | look again |
//! | failed | drop it, which frees its name |
//! | valid | done |

use std::collections::BTreeSet;
use std::time::Duration;

use dsql::{Db, Error, Type, quote_identifier};

use crate::ddl;
use crate::error::AdminError;
use crate::migrations::{Migration, SCHEMA};

/// Builds of one index that one run begins: of two runs at once, one may drop what the other has
/// begun.
const BUILDS: u32 = 3;
/// Between two looks at a build; each pause doubles the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The newest job of that name is the one of the index that is there: its name is free only after a
/// drop.
const LOOK: &str = "SELECT i.indisvalid, j.status::text, j.job_id::text, j.details::text
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    LEFT JOIN sys.jobs j ON j.job_type = 'INDEX_BUILD' AND j.object_name = 'chats.' || c.relname
    WHERE c.relname = $1 AND c.relnamespace = 'chats'::regnamespace
    ORDER BY j.start_time DESC NULLS LAST LIMIT 1";
const VALID: &str = "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indisvalid AND c.relnamespace = 'chats'::regnamespace";

/// What there is of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Absent,
    Building,
    Valid,
    /// Not valid, and no job works on it. What `sys.jobs` says of that, as long as it remembers.
    Failed(String),
}

/// Brings the index that a migration makes to its end.
///
/// # Errors
/// [`AdminError::BuildFailed`] where builds fail one after the other; the database, its deadline
/// too: the build goes on without this run, and the next one finds it.
pub(crate) async fn provide(
    db: &Db,
    migration: &Migration,
    index: &'static str,
) -> Result<(), AdminError> {
    let drop = format!("DROP INDEX IF EXISTS {SCHEMA}.{}", quote_identifier(index));
    let given_up = |cause: String| AdminError::BuildFailed {
        version: migration.version,
        name: migration.name,
        cause,
    };
    let mut pause = FIRST_PAUSE;
    let mut builds = 0;
    loop {
        match look(db, index).await? {
            State::Valid => return Ok(()),
            State::Building => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            State::Failed(cause) if builds >= BUILDS => return Err(given_up(cause)),
            State::Failed(cause) => {
                tracing::warn!("index {index} is dropped to be rebuilt: {cause}");
                match db.execute_sql(&drop).await {
                    Err(error) if !error.is_outcome_unknown() => return Err(error.into()),
                    _ => {} // the next look decides
                }
            }
            State::Absent if builds >= BUILDS => {
                return Err(given_up("it is gone after each build".to_owned()));
            }
            State::Absent => {
                ddl::repeatable(db, migration.sql).await?;
                builds += 1;
                pause = FIRST_PAUSE;
            }
        }
    }
}

/// Those of `wanted` that are not there, or not valid.
pub(crate) async fn lacking<'m>(
    db: &Db,
    wanted: &[(&'m Migration, &'static str)],
) -> Result<Vec<(&'m Migration, &'static str)>, Error> {
    let rows = db.query_idempotent(VALID, &[]).await?;
    let valid: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let lacking = wanted.iter().filter(|(_, index)| !valid.contains(*index));
    Ok(lacking.copied().collect())
}

async fn look(db: &Db, index: &str) -> Result<State, Error> {
    let row = db
        .query_opt_idempotent(LOOK, &[(&index, Type::TEXT)])
        .await?;
    let Some(row) = row else {
        return Ok(State::Absent);
    };
    Ok(state(
        row.get(0),
        row.get::<_, Option<String>>(1).as_deref(),
        row.get::<_, Option<String>>(2).as_deref(),
        row.get::<_, Option<String>>(3).as_deref(),
    ))
}

fn state(is_valid: bool, status: Option<&str>, job: Option<&str>, details: Option<&str>) -> State {
    match (is_valid, status) {
        (true, _) => State::Valid,
        // A job that is done has made its index valid, or is about to.
        (false, Some("submitted" | "processing" | "completed")) => State::Building,
        (false, Some(status)) => State::Failed(format!(
            "job {} {status}{}",
            job.unwrap_or_default(),
            details.map(|text| format!(", {text}")).unwrap_or_default()
        )),
        (false, None) => State::Failed("its job is no longer in sys.jobs".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_building_only_while_a_job_may_still_make_it_valid() {
        for (status, expected) in [
            (Some("submitted"), State::Building),
            (Some("processing"), State::Building),
            (Some("completed"), State::Building),
            (
                Some("failed"),
                State::Failed("job j failed, a duplicate".to_owned()),
            ),
            (
                Some("cancelled"),
                State::Failed("job j cancelled, a duplicate".to_owned()),
            ),
            (
                None,
                State::Failed("its job is no longer in sys.jobs".to_owned()),
            ),
        ] {
            assert_eq!(
                state(false, status, Some("j"), Some("a duplicate")),
                expected
            );
            assert_eq!(state(true, status, None, None), State::Valid);
        }
    }
}
