//! The pipeline of a session: which answers are still to come, where the extended protocol stands,
//! and what the client has prepared. It knows neither the client nor PostgreSQL; it is told what
//! was sent and what arrived.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::transaction::AfterFailure;
use crate::internal_query::Place;
use crate::statement::{Kind, Statement};
use crate::wire::{Backend, Bind, Close, Parse, Target};

/// What the backend still has to answer.
pub(super) enum Expected {
    Parse,
    Bind,
    Describe,
    /// `kept`: where the open block keeps it.
    Execute {
        statement: Option<Arc<Statement>>,
        kept: Option<usize>,
    },
    /// This many answers to the guard of a block, which the client does not see.
    Guard(u8),
    Close,
    /// What the client shall find of the transaction.
    Sync(AfterFailure),
    Query {
        statement: Arc<Statement>,
        kept: Option<usize>,
        part: QueryPart,
    },
}

/// How much of a simple query was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryPart {
    /// The rest follows if this part succeeds.
    Head,
    /// All of it, or the rest.
    Last,
}

impl Expected {
    /// Where the open block keeps the statement that is answered.
    pub(super) fn kept(&self) -> Option<usize> {
        match self {
            Self::Execute { kept, .. } | Self::Query { kept, .. } => *kept,
            _ => None,
        }
    }

    /// The statement that is answered.
    pub(super) fn statement(&self) -> Option<&Arc<Statement>> {
        match self {
            Self::Execute { statement, .. } => statement.as_ref(),
            Self::Query { statement, .. } => Some(statement),
            _ => None,
        }
    }

    /// Whether the transaction's state is unknown until this is answered.
    fn changes_block(&self) -> bool {
        match self {
            Self::Execute {
                statement: Some(statement),
                ..
            } => statement
                .kinds
                .iter()
                .any(|kind| matches!(kind, Kind::Begin | Kind::Commit | Kind::Rollback)),
            _ => false,
        }
    }
}

/// What an answer means for the guard of a block.
pub(super) enum GuardAnswer {
    /// It answers something else.
    None,
    /// More answers follow.
    More,
    /// The guard stands.
    Stands,
}

/// Where the extended protocol stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sequence {
    /// Between a Sync or a simple query and whatever comes next.
    Idle,
    /// Messages came, and no Sync yet.
    Open,
    /// After an error nothing is executed until Sync.
    Skips(AfterFailure),
}

/// Whether an error was answered since the last ReadyForQuery.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Errors {
    None,
    Answered,
}

/// How the simple query under way is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum QueryRun {
    /// As it came, or there is none.
    Whole,
    /// Statement by statement: the client learns at its end that it may go on.
    Parts,
    /// Statement by statement, in a transaction of our own of which the client does not know.
    OwnTransaction,
}

/// Where the rows of a COPY come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CopyData {
    /// None came with the flight.
    Awaited,
    /// All came with the flight that started it.
    InFlight,
    /// They came after the flight that started it.
    CameLater,
}

/// A prepared statement.
pub(super) struct Prepared {
    pub(super) statement: Arc<Statement>,
    /// The message that PostgreSQL got.
    pub(super) parse: Parse,
}

/// A prepared statement with values.
struct Portal {
    prepared: Arc<Prepared>,
    /// Of its text and values.
    bytes: usize,
    /// The job that its execution waits for.
    awaited_job: Option<String>,
}

/// What is about to run when a portal is executed.
pub(super) struct Execution {
    pub(super) statement: Arc<Statement>,
    /// Of its text and values.
    pub(super) bytes: usize,
    /// The job that it waits for.
    pub(super) awaited_job: Option<String>,
}

/// The state of both query protocols.
pub(super) struct Pipeline {
    expected: VecDeque<Expected>,
    sequence: Sequence,
    errors: Errors,
    query_run: QueryRun,
    copy_data: CopyData,
    /// The end of a command, and of the rows that it copies, until what it wrote has been looked
    /// at.
    held_back: Vec<Backend>,
    statements: HashMap<Bytes, Arc<Prepared>>,
    portals: HashMap<Bytes, Portal>,
}

impl Pipeline {
    pub(super) fn new() -> Self {
        Self {
            expected: VecDeque::new(),
            sequence: Sequence::Idle,
            errors: Errors::None,
            query_run: QueryRun::Whole,
            copy_data: CopyData::Awaited,
            held_back: Vec::new(),
            statements: HashMap::new(),
            portals: HashMap::new(),
        }
    }
}

/// What is expected.
impl Pipeline {
    pub(super) fn expect(&mut self, expected: Expected) {
        self.expected.push_back(expected);
    }

    pub(super) fn first(&self) -> Option<&Expected> {
        self.expected.front()
    }

    /// The first one is answered.
    pub(super) fn take_first(&mut self) -> Option<Expected> {
        self.expected.pop_front()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.expected.is_empty()
    }

    /// Whether PostgreSQL answers everything without being asked to.
    pub(super) fn ends_by_itself(&self) -> bool {
        matches!(
            self.expected.back(),
            None | Some(Expected::Sync(_) | Expected::Query { .. })
        )
    }

    /// Whether the transaction's state is unknown until more is answered.
    pub(super) fn changes_block(&self) -> bool {
        self.expected.iter().any(Expected::changes_block)
    }

    pub(super) fn has_guard(&self) -> bool {
        self.expected
            .iter()
            .any(|expected| matches!(expected, Expected::Guard(_)))
    }

    /// Counts an answer to a guard.
    pub(super) fn guard_answer(&mut self, message: &Backend) -> GuardAnswer {
        let Some(Expected::Guard(left)) = self.expected.front_mut() else {
            return GuardAnswer::None;
        };
        match message {
            Backend::ErrorResponse(_) => return GuardAnswer::None,
            Backend::ParseComplete
            | Backend::BindComplete
            | Backend::CloseComplete
            | Backend::CommandComplete(_) => *left -= 1,
            _ => {}
        }
        if *left > 0 {
            return GuardAnswer::More;
        }
        self.expected.pop_front();
        GuardAnswer::Stands
    }

    /// PostgreSQL skips what follows an error until Sync.
    pub(super) fn skip_expected(&mut self) {
        while let Some(expected) = self.expected.front() {
            if matches!(expected, Expected::Sync(_)) {
                return;
            }
            self.expected.pop_front();
        }
        self.skip(AfterFailure::BlockFailed);
    }

    /// PostgreSQL ignores the Sync that came before the rows of a COPY; another follows after them.
    pub(super) fn expect_rows_first(&mut self) {
        if matches!(self.expected.get(1), Some(Expected::Sync(_))) {
            self.expected.remove(1);
        }
        self.copy_data = CopyData::CameLater;
    }
}

/// Where the protocol stands.
impl Pipeline {
    /// A message of the extended protocol came.
    pub(super) fn open_sequence(&mut self) {
        if self.sequence == Sequence::Idle {
            self.sequence = Sequence::Open;
        }
    }

    /// A Sync or a simple query came; what the Sync shall leave of the transaction.
    pub(super) fn end_sequence(&mut self) -> AfterFailure {
        match std::mem::replace(&mut self.sequence, Sequence::Idle) {
            Sequence::Skips(after) => after,
            Sequence::Idle | Sequence::Open => AfterFailure::BlockFailed,
        }
    }

    /// Nothing is executed until Sync.
    pub(super) fn skip(&mut self, after: AfterFailure) {
        self.sequence = Sequence::Skips(after);
    }

    pub(super) fn skips(&self) -> bool {
        matches!(self.sequence, Sequence::Skips(_))
    }

    /// Whether PostgreSQL waits for a Sync.
    pub(super) fn is_mid_sequence(&self) -> bool {
        self.sequence != Sequence::Idle
    }

    /// Where a query of the front's own would stand.
    pub(super) fn place(&self) -> Place {
        if self.is_mid_sequence() {
            Place::WithinSequence
        } else {
            Place::BetweenStatements
        }
    }

    /// An error was answered.
    pub(super) fn note_error(&mut self) {
        self.errors = Errors::Answered;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.errors == Errors::Answered
    }

    /// A ReadyForQuery came; whether an error was answered before it. The parts of a query share
    /// theirs.
    pub(super) fn ready(&mut self) -> bool {
        let has_failed = self.has_failed();
        if self.query_run == QueryRun::Whole {
            self.errors = Errors::None;
        }
        has_failed
    }

    /// The statements of a simple query are run one by one from here on.
    pub(super) fn begin_parts(&mut self) {
        self.query_run = QueryRun::Parts;
    }

    /// A transaction of our own is open around them.
    pub(super) fn wrap_parts(&mut self) {
        self.query_run = QueryRun::OwnTransaction;
    }

    /// The transaction of our own has become the client's.
    pub(super) fn unwrap_parts(&mut self) {
        self.query_run = QueryRun::Parts;
    }

    pub(super) fn is_in_parts(&self) -> bool {
        self.query_run != QueryRun::Whole
    }

    pub(super) fn is_wrapped(&self) -> bool {
        self.query_run == QueryRun::OwnTransaction
    }

    /// The statements have run; whether the transaction of our own is still open.
    pub(super) fn end_parts(&mut self) -> bool {
        std::mem::replace(&mut self.query_run, QueryRun::Whole) == QueryRun::OwnTransaction
    }

    /// Forgets errors, and whether there was one.
    pub(super) fn forget_errors(&mut self) -> bool {
        std::mem::replace(&mut self.errors, Errors::None) == Errors::Answered
    }

    /// A flight begins, which brings the end of a COPY or not.
    pub(super) fn begin_flight(&mut self, has_copy_end: bool) {
        self.copy_data = if has_copy_end {
            CopyData::InFlight
        } else {
            CopyData::Awaited
        };
    }

    /// Whether the rows of a COPY came with the flight.
    pub(super) fn has_rows(&self) -> bool {
        self.copy_data == CopyData::InFlight
    }

    /// Whether the rows of a COPY came after the flight; says so once.
    pub(super) fn take_later_rows(&mut self) -> bool {
        let came_later = self.copy_data == CopyData::CameLater;
        if came_later {
            self.copy_data = CopyData::Awaited;
        }
        came_later
    }

    /// Keeps the end of a command until what it wrote has been looked at.
    pub(super) fn hold_back(&mut self, complete: Backend) {
        self.held_back.push(complete);
    }

    pub(super) fn take_held_back(&mut self) -> Vec<Backend> {
        std::mem::take(&mut self.held_back)
    }
}

/// What is prepared.
impl Pipeline {
    pub(super) fn prepare(&mut self, statement: Arc<Statement>, parse: &Parse) {
        let prepared = Prepared {
            statement,
            parse: parse.clone(),
        };
        self.statements
            .insert(parse.name.clone(), Arc::new(prepared));
    }

    pub(super) fn prepared(&self, name: &[u8]) -> Option<&Arc<Prepared>> {
        self.statements.get(name)
    }

    /// Makes a portal; the message that prepared its statement, if that is known.
    pub(super) fn bind(&mut self, bind: &Bind) -> Option<&Parse> {
        let prepared = self.statements.get(&bind.statement)?;
        let portal = Portal {
            prepared: prepared.clone(),
            bytes: prepared.parse.sql.as_bytes().len() + bind.value_bytes(),
            awaited_job: prepared.statement.awaited_job(Some(bind)),
        };
        self.portals.insert(bind.portal.clone(), portal);
        Some(&prepared.parse)
    }

    /// What the execution of a portal runs, if that is known.
    pub(super) fn execution(&mut self, portal: &[u8]) -> Option<Execution> {
        let portal = self.portals.get_mut(portal)?;
        Some(Execution {
            statement: portal.prepared.statement.clone(),
            bytes: portal.bytes,
            awaited_job: portal.awaited_job.take(),
        })
    }

    pub(super) fn close(&mut self, close: &Close) {
        match close.target {
            Target::Statement => drop(self.statements.remove(&close.name)),
            Target::Portal => drop(self.portals.remove(&close.name)),
        }
    }
}
