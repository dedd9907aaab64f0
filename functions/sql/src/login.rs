//! Logins: whether a name and a password, or a token that was verified for the name, open a
//! session. Checked against a table that holds hashes and that this function can read and nothing
//! else; kept in the warm container for a minute at most.
//!
//! 1. An unknown name and a wrong password take the same way and give the same answer.
//! 2. A row is trusted for [`TRUSTED`]. A password that does not fit makes it be read again, so
//!    that a password just made works at once; of a name, [`REREADS`] times in a row and then once
//!    every [`REREAD_EVERY`], so that guesses cost little.
//! 3. Guesses of names cost no statement each: after [`MISSES`] names that are nobody's, the names
//!    there are are read, at most once every [`REREAD_EVERY`], and others are not looked for.
//! 4. The role that a row gives carries the row's generation, which is another one after every
//!    change of the login: sessions of a login's past are not used any more.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dsql::Clock;
use dsql::text::{
    AnswerLimits, TextAnswer, TextError, TextRequest, TextRole, TextRow, TextSessions,
    TextStatement,
};
use logins::{is_login_name, sha256_hex};

use crate::connection_string::Password;

/// How long a row is trusted.
const TRUSTED: Duration = Duration::from_secs(60);
/// How often in a row a name's row is read again for a password that does not fit.
const REREADS: u32 = 4;
/// After how long one more is allowed.
const REREAD_EVERY: Duration = Duration::from_secs(1);
/// Names kept, unknown ones too.
const MAX_KEPT: usize = 1_000;
/// How many names that are nobody's are looked for in a row; one more every [`REREAD_EVERY`].
const MISSES: u32 = 32;
/// One row of short texts.
const LIMITS: AnswerLimits = AnswerLimits {
    rows: 1,
    bytes: 4_096,
};

const READ: &str = "SELECT password_hash, schemas, generation, previous_hash, ceil(extract(epoch FROM previous_until))::bigint \
     FROM chats.sql_logins WHERE name = $1";

/// The rows and the names of some logins; their names are given with commas between.
const READ_SOME: &str = "SELECT password_hash, schemas, generation, previous_hash, ceil(extract(epoch FROM previous_until))::bigint, name \
     FROM chats.sql_logins WHERE name = ANY(string_to_array($1, ','))";

/// The row and the name of the only login there is, if there is one: a second row tells that there
/// are more.
const READ_ONLY_ONE: &str = "SELECT password_hash, schemas, generation, previous_hash, ceil(extract(epoch FROM previous_until))::bigint, name \
     FROM chats.sql_logins WHERE password_hash <> '' LIMIT 2";

/// The names of all logins, unless there are too many to keep.
const READ_NAMES: &str = "SELECT name FROM chats.sql_logins LIMIT 1001";
const NAMES: AnswerLimits = AnswerLimits {
    rows: MAX_KEPT + 1,
    bytes: 128 * 1024,
};

/// Checks names and passwords.
#[derive(Debug)]
pub(crate) struct Logins {
    sessions: TextSessions,
    clock: Arc<dyn Clock>,
    kept: Mutex<HashMap<String, Kept>>,
    misses: Mutex<Misses>,
}

/// What is known of names that are nobody's.
#[derive(Debug)]
struct Misses {
    allowance: Allowance,
    /// The names there are, and since when; `None`: too many to keep.
    names: Option<(SystemTime, Option<HashSet<String>>)>,
}

#[derive(Debug, Clone)]
struct Kept {
    read_at: SystemTime,
    row: Option<Row>,
    allowance: Allowance,
}

/// How often a row may still be read again out of turn.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    most: u32,
    left: u32,
    /// Since when `left` holds.
    since: SystemTime,
}

impl Allowance {
    fn full(most: u32, now: SystemTime) -> Self {
        Self {
            most,
            left: most,
            since: now,
        }
    }

    /// Takes one, unless none is left.
    fn take(&mut self, now: SystemTime) -> bool {
        let is_left = self.is_left(now);
        self.left -= u32::from(is_left);
        is_left
    }

    /// Whether one is left.
    fn is_left(&mut self, now: SystemTime) -> bool {
        let passed = now.duration_since(self.since).unwrap_or_default();
        let gained = u32::try_from(passed.as_secs() / REREAD_EVERY.as_secs()).unwrap_or(u32::MAX);
        if self.left.saturating_add(gained) >= self.most {
            *self = Self::full(self.most, now);
        } else {
            self.left += gained;
            self.since += REREAD_EVERY * gained;
        }
        self.left > 0
    }
}

/// What the table holds of a login.
#[derive(Clone, Default, PartialEq, Eq)]
struct Row {
    /// Lower-case hexadecimal SHA-256; empty while the login is being made or dropped, which fits
    /// no password.
    hash: String,
    /// Its schemas, separated by commas.
    schemas: String,
    /// Another one after every change.
    generation: String,
    /// That of the password before, and until when it is good.
    previous: Option<(String, SystemTime)>,
}

impl Row {
    /// From a row whose sixth value is the name.
    fn with_name(row: &TextRow) -> Option<(String, Self)> {
        let mut values = row.values();
        let row = Self::of(&mut values);
        Some((values.next()??.into_owned(), row))
    }

    /// From the first five values of a row of the table.
    fn of<'a>(values: &mut impl Iterator<Item = Option<Cow<'a, str>>>) -> Self {
        let mut next = || values.next().flatten();
        let hash = next().unwrap_or_default().into_owned();
        let schemas = next().unwrap_or_default().into_owned();
        let generation = next().unwrap_or_default().into_owned();
        let previous = next().map(Cow::into_owned);
        let until = next()
            .and_then(|text| text.parse().ok())
            .map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        Self {
            hash,
            schemas,
            generation,
            previous: previous.zip(until),
        }
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").finish_non_exhaustive()
    }
}

impl Logins {
    pub(crate) fn new(sessions: TextSessions, clock: Arc<dyn Clock>) -> Self {
        let misses = Misses {
            allowance: Allowance::full(MISSES, clock.now()),
            names: None,
        };
        Self {
            sessions,
            clock,
            kept: Mutex::default(),
            misses: Mutex::new(misses),
        }
    }

    /// The database role of the login `name`, if `password` opens it.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(crate) async fn admits(
        &self,
        name: &str,
        password: &Password,
        deadline: SystemTime,
    ) -> Result<Option<TextRole>, TextError> {
        let presented = sha256_hex(password.expose().as_bytes());
        let is_match = |row: Option<&Row>| is_match(row, &presented, self.clock.now());
        self.find(name, is_match, deadline).await
    }

    /// Whether the login of `role` was changed since its row was read, as an error lets suspect.
    /// Then what is found next is up to date. Reads no more often than for passwords that do not
    /// fit.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(crate) async fn is_outdated(
        &self,
        role: &TextRole,
        deadline: SystemTime,
    ) -> Result<bool, TextError> {
        if !self.may_reread(&role.name) {
            return Ok(false);
        }
        let row = self.read(&role.name, deadline).await?;
        let is_outdated = row.as_ref().map(|row| &row.generation) != Some(&role.generation);
        self.keep(&role.name, row);
        Ok(is_outdated)
    }

    /// The database role of the login `name`, for whom a token was verified, if there is one.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(crate) async fn named(
        &self,
        name: &str,
        deadline: SystemTime,
    ) -> Result<Option<TextRole>, TextError> {
        let is_made = |row: Option<&Row>| row.is_some_and(|row| !row.hash.is_empty());
        self.find(name, is_made, deadline).await
    }

    /// Reads the rows of logins ahead of their first requests, in one statement, and returns their
    /// roles, in the order of `names`; of a name that is nobody's, `None`.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(crate) async fn learn(
        &self,
        names: &[String],
        deadline: SystemTime,
    ) -> Result<Vec<Option<TextRole>>, TextError> {
        let list = names.join(",");
        let statement = TextStatement::new(READ_SOME, &[&list]);
        let limits = AnswerLimits {
            rows: names.len(),
            bytes: LIMITS.bytes * names.len(),
        };
        let mut found: HashMap<String, Row> = HashMap::new();
        for answer in self.lookup(&statement, limits, deadline).await? {
            for row in &answer.rows {
                found.extend(Row::with_name(row));
            }
        }
        let learned = names.iter().map(|name| {
            let row = found.get(name);
            self.keep(name, row.cloned());
            let made = row.filter(|row| !row.hash.is_empty());
            made.map(|row| role(name, Some(row)))
        });
        Ok(learned.collect())
    }

    /// The role of the only login there is, whose row is read ahead of its first request.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(crate) async fn only(&self, deadline: SystemTime) -> Result<Option<TextRole>, TextError> {
        let statement = TextStatement::new(READ_ONLY_ONE, &[]);
        let limits = AnswerLimits { rows: 2, ..LIMITS };
        let answers = self.lookup(&statement, limits, deadline).await?;
        let rows = answers.first().map(|answer| answer.rows.as_slice());
        let Some([only]) = rows else {
            return Ok(None);
        };
        Ok(Row::with_name(only).map(|(name, row)| {
            let role = role(&name, Some(&row));
            self.keep(&name, Some(row));
            role
        }))
    }

    async fn find(
        &self,
        name: &str,
        is_match: impl Fn(Option<&Row>) -> bool,
        deadline: SystemTime,
    ) -> Result<Option<TextRole>, TextError> {
        let admitted = |row: Option<&Row>| is_match(row).then(|| role(name, row));
        if !is_login_name(name) {
            return Ok(admitted(None));
        }
        if let Some(kept) = self.kept(name) {
            let role = admitted(kept.row.as_ref());
            if role.is_some() || !self.may_reread(name) {
                return Ok(role);
            }
        } else if self.is_nobodys(name, deadline).await? {
            return Ok(admitted(None));
        }
        let row = self.read(name, deadline).await?;
        if row.is_none() {
            self.misses().allowance.take(self.clock.now());
        }
        let role = admitted(row.as_ref());
        self.keep(name, row);
        Ok(role)
    }

    fn misses(&self) -> MutexGuard<'_, Misses> {
        self.misses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no login has the name, as far as that is known while names are being guessed.
    async fn is_nobodys(&self, name: &str, deadline: SystemTime) -> Result<bool, TextError> {
        let now = self.clock.now();
        {
            let mut misses = self.misses();
            if misses.allowance.is_left(now) {
                return Ok(false);
            }
            if let Some((read_at, names)) = &misses.names
                && now
                    .duration_since(*read_at)
                    .is_ok_and(|age| age < REREAD_EVERY)
            {
                return Ok(names.as_ref().is_some_and(|names| !names.contains(name)));
            }
        }
        let statement = TextStatement::new(READ_NAMES, &[]);
        let answers = self.lookup(&statement, NAMES, deadline).await?;
        let rows = answers.into_iter().next().map(|answer| answer.rows);
        let rows = rows.filter(|rows| rows.len() <= MAX_KEPT);
        let names: Option<HashSet<String>> = rows.map(|rows| {
            rows.iter()
                .filter_map(|row| row.values().next().flatten().map(Cow::into_owned))
                .collect()
        });
        let is_nobodys = names.as_ref().is_some_and(|names| !names.contains(name));
        self.misses().names = Some((now, names));
        Ok(is_nobodys)
    }

    /// The row as it was read less than a minute ago.
    fn kept(&self, name: &str) -> Option<Kept> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get(name)?;
        let age = self.clock.now().duration_since(kept.read_at).ok()?; // a clock that stepped back: read again
        (age < TRUSTED).then(|| kept.clone())
    }

    /// Whether a row that is trusted may be read again; counts as one time.
    fn may_reread(&self, name: &str) -> bool {
        let now = self.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_mut(name)
            .is_none_or(|kept| kept.allowance.take(now))
    }

    fn keep(&self, name: &str, row: Option<Row>) {
        let read_at = self.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT && !kept.contains_key(name) {
            kept.retain(|_, kept| {
                read_at
                    .duration_since(kept.read_at)
                    .is_ok_and(|age| age < TRUSTED)
            });
            if kept.len() >= MAX_KEPT {
                kept.clear(); // somebody guesses names: the next requests read again
            }
        }
        let allowance = kept
            .get(name)
            .map_or_else(|| Allowance::full(REREADS, read_at), |kept| kept.allowance);
        let fresh = Kept {
            read_at,
            row,
            allowance,
        };
        kept.insert(name.to_owned(), fresh);
    }

    async fn read(&self, name: &str, deadline: SystemTime) -> Result<Option<Row>, TextError> {
        let statement = TextStatement::new(READ, &[name]);
        let answers = self.lookup(&statement, LIMITS, deadline).await?;
        let row = answers.first().and_then(|answer| answer.rows.first());
        Ok(row.map(|row| Row::of(&mut row.values())))
    }

    /// Reads with the function's own session.
    async fn lookup(
        &self,
        statement: &TextStatement<'_>,
        limits: AnswerLimits,
        deadline: SystemTime,
    ) -> Result<Vec<TextAnswer>, TextError> {
        let request = TextRequest::one(statement, limits).lookup();
        let own_role = self.sessions.own_role();
        self.sessions.run(&own_role, request, deadline).await
    }
}

/// The database role of a login, as its row describes it.
fn role(name: &str, row: Option<&Row>) -> TextRole {
    let (schemas, generation) = row
        .map(|row| (row.schemas.clone(), row.generation.clone()))
        .unwrap_or_default();
    TextRole {
        name: name.to_owned(),
        search_path: (!schemas.is_empty()).then_some(schemas),
        generation,
    }
}

/// The same steps whether there is a row or not, and whether it has a previous password or not.
fn is_match(row: Option<&Row>, presented: &str, now: SystemTime) -> bool {
    const NOBODY: &str = "----------------------------------------------------------------";
    let current = row.map_or(NOBODY, |row| &row.hash);
    let previous = row.and_then(|row| row.previous.as_ref());
    let is_current = is_equal(current, presented);
    let is_previous = is_equal(previous.map_or(NOBODY, |(hash, _)| hash), presented);
    is_current | (is_previous & previous.is_some_and(|(_, until)| now < *until))
}

/// In a time that does not depend on where they differ.
fn is_equal(a: &str, b: &str) -> bool {
    let differing = a
        .bytes()
        .zip(b.bytes())
        .fold(0, |differing, (a, b)| black_box(differing | (a ^ b)));
    a.len() == b.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_hash_or_for_a_while_the_one_before() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let row = Row {
            hash: sha256_hex(b"new"),
            schemas: "blog".to_owned(),
            generation: "1".to_owned(),
            previous: Some((sha256_hex(b"old"), now + Duration::from_secs(10))),
        };
        let fits =
            |password: &str, now| is_match(Some(&row), &sha256_hex(password.as_bytes()), now);
        assert!(fits("new", now) && fits("old", now));
        assert!(!fits("other", now) && !fits("", now));
        assert!(!fits("old", now + Duration::from_secs(10)));
        assert!(!is_match(None, &sha256_hex(b"new"), now));
        assert!(!is_match(Some(&Row::default()), &sha256_hex(b""), now));
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_row_is_read_again_some_times_in_a_row_and_then_now_and_then() {
        let start = UNIX_EPOCH + Duration::from_secs(1_000);
        let mut allowance = Allowance::full(REREADS, start);
        let mut taken = |after_ms: u64| {
            let now = start + Duration::from_millis(after_ms);
            (0..20).filter(|_| allowance.take(now)).count()
        };
        assert_eq!(taken(0), 4);
        assert_eq!(taken(999), 0);
        assert_eq!(taken(1_500), 1);
        assert_eq!(taken(2_000), 1);
        assert_eq!(taken(2_100), 0);
        assert_eq!(taken(60_000), 4);
    }

    #[test]
    fn debug_shows_no_hash() {
        let row = Row {
            hash: "0123abcd".to_owned(),
            ..Row::default()
        };
        assert!(!format!("{row:?}").contains("0123"));
    }
}
