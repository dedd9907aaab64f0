//! Every failure of a request, as the driver reads it: always status 400, always the same 17 keys,
//! always a SQLSTATE and a severity, since the driver hides everything else from its user. What the
//! log learns besides is kept apart.

use dsql::Error;
use dsql::text::{Excess, ServerError, TextError};
use serde::Serialize;

/// A failed request.
#[derive(Debug)]
pub(crate) struct Failure {
    told: Box<ServerError>,
    /// The cause, where it is ours to look at; never told to the client.
    cause: Option<String>,
}

/// The answer's body; the order is PostgreSQL's drivers'.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    message: &'a str,
    code: &'a str,
    detail: Option<&'a str>,
    hint: Option<&'a str>,
    position: Option<&'a str>,
    internal_position: Option<&'a str>,
    internal_query: Option<&'a str>,
    severity: &'a str,
    r#where: Option<&'a str>,
    table: Option<&'a str>,
    column: Option<&'a str>,
    schema: Option<&'a str>,
    data_type: Option<&'a str>,
    constraint: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<&'a str>,
    routine: Option<&'a str>,
}

impl Failure {
    /// A failure of our own.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        // Class 28 and 3D end a connection attempt; a server says so with FATAL.
        let is_fatal = code.starts_with("28") || code == "3D000";
        Self {
            told: Box::new(ServerError {
                severity: if is_fatal { "FATAL" } else { "ERROR" }.to_owned(),
                code: code.to_owned(),
                message: message.into(),
                ..ServerError::default()
            }),
            cause: None,
        }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.told.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.told.detail = Some(detail.into());
        self
    }

    /// Says which parameter it was.
    #[must_use]
    pub(crate) fn in_parameter(mut self, number: usize) -> Self {
        self.told.context = Some(format!("parameter ${number}"));
        self
    }

    /// Says which query of a batch it was, unless the server said where.
    #[must_use]
    pub(crate) fn in_batch(mut self, at: usize, length: usize) -> Self {
        let query = format!("batch query {} of {length}", at + 1);
        match &mut self.told.context {
            None => self.told.context = Some(query),
            Some(parameter) if parameter.starts_with("parameter $") => {
                *parameter = format!("{query}, {parameter}");
            }
            Some(_) => {}
        }
        self
    }

    pub(crate) fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Unknown login and wrong password, alike in everything.
    pub(crate) fn not_authenticated(user: &str) -> Self {
        Self::new(
            "28P01",
            format!("password authentication failed for user \"{user}\""),
        )
    }

    /// A token that is not good, or another login's, or of a login that is unknown: alike in
    /// everything.
    pub(crate) fn token_not_accepted(user: &str) -> Self {
        Self::new(
            "28000",
            format!("the token does not open the login \"{user}\""),
        )
    }

    /// Whether a password or a token did not open the login: the client's affair, unless there are
    /// many.
    pub(crate) fn is_refused_login(&self) -> bool {
        matches!(self.told.code.as_str(), "28P01" | "28000")
    }

    /// The words of PostgreSQL for a NUL in SQL.
    pub(crate) fn nul() -> Self {
        Self::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00")
    }

    /// The answer does not fit: what the request did stays done.
    pub(crate) fn answer_too_large(max_bytes: usize) -> Self {
        Self::new(
            "54000",
            format!("response is too large (max is {max_bytes} bytes)"),
        )
        .detail("The request was executed and committed; only its answer is lost.")
    }

    /// A defect: the handler panicked.
    pub(crate) fn internal() -> Self {
        Self::new("XX000", "the request failed").cause("the handler panicked")
    }

    /// What went wrong in the database, for a batch of `length` statements, `None`: one statement.
    /// `before` of them are ours and stand in front of the client's.
    pub(crate) fn of(error: TextError, length: Option<usize>, before: usize) -> Self {
        match error {
            TextError::Server {
                mut error,
                statement,
                ..
            } => {
                if error.hint.is_none() && is_misused_parameter(&error) {
                    error.hint = Some(
                        "A value in a template becomes a parameter, and a parameter can stand only for a value. Put SQL text \
                         together before the query, or use sql.unsafe()."
                            .to_owned(),
                    );
                }
                let failure = Self {
                    told: error,
                    cause: None,
                };
                let at = statement.and_then(|at| at.checked_sub(before));
                match (length, at) {
                    (Some(length), Some(at)) if at < length => failure.in_batch(at, length),
                    _ => failure,
                }
            }
            TextError::OutcomeUnknown => Self::new(
                "08007",
                "the connection was lost before the answer came: whether the request took effect is unknown",
            )
            .hint(
                "Read before you repeat it. With an Idempotency-Key header a request can be repeated safely.",
            ),
            TextError::Deadline => Self::new("57014", "canceling statement due to statement timeout"),
            TextError::Lost => Self::new("08006", "the connection to the database was lost")
                .hint("Nothing was changed: repeat the request."),
            TextError::TooLarge {
                excess,
                is_committed,
            } => {
                let (what, max) = match excess {
                    Excess::Rows(max) => ("rows", max),
                    Excess::Bytes(max) => ("bytes", max),
                };
                let failure = Self::new("54000", format!("response is too large (max is {max} {what})"))
                    .hint(PAGE_HINT);
                if is_committed {
                    failure.detail("The request was executed and committed; only its answer is lost.")
                } else {
                    failure
                }
            }
            TextError::Copy => Self::new("0A000", "COPY of data is not supported over HTTP"),
            TextError::Session(error) => Self::unreachable(&error),
            error => Self::new("XX000", "the request failed").cause(error.to_string()),
        }
    }

    /// No session. The server's hints stay inside: they hold ARNs and account numbers.
    pub(crate) fn unreachable(error: &Error) -> Self {
        let failure = match error {
            Error::Deadline { .. } => {
                Self::new("57014", "canceling statement due to statement timeout")
            }
            Error::TooManyConnections { message } => Self::new("53300", message.clone()),
            Error::RateLimited { message } => Self::new("53400", message.clone()),
            Error::WakingUp { .. } => Self::new("57P03", "the database is waking up")
                .hint("Repeat the request in a few seconds."),
            _ => Self::new("08006", "the database cannot be reached"),
        };
        failure.cause(error.report())
    }

    /// The table of logins cannot be read: ours to look at, whatever the server said.
    pub(crate) fn unreadable_logins(error: TextError) -> Self {
        match error {
            TextError::Session(error) => Self::unreachable(&error),
            TextError::Deadline => Self::of(error, None, 0),
            error => Self::new("08006", "the login cannot be checked").cause(error.to_string()),
        }
    }

    /// Whether it is what a statement meets whose login was dropped or made again since it was
    /// admitted. Nothing was changed.
    pub(crate) fn may_be_of_an_outdated_login(&self) -> bool {
        const CODES: [&str; 5] = ["08006", "3F000", "42501", "42704", "42P01"];
        CODES.contains(&self.code())
    }

    /// The SQLSTATE.
    pub(crate) fn code(&self) -> &str {
        &self.told.code
    }

    /// What the log says besides the code.
    pub(crate) fn cause_for_log(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The body of the answer.
    pub(crate) fn body(&self) -> String {
        let ServerError {
            severity,
            code,
            message,
            ..
        } = &*self.told;
        let told = &self.told;
        let body = Body {
            message: shortened(message),
            code,
            detail: told.detail.as_deref().map(shortened),
            hint: told.hint.as_deref().map(shortened),
            position: told.position.as_deref(),
            internal_position: told.internal_position.as_deref(),
            internal_query: told.internal_query.as_deref().map(shortened),
            severity,
            r#where: told.context.as_deref().map(shortened),
            table: told.table.as_deref(),
            column: told.column.as_deref(),
            schema: told.schema.as_deref(),
            data_type: told.data_type.as_deref(),
            constraint: told.constraint.as_deref(),
            file: told.file.as_deref(),
            line: told.line.as_deref(),
            routine: told.routine.as_deref(),
        };
        serde_json::to_string(&body).expect("texts can be serialised")
    }
}

pub(crate) const PAGE_HINT: &str =
    "Ask for less: fewer columns, or pages by LIMIT and a WHERE on the last key seen.";

/// A message may quote a value of megabytes, and has to leave in an answer of a limited size.
fn shortened(text: &str) -> &str {
    const MAX_BYTES: usize = 256 * 1024;
    text.get(..text.floor_char_boundary(MAX_BYTES))
        .unwrap_or(text)
}

/// `syntax error at or near "$1"`: a template's value stands where SQL text was meant.
fn is_misused_parameter(error: &ServerError) -> bool {
    error.code == "42601"
        && error
            .message
            .strip_prefix("syntax error at or near \"$")
            .and_then(|rest| rest.strip_suffix('"'))
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: &str, message: &str) -> TextError {
        TextError::Server {
            error: Box::new(ServerError {
                severity: "ERROR".to_owned(),
                code: code.to_owned(),
                message: message.to_owned(),
                ..ServerError::default()
            }),
            statement: Some(2),
            attempts: 1,
        }
    }

    fn body(failure: &Failure) -> serde_json::Value {
        serde_json::from_str(&failure.body()).unwrap()
    }

    #[test]
    fn every_body_has_the_seventeen_keys() {
        let failures = [
            Failure::new("08P01", "x"),
            Failure::of(TextError::OutcomeUnknown, None, 0),
            Failure::of(server("42703", "x"), Some(3), 0),
        ];
        for failure in failures {
            let text = failure.body();
            let body = body(&failure);
            assert_eq!(body.as_object().unwrap().len(), 17);
            assert!(body["code"].is_string() && body["severity"].is_string());
            assert!(
                text.starts_with(r#"{"message":"#) && text.contains(r#","where":"#),
                "{text}"
            );
        }
    }

    #[test]
    fn the_failing_statement_of_a_batch_is_named_where_the_server_named_nothing() {
        let failure = Failure::of(server("42703", "x"), Some(3), 0);
        assert_eq!(body(&failure)["where"], "batch query 3 of 3");
        let failure = Failure::of(server("42703", "x"), Some(3), 1);
        assert_eq!(body(&failure)["where"], "batch query 2 of 3");
        assert!(body(&Failure::of(server("42703", "x"), None, 0))["where"].is_null());
    }

    #[test]
    fn a_parameter_in_place_of_sql_text_is_explained() {
        let explained =
            |message| body(&Failure::of(server("42601", message), None, 0))["hint"].is_string();
        assert!(explained("syntax error at or near \"$1\""));
        assert!(!explained("syntax error at or near \"$x\""));
        assert!(!explained("syntax error at or near \"x\""));
    }

    #[test]
    fn nothing_of_a_refused_session_reaches_the_client() {
        let error = Error::AccessDenied {
            message: "unable to accept connection, access denied".to_owned(),
            hint: Some("User: arn:aws:iam::111122223333:role/x".to_owned()),
        };
        let failure = Failure::of(TextError::Session(error), None, 0);
        assert!(!failure.body().contains("arn:aws"));
        assert!(failure.cause_for_log().unwrap().contains("arn:aws"));
        assert_eq!(failure.code(), "08006");
    }
}
