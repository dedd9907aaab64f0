//! What a transaction has written, looked at after a statement and before COMMIT: how many rows, how
//! many bytes, how large a value, a row and a key.

use super::transaction::{AfterFailure, Failure};
use super::usage::{Cargo, TransactionUsage};
use super::wiring::{Flow, Session};
use crate::conflict;

/// Where PostgreSQL's log stands; beside it the rows that this session has changed, and what is
/// too large among those that its transaction wrote.
const LOG_POSITION: &str = "SELECT pg_catalog.dsql_log_position()::text";
const COUNTED: &str = "SELECT pg_catalog.concat_ws(' ', pg_catalog.dsql_log_position(), \
     pg_catalog.dsql_changed_rows())";
const OVERSIZED: &str = "SELECT pg_catalog.concat_ws(' ', pg_catalog.dsql_log_position(), 0, \
     coalesce(oversized, pg_catalog.dsql_long_key(computed, $1, $2))) \
     FROM pg_catalog.dsql_oversized(nullif($3, '')::bigint, $1, $2)";
const COUNTED_AND_OVERSIZED: &str = "SELECT pg_catalog.concat_ws(' ', \
     pg_catalog.dsql_log_position(), pg_catalog.dsql_changed_rows(), \
     coalesce(oversized, pg_catalog.dsql_long_key(computed, $1, $2))) \
     FROM pg_catalog.dsql_oversized(nullif($3, '')::bigint, $1, $2)";
const WRITTEN_BYTES: &str = "SELECT pg_catalog.concat_ws(' ', pg_catalog.dsql_log_position(), 0, \
     pg_catalog.dsql_written_bytes($1, $2))";
/// What is found in place of that if PostgreSQL's log has to be written out, and where it ends
/// told.
const UNFLUSHED: &str = "unflushed";
/// Or if functions that look through tables are not there: this, and the tables.
const UNMADE: &str = "unmade ";

/// An internal query failed, and the client has been told.
pub(super) struct Failed;

/// What one of these queries tells.
#[derive(Debug, Default)]
struct Found {
    /// None if it was skipped with the client's messages, whose sequence has failed.
    log_position: Option<u64>,
    rows: u64,
    what: Option<String>,
}

impl Found {
    fn read(text: &str) -> Self {
        let mut parts = text.splitn(3, ' ');
        let mut number = || parts.next().and_then(|part| part.parse().ok());
        Self {
            log_position: number(),
            rows: number().unwrap_or(0),
            what: parts.next().map(str::to_owned),
        }
    }
}

impl Session<'_> {
    /// What an internal query finds. Its failure is the statement's: PostgreSQL has failed the
    /// transaction, and whoever asked must not go on as if nothing was found.
    async fn find(&mut self, sql: &str, parameters: &[&str]) -> Flow<Result<Found, Failed>> {
        let reply = self.ask(sql, Some(parameters)).await?;
        if let Some(error) = reply.error {
            self.fail_asked(conflict::translate(error)).await?;
            return Ok(Err(Failed));
        }
        Ok(Ok(Found::read(reply.first.as_deref().unwrap_or_default())))
    }

    /// What an internal query finds in the rows that the transaction wrote since PostgreSQL's log
    /// stood at `start`, or in all. It gets the places in the log between which they are, the last
    /// one once it is asked for, and the version of the catalogue if it `is_versioned`.
    async fn find_written(
        &mut self,
        sql: &str,
        start: Option<u64>,
        is_versioned: bool,
    ) -> Flow<Result<Found, Failed>> {
        let mut start = start.map(|start| start.to_string()).unwrap_or_default();
        let mut end = String::new();
        let mut version = if self.transaction.block.changes_catalog() {
            String::new()
        } else {
            self.cluster.schema.current().to_string()
        };
        loop {
            let places = [start.as_str(), &end];
            let found = if is_versioned {
                self.find(sql, &[&places[..], &[&version]].concat()).await?
            } else {
                self.find(sql, &places).await?
            };
            let Ok(found) = found else {
                return Ok(Err(Failed));
            };
            let catalog = &self.cluster.postgres.catalog;
            match found.what.as_deref() {
                Some(UNFLUSHED) => match catalog.flush_log().await {
                    Ok(Some(flushed)) => end = flushed,
                    // The whole of each table is read then.
                    _ => start.clear(),
                },
                Some(what) => {
                    let Some(tables) = what.strip_prefix(UNMADE) else {
                        return Ok(Ok(found));
                    };
                    // For later transactions: this one may have kept that they are not there.
                    let _waits = catalog.make_checks(tables, &version).await;
                    version.clear();
                }
                None => return Ok(Ok(found)),
            }
        }
    }

    /// Before a command that writes: where PostgreSQL's log stands, if what it wrote may have to be
    /// looked at, and the rows that PostgreSQL has counted, if its tag will not tell.
    pub(super) async fn find_start(
        &mut self,
        cargo: &Cargo,
        is_counted: bool,
    ) -> Flow<Result<Option<u64>, Failed>> {
        let starts_log = cargo.is_looked_at() && !self.transaction.usage().has_log_start();
        let sql = match (starts_log, is_counted) {
            (false, false) => return Ok(Ok(None)),
            (true, false) => LOG_POSITION,
            (_, true) => COUNTED,
        };
        let Ok(found) = self.find(sql, &[]).await? else {
            return Ok(Err(Failed));
        };
        if starts_log {
            self.transaction.usage().start_log(found.log_position);
        }
        Ok(Ok(is_counted.then_some(found.rows)))
    }

    /// Answers that a command changed too many rows or wrote too large a value, if it did; else
    /// that it completed, if that was held back. Whether it failed.
    pub(super) async fn fails_by_limits(&mut self) -> Flow<bool> {
        let held_back = self.pipeline.take_held_back();
        if let Some(answer) = self.transaction.usage().take_row_failure() {
            self.fail_with(answer).await?;
            return Ok(true);
        }
        let counted_before = self.transaction.usage().take_counted_before();
        let may_be_large = self.transaction.usage().take_may_be_large() && !held_back.is_empty();
        // A command that failed has told so, and wrote nothing.
        let has_failed = self.pipeline.has_failed() || self.transaction.has_failed();
        let found = match (counted_before.is_some(), may_be_large) {
            _ if has_failed => None,
            (false, false) => None,
            (true, false) => Some(self.find(COUNTED, &[]).await?),
            (is_counted, true) => {
                let sql = if is_counted {
                    COUNTED_AND_OVERSIZED
                } else {
                    OVERSIZED
                };
                let start = self.transaction.usage().log_start();
                Some(self.find_written(sql, start, true).await?)
            }
        };
        if let Some(found) = found {
            let Ok(found) = found else {
                return Ok(true);
            };
            if self.fails_by(&found, counted_before).await? {
                return Ok(true);
            }
        }
        for message in &held_back {
            self.client.emit(message);
        }
        Ok(false)
    }

    async fn fails_by(&mut self, found: &Found, counted_before: Option<u64>) -> Flow<bool> {
        self.transaction.usage().see_log(found.log_position);
        let over_count = counted_before.and_then(|before| {
            let rows = found.rows.saturating_sub(before);
            self.transaction.usage().add_counted(rows)
        });
        let oversize = || TransactionUsage::oversize_failure(found.what.as_deref()?);
        match over_count.or_else(oversize) {
            Some(answer) => {
                self.fail_with(answer).await?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Refuses the commit of a transaction that wrote too much. Whether it did.
    pub(super) async fn refuses_to_commit(&mut self, after: AfterFailure) -> Flow<bool> {
        if !self.transaction.usage().may_be_over_limits() {
            return Ok(false);
        }
        let log_end = match self.transaction.usage().log_seen() {
            Some(seen) => seen,
            None => match self.find(LOG_POSITION, &[]).await? {
                Ok(Found {
                    log_position: Some(log_position),
                    ..
                }) => log_position,
                Ok(_) => return Ok(false),
                Err(Failed) => return Ok(true),
            },
        };
        if self.transaction.usage().may_hold_large_value(log_end) {
            let start = self.transaction.usage().log_start();
            let Ok(found) = self.find_written(OVERSIZED, start, true).await? else {
                return Ok(true);
            };
            if let Some(answer) = found
                .what
                .as_deref()
                .and_then(TransactionUsage::oversize_failure)
            {
                self.fail(Failure::new(answer, after)).await?;
                return Ok(true);
            }
        }
        if !self.transaction.usage().may_be_too_large(log_end) {
            return Ok(false);
        }
        let start = self.transaction.usage().whole_log_start();
        let Ok(found) = self.find_written(WRITTEN_BYTES, start, false).await? else {
            return Ok(true);
        };
        let bytes = found.what.and_then(|text| text.parse().ok()).unwrap_or(0);
        match TransactionUsage::size_failure(bytes) {
            Some(answer) => {
                self.fail(Failure::new(answer, after)).await?;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}
