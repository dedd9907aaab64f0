//! The `sql` function: `POST /sql`, the protocol of the unmodified Neon serverless driver, in front
//! of Aurora DSQL. The login named in the connection string becomes the database role; its
//! statements run with that role's privileges and nothing else. One statement or one batch a
//! request, each one round trip. `POST /token` gives the login a token for sessions of its own.
//!
//! | Variable | Default | |
//! |---|---|---|
//! | `SQL_MAX_SESSIONS` | 8 | database sessions per container, 2 to 64: one reads logins, the rest are the logins' |
//! | `SQL_CONNECT_AHEAD` | the only login, if there is one | names of logins, separated by commas, for whom a session is opened in Init |
//! | `SQL_AUTH_AUDIENCE` | none: passwords only | the `aud` of tokens that open a login without a password: by the keys of `AUTH_JWKS`, from `AUTH_ISSUER`, their `sub` the login |
//! | `SQL_TOKENS` | `on` | `off`: no tokens for sessions, `POST /token` is refused |
//! | `SQL_TOKEN_SECONDS` | 900 | how long such a token lives at most, 60 to 3600 seconds |
//! | `SQL_SERIALIZABLE` | `refuse` | the isolation level `Serializable`: `refuse`, `downgrade` to the service's snapshot isolation, or `pass` every level on (plain PostgreSQL) |
//!
//! Besides these, the variables of `dsql`; `DSQL_ROLE` is the role that reads logins,
//! `sql_function`.
//!
//! The way of a request: `admission` (`connection_string`, `login`) → `request` (and `params`,
//! `text`) → `dsql::text` (through `idempotency` if it has a key) → `answer` (and `value`) →
//! `transport`; every failure leaves as a `failure`.

mod admission;
mod ahead;
mod answer;
mod connection_string;
mod failure;
#[cfg(test)]
mod fuzz;
mod idempotency;
mod json;
mod login;
mod params;
mod request;
mod session_role;
mod session_token;
mod text;
mod transport;
mod value;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dsql::text::{
    AnswerLimits, Begin, TextAnswer, TextRequest, TextRole, TextSessions, TextStatement,
};
use dsql::{Clock, Dsql};
use futures_util::FutureExt as _;
use http_api::Authenticator;
use lambda_http::http::{Method, header};
use lambda_http::{Body, Request, RequestExt as _, Response};
use runtime::{ConfigError, Line, Lookup, Metrics};
use tracing::Instrument as _;

use crate::admission::{Admission, connection_string};
use crate::connection_string::ConnectionString;
use crate::failure::Failure;
use crate::idempotency::{Kept, Key, Record};
use crate::login::Logins;
use crate::request::{Asked, MAX_BODY_BYTES, Options, Output, SESSION_HINT, Serializable};
use crate::session_token::SessionTokens;

pub use crate::session_token::{SQL_TOKEN_SECONDS, SQL_TOKENS};

/// Database sessions that one container opens.
pub const SQL_MAX_SESSIONS: &str = "SQL_MAX_SESSIONS";
/// Logins that get a session in Init.
pub const SQL_CONNECT_AHEAD: &str = "SQL_CONNECT_AHEAD";
/// The `aud` of tokens that open a login.
pub const SQL_AUTH_AUDIENCE: &str = "SQL_AUTH_AUDIENCE";
/// What is done with the isolation level `Serializable`.
pub const SQL_SERIALIZABLE: &str = "SQL_SERIALIZABLE";

const DEFAULT_SESSIONS: usize = 8;
/// Time for the eager connect, well inside Lambda's 10 s of Init.
const EAGER_CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// What one request may hold of its answer, before it is written as JSON: three times what Lambda
/// takes, since most of it travels compressed.
const ANSWER_LIMITS: AnswerLimits = AnswerLimits {
    rows: 200_000,
    bytes: 18 * 1024 * 1024,
};

/// What every request needs.
#[derive(Debug)]
pub struct App {
    dsql: Dsql,
    sessions: TextSessions,
    admission: Admission,
    /// Gives tokens for sessions, where they are offered.
    session_tokens: Option<SessionTokens>,
    serializable: Serializable,
    /// Logins that get a session in Init.
    connect_ahead: Vec<String>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl App {
    /// Reads the configuration; metrics go to `line`.
    ///
    /// # Errors
    /// When a variable is wrong; the error names it.
    pub fn from_lookup(
        dsql: Dsql,
        lookup: Lookup<'_>,
        line: Arc<dyn Line>,
    ) -> Result<Self, ConfigError> {
        let max_sessions = match lookup(SQL_MAX_SESSIONS) {
            None => DEFAULT_SESSIONS,
            Some(text) => text
                .trim()
                .parse()
                .ok()
                .filter(|n| (2..=64).contains(n))
                .ok_or_else(|| {
                    ConfigError::new(SQL_MAX_SESSIONS, "must be a whole number from 2 to 64")
                })?,
        };
        let serializable = match lookup(SQL_SERIALIZABLE).as_deref().map(str::trim) {
            None | Some("refuse") => Serializable::Refuse,
            Some("downgrade") => Serializable::Downgrade,
            Some("pass") => Serializable::Pass,
            Some(_) => {
                return Err(ConfigError::new(
                    SQL_SERIALIZABLE,
                    "must be refuse, downgrade or pass",
                ));
            }
        };
        let connect_ahead = names(&lookup(SQL_CONNECT_AHEAD).unwrap_or_default(), max_sessions)?;
        let sessions = TextSessions::new(&dsql, max_sessions);
        let clock = Arc::clone(dsql.clock());
        Ok(Self {
            admission: Admission {
                logins: Logins::new(sessions.clone(), Arc::clone(&clock)),
                tokens: Authenticator::for_audience(lookup, SQL_AUTH_AUDIENCE)?,
                clock: Arc::clone(&clock),
            },
            sessions,
            session_tokens: SessionTokens::from_lookup(lookup)?,
            serializable,
            connect_ahead,
            clock,
            metrics: Metrics::new("sql", line),
            dsql,
        })
    }

    /// Opens the session that reads logins, and those of logins that are named or the only one. A
    /// failure is logged, and tried again by the first request.
    pub async fn connect(&self) {
        let deadline = self.clock.now() + EAGER_CONNECT_LIMIT;
        let (sessions, logins) = (&self.sessions, &self.admission.logins);
        ahead::connect(
            sessions,
            logins,
            &self.connect_ahead,
            &*self.clock,
            deadline,
        )
        .await;
    }
}

/// Names of logins, separated by commas: with the function's own session, not more than it opens.
fn names(text: &str, max_sessions: usize) -> Result<Vec<String>, ConfigError> {
    let names = text.split(',').map(str::trim);
    let names: Vec<String> = names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if names.len() < max_sessions && names.iter().all(|name| logins::is_login_name(name)) {
        return Ok(names);
    }
    let expected = "must be names of logins, separated by commas, fewer than SQL_MAX_SESSIONS";
    Err(ConfigError::new(SQL_CONNECT_AHEAD, expected))
}

/// What is asked of the function.
#[derive(Debug, Clone, Copy, Default)]
enum Route {
    #[default]
    Sql,
    Token,
}

impl Route {
    fn path(self) -> &'static str {
        match self {
            Self::Sql => "/sql",
            Self::Token => "/token",
        }
    }
}

/// What the log says of a request.
#[derive(Debug, Default)]
struct Notes {
    route: Route,
    /// Known once it is admitted.
    login: Option<String>,
    application: Option<String>,
    queries: usize,
}

/// Answers one request. Never fails: every error is a response the driver can read.
pub async fn handle(app: &App, request: Request) -> Response<Body> {
    let request_id = request
        .lambda_context_ref()
        .map(|context| context.request_id.clone())
        .unwrap_or_default();
    let span = tracing::info_span!("request", requestId = %request_id);
    async {
        let begun = app.clock.now();
        let mut notes = Notes::default();
        let answer = AssertUnwindSafe(Box::pin(answer(app, &request, &mut notes)))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Failure::internal()));
        let path = notes.route.path();
        let is_refused = answer.as_ref().is_err_and(Failure::is_refused_login);
        let failed = answer.as_ref().err().map(|failure| {
            if is_refused {
                tracing::debug!(
                    error.cause = failure.cause_for_log(),
                    "POST {path} refused a login"
                );
            } else if let Some(cause) = failure.cause_for_log() {
                tracing::error!(
                    dsql.sqlstate = failure.code(),
                    error.cause = cause,
                    "POST {path} failed with {}: {cause}",
                    failure.code()
                );
            }
            failure.code().to_owned()
        });
        let mut response = answer.unwrap_or_else(|failure| transport::failure(&failure));
        transport::common_headers(&mut response, &request_id);
        let spent = app.clock.now().duration_since(begun).unwrap_or_default();
        let status = response.status().as_u16();
        let duration_ms = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
        app.metrics.together(|| {
            tracing::info!(
                http.route = path,
                http.status = status,
                dsql.sqlstate = failed.as_deref(),
                sql.login = notes.login.as_deref(),
                sql.application = notes.application.as_deref(),
                sql.queries = notes.queries,
                duration_ms,
                "{path} answered {status} in {duration_ms} ms"
            );
            app.metrics
                .report(app.clock.now(), &request_id, app.dsql.stats());
            if is_refused {
                app.metrics
                    .report_refused_login(app.clock.now(), &request_id);
            }
        });
        response
    }
    .instrument(span)
    .await
}

async fn answer(
    app: &App,
    request: &Request,
    notes: &mut Notes,
) -> Result<Response<Body>, Failure> {
    notes.route = match http_api::segments(request).last() {
        Some(&"sql") => Route::Sql,
        Some(&"token") => Route::Token,
        _ => return Err(unknown_path(request)),
    };
    match *request.method() {
        Method::OPTIONS => return Ok(transport::preflight()),
        Method::POST => {}
        _ => return Err(Failure::new("08P01", "query is not supported").hint("Send a POST.")),
    }
    let headers = request.headers();
    let connection = connection_string(headers)?;
    notes.application.clone_from(&connection.application);
    let body = body(request)?;
    if matches!(notes.route, Route::Token) {
        // Boxed: what STS takes would make every request's future larger.
        let given = Box::pin(session_token(app, &connection, request, body, notes)).await?;
        return transport::success(given, headers, None);
    }
    let asked = Asked::parse(body, Output::of(headers))?;
    let options = if asked.is_batch {
        Options::of(headers)?
    } else {
        Options::default()
    };
    let begin = options.begin(app.serializable)?;
    let key = Key::of(headers, &asked, options)?;
    let deadline = http_api::deadline(request, app.clock.now());
    let login = app.admission.admit(&connection, request, deadline).await?;
    notes.login = Some(login.name.clone());
    notes.queries = asked.statements.len();
    let mut call = Call {
        app,
        login,
        asked: &asked,
        begin,
        key: key.as_ref().filter(|_| !begin.read_only),
        deadline,
    };
    let mut answered = call.answer().await;
    // A password would have been found void when the login was made again; a token opens it as
    // before.
    if let Err(failure) = &answered
        && connection.password.is_none()
        && failure.may_be_of_an_outdated_login()
        && matches!(
            app.admission
                .logins
                .is_outdated(&call.login, deadline)
                .await,
            Ok(true)
        )
    {
        // Nothing was changed by it: the login was, since it was last looked at.
        call.login = app.admission.admit(&connection, request, deadline).await?;
        answered = call.answer().await;
    }
    let (body, is_repeated) = answered?;
    let mut response = transport::success(body, headers, asked.is_batch.then_some(options))?;
    if is_repeated {
        transport::mark_repeated(&mut response);
    }
    Ok(response)
}

/// How the login connects by itself.
async fn session_token(
    app: &App,
    connection: &ConnectionString,
    request: &Request,
    body: &[u8],
    notes: &mut Notes,
) -> Result<String, Failure> {
    let Some(tokens) = &app.session_tokens else {
        let hint = "The deployment's parameter SqlTokens decides this.";
        return Err(Failure::new("0A000", "tokens for sessions are not offered").hint(hint));
    };
    let lifetime = tokens.lifetime(body)?;
    let deadline = http_api::deadline(request, app.clock.now());
    let mut login = app.admission.admit(connection, request, deadline).await?;
    // A row that is up to a minute old is not good enough for what lasts longer.
    let is_outdated = app.admission.logins.is_outdated(&login, deadline).await;
    if is_outdated.map_err(Failure::unreadable_logins)? {
        login = app.admission.admit(connection, request, deadline).await?;
    }
    notes.login = Some(login.name.clone());
    tokens.take(&login.name, app.clock.now())?;
    let terms = (lifetime, deadline);
    tokens.give(&app.dsql, &app.sessions, &login, terms).await
}

fn unknown_path(request: &Request) -> Failure {
    let upgrade = request.headers().get(header::UPGRADE);
    if upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return Failure::new("0A000", "WebSockets (Pool and Client) are not served here").hint(format!(
            "Queries and batches go by neon() to POST /sql, those of a Pool too with poolQueryViaFetch. {SESSION_HINT}"
        ));
    }
    Failure::new("08P01", "query is not supported")
        .hint("Queries are sent by POST to /sql. WebSockets (Pool and Client) are not offered: use neon().")
}

/// A checked request of an admitted login.
struct Call<'a> {
    app: &'a App,
    login: TextRole,
    asked: &'a Asked<'a>,
    begin: Begin,
    /// What the request is recorded under, if it is.
    key: Option<&'a Key>,
    deadline: SystemTime,
}

impl Call<'_> {
    /// The body, and whether it is that of an earlier request.
    async fn answer(&self) -> Result<(String, bool), Failure> {
        match self.key {
            _ if self.asked.statements.is_empty() => Ok((answer::batch(&[], &[])?, false)),
            Some(key) => self.run_once(key).await,
            None => Ok((self.run().await?, false)),
        }
    }

    async fn run(&self) -> Result<String, Failure> {
        let statements = self.statements();
        let request = match statements.as_slice() {
            [one] if !self.asked.is_batch => TextRequest::one(one, ANSWER_LIMITS),
            all => TextRequest::batch(all, self.begin, ANSWER_LIMITS),
        };
        let sessions = &self.app.sessions;
        match sessions.run(&self.login, request, self.deadline).await {
            Ok(answers) => self.body(&answers),
            Err(error) => Err(Failure::of(error, self.batch_length(), 0)),
        }
    }

    async fn run_once(&self, key: &Key) -> Result<(String, bool), Failure> {
        let terms = (self.begin, ANSWER_LIMITS);
        let body = |answers: &[TextAnswer]| self.body(answers);
        let record = Record::new(&self.app.sessions, &self.login, key, self.deadline);
        let statements = self.statements();
        let now = self.app.clock.now();
        let run = record.run(&statements, self.batch_length(), terms, &body, now);
        match run.await? {
            Kept::Fresh(body) => Ok((body, false)),
            Kept::Before(body) => Ok((body, true)),
        }
    }

    fn statements(&self) -> Vec<TextStatement<'_>> {
        let statements = self.asked.statements.iter();
        statements.map(|statement| statement.text.clone()).collect()
    }

    fn batch_length(&self) -> Option<usize> {
        self.asked.is_batch.then_some(self.asked.statements.len())
    }

    fn body(&self, answers: &[TextAnswer]) -> Result<String, Failure> {
        let outputs: Vec<Output> = self.asked.statements.iter().map(|s| s.output).collect();
        match (answers, outputs.as_slice()) {
            ([answer], [output]) if !self.asked.is_batch => answer::one(answer, *output),
            (answers, outputs) => answer::batch(answers, outputs),
        }
    }
}

fn body(request: &Request) -> Result<&[u8], Failure> {
    let encoding = request::text(request.headers(), header::CONTENT_ENCODING.as_str());
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(
            Failure::new("08P01", "a compressed body is not supported").hint("Send it plain.")
        );
    }
    let body: &[u8] = match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    };
    if body.len() > MAX_BODY_BYTES {
        return Err(Failure::new(
            "54000",
            format!("request is too large (max is {MAX_BODY_BYTES} bytes)"),
        )
        .hint("Send fewer rows in a request."));
    }
    Ok(body)
}
