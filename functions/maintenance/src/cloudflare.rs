//! Cloudflare's API, as far as it is needed: a configuration of Hyperdrive gets another origin. One
//! call is `PATCH /accounts/{account}/hyperdrive/configs/{configuration}`, which leaves the
//! configuration's other settings alone and does the same when it is sent twice; Cloudflare
//! connects to the origin before it answers.
//!
//! What may succeed in a moment is tried again within the run: no connection, no answer, 429 after
//! the time it names, 5xx. A refusal is final. Neither the API's token nor the origin's password
//! reaches an error.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use https::{Client, HttpError};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};

/// One attempt: the origin's connection, for which Cloudflare waits up to 15 s, and the rest.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(25);
const ATTEMPTS: u32 = 4;
/// After the first attempt, at most; twice as much after each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// A pause that the API asks for and that a run still waits for. Its longest is five minutes.
const MAX_PAUSE: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Errors of an answer that are passed on, and characters of each.
const MAX_ERRORS: usize = 3;
const MAX_ERROR_CHARACTERS: usize = 200;

/// Why a configuration was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloudflareError {
    #[error("the request cannot be made")]
    Request(#[source] hyper::http::Error),
    #[error("Cloudflare's API cannot be reached")]
    Unreachable(#[source] HttpError),
    #[error("the answer of Cloudflare's API broke off")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("Cloudflare's API did not answer within {ATTEMPT_LIMIT:?}")]
    Late,
    #[error("Cloudflare's API takes no more requests for now (429)")]
    Throttled { wait: Option<Duration> },
    #[error("Cloudflare's API fails ({0})")]
    Failed(StatusCode),
    #[error("Cloudflare's API refuses ({status}): {errors}")]
    Refused { status: StatusCode, errors: String },
    #[error("the answer of Cloudflare's API ({0}) is not understood")]
    Malformed(StatusCode),
}

impl CloudflareError {
    /// How long to wait before another attempt; `None` if there should be none in this run.
    fn pause(&self, attempt: u32) -> Option<Duration> {
        let longest = PAUSE * 2_u32.pow(attempt - 1);
        match self {
            Self::Throttled { wait: Some(wait) } => (*wait <= MAX_PAUSE).then_some(*wait),
            Self::Unreachable(_)
            | Self::Unreadable(_)
            | Self::Late
            | Self::Throttled { wait: None }
            | Self::Failed(_) => Some(longest.mul_f64(0.5 + fastrand::f64() / 2.0)),
            Self::Request(_) | Self::Refused { .. } | Self::Malformed(_) => None,
        }
    }
}

/// How Hyperdrive connects to its database.
#[derive(Serialize)]
pub(crate) struct Origin<'a> {
    pub(crate) scheme: &'static str,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'static str,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
}

/// An account's access to the API.
pub(crate) struct Cloudflare {
    client: Client,
    base: String,
    account: String,
    token: String,
}

impl fmt::Debug for Cloudflare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloudflare")
            .field("base", &self.base)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Change<'a> {
    origin: &'a Origin<'a>,
}

/// What every answer of the API has.
#[derive(Deserialize)]
struct Envelope {
    success: bool,
    #[serde(default)]
    errors: Vec<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    code: i64,
    #[serde(default)]
    message: String,
}

impl Cloudflare {
    /// Without I/O.
    pub(crate) fn new(base: &str, account: String, token: String) -> Self {
        Self {
            client: Client::new(),
            base: base.trim_end_matches('/').to_owned(),
            account,
            token,
        }
    }

    /// Gives a configuration another origin. Time limits beyond those of attempts are the caller's.
    ///
    /// # Errors
    /// The API cannot be reached, or refuses.
    ///
    /// # Cancel safety
    /// The origin is the old one or the new one; another call makes it the new one.
    pub(crate) async fn set_origin(
        &self,
        configuration: &str,
        origin: &Origin<'_>,
    ) -> Result<(), CloudflareError> {
        let mut attempt = 1;
        loop {
            let once = self.set_origin_once(configuration, origin);
            let outcome = tokio::time::timeout(ATTEMPT_LIMIT, once).await;
            let Err(error) = outcome.unwrap_or(Err(CloudflareError::Late)) else {
                return Ok(());
            };
            let Some(pause) = error.pause(attempt).filter(|_| attempt < ATTEMPTS) else {
                return Err(error);
            };
            tracing::warn!("attempt {attempt} at a configuration of Hyperdrive failed: {error}");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn set_origin_once(
        &self,
        configuration: &str,
        origin: &Origin<'_>,
    ) -> Result<(), CloudflareError> {
        let address = format!(
            "{}/accounts/{}/hyperdrive/configs/{configuration}",
            self.base, self.account
        );
        let body = serde_json::to_vec(&Change { origin }).expect("texts and a number are JSON");
        let request = Request::patch(address)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(CloudflareError::Request)?;
        let (status, wait, body) = self.send(request).await?;
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(CloudflareError::Throttled { wait });
        }
        if status.is_server_error() {
            return Err(CloudflareError::Failed(status));
        }
        let envelope: Envelope =
            serde_json::from_slice(&body).map_err(|_| CloudflareError::Malformed(status))?;
        if status.is_success() && envelope.success {
            return Ok(());
        }
        Err(CloudflareError::Refused {
            status,
            errors: in_words(&envelope.errors, &[&self.token, origin.password]),
        })
    }

    /// The status, the time to wait, and the body.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Option<Duration>, Bytes), CloudflareError> {
        let answer = self.client.send(request).await;
        let answer = answer.map_err(CloudflareError::Unreachable)?;
        let status = answer.status();
        let wait = answer.headers().get(RETRY_AFTER);
        let wait = wait.and_then(|seconds| seconds.to_str().ok()?.trim().parse().ok());
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect();
        let body = body.await.map_err(CloudflareError::Unreadable)?;
        Ok((status, wait.map(Duration::from_secs), body.to_bytes()))
    }
}

/// The errors of an answer, for the log: their messages are the API's own, so they are cut, and
/// left out where one repeats a secret of the request.
fn in_words(errors: &[ApiError], secrets: &[&str]) -> String {
    let one = |error: &ApiError| {
        let is_safe = !secrets.iter().any(|secret| error.message.contains(secret));
        let shown = error.message.chars().take(MAX_ERROR_CHARACTERS);
        let shown: String = shown.filter(|_| is_safe).collect();
        format!("{} {shown}", error.code).trim_end().to_owned()
    };
    let words: Vec<String> = errors.iter().take(MAX_ERRORS).map(one).collect();
    if words.is_empty() {
        "it does not say why".to_owned()
    } else {
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_the_apis_words_without_a_secret_and_cut() {
        let errors: Vec<ApiError> = serde_json::from_str(
            r#"[{"code": 2013, "message": "Invalid database credentials."}, {"code": 7, "message": "bad pass-word"}, {"code": 8}]"#,
        )
        .unwrap();
        let told = in_words(&errors, &["pass-word"]);
        assert_eq!(told, "2013 Invalid database credentials., 7, 8");
        assert_eq!(in_words(&[], &[]), "it does not say why");
        let long = [ApiError {
            code: 1,
            message: "é".repeat(1_000),
        }];
        assert_eq!(in_words(&long, &[]).chars().count(), 202);
    }

    #[test]
    fn only_what_may_succeed_in_a_moment_is_tried_again() {
        let throttled = |seconds| CloudflareError::Throttled {
            wait: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(throttled(7).pause(1), Some(Duration::from_secs(7)));
        assert_eq!(throttled(300).pause(1), None);
        for attempt in 1..=3 {
            let pause = CloudflareError::Late.pause(attempt).unwrap();
            let longest = PAUSE * 2_u32.pow(attempt - 1);
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?}");
        }
        let refused = CloudflareError::Refused {
            status: StatusCode::FORBIDDEN,
            errors: String::new(),
        };
        assert_eq!(refused.pause(1), None);
    }
}
