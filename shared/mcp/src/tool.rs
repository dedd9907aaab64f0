//! A tool, as a model and its caller see it.

use serde_json::Value;

/// A tool of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// The server's name, `_`, and the tool's: at most 50 letters, digits, `_` and `-`.
    pub name: String,
    /// What it does, in the server's words.
    pub description: String,
    /// JSON Schema of its input.
    pub schema: Value,
    /// Whether a person has to allow each call.
    pub needs_approval: bool,
    /// Whether its calls are told as those of a tool that clients do not know by name.
    pub is_dynamic: bool,
}
