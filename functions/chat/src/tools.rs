//! The tools that a model is offered, and calling them. A call never fails a turn: an error is its
//! outcome, which the model and the visitor see.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use model::Tool;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::draft::{Outcome, Source};
use crate::parts::Manner;
use crate::posts::{self, Posts, SEARCH_POSTS};
use crate::settings::ToolLimits;

const NOT_AN_OBJECT: &str = "the input is not a JSON object";
/// What stands at the end of a result that was cut.
const CUT: &str = "\n[cut: the result was longer]";

/// Where tools come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    #[cfg(feature = "mcp")]
    pub(crate) servers: Arc<mcp::Servers>,
    /// The blog's own posts, if they are indexed.
    pub(crate) posts: Option<Posts>,
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) outcome: Outcome,
    pub(crate) sources: Vec<Source>,
}

impl From<Outcome> for Called {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            sources: Vec::new(),
        }
    }
}

/// The tools of one turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Toolbox {
    tools: Arc<[Tool]>,
    /// The names of some of them.
    named: Arc<Named>,
    sources: Sources,
}

/// The names of tools that are not like the others.
#[derive(Debug, Default)]
struct Named {
    /// A visitor has to allow their calls.
    asked: BTreeSet<String>,
    /// Their calls are parts of the type `dynamic-tool`.
    dynamic: BTreeSet<String>,
}

impl Sources {
    /// Without servers.
    pub(crate) fn new(posts: Option<Posts>) -> Self {
        Self {
            #[cfg(feature = "mcp")]
            servers: Arc::default(),
            posts,
        }
    }

    /// The tools that there are now.
    pub(crate) async fn toolbox(&self, now: SystemTime) -> Toolbox {
        let (listed, named) = self.of_servers(now).await;
        let own = self.posts.iter().map(|_| posts::tool());
        Toolbox {
            tools: own.chain(listed).collect(),
            named: Arc::new(named),
            sources: self.clone(),
        }
    }

    /// The tools of servers, and the names of those that are not like the others.
    #[cfg(feature = "mcp")]
    async fn of_servers(&self, now: SystemTime) -> (Vec<Tool>, Named) {
        let listed = self.servers.tools(now).await;
        let names = |is: fn(&mcp::Tool) -> bool| {
            let tools = listed.iter().filter(|tool| is(tool));
            tools.map(|tool| tool.name.clone()).collect()
        };
        let named = Named {
            asked: names(|tool| tool.needs_approval),
            dynamic: names(|tool| tool.is_dynamic),
        };
        let tools = listed.into_iter().map(|tool| Tool {
            name: tool.name,
            description: tool.description,
            schema: tool.schema,
        });
        (tools.collect(), named)
    }

    /// The tools of servers: none in such a build.
    #[cfg(not(feature = "mcp"))]
    #[expect(clippy::unused_async, reason = "another build asks servers here")]
    async fn of_servers(&self, _now: SystemTime) -> (Vec<Tool>, Named) {
        <_>::default()
    }

    async fn call(
        &self,
        name: &str,
        input: &Map<String, Value>,
        limits: ToolLimits,
    ) -> Result<(Value, Vec<Source>), String> {
        if let Some(posts) = self.posts.as_ref().filter(|_| name == SEARCH_POSTS) {
            return posts.call(input, limits).await;
        }
        let output = self.call_server(name, input).await?;
        Ok((output, Vec::new()))
    }

    #[cfg(feature = "mcp")]
    async fn call_server(&self, name: &str, input: &Map<String, Value>) -> Result<Value, String> {
        self.servers.call(name, input.clone()).await
    }

    #[cfg(not(feature = "mcp"))]
    #[expect(clippy::unused_async, reason = "another build asks servers here")]
    async fn call_server(&self, _name: &str, _input: &Map<String, Value>) -> Result<Value, String> {
        Err("no tool of this name is configured".to_owned())
    }
}

impl Toolbox {
    /// What the model is told of them.
    pub(crate) fn offered(&self) -> &Arc<[Tool]> {
        &self.tools
    }

    /// Whether the visitor is asked before a call.
    pub(crate) fn needs_approval(&self, name: &str) -> bool {
        self.named.asked.contains(name)
    }

    /// How a call is told. Where nothing is offered, what a model calls is its provider's.
    pub(crate) fn manner(&self, name: &str) -> Manner {
        Manner {
            is_dynamic: self.named.dynamic.contains(name),
            is_provider_executed: self.tools.is_empty(),
        }
    }

    /// Calls a tool, within its limits.
    pub(crate) async fn call(&self, name: &str, input: &Value, limits: ToolLimits) -> Called {
        let Value::Object(input) = input else {
            return Outcome::Failed(NOT_AN_OBJECT.to_owned()).into();
        };
        let called = self.sources.call(name, input, limits);
        match timeout(limits.time, called).await {
            Ok(Ok((output, sources))) => Called {
                outcome: Outcome::Gave(cut(output, limits.result_bytes)),
                sources,
            },
            Ok(Err(reason)) => Outcome::Failed(cut_text(reason, limits.result_bytes)).into(),
            Err(_) => Outcome::Failed(format!(
                "{name} gave no answer within {} ms: whether it took effect is not known",
                limits.time.as_millis()
            ))
            .into(),
        }
    }
}

/// A result of at most this many bytes: one that is too long is cut as the text that it is.
fn cut(output: Value, most: usize) -> Value {
    let bytes = match &output {
        Value::String(text) => text.len(),
        other => other.to_string().len(),
    };
    if bytes <= most {
        return output;
    }
    let text = match output {
        Value::String(text) => text,
        other => other.to_string(),
    };
    cut_text(text, most).into()
}

fn cut_text(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
    // PostgreSQL's text cannot hold NUL.
    text.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_that_is_too_long_is_cut_where_a_character_ends() {
        assert_eq!(cut(json!({"a": 1}), 256), json!({"a": 1}));
        let long = "é".repeat(400);
        for output in [json!(long), json!([long])] {
            let cut = cut(output, 257);
            let text = cut.as_str().unwrap();
            assert!(text.len() <= 257 && text.ends_with(CUT), "{text}");
        }
    }
}
