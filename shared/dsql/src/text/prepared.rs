//! The prepared statements of one text session, known by their texts. The second use of a text
//! prepares it, in the round trip in which it runs; from then on it is bound and executed alone.
//! What is of no use any more is closed in front of a later round trip.
//!
//! The server infers the types of parameters when it prepares a statement, and keeps to them. So
//! whatever tells of a changed catalog makes a session forget its statements: OC001, which the
//! service sends to every session but the one that made the change, and a statement of its own that
//! is no query. What is refused before its values were bound is sent whole once more.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroUsize;

use lru::LruCache;

use super::TextRequest;
use crate::lead::{leading_words, may_hold_a_moment};
use crate::statements::MAX_STATEMENTS;

/// Of the texts that a session has prepared, together.
const MAX_BYTES: usize = 256 * 1024;
/// Longer texts carry their values in them, and do not come again.
const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Texts that are remembered after one use, by their hashes: a mistake costs no more than preparing
/// one too early.
const MAX_USED: NonZeroUsize = NonZeroUsize::new(256).expect("it is not zero");

/// What is prepared on one session.
#[derive(Debug)]
pub(super) struct Prepared {
    known: LruCache<Box<str>, Name>,
    /// Of the texts in `known`.
    bytes: usize,
    used: LruCache<u64, ()>,
    hasher: RandomState,
    closing: Vec<Name>,
    last: u64,
}

/// What the names of statements begin with.
const PREFIX: &str = "dsql_";

/// The name of a prepared statement, unique in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name(u64);

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

/// How a statement is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// With its text, unnamed.
    Whole,
    /// With its text, to be known by this name.
    Prepares(Name),
    /// By its name alone.
    ByName(Name),
}

/// How the statements of a request are sent.
#[derive(Debug, Default)]
pub(super) struct Plan {
    forms: Vec<Form>,
    /// What is closed in front of them.
    pub(super) closing: Vec<Name>,
}

impl Plan {
    /// How statement number `at` is sent.
    pub(super) fn form(&self, at: usize) -> Form {
        self.forms.get(at).copied().unwrap_or(Form::Whole)
    }
}

impl Prepared {
    pub(super) fn new() -> Self {
        Self {
            known: LruCache::new(MAX_STATEMENTS),
            bytes: 0,
            used: LruCache::new(MAX_USED),
            hasher: RandomState::new(),
            closing: Vec::new(),
            last: 0,
        }
    }

    /// How a request is sent; `all_whole`: nothing by its name.
    pub(super) fn plan(&mut self, request: TextRequest<'_>, all_whole: bool) -> Plan {
        let closing = std::mem::take(&mut self.closing);
        if all_whole || !has_only_queries(request) {
            let forms = Vec::new();
            return Plan { forms, closing };
        }
        let mut prepared_here: HashMap<&str, Name> = HashMap::new();
        let forms = request.statements.iter().map(|statement| {
            if let Some(name) = prepared_here.get(statement.sql.as_ref()) {
                return Form::ByName(*name);
            }
            let form = self.form(&statement.sql);
            if let Form::Prepares(name) = form {
                prepared_here.insert(&statement.sql, name);
            }
            form
        });
        Plan {
            forms: forms.collect(),
            closing,
        }
    }

    fn form(&mut self, sql: &str) -> Form {
        if sql.len() > MAX_TEXT_BYTES {
            return Form::Whole;
        }
        if let Some(name) = self.known.get(sql) {
            return Form::ByName(*name);
        }
        let is_first = self.used.put(self.hasher.hash_one(sql), ()).is_none();
        if is_first || may_hold_a_moment(sql) {
            return Form::Whole;
        }
        self.last += 1;
        Form::Prepares(Name(self.last))
    }

    /// A request ran to its end: what it prepared is there, unless it may have changed the catalog.
    pub(super) fn keep(&mut self, request: TextRequest<'_>, plan: &Plan) {
        if !has_only_queries(request) {
            return self.forget_all();
        }
        for (statement, form) in request.statements.iter().zip(&plan.forms) {
            if let Form::Prepares(name) = *form {
                self.bytes += statement.sql.len();
                if let Some((sql, replaced)) = self.known.push(statement.sql.as_ref().into(), name)
                {
                    self.close(&sql, replaced);
                }
            }
        }
        while self.bytes > MAX_BYTES
            && let Some((sql, name)) = self.known.pop_lru()
        {
            self.close(&sql, name);
        }
    }

    /// A request was refused: how far its statements were prepared is not looked into.
    pub(super) fn give_up(&mut self, plan: &Plan) {
        let names = plan.forms.iter().filter_map(|form| match form {
            Form::Prepares(name) => Some(*name),
            Form::Whole | Form::ByName(_) => None,
        });
        self.closing.extend(names);
    }

    /// Forgets the statement with this text.
    pub(super) fn forget(&mut self, sql: &str) {
        if let Some(name) = self.known.pop(sql) {
            self.close(sql, name);
        }
    }

    pub(super) fn forget_all(&mut self) {
        while let Some((sql, name)) = self.known.pop_lru() {
            self.close(&sql, name);
        }
    }

    fn close(&mut self, sql: &str, name: Name) {
        self.bytes -= sql.len();
        self.closing.push(name);
    }
}

/// A message of the server without the name of a statement of ours, which means nothing to whoever
/// sent the statement: as if it had none.
pub(super) fn without_name(message: String) -> String {
    const BEFORE: &str = "prepared statement \"";
    let Some((before, name)) = message.split_once(BEFORE) else {
        return message;
    };
    match name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('"'))
    {
        Some((number, after)) if number.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{before}{BEFORE}\"{after}")
        }
        _ => message,
    }
}

/// Whether nothing in it can change the catalog. Told by first words; functions change nothing of
/// it.
fn has_only_queries(request: TextRequest<'_>) -> bool {
    request.statements.iter().all(|one| {
        let [first, _] = leading_words(&one.sql);
        matches!(
            first.as_str(),
            "" | "select"
                | "insert"
                | "update"
                | "delete"
                | "merge"
                | "with"
                | "values"
                | "table"
                | "explain"
                | "show"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{AnswerLimits, Begin, TextStatement};

    const LIMITS: AnswerLimits = AnswerLimits { rows: 1, bytes: 1 };

    #[test]
    fn a_message_names_no_statement_of_ours() {
        let told = |name: &str| {
            format!(
                "bind message supplies 0 parameters, but prepared statement \"{name}\" requires 1"
            )
        };
        assert_eq!(without_name(told("dsql_47")), told(""));
        for other in [told(""), told("mine"), told("dsql_x"), "dsql_1".to_owned()] {
            assert_eq!(without_name(other.clone()), other);
        }
    }

    fn run(prepared: &mut Prepared, texts: &[&str]) -> Plan {
        let statements: Vec<_> = texts
            .iter()
            .map(|sql| TextStatement {
                sql: (*sql).into(),
                params: Vec::new(),
            })
            .collect();
        let request = TextRequest::batch(&statements, Begin::default(), LIMITS);
        let plan = prepared.plan(request, false);
        prepared.keep(request, &plan);
        plan
    }

    #[test]
    fn a_text_is_prepared_with_its_second_use_and_known_by_its_name_from_then_on() {
        let mut prepared = Prepared::new();
        let name = Name(1);
        for form in [Form::Whole, Form::Prepares(name), Form::ByName(name)] {
            assert_eq!(run(&mut prepared, &["SELECT 1"]).form(0), form);
        }
        let name = Name(2);
        assert_eq!(
            run(&mut prepared, &["SELECT 2"; 4]).forms,
            [
                Form::Whole,
                Form::Prepares(name),
                Form::ByName(name),
                Form::ByName(name)
            ],
            "in one batch too"
        );
    }

    #[test]
    fn what_a_session_keeps_stays_within_its_bounds_and_the_rest_is_closed() {
        let mut prepared = Prepared::new();
        let text = |n: usize, bytes: usize| format!("SELECT {n} -- {}", "x".repeat(bytes));
        let mut open = std::collections::HashSet::new();
        for bytes in [10, 8_000, 20_000] {
            for n in 0..1_000 {
                for _ in 0..2 {
                    let plan = run(&mut prepared, &[&text(n, bytes)]);
                    for name in &plan.closing {
                        assert!(open.remove(&name.0));
                    }
                    if let Form::Prepares(name) = plan.form(0) {
                        open.insert(name.0);
                    }
                }
                let kept: usize = prepared.known.iter().map(|(sql, _)| sql.len()).sum();
                assert_eq!(prepared.bytes, kept);
                assert!(kept <= MAX_BYTES && prepared.known.len() <= MAX_STATEMENTS.get());
                assert_eq!(open.len(), prepared.known.len() + prepared.closing.len());
            }
        }
        assert!(!open.is_empty());
    }

    #[test]
    fn texts_that_do_not_come_again_displace_none_that_do() {
        let mut prepared = Prepared::new();
        for _ in 0..2 {
            run(&mut prepared, &["SELECT 1"]);
        }
        for n in 0..1_000 {
            run(&mut prepared, &[&format!("INSERT INTO t VALUES ({n})")]);
        }
        let plan = run(&mut prepared, &["SELECT 1"]);
        assert!(matches!(plan.form(0), Form::ByName(_)));
    }

    #[test]
    fn what_may_change_the_catalog_goes_whole_and_leaves_nothing_prepared() {
        let mut prepared = Prepared::new();
        for change in ["ALTER TABLE t ADD COLUMN a int", "/**/ grant a to b"] {
            for _ in 0..3 {
                run(&mut prepared, &["SELECT 1"]);
            }
            assert_eq!(prepared.known.len(), 1);
            let plan = run(&mut prepared, &["SELECT 1", change]);
            assert_eq!([plan.form(0), plan.form(1)], [Form::Whole; 2]);
            assert!(prepared.known.is_empty());
        }
    }
}
