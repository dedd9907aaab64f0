//! One server: its session, and the list of its tools.
//!
//! Lifecycle: unknown → listed → listed again once the list is old. A session is opened when it is
//! needed, kept with the warm container, and given up when its transport fails; between two
//! requests it holds no socket, so that a freeze does it no harm. A server that did not answer is
//! left alone for a while.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::TryFutureExt as _;
use rmcp::model::{CallToolRequestParams, CallToolResponse, Tool as Listed};
use rmcp::service::{Peer, RunningService, ServiceError};
use rmcp::{RoleClient, ServiceExt as _};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::config::{Approval, ServerConfig};
use crate::names::joined;
use crate::result;
use crate::tool::Tool;
use crate::transport::transport;

/// For how long a list is good.
const LIST_AGE: Duration = Duration::from_secs(600);
/// For how long a server that did not answer is not asked for its list.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a list may take, a new session included.
const LIST_LIMIT: Duration = Duration::from_secs(3);
/// Most tools of a server.
const MAX_TOOLS: usize = 64;
/// Longest schema of a tool's input, in bytes.
const MAX_SCHEMA_BYTES: usize = 8 * 1024;
/// Longest description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 1_024;

/// A configured server.
pub(crate) struct Server {
    config: ServerConfig,
    http: https::Client,
    session: Mutex<Option<Session>>,
    list: Mutex<List>,
}

type Session = RunningService<RoleClient, ()>;

/// The tools, as far as is known.
#[derive(Debug, Default)]
struct List {
    tools: Vec<(String, Tool)>,
    /// When it was fetched.
    fetched: Option<SystemTime>,
    /// When that failed for the last time.
    failed: Option<SystemTime>,
}

/// Why a server gave nothing. Of what went wrong only the kind is told: an address or a body may
/// hold a secret.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it does not answer, or not as an MCP server")]
    Unavailable,
    #[error("it gave no answer in time")]
    Slow,
    /// In its own words, which are for the model alone: it may have called it wrongly.
    #[error("it refuses the call")]
    Refused(String),
}

impl Failure {
    fn of(error: &ServiceError) -> Self {
        match error {
            ServiceError::McpError(error) => Self::Refused(error.message.to_string()),
            ServiceError::Timeout { .. } => Self::Slow,
            _ => Self::Unavailable,
        }
    }

    fn told(self) -> String {
        match self {
            Self::Refused(words) => words,
            other => other.to_string(),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.config.name)
            .finish_non_exhaustive()
    }
}

impl Server {
    pub(crate) fn new(config: ServerConfig) -> Self {
        Self {
            config,
            http: https::Client::new(),
            session: Mutex::default(),
            list: Mutex::default(),
        }
    }

    /// The tools; those of the last list if the server does not answer.
    pub(crate) async fn tools(&self, now: SystemTime) -> Vec<Tool> {
        let mut list = self.list.lock().await;
        // A clock that was set back makes a list old, not new indefinitely.
        let within = |since: Option<SystemTime>, age| {
            since.is_some_and(|since| now.duration_since(since).is_ok_and(|passed| passed < age))
        };
        if !within(list.fetched, LIST_AGE) && !within(list.failed, PAUSE) {
            let fetched = timeout(LIST_LIMIT, self.fetch()).await;
            match fetched.unwrap_or(Err(Failure::Slow)) {
                Ok(tools) => {
                    *list = List {
                        tools,
                        fetched: Some(now),
                        failed: None,
                    };
                }
                Err(failure) => {
                    list.failed = Some(now);
                    tracing::warn!(
                        mcp.server = self.config.name,
                        error.cause = %failure,
                        "the tools of {} could not be listed",
                        self.config.name
                    );
                }
            }
        }
        list.tools.iter().map(|(_, tool)| tool.clone()).collect()
    }

    /// The server's own name for a tool of its list.
    pub(crate) async fn named(&self, name: &str) -> Option<String> {
        let list = self.list.lock().await;
        let found = list.tools.iter().find(|(_, tool)| tool.name == name);
        found.map(|(own, _)| own.clone())
    }

    pub(crate) async fn call(
        &self,
        tool: String,
        input: Map<String, Value>,
    ) -> Result<Value, String> {
        let params = CallToolRequestParams::new(tool).with_arguments(input);
        let called = self.peer().and_then(async |peer| {
            peer.call_tool_once(params)
                .await
                .map_err(|error| Failure::of(&error))
        });
        match called.await {
            Ok(CallToolResponse::Complete(complete)) => result::read(complete),
            Ok(_) => Err("the tool asks for more than a chat can give".to_owned()),
            Err(failure) => {
                if !matches!(failure, Failure::Refused(_)) {
                    *self.session.lock().await = None;
                }
                tracing::warn!(
                    mcp.server = self.config.name,
                    error.cause = %failure,
                    "a tool of {} could not be called",
                    self.config.name
                );
                Err(format!("{}: {}", self.config.name, failure.told()))
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<(String, Tool)>, Failure> {
        let listed = self.peer().await?.list_all_tools().await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                *self.session.lock().await = None;
                return Err(Failure::of(&error));
            }
        };
        let mut names = BTreeSet::new();
        let used = listed.into_iter().filter_map(|tool| {
            let own = tool.name.to_string();
            let chosen = self.config.tools.as_ref();
            if chosen.is_some_and(|chosen| !chosen.contains(&own)) {
                return None;
            }
            let told = self.told(tool).filter(|tool| names.insert(tool.name.clone()));
            if told.is_none() {
                tracing::warn!(
                    mcp.server = self.config.name,
                    mcp.tool = own,
                    "a tool of {} is left out: its name or its schema is too long, or its name is taken",
                    self.config.name
                );
            }
            told.map(|tool| (own, tool))
        });
        Ok(used.take(MAX_TOOLS).collect())
    }

    fn told(&self, tool: Listed) -> Option<Tool> {
        let name = joined(&self.config.name, &tool.name)?;
        let only_reads = tool
            .annotations
            .as_ref()
            .is_some_and(|hints| hints.read_only_hint == Some(true));
        let needs_approval = match self.config.approval(&tool.name) {
            Approval::Always => true,
            Approval::Never => false,
            Approval::Hints => !only_reads,
        };
        let schema = Value::Object(Arc::unwrap_or_clone(tool.input_schema));
        let description = tool.description.unwrap_or_default();
        (schema.to_string().len() <= MAX_SCHEMA_BYTES).then(|| Tool {
            name,
            description: description.chars().take(MAX_DESCRIPTION_CHARS).collect(),
            schema,
            needs_approval,
            is_dynamic: self.config.is_dynamic,
        })
    }

    /// The session's end that requests are made at; opens one if there is none.
    async fn peer(&self) -> Result<Peer<RoleClient>, Failure> {
        let mut session = self.session.lock().await;
        if let Some(open) = session.as_ref().filter(|session| !session.is_closed()) {
            return Ok(open.peer().clone());
        }
        let transport = transport(&self.http, &self.config.url, &self.config.headers);
        let opened = ().serve(transport).await.map_err(|_| Failure::Unavailable)?;
        let peer = opened.peer().clone();
        *session = Some(opened);
        Ok(peer)
    }
}
