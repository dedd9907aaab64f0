//! Any server that speaks chat completions as server-sent events: Ollama, vLLM, gateways, and the
//! vendor of the protocol.

mod calls;
mod chunk;
mod request;
mod sse;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use https::{Answer, Client};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Request, StatusCode, Uri};
use serde_json::Value;

use crate::blocks::Blocks;
use crate::config::{self, ConfigError, Lookup};
use crate::error::{Error, ErrorKind};
use crate::event::FinishReason;
use crate::progress::Progress;
use crate::turn::Turn;

/// `openai`: where the API begins, for example `http://127.0.0.1:11434/v1` for Ollama. Required.
pub const OPENAI_BASE_URL: &str = "OPENAI_BASE_URL";
/// `openai`: the key, sent as a bearer token. Not needed by a server on this machine.
pub const OPENAI_API_KEY: &str = "OPENAI_API_KEY";

/// How much of an error's body is read.
const ERROR_BODY_LIMIT_BYTES: usize = 64 << 10;

/// The configured server. `Debug` does not show the key.
pub(crate) struct OpenAi {
    client: Client,
    address: Uri,
    authorization: Option<HeaderValue>,
    limit: &'static str,
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi")
            .field("host", &self.address.host())
            .finish_non_exhaustive()
    }
}

impl OpenAi {
    pub(crate) fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let base = config::text(lookup, OPENAI_BASE_URL)
            .ok_or_else(|| ConfigError::new(OPENAI_BASE_URL, "is not set: where the API begins"))?;
        let refused = || ConfigError::new(OPENAI_BASE_URL, "is not an http or https address");
        let address: Uri = format!("{}/chat/completions", base.trim_end_matches('/'))
            .parse()
            .map_err(|_| refused())?;
        let has_scheme = matches!(address.scheme_str(), Some("http" | "https"));
        // A user and password in the address would end up in logs of the way.
        let plain = address
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'));
        if !has_scheme || !plain {
            return Err(refused());
        }
        let authorization = config::text(lookup, OPENAI_API_KEY)
            .map(|key| {
                let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
                    ConfigError::new(OPENAI_API_KEY, "holds characters no header can carry")
                })?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        // OpenAI's own models refuse the old name; other servers know only the old one.
        let limit = if address.host() == Some("api.openai.com") {
            "max_completion_tokens"
        } else {
            "max_tokens"
        };
        Ok(Self {
            client: Client::new(),
            address,
            authorization,
            limit,
        })
    }

    pub(crate) async fn start(&self, turn: &Turn) -> Result<OpenAiReply, Error> {
        let body = Bytes::from(request::body(turn, self.limit).to_string());
        let mut request = Request::post(self.address.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream")
            .body(Full::new(body))
            .expect("a valid address and constant headers make a request");
        if let Some(authorization) = &self.authorization {
            request
                .headers_mut()
                .insert(AUTHORIZATION, authorization.clone());
        }
        let response = self.client.send(request).await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the provider does not answer").because(error)
        })?;
        let (head, answer) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(refusal(head.status, &head.headers, answer).await);
        }
        Ok(OpenAiReply {
            answer: Some(answer),
            events: sse::Events::default(),
            progress: chunk::Progress::default(),
        })
    }
}

/// A status other than 200, before the first byte of a reply.
async fn refusal(status: StatusCode, headers: &HeaderMap, answer: Answer) -> Error {
    let kind = match status.as_u16() {
        429 => ErrorKind::Throttled {
            retry_after: headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(Duration::from_secs),
        },
        401..=404 | 405 | 300..=399 => ErrorKind::Config,
        408 | 425 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Refused,
    };
    let names = match Limited::new(answer, ERROR_BODY_LIMIT_BYTES).collect().await {
        Ok(body) => serde_json::from_slice::<Value>(&body.to_bytes())
            .ok()
            .and_then(|body| Some(chunk::error_names(body.get("error")?)))
            .unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    Error::new(
        kind,
        format!(
            "the provider answered {} ({})",
            status.as_u16(),
            names.join(", ")
        ),
    )
}

/// A reply under way.
#[derive(Debug)]
pub(crate) struct OpenAiReply {
    answer: Option<Answer>,
    events: sse::Events,
    progress: chunk::Progress,
}

impl OpenAiReply {
    pub(crate) async fn advance(&mut self, blocks: &mut Blocks) -> Result<Progress, Error> {
        let Some(answer) = &mut self.answer else {
            return Ok(Progress::Closed);
        };
        match answer.frame().await {
            Some(Ok(frame)) => {
                let Ok(bytes) = frame.into_data() else {
                    return Ok(Progress::More);
                };
                let events = self.events.push(&bytes).map_err(|_| {
                    Error::new(
                        ErrorKind::Interrupted,
                        "the provider sent an event of more than 1 MiB",
                    )
                })?;
                for event in events {
                    if self.read(&event, blocks)? {
                        break;
                    }
                }
            }
            // Everything was said before the connection broke.
            Some(Err(_)) if self.progress.reason.is_some() => self.close(blocks),
            Some(Err(error)) => {
                return Err(
                    Error::new(ErrorKind::Interrupted, "the reply broke off").because(error)
                );
            }
            None => {
                if let Some(event) = self.events.end() {
                    self.read(&event, blocks)?;
                }
                if self.progress.reason.is_none() {
                    return Ok(Progress::Closed);
                }
                self.close(blocks);
            }
        }
        Ok(Progress::More)
    }

    /// Reads one event; `true` if it was the last.
    fn read(&mut self, event: &[u8], blocks: &mut Blocks) -> Result<bool, Error> {
        if event.trim_ascii() == b"[DONE]" {
            self.close(blocks);
            return Ok(true);
        }
        if !event.trim_ascii().is_empty() {
            self.progress.read(event, blocks)?;
        }
        Ok(false)
    }

    /// Finishes once.
    fn close(&mut self, blocks: &mut Blocks) {
        if self.answer.take().is_some() {
            let reason = self.progress.reason.unwrap_or(FinishReason::Other);
            self.progress.reason = Some(reason);
            self.progress.end(blocks);
            blocks.finish(reason, self.progress.usage);
        }
    }
}
