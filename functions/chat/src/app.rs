//! What the handlers of a request get: the configured function, and the call of a known caller.

use std::sync::Arc;
use std::time::SystemTime;

use chat_store::OwnerId;
use dsql::{Db, Dsql};
use http_api::{ApiError, Authenticator, Caller, Cors, Edge, Limiter};
use lambda_http::http::{HeaderName, HeaderValue, header};
use lambda_http::{Request, Response};
use model::Provider;
use runtime::{ConfigError, Line, Lookup, Metrics, Pseudonyms};

use crate::attachments::Uploads;
use crate::body::AnswerBody;
use crate::budget::Budget;
use crate::posts::Posts;
use crate::settings::Settings;
use crate::tools::Sources;

/// The servers whose tools a model may call; `mcp` reads it in a build that has them.
#[cfg(not(feature = "mcp"))]
const MCP_SERVERS: &str = "MCP_SERVERS";

/// What every request needs.
#[derive(Debug)]
pub struct App {
    pub(crate) dsql: Dsql,
    pub(crate) provider: Arc<Provider>,
    pub(crate) tools: Sources,
    pub(crate) authenticator: Authenticator,
    pub(crate) pseudonyms: Pseudonyms,
    pub(crate) limiter: Limiter,
    pub(crate) settings: Settings,
    pub(crate) uploads: Option<Uploads>,
    pub(crate) edge: Edge,
}

impl App {
    /// Reads the configuration of `runtime` and `http-api`, and the function's own; metrics go to
    /// `line`.
    ///
    /// # Errors
    /// When a variable is missing or wrong; the error names it.
    pub fn from_lookup(
        dsql: Dsql,
        provider: Provider,
        lookup: Lookup<'_>,
        line: Arc<dyn Line>,
    ) -> Result<Self, ConfigError> {
        #[cfg(not(feature = "mcp"))]
        if lookup(MCP_SERVERS).is_some_and(|servers| !servers.trim().is_empty()) {
            let reason = "is set: this build does not carry MCP";
            return Err(ConfigError::new(MCP_SERVERS, reason));
        }
        Ok(Self {
            authenticator: Authenticator::from_lookup(lookup)?,
            pseudonyms: Pseudonyms::from_lookup(lookup)?,
            limiter: Limiter::from_lookup(lookup)?,
            settings: Settings::from_lookup(lookup)?,
            uploads: Uploads::from_lookup(lookup)?,
            edge: Edge::new(
                Cors::from_lookup(lookup)?,
                Arc::clone(dsql.clock()),
                Metrics::new("chat", line),
            ),
            provider: Arc::new(provider),
            tools: Sources::new(runtime::blog_feed(lookup).map(|_| Posts(dsql.clone()))),
            dsql,
        })
    }
}

#[cfg(feature = "mcp")]
impl App {
    /// Adds the tools of MCP servers, and asks for their lists.
    pub async fn with_servers(mut self, servers: mcp::Servers) -> Self {
        self.tools.servers = Arc::new(servers);
        self.tools.toolbox(self.edge.clock().now()).await;
        self
    }
}

/// One request of a known caller.
pub(crate) struct Call<'a> {
    pub(crate) app: &'a App,
    pub(crate) request: &'a Request,
    pub(crate) request_id: String,
    pub(crate) caller: Caller,
    pub(crate) owner: OwnerId,
    pub(crate) dsql: Dsql,
    /// For what comes before the first byte.
    pub(crate) db: Db,
    pub(crate) now: SystemTime,
    pub(crate) budget: Budget,
}

/// What a handler answers.
pub(crate) type Answer = Result<Response<AnswerBody>, ApiError>;

/// The answer whose body is a UI message stream.
pub(crate) fn event_stream(body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            HeaderName::from_static("x-vercel-ai-ui-message-stream"),
            "v1",
        ),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
