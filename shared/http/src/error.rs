//! Every failure of a request, in the form that leaves the function. A failure has two messages:
//! the client's, chosen here or by the handler, and the cause, which only the log sees. Turned into
//! a response, and logged, by `problem`.

use std::{borrow::Cow, error::Error as StdError, time::Duration};

use bounded_json::Refused;
use lambda_http::http::StatusCode;
use runtime::chain;

/// How long a client should wait when the database asks for patience.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// When a chat whose reply is being written is worth another try: the reply ends, or its writer is
/// found dead.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(3);

type Cause = Box<dyn StdError + Send + Sync>;

/// What the caller did wrong. Each code has one status, always 4xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCode {
    /// 400: a value is missing, malformed or of the wrong type.
    InvalidRequest,
    /// 400: the body is not a JSON object in UTF-8.
    InvalidJson,
    /// 401: no credential, or one that is not accepted.
    Unauthenticated,
    /// 404: missing, or someone else's: the two look the same.
    NotFound,
    /// 405: the path exists, the method does not.
    MethodNotAllowed,
    /// 409: the id is in use with other content.
    IdTaken,
    /// 409: a reply is being written in this chat.
    GenerationInProgress,
    /// 409: the chat has gone on since the client last read it.
    Stale,
    /// 409: another request with this `Idempotency-Key` ended while this one ran.
    KeyInUse,
    /// 413: more bytes than are read.
    TooLarge,
    /// 422: well formed, but beyond a limit or outside the allowed values.
    Unprocessable,
    /// 429: too many requests.
    RateLimited,
    /// 429: more tokens than are left of one of the day's budgets; the response names it.
    BudgetSpent,
    /// 429: the model is asked too much.
    ModelBusy,
}

impl ClientCode {
    /// The `code` of the response.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidJson => "invalid_json",
            Self::Unauthenticated => "unauthenticated",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::IdTaken => "id_taken",
            Self::GenerationInProgress => "generation_in_progress",
            Self::Stale => "stale",
            Self::KeyInUse => "key_in_use",
            Self::TooLarge => "too_large",
            Self::Unprocessable => "unprocessable",
            Self::RateLimited => "rate_limited",
            Self::BudgetSpent => "budget_spent",
            Self::ModelBusy => "model_busy",
        }
    }

    /// The status of the response: 400 to 499.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest | Self::InvalidJson => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::IdTaken | Self::GenerationInProgress | Self::Stale | Self::KeyInUse => {
                StatusCode::CONFLICT
            }
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited | Self::BudgetSpent | Self::ModelBusy => {
                StatusCode::TOO_MANY_REQUESTS
            }
        }
    }
}

/// What went wrong on our side. The message is fixed: a cause never reaches the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerCode {
    /// 500: a defect.
    Internal,
    /// 503: the database is busy or away; nothing was changed.
    Unavailable,
    /// 503: the database may or may not have done it.
    OutcomeUnknown,
    /// 502: the model does not accept the request.
    ModelRefused,
    /// 503: the model cannot answer now.
    ModelUnavailable,
}

impl ServerCode {
    /// The `code` of the response.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::ModelRefused => "model_refused",
            Self::ModelUnavailable => "model_unavailable",
        }
    }

    /// The status of the response: 500 to 599.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ModelRefused => StatusCode::BAD_GATEWAY,
            Self::Unavailable | Self::OutcomeUnknown | Self::ModelUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Internal => "the request failed",
            Self::Unavailable => "the service is busy: try again shortly",
            Self::OutcomeUnknown => {
                "it is unknown whether the request took effect: repeat it with the same ids"
            }
            Self::ModelRefused => "the model does not accept the request",
            Self::ModelUnavailable => "the model cannot answer now: try again shortly",
        }
    }
}

/// Whose fault it is, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Client(ClientCode),
    Server(ServerCode),
}

/// A failed request: what the client reads, and what the log gets besides.
#[derive(Debug)]
pub struct ApiError {
    pub(crate) code: Code,
    message: Cow<'static, str>,
    cause: Option<Cause>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) allow: Option<Cow<'static, str>>,
    pub(crate) budget: Option<&'static str>,
}

impl ApiError {
    /// A mistake of the caller's; `message` is what they read.
    pub fn client(code: ClientCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Code::Client(code),
            message: message.into(),
            cause: None,
            retry_after: (code == ClientCode::GenerationInProgress).then_some(BUSY_RETRY_AFTER),
            allow: None,
            budget: None,
        }
    }

    /// Too many requests: another one is worth it after `wait`, in whole seconds.
    pub fn rate_limited(wait: Duration) -> Self {
        let wait = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        let message = "too many requests: wait as Retry-After says";
        Self::client(ClientCode::RateLimited, message).retry_after(wait)
    }

    #[cfg(test)]
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// A failure of ours; `cause` is for the log alone.
    pub fn server(code: ServerCode, cause: impl Into<Cause>) -> Self {
        Self {
            code: Code::Server(code),
            message: code.message().into(),
            cause: Some(cause.into()),
            retry_after: (code.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER),
            allow: None,
            budget: None,
        }
    }

    /// 400 `invalid_request`.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::client(ClientCode::InvalidRequest, message)
    }

    /// 401 `unauthenticated`.
    pub fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Self {
        Self::client(ClientCode::Unauthenticated, message)
    }

    /// The one 404, for what is missing and for what is someone else's.
    pub fn not_found() -> Self {
        Self::client(ClientCode::NotFound, "not found")
    }

    /// 429 `budget_spent`, with the budget that does not suffice.
    pub fn budget_spent(budget: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            budget: Some(budget),
            ..Self::client(ClientCode::BudgetSpent, message)
        }
    }

    /// 405 with the methods that the path has.
    pub fn method_not_allowed(allow: impl Into<Cow<'static, str>>) -> Self {
        Self {
            allow: Some(allow.into()),
            ..Self::client(ClientCode::MethodNotAllowed, "method not allowed")
        }
    }

    /// Adds the cause, for the log alone.
    #[must_use]
    pub fn because(self, cause: impl Into<Cause>) -> Self {
        Self {
            cause: Some(cause.into()),
            ..self
        }
    }

    /// Adds `Retry-After`, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        match self.code {
            Code::Client(code) => code.status(),
            Code::Server(code) => code.status(),
        }
    }

    /// The `code` of the response.
    pub fn code(&self) -> &'static str {
        match self.code {
            Code::Client(code) => code.as_str(),
            Code::Server(code) => code.as_str(),
        }
    }

    /// The `message` of the response.
    pub fn client_message(&self) -> &str {
        &self.message
    }

    /// What only the log may say: the cause and its causes.
    pub fn cause_for_log(&self) -> Option<String> {
        self.cause.as_deref().map(|cause| chain(cause))
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::TooLarge(_) => ClientCode::TooLarge,
            Refused::TooDeep(_) | Refused::TooMany(_) => ClientCode::Unprocessable,
            Refused::WrongType { .. } => ClientCode::InvalidRequest,
            Refused::NotUtf8 | Refused::Nul | Refused::NotAnObject | Refused::Malformed { .. } => {
                ClientCode::InvalidJson
            }
        };
        Self::client(code, refused.to_string())
    }
}

impl From<dsql::Error> for ApiError {
    fn from(error: dsql::Error) -> Self {
        let code = match (&error, error.kind()) {
            (dsql::Error::OutcomeUnknown { .. }, _) => ServerCode::OutcomeUnknown,
            (_, dsql::ErrorKind::Conflict | dsql::ErrorKind::Unavailable) => {
                ServerCode::Unavailable
            }
            // A statement that the database refuses was checked too little: our defect.
            (_, dsql::ErrorKind::Client | dsql::ErrorKind::Bug) => ServerCode::Internal,
        };
        Self::server(code, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_travel_between_threads() {
        fn travels<T: Send + Sync + 'static>() {}
        travels::<ApiError>();
    }
}
