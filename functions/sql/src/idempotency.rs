//! Requests that can be repeated safely: an `Idempotency-Key` is recorded, with the answer, in the
//! transaction of the request itself, in a table of the login's own. Whoever repeats the request
//! within a day gets the first answer again.
//!
//! The key is inserted first: a repeat fails there, before any of its statements runs. Two at once
//! meet at COMMIT, where one of them loses, is run again, and fails at the key too. A request whose
//! answer was lost is run again like a repeat; of one whose answer did not come in time, the record
//! tells the outcome.
//!
//! A statement of DDL stands alone in its transaction, so its record is one of its own, after it.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dsql::quote_identifier;
use dsql::text::{
    AnswerLimits, Begin, TextAnswer, TextError, TextRequest, TextRole, TextSessions, TextStatement,
};
use lambda_http::http::HeaderMap;

use logins::{REQUESTS_SCHEMA, sha256_hex};

use crate::failure::Failure;
use crate::request::{Asked, Options, Output, isolation_name, text};

/// Longer answers are not kept (a value of the service has at most 1 MiB).
const MAX_KEPT_BYTES: usize = 1_000_000;
/// A key's visible characters.
const MAX_KEY_CHARS: usize = 255;
/// At the end of a request's time, for finding out what became of it: at most this, and a quarter.
const RESERVE: Duration = Duration::from_secs(2);
/// Rounds of finding a key that then turns out to be expired.
const ROUNDS: usize = 3;
/// What a login meets that has no table of keys.
const NO_TABLE: [&str; 3] = ["3F000", "42P01", "42501"];
const LIMITS: AnswerLimits = AnswerLimits {
    rows: 1,
    bytes: 2 * MAX_KEPT_BYTES,
};

/// A key, and what it stands for.
#[derive(Debug)]
pub(crate) struct Key {
    key: String,
    request_hash: String,
}

/// A request as one text that no other request has, whichever version of this function writes it:
/// every part that varies in length has its length in front.
fn canonical(asked: &Asked<'_>, options: Options) -> String {
    let isolation = options.isolation.map_or("-", isolation_name);
    let flags = [
        asked.is_batch,
        options.read_only == Some(true),
        options.deferrable == Some(true),
    ];
    let mut text = format!(
        "1 {isolation} {}",
        flags
            .map(|flag| if flag { '1' } else { '0' })
            .iter()
            .collect::<String>()
    );
    let mut part = |value: Option<&str>| {
        let _infallible = match value {
            Some(value) => write!(text, " {}:{value}", value.len()),
            None => write!(text, " null"),
        };
    };
    for statement in &asked.statements {
        let Output {
            raw_text,
            array_mode,
        } = statement.output;
        part(Some(if raw_text { "text" } else { "json" }));
        part(Some(if array_mode { "array" } else { "object" }));
        part(Some(&statement.text.sql));
        part(Some(&statement.text.params.len().to_string()));
        for value in &statement.text.params {
            part(value.as_deref());
        }
    }
    text
}

/// How a request with a key ended.
#[derive(Debug)]
pub(crate) enum Kept {
    /// It was run now.
    Fresh(String),
    /// It was run before; this was the answer.
    Before(String),
}

impl Key {
    /// The key of a request, if it has one.
    pub(crate) fn of(
        headers: &HeaderMap,
        asked: &Asked<'_>,
        options: Options,
    ) -> Result<Option<Self>, Failure> {
        let Some(key) = text(headers, "idempotency-key") else {
            return Ok(None);
        };
        if !(1..=MAX_KEY_CHARS).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Failure::new(
                "22023",
                format!("an Idempotency-Key has 1 to {MAX_KEY_CHARS} visible ASCII characters"),
            ));
        }
        Ok(Some(Self {
            key: key.to_owned(),
            request_hash: sha256_hex(canonical(asked, options).as_bytes()),
        }))
    }
}

/// The login's table of keys, and one key in it.
pub(crate) struct Record<'a> {
    sessions: &'a TextSessions,
    login: &'a TextRole,
    key: &'a Key,
    /// Quoted.
    table: String,
    deadline: SystemTime,
}

/// Writes the answer.
type Body<'a> = &'a (dyn Fn(&[TextAnswer]) -> Result<String, Failure> + Sync);

/// What is found under a key.
enum Found {
    Response(String),
    /// Nothing, by now.
    Gone,
}

impl<'a> Record<'a> {
    pub(crate) fn new(
        sessions: &'a TextSessions,
        login: &'a TextRole,
        key: &'a Key,
        deadline: SystemTime,
    ) -> Self {
        Self {
            table: format!("{REQUESTS_SCHEMA}.{}", quote_identifier(&login.name)),
            sessions,
            login,
            key,
            deadline,
        }
    }

    /// Runs a request once, however often it is sent. `length`: that of the batch, if it is one;
    /// `body` writes the answer.
    pub(crate) async fn run(
        &self,
        asked: &[TextStatement<'_>],
        length: Option<usize>,
        (begin, limits): (Begin, AnswerLimits),
        body: Body<'_>,
        now: SystemTime,
    ) -> Result<Kept, Failure> {
        if let [statement] = asked
            && is_ddl(&statement.sql)
        {
            return self.run_ddl(statement, length, limits, body).await;
        }
        if self.key.request_hash.starts_with("00") {
            self.sweep().await;
        }
        let insert = self.statement(
            "INSERT INTO {} (key, request_hash, response, expires_at) VALUES ($1, $2, '', now() + interval '1 day')",
            &[&self.key.key, &self.key.request_hash],
        );
        let mut statements = vec![insert];
        statements.extend_from_slice(asked);
        let written = Mutex::new(Ok(String::new()));
        let record = |answers: &[TextAnswer]| {
            let text = body(answers.get(1..).unwrap_or_default());
            let kept = text.as_deref().unwrap_or_default();
            let kept = if kept.len() > MAX_KEPT_BYTES {
                ""
            } else {
                kept
            };
            let update = self.statement(
                "UPDATE {} SET response = $2 WHERE key = $1",
                &[&self.key.key, kept],
            );
            *written.lock().unwrap_or_else(PoisonError::into_inner) = text;
            update
        };
        let request = TextRequest::batch(&statements, begin, limits)
            .then(&record)
            .harmless(); // a repeat fails at its key
        let left = self.deadline.duration_since(now).unwrap_or_default();
        let deadline = self.deadline - RESERVE.min(left / 4);
        for _ in 0..ROUNDS {
            let run = self.sessions.run(self.login, request, deadline);
            let Err(error) = run.await else {
                let text = written.into_inner().unwrap_or_else(PoisonError::into_inner);
                return text.map(Kept::Fresh);
            };
            match at_key(&error) {
                Some("23505") => {}
                _ if matches!(error, TextError::OutcomeUnknown) => {
                    return self.outcome(error).await;
                }
                Some(code) if NO_TABLE.contains(&code) => return Err(no_table()),
                _ => return Err(Failure::of(error, length, 1)),
            }
            match self.find().await {
                Ok(Found::Response(text)) => return Ok(Kept::Before(text)),
                Ok(Found::Gone) => {}
                Err(failure) if tells(&failure) => return Err(failure),
                // The key is there, so the request was carried out; only its answer cannot be read.
                Err(_) => return Err(Failure::of(TextError::OutcomeUnknown, None, 0)),
            }
        }
        Err(Failure::new(
            "40001",
            "the Idempotency-Key is being used by other requests",
        ))
    }

    /// What became of a request whose answer never came: what the record says. Without one it may
    /// still be committed.
    async fn outcome(&self, unknown: TextError) -> Result<Kept, Failure> {
        match self.find().await {
            Ok(Found::Response(text)) => Ok(Kept::Before(text)),
            Err(failure) if tells(&failure) => Err(failure),
            Ok(Found::Gone) | Err(_) => Err(Failure::of(unknown, None, 0)),
        }
    }

    /// A statement that takes no other into its transaction: looked up before, recorded after. Lost
    /// in between, it is run again by a repeat.
    async fn run_ddl(
        &self,
        statement: &TextStatement<'_>,
        length: Option<usize>,
        limits: AnswerLimits,
        body: Body<'_>,
    ) -> Result<Kept, Failure> {
        match self.find().await {
            Ok(Found::Response(text)) => return Ok(Kept::Before(text)),
            Ok(Found::Gone) => {}
            Err(failure) if NO_TABLE.contains(&failure.code()) => return Err(no_table()),
            Err(failure) => return Err(failure),
        }
        let request = TextRequest::one(statement, limits);
        let run = self.sessions.run(self.login, request, self.deadline);
        let answers = run.await.map_err(|error| Failure::of(error, length, 0))?;
        let text = body(&answers)?;
        let record = self.statement(
            "INSERT INTO {} (key, request_hash, response, expires_at) VALUES ($1, $2, $3, now() + interval '1 day') \
             ON CONFLICT DO NOTHING",
            &[&self.key.key, &self.key.request_hash, &text],
        );
        if let Err(failure) = self.alone(&record).await {
            tracing::warn!("DDL is done, and its record is not: {}", failure.code());
        }
        Ok(Kept::Fresh(text))
    }

    /// The answer kept under the key; one that is expired is removed.
    async fn find(&self) -> Result<Found, Failure> {
        let key = self.key.key.as_str();
        let select = self.statement(
            "SELECT request_hash, response, expires_at <= now() FROM {} WHERE key = $1",
            &[key],
        );
        let answers = self.alone(&select).await?;
        let Some(row) = answers.first().and_then(|answer| answer.rows.first()) else {
            return Ok(Found::Gone);
        };
        let values: Vec<String> = row
            .values()
            .map(|value| value.unwrap_or_default().into_owned())
            .collect();
        match values.as_slice() {
            [_, _, is_expired] if is_expired == "t" => {
                let delete = self.statement(
                    "DELETE FROM {} WHERE key = $1 AND expires_at <= now()",
                    &[key],
                );
                self.alone(&delete).await?;
                Ok(Found::Gone)
            }
            [hash, _, _] if *hash != self.key.request_hash => Err(Failure::new(
                "22023",
                "this Idempotency-Key was used for another request",
            )),
            [_, response, _] if response.is_empty() => Err(Failure::new(
                "54000",
                "the request was executed before, and its answer was too large to be kept",
            )),
            [_, response, _] => Ok(Found::Response(response.clone())),
            _ => Ok(Found::Gone),
        }
    }

    /// Removes expired keys, now and then: nobody else does.
    async fn sweep(&self) {
        let delete = self.statement(
            "DELETE FROM {0} WHERE key IN (SELECT key FROM {0} WHERE expires_at <= now() LIMIT 1000)",
            &[],
        );
        if let Err(failure) = self.alone(&delete).await {
            tracing::warn!("expired idempotency keys stay: {}", failure.code());
        }
    }

    async fn alone(&self, statement: &TextStatement<'_>) -> Result<Vec<TextAnswer>, Failure> {
        let request = TextRequest::one(statement, LIMITS).harmless();
        let run = self.sessions.run(self.login, request, self.deadline);
        run.await.map_err(|error| Failure::of(error, None, 0))
    }

    /// A statement of ours, with the table's name in place of `{}` and `{0}`.
    fn statement(&self, sql: &'static str, params: &[&str]) -> TextStatement<'static> {
        let params = params.iter().map(|value| Some((*value).to_owned().into()));
        TextStatement {
            sql: sql
                .replace("{0}", &self.table)
                .replace("{}", &self.table)
                .into(),
            params: params.collect(),
        }
    }
}

/// Whether what was found under a key is itself the answer: another request, or one whose answer
/// was not kept.
fn tells(failure: &Failure) -> bool {
    matches!(failure.code(), "22023" | "54000")
}

/// Whether the service wants it alone in its transaction.
fn is_ddl(sql: &str) -> bool {
    let [first, _] = dsql::leading_words(sql);
    matches!(
        first.as_str(),
        "create" | "alter" | "drop" | "grant" | "revoke" | "comment" | "analyze"
    )
}

fn no_table() -> Failure {
    Failure::new("0A000", "this login has no table for Idempotency-Key")
        .hint("A login that only reads needs none: its requests can be repeated.")
}

/// The SQLSTATE, if the insertion of the key failed.
fn at_key(error: &TextError) -> Option<&str> {
    match error {
        TextError::Server {
            error,
            statement: Some(0),
            ..
        } => Some(&error.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_of(body: &str, array_mode: bool) -> String {
        let output = Output {
            raw_text: true,
            array_mode,
        };
        let asked = Asked::parse(body.as_bytes(), output).unwrap();
        canonical(&asked, Options::default())
    }

    #[test]
    fn different_requests_have_different_texts() {
        let bodies = [
            r#"{"query":"SELECT $1","params":["a"]}"#,
            r#"{"query":"SELECT $1","params":["null"]}"#,
            r#"{"query":"SELECT $1","params":[null]}"#,
            r#"{"query":"SELECT $1","params":[]}"#,
            r#"{"query":"SELECT $1","params":["a",""]}"#,
            r#"{"queries":[{"query":"SELECT $1","params":["a"]}]}"#,
            r#"{"queries":[{"query":"SELECT $1","params":["a 10:SELECT $1"]}]}"#,
            r#"{"queries":[{"query":"SELECT $1","params":["a"]},{"query":"SELECT $1"}]}"#,
        ];
        let mut texts: Vec<String> = bodies.iter().map(|body| canonical_of(body, true)).collect();
        texts.push(canonical_of(bodies[0], false));
        let all = texts.len();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), all);
        assert_eq!(
            canonical_of(bodies[0], true),
            "1 - 000 4:text 5:array 9:SELECT $1 1:1 1:a"
        );
    }
}
