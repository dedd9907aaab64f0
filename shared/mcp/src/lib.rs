//! Tools of MCP servers, spoken to by Streamable HTTP with the protocol's own SDK.
//! [`Servers::from_lookup`] reads which there are, [`Servers::tools`] lists what they offer, and
//! [`Servers::call`] calls one.
//!
//! # Promises
//! 1. A server that is down, slow or wrong costs a bounded time and makes nothing fail: its tools
//!    are missing, or are what they were, and a call of one is an error in words.
//! 2. An answer is read up to a limit before anything is made of it.
//! 3. No redirect is followed, and only `https` is spoken, to this machine also `http`.
//! 4. A server is sent the headers that are configured for it, and of the environment only what
//!    those name. No value of a header reaches a log, an error or a `Debug`.
//! 5. Nothing is sent twice: a call may have an effect.

mod config;
mod names;
mod result;
mod server;
mod tool;
mod transport;

use std::time::SystemTime;

use futures_util::future::join_all;
use runtime::{ConfigError, Lookup};
use serde_json::{Map, Value};

pub use config::MCP_SERVERS;
use server::Server;
pub use tool::Tool;

/// The configured servers, with what is known of them. Shared by the requests of a container.
#[derive(Debug, Default)]
pub struct Servers(Vec<Server>);

impl Servers {
    /// Reads [`MCP_SERVERS`], and the variables that it names. Without I/O.
    ///
    /// # Errors
    /// What is wrong with it, and two tools that would have one name.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let servers = config::read(lookup)?;
        Ok(Self(servers.into_iter().map(Server::new).collect()))
    }

    /// The tools of all servers, in the order of the configuration. They are asked when their lists
    /// are old, at the same time and for a few seconds at most.
    pub async fn tools(&self, now: SystemTime) -> Vec<Tool> {
        let lists = join_all(self.0.iter().map(|server| server.tools(now))).await;
        lists.into_iter().flatten().collect()
    }

    /// Calls a tool by the name that [`tools`](Self::tools) has for it. The caller limits the time.
    ///
    /// # Errors
    /// Why it gave nothing, in words for a model and a person.
    ///
    /// # Cancel safety
    /// A call that is dropped may have taken effect.
    pub async fn call(&self, name: &str, input: Map<String, Value>) -> Result<Value, String> {
        for server in &self.0 {
            if let Some(tool) = server.named(name).await {
                return server.call(tool, input).await;
            }
        }
        Err("no tool of this name is configured".to_owned())
    }
}
