//! Owns the model in memory: what clients were told of each write, when, and what may therefore be
//! in the database at the end. It also keeps the figures, and the last operations on each object
//! for whoever looks into a violation.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const KEPT: usize = 12;

/// What a client knows of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It was not done.
    Refused,
    /// It may have been done.
    Unknown,
    /// It was done.
    Done,
}

/// A write of one value, from the first byte sent to the answer.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) value: String,
    pub(crate) outcome: Outcome,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

impl Write {
    /// The values that a register may have after these writes: any that was not certainly
    /// overwritten.
    pub(crate) fn possible(writes: &[Self]) -> BTreeSet<&str> {
        let overwritten = |write: &Self| {
            write.outcome == Outcome::Done
                && writes
                    .iter()
                    .any(|later| later.outcome == Outcome::Done && later.from > write.to)
        };
        writes
            .iter()
            .filter(|write| write.outcome != Outcome::Refused && !overwritten(write))
            .map(|write| write.value.as_str())
            .collect()
    }

    /// Whether this deletion may have taken what `write` left.
    pub(crate) fn may_delete(&self, write: &Self) -> bool {
        match self.outcome {
            Outcome::Refused => false,
            Outcome::Unknown => true,
            Outcome::Done => self.to > write.from,
        }
    }

    /// Whether it certainly has.
    pub(crate) fn deletes(&self, write: &Self) -> bool {
        self.outcome == Outcome::Done && write.outcome != Outcome::Unknown && self.from > write.to
    }
}

/// A chat that clients know by an id of their own.
#[derive(Default, Debug)]
pub(crate) struct Chat {
    pub(crate) owner: String,
    /// By marker, a text that only this message has.
    pub(crate) messages: BTreeMap<String, Message>,
    pub(crate) titles: Vec<Write>,
    /// By reply.
    pub(crate) votes: BTreeMap<String, Vec<Write>>,
    pub(crate) deletions: Vec<Write>,
}

/// A user's message, its write as merged from all attempts.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) write: Write,
    pub(crate) text: String,
    /// What the clients call it; an edit takes the edited message's.
    pub(crate) id: String,
    /// Regenerations: where another edit came between, each brings the message back beside the one
    /// that was set aside.
    pub(crate) repeats: usize,
    /// Replies whose stream said `finish`.
    pub(crate) replies: BTreeSet<String>,
    /// Attempts that may each have written a reply.
    pub(crate) attempts: u32,
}

/// What an owner was billed.
#[derive(Default, Debug, Clone)]
pub(crate) struct Bill {
    /// Input and output tokens of each finished reply.
    pub(crate) finished: BTreeMap<String, (i64, i64)>,
    /// Attempts of which the client does not know what they used.
    pub(crate) unsure: i64,
    pub(crate) erasures: Vec<Write>,
}

#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) chats: BTreeMap<String, Chat>,
    pub(crate) bills: BTreeMap<String, Bill>,
    /// Guests' chats with the member who claims them.
    pub(crate) claims: Vec<(String, String, Outcome)>,
    /// Markers of imported messages.
    pub(crate) imports: Vec<(String, Outcome)>,
    /// Rows of logins, by id: the outcome and what the row says.
    pub(crate) transfers: BTreeMap<String, (Outcome, [i64; 3])>,
    pub(crate) appends: BTreeMap<String, Outcome>,
    /// What was read of a list, in its order.
    pub(crate) lists: Vec<(i64, Vec<String>)>,
    /// Of the writes with an unknown outcome: how many were found, and how many not.
    pub(crate) resolved: [u64; 2],
    /// Until when logins were refused as denied: to an operator that is a fault of the deployment,
    /// a 500.
    pub(crate) denied_until: Option<Instant>,
    log: HashMap<String, VecDeque<String>>,
    pub(crate) violations: Vec<String>,
    pub(crate) routes: BTreeMap<&'static str, Figures>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
}

/// A route's figures.
#[derive(Default, Clone)]
pub(crate) struct Figures {
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) codes: BTreeMap<String, u64>,
    pub(crate) slowest: Duration,
}

/// The model, shared by all clients.
#[derive(Default)]
pub(crate) struct Model(Mutex<Facts>);

impl Model {
    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn violation(&self, object: &str, what: &str) {
        self.facts().violation(object, what);
    }

    /// Notes an operation on an object.
    pub(crate) fn note(&self, object: &str, what: &str) {
        let mut facts = self.facts();
        let log = facts.log.entry(object.to_owned()).or_default();
        if log.len() == KEPT {
            log.pop_front();
        }
        log.push_back(what.to_owned());
    }

    pub(crate) fn count(&self, route: &'static str, (status, code): (u16, String), took: Duration) {
        let mut facts = self.facts();
        let figures = facts.routes.entry(route).or_default();
        if !code.is_empty() {
            *figures.codes.entry(code).or_default() += 1;
        }
        *figures.statuses.entry(status).or_default() += 1;
        figures.slowest = figures.slowest.max(took);
    }

    pub(crate) fn injected(&self, fault: &'static str) {
        *self.facts().faults.entry(fault).or_default() += 1;
    }

    pub(crate) fn requests(&self) -> u64 {
        let facts = self.facts();
        let all = facts
            .routes
            .values()
            .flat_map(|route| route.statuses.values());
        all.sum()
    }
}

impl Facts {
    pub(crate) fn violation(&mut self, object: &str, what: &str) {
        let log: Vec<&str> = self
            .log
            .get(object)
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let text = format!("{object}: {what}\n      {}", log.join("\n      "));
        eprintln!("violation: {text}");
        self.violations.push(text);
    }

    pub(crate) fn chat(&mut self, id: &str, owner: &str) -> &mut Chat {
        let chat = self.chats.entry(id.to_owned()).or_default();
        owner.clone_into(&mut chat.owner);
        chat
    }

    /// Merges an attempt to write a message: done once is done, refused always is refused.
    pub(crate) fn message(
        &mut self,
        chat: &str,
        owner: &str,
        (id, text): (&str, &str),
        write: Write,
    ) -> &mut Message {
        let messages = &mut self.chat(chat, owner).messages;
        let message = messages
            .entry(write.value.clone())
            .and_modify(|message| {
                message.write.to = write.to;
                message.write.outcome = message.write.outcome.max(write.outcome);
            })
            .or_insert_with(|| Message {
                write,
                text: text.to_owned(),
                id: id.to_owned(),
                repeats: 0,
                replies: BTreeSet::new(),
                attempts: 0,
            });
        message.attempts += 1;
        message
    }
}
