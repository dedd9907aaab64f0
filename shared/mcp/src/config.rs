//! Which servers there are, from one variable in JSON:
//!
//! ```json
//! [{
//!   "name": "docs",
//!   "url": "https://docs.example.com/mcp",
//!   "headers": {"authorization": "Bearer ${MCP_SECRET}"},
//!   "tools": ["search", "delete"],
//!   "approval": {"search": "never", "*": "hints"},
//!   "dynamic": true
//! }]
//! ```
//!
//! A header may name variables whose names begin with `MCP_`. Without `tools` all of a server's are
//! used. `approval` says of a tool, or of `*`, the others, whether each call is allowed by a
//! person: `always`, `never`, or `hints`, the default: unless the server says that the tool only
//! reads. `dynamic` makes all of its tools ones that clients do not know by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use runtime::{ConfigError, Lookup};
use serde::Deserialize;

use crate::names::joined;

/// The servers, in JSON. Unset: none.
pub const MCP_SERVERS: &str = "MCP_SERVERS";

const MAX_SERVERS: usize = 8;
const MAX_SERVER_NAME_CHARS: usize = 20;
/// What variables a header may name begin with: nothing else of the environment can be sent to a
/// server.
const REFERENCE: &str = "MCP_";
/// Headers that the protocol sets.
const RESERVED: [&str; 7] = [
    "accept",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
];

/// When a person is asked before a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Approval {
    Always,
    Never,
    /// Unless the server says that the tool only reads.
    #[default]
    Hints,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    name: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    tools: Option<Vec<String>>,
    #[serde(default)]
    approval: BTreeMap<String, Approval>,
    #[serde(default)]
    dynamic: bool,
}

/// One server.
pub(crate) struct ServerConfig {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) headers: HashMap<HeaderName, HeaderValue>,
    /// The tools that are used, if not all.
    pub(crate) tools: Option<BTreeSet<String>>,
    approval: BTreeMap<String, Approval>,
    /// Whether clients do not know its tools by name.
    pub(crate) is_dynamic: bool,
}

impl ServerConfig {
    /// When a person is asked before this tool is called.
    pub(crate) fn approval(&self, tool: &str) -> Approval {
        let of = |name: &str| self.approval.get(name).copied();
        of(tool).or_else(|| of("*")).unwrap_or_default()
    }
}

fn refused(reason: impl Into<String>) -> ConfigError {
    ConfigError::new(MCP_SERVERS, reason)
}

/// Reads the servers.
pub(crate) fn read(lookup: Lookup<'_>) -> Result<Vec<ServerConfig>, ConfigError> {
    let text = lookup(MCP_SERVERS).unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    // The position alone: what stands there may be a secret.
    let given: Vec<Given> = serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        refused(format!(
            "is not a list of servers: see line {line}, column {column}"
        ))
    })?;
    if given.len() > MAX_SERVERS {
        return Err(refused(format!("has more than {MAX_SERVERS} servers")));
    }
    let mut names = BTreeSet::new();
    given
        .into_iter()
        .map(|given| {
            let server = server(given, lookup)?;
            if names.insert(server.name.clone()) {
                Ok(server)
            } else {
                Err(refused(format!("has two servers named {}", server.name)))
            }
        })
        .collect()
}

fn server(given: Given, lookup: Lookup<'_>) -> Result<ServerConfig, ConfigError> {
    let name = given.name;
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > MAX_SERVER_NAME_CHARS || !name.bytes().all(is_plain) {
        return Err(refused(
            "has a server whose name is not 1 to 20 of a-z, 0-9 and -",
        ));
    }
    if !is_allowed(&given.url) {
        return Err(refused(format!(
            "has no https address for {name} (http is for this machine alone)"
        )));
    }
    let tools = given.tools.map(|tools| check(&name, tools)).transpose()?;
    let headers = given.headers.iter().map(|(header, value)| {
        let wrong = || refused(format!("has a header for {name} that cannot be sent"));
        let header: HeaderName = header.parse().map_err(|_| wrong())?;
        if RESERVED.contains(&header.as_str()) {
            return Err(wrong());
        }
        let value = expanded(value, lookup).map_err(|variable| {
            refused(format!("names {variable}, which is not set or not MCP_…"))
        })?;
        let mut value: HeaderValue = value.parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok((header, value))
    });
    Ok(ServerConfig {
        headers: headers.collect::<Result<_, ConfigError>>()?,
        url: given.url,
        tools,
        approval: given.approval,
        is_dynamic: given.dynamic,
        name,
    })
}

/// The tools of one server that are used: each has a name of its own for the model.
fn check(server: &str, tools: Vec<String>) -> Result<BTreeSet<String>, ConfigError> {
    let mut told = BTreeSet::new();
    for tool in &tools {
        let name = joined(server, tool)
            .ok_or_else(|| refused(format!("has a tool of {server} whose name is too long")))?;
        if !told.insert(name) {
            return Err(refused(format!(
                "has two tools of {server} that have one name for a model"
            )));
        }
    }
    Ok(tools.into_iter().collect())
}

/// Whether an address may be called: `https`, to this machine also `http`, and without credentials.
fn is_allowed(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let is_local = uri.host().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host
                .parse()
                .is_ok_and(|address: IpAddr| address.is_loopback())
    });
    let is_plain = uri.authority().is_some_and(|at| !at.as_str().contains('@'));
    is_plain
        && match uri.scheme_str() {
            Some("https") => true,
            Some("http") => is_local,
            _ => false,
        }
}

/// A header's value with the variables that it names.
fn expanded(value: &str, lookup: Lookup<'_>) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| "a variable".to_owned())?;
        let given = Some(name)
            .filter(|name| name.starts_with(REFERENCE))
            .and_then(lookup)
            .filter(|value| !value.is_empty());
        text.push_str(before);
        text.push_str(&given.ok_or_else(|| name.to_owned())?);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read_from(servers: &Value) -> Result<Vec<ServerConfig>, String> {
        let text = servers.to_string();
        read(&|name| match name {
            MCP_SERVERS => Some(text.clone()),
            "MCP_SECRET" => Some("s3cret".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("never".to_owned()),
            _ => None,
        })
        .map_err(|error| error.to_string())
    }

    fn docs(key: &str, value: Value) -> Value {
        let mut server = json!({"name": "docs", "url": "https://docs.example.com/mcp"});
        server[key] = value;
        json!([server])
    }

    #[test]
    fn a_server_has_its_address_its_headers_and_its_tools() {
        let mut given = docs(
            "headers",
            json!({"Authorization": "Bearer ${MCP_SECRET}", "x-a": "b"}),
        );
        given[0]["tools"] = json!(["search", "delete"]);
        given[0]["approval"] = json!({"search": "never", "*": "always"});
        given[0]["dynamic"] = json!(true);
        let [server] = &*read_from(&given).unwrap() else {
            panic!("one server")
        };
        assert_eq!(
            server.headers[&hyper::header::AUTHORIZATION],
            "Bearer s3cret"
        );
        assert_eq!(server.tools.as_ref().unwrap().len(), 2);
        assert!(server.is_dynamic);
        assert_eq!(server.approval("search"), Approval::Never);
        assert_eq!(server.approval("delete"), Approval::Always);
        let [server] = &*read_from(&docs("tools", Value::Null)).unwrap() else {
            panic!("one server")
        };
        assert_eq!(server.approval("search"), Approval::Hints);
        assert!(!server.is_dynamic);
        assert!(read(&|_| None).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_stops_the_start_and_no_value_is_told() {
        for given in [
            json!({}),
            json!([{"name": "docs"}]),
            docs("name", json!("Docs")),
            docs("name", json!("a_b")),
            docs("url", json!("http://docs.example.com/mcp")),
            docs("url", json!("https://user:s3cret@docs.example.com/mcp")),
            docs("url", json!("file:///etc/passwd")),
            docs("tools", json!(["a.b", "a b"])),
            docs("tools", json!(["x".repeat(60)])),
            docs("headers", json!({"host": "other"})),
            docs("headers", json!({"x": "${AWS_SECRET_ACCESS_KEY}"})),
            docs("headers", json!({"x": "${MCP_UNSET}"})),
            docs("headers", json!({"x": "s3cret\n"})),
            docs("approval", json!({"search": "maybe"})),
            docs("dynamic", json!("yes")),
            docs("s3cret", json!(1)),
            json!(vec![docs("tools", json!([]))[0].clone(); 2]),
        ] {
            let Err(error) = read_from(&given) else {
                panic!("{given} is accepted")
            };
            assert!(error.starts_with(MCP_SERVERS), "{error}");
            assert!(
                !error.contains("s3cret") && !error.contains("never"),
                "{error}"
            );
        }
        for url in [
            "http://127.0.0.1:1/mcp",
            "http://[::1]/mcp",
            "http://localhost/mcp",
        ] {
            assert!(read_from(&docs("url", json!(url))).is_ok(), "{url}");
        }
    }
}
