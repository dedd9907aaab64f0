//! What the front itself asks of a session's backend, between two statements of the client or in
//! the middle of its sequence of messages.

use std::io;

use crate::backend::BackendConnection;
use crate::wire::{
    Backend, Bind, Close, ErrorResponse, Execute, Frontend, Parse, Target, TransactionStatus,
};

/// Name of the prepared statement and the portal of what the front runs itself; the client's
/// unnamed ones live on.
const NAME: &str = "dsql_local";
/// Text that no PostgreSQL can parse: it fails the transaction it is sent in.
const POISON: &str = "!";
/// What is done since the start of a transaction block can be undone without ending the block, and
/// with it its locks.
const GUARD: &str = "SAVEPOINT dsql_local";

/// How many messages answer a guard.
pub(crate) const GUARD_ANSWERS: u8 = 6;

/// Where an internal query stands among the client's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    BetweenStatements,
    /// Between messages of the extended protocol, before their Sync.
    WithinSequence,
}

/// What PostgreSQL answers.
#[derive(Default)]
pub(crate) struct Reply {
    /// The first column of the first row.
    pub(crate) first: Option<String>,
    /// The transaction block, or the sequence under way, has failed.
    pub(crate) error: Option<ErrorResponse>,
}

impl BackendConnection {
    /// Runs a query with text parameters; without parameters given it is only parsed.
    pub(crate) async fn ask(
        &mut self,
        sql: &str,
        parameters: Option<&[&str]>,
        place: Place,
    ) -> io::Result<Reply> {
        let mut closes_left = self.queue_own(sql, parameters);
        self.queue(match place {
            Place::BetweenStatements => &Frontend::Sync,
            Place::WithinSequence => &Frontend::Flush,
        });
        let mut reply = Reply::default();
        loop {
            match self.next().await? {
                Backend::DataRow(row) if reply.first.is_none() => {
                    reply.first = Some(row.first_text());
                }
                Backend::ErrorResponse(error) => reply.error = Some(error),
                Backend::CloseComplete => closes_left -= 1,
                Backend::ReadyForQuery(_) => return Ok(reply),
                _ => {}
            }
            let is_answered = closes_left == 0 || reply.error.is_some();
            if is_answered && place == Place::WithinSequence {
                return Ok(reply);
            }
        }
    }

    /// Runs a statement of our own between two of the client's; what it leaves of the transaction.
    pub(crate) async fn run(&mut self, sql: &str) -> io::Result<TransactionStatus> {
        self.run_queued(sql, &[]).await
    }

    /// The same with one parameter, a text.
    pub(crate) async fn run_with(
        &mut self,
        sql: &str,
        parameter: &str,
    ) -> io::Result<TransactionStatus> {
        self.run_queued(sql, &[parameter]).await
    }

    async fn run_queued(
        &mut self,
        sql: &str,
        parameters: &[&str],
    ) -> io::Result<TransactionStatus> {
        self.queue_own(sql, Some(parameters));
        self.queue(&Frontend::Sync);
        loop {
            if let Backend::ReadyForQuery(status) = self.next().await? {
                return Ok(status);
            }
        }
    }

    /// Queues a statement of our own; how many closes it answers.
    fn queue_own(&mut self, sql: &str, parameters: Option<&[&str]>) -> u8 {
        let close = |target| Frontend::Close(Close::new(target, NAME));
        // One that failed is still there.
        self.queue(&close(Target::Statement));
        self.queue(&Frontend::Parse(Parse::new(NAME, sql.to_owned())));
        if let Some(parameters) = parameters {
            self.queue(&Frontend::Bind(Bind::of_texts(NAME, parameters)));
            self.queue(&Frontend::Execute(Execute::whole(NAME)));
            self.queue(&close(Target::Portal));
        }
        self.queue(&close(Target::Statement));
        if parameters.is_some() { 3 } else { 2 }
    }

    /// Queues the guard of a transaction block, whose effects and locks
    /// [`take_back`](Self::take_back) takes back. It answers [`GUARD_ANSWERS`] messages.
    pub(crate) fn queue_guard(&mut self) {
        self.queue_own(GUARD, Some(&[]));
    }

    /// Takes back what the open transaction block did since its guard, and releases its locks; its
    /// snapshot stays.
    pub(crate) async fn take_back(&mut self) -> io::Result<TransactionStatus> {
        self.run("ROLLBACK TO SAVEPOINT dsql_local").await
    }

    /// Ends the open transaction block with all it holds and opens an empty one in its place.
    pub(crate) async fn begin_anew(&mut self) -> io::Result<TransactionStatus> {
        self.run("ROLLBACK").await?;
        self.run("BEGIN").await
    }

    /// Ends the open transaction without its effects.
    pub(crate) async fn roll_back(&mut self) -> io::Result<TransactionStatus> {
        self.run("ROLLBACK").await
    }

    /// Makes the open transaction block a failed one.
    pub(crate) async fn fail_block(&mut self) -> io::Result<TransactionStatus> {
        self.run(POISON).await
    }

    /// Fails the extended-query sequence that is under way: its effects are gone at the next Sync,
    /// and PostgreSQL skips what comes until then.
    pub(crate) async fn fail_sequence(&mut self) -> io::Result<()> {
        self.queue(&Frontend::Parse(Parse::new("dsql_local_poison", POISON)));
        self.queue(&Frontend::Flush);
        while !matches!(self.next().await?, Backend::ErrorResponse(_)) {}
        Ok(())
    }
}
