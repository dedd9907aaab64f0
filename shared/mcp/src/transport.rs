//! Streamable HTTP over the functions' own HTTPS client: a connection for each message, an answer
//! in JSON or as events. The stream that a server may push by is not opened: a frozen container
//! hears nothing.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http_body_util::{BodyExt as _, Full, Limited};
use https::{Client, HttpError};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode};
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse,
};
use sse_stream::{Sse, SseStream};

/// How much of an answer is read, whatever it holds.
const MAX_ANSWER_BYTES: usize = 1 << 20;
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// What messages are sent by.
#[derive(Debug, Clone)]
pub(crate) struct Http(Client);

/// Why a message has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the message cannot be sent")]
    Request,
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the answer is longer than 1 MiB, or broke off")]
    Answer,
}

type Answered<T> = Result<T, StreamableHttpError<Failure>>;

impl From<Failure> for StreamableHttpError<Failure> {
    fn from(failure: Failure) -> Self {
        Self::Client(failure)
    }
}

/// A new session's transport.
pub(crate) fn transport(
    client: &Client,
    url: &str,
    headers: &HashMap<HeaderName, HeaderValue>,
) -> StreamableHttpClientTransport<Http> {
    let config = StreamableHttpClientTransportConfig::with_uri(url)
        .custom_headers(headers.clone())
        .reinit_on_expired_session(true);
    StreamableHttpClientTransport::with_client(Http(client.clone()), config)
}

impl Http {
    async fn send(
        &self,
        method: Method,
        uri: &str,
        session_id: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
        body: Bytes,
    ) -> Answered<hyper::Response<https::Answer>> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, format!("{JSON}, {EVENTS}"))
            .body(Full::new(body))
            .map_err(|_| Failure::Request)?;
        request.headers_mut().extend(headers);
        if let Some(session_id) = session_id {
            let value = HeaderValue::from_str(session_id).map_err(|_| Failure::Request)?;
            request.headers_mut().insert(SESSION_ID, value);
        }
        Ok(self.0.send(request).await.map_err(Failure::Http)?)
    }
}

impl StreamableHttpClient for Http {
    type Error = Failure;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Answered<StreamableHttpPostResponse> {
        let body = serde_json::to_vec(&message).map_err(|_| Failure::Request)?;
        let has_session = session_id.is_some();
        let response = self
            .send(
                Method::POST,
                &uri,
                session_id.as_deref(),
                custom_headers,
                body.into(),
            )
            .await?;
        let (head, answer) = response.into_parts();
        if head.status == StatusCode::NOT_FOUND && has_session {
            return Err(StreamableHttpError::SessionExpired);
        }
        let answers_nothing = !matches!(message, ClientJsonRpcMessage::Request(_));
        if head.status.is_success() && answers_nothing {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        let session_id = text(&head.headers, &SESSION_ID);
        let answer = Limited::new(answer, MAX_ANSWER_BYTES).map_err(broken);
        let media_type = text(&head.headers, &CONTENT_TYPE).unwrap_or_default();
        if head.status.is_success() && media_type.starts_with(EVENTS) {
            let events = SseStream::new(answer).boxed();
            return Ok(StreamableHttpPostResponse::Sse(events, session_id));
        }
        if !media_type.starts_with(JSON) {
            return Err(unexpected(head.status));
        }
        let body = answer.collect().await?.to_bytes();
        match serde_json::from_slice::<ServerJsonRpcMessage>(&body) {
            // A refusal is an answer as well.
            Ok(said)
                if head.status.is_success() || matches!(said, ServerJsonRpcMessage::Error(_)) =>
            {
                Ok(StreamableHttpPostResponse::Json(said, session_id))
            }
            _ => Err(unexpected(head.status)),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Answered<()> {
        let ended = self
            .send(
                Method::DELETE,
                &uri,
                Some(&session_id),
                custom_headers,
                Bytes::new(),
            )
            .await?;
        match ended.status() {
            status if status.is_success() => Ok(()),
            StatusCode::METHOD_NOT_ALLOWED => {
                Err(StreamableHttpError::ServerDoesNotSupportDeleteSession)
            }
            status => Err(unexpected(status)),
        }
    }

    async fn get_stream(
        &self,
        _uri: Arc<str>,
        _session_id: Option<Arc<str>>,
        _last_event_id: Option<String>,
        _auth_header: Option<String>,
        _custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Answered<BoxStream<'static, Result<Sse, SseError>>> {
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

/// For any lifetime, which a closure does not have here.
fn broken(_: Box<dyn std::error::Error + Send + Sync + '_>) -> Failure {
    Failure::Answer
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn unexpected(status: StatusCode) -> StreamableHttpError<Failure> {
    StreamableHttpError::UnexpectedServerResponse(Cow::Owned(format!("status {status}")))
}
