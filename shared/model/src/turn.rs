//! What a provider gets: one turn of a conversation.

#[cfg(feature = "http")]
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

/// One call of a model.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The model's identifier, one of [`Provider::models`](crate::Provider::models).
    pub model: String,
    /// Instructions that stand before the conversation.
    pub system: Option<String>,
    /// The conversation, oldest first; the last message is the user's.
    pub messages: Vec<Message>,
    /// What the model may call; its calls are the caller's to execute. Without any, calls are
    /// answered with an error.
    pub tools: Arc<[Tool]>,
    /// `false`: the tools are named because the conversation holds calls, and no more are wanted.
    /// Not every provider can be told so.
    pub may_call: bool,
    /// The longest reply, in tokens; [`Provider::max_tokens`](crate::Provider::max_tokens) caps it.
    pub max_tokens: u32,
    /// When the caller must be done. A provider that has not accepted by then, or that stays silent
    /// until then, is an error.
    pub deadline: SystemTime,
}

#[cfg(feature = "http")]
impl Turn {
    /// The conversation as providers accept it: it begins with the user, roles alternate, nothing
    /// is blank, no two calls have one id, and their tools have names that are allowed: a client
    /// may have stored calls of another provider.
    pub(crate) fn conversation(&self) -> Vec<Message> {
        let mut conversation: Vec<Message> = Vec::new();
        for message in &self.messages {
            let parts = message.parts.iter().filter(|part| match part {
                Part::Text(text) => !text.trim().is_empty(),
                Part::Image { bytes, .. } | Part::Pdf { bytes, .. } => !bytes.is_empty(),
                Part::Reasoning { .. } | Part::Call { .. } | Part::Result { .. } => true,
            });
            let mut parts = parts.cloned().peekable();
            match conversation.last_mut() {
                _ if parts.peek().is_none() => {}
                Some(last) if last.role == message.role => last.parts.extend(parts),
                None if message.role == Role::Assistant => {}
                _ => conversation.push(Message {
                    role: message.role,
                    parts: parts.collect(),
                }),
            }
        }
        distinct_calls(&mut conversation);
        conversation
    }
}

/// Gives every call an id of its own, and the result that belongs to it the same; names are made
/// plain.
#[cfg(feature = "http")]
fn distinct_calls(conversation: &mut [Message]) {
    let mut used = HashSet::new();
    let mut unanswered: HashMap<String, VecDeque<String>> = HashMap::new();
    for part in conversation
        .iter_mut()
        .flat_map(|message| &mut message.parts)
    {
        match part {
            Part::Call { id, name, .. } => {
                *name = plain_name(name);
                let others = (2..).map(|n| format!("{id}-{n}"));
                let mut ids = std::iter::once(id.clone()).chain(others);
                let own = ids.find(|id| used.insert(id.clone())).unwrap_or_default();
                let calls = unanswered.entry(std::mem::replace(id, own.clone()));
                calls.or_default().push_back(own);
            }
            Part::Result { id, .. } => {
                let calls = unanswered.get_mut(id);
                if let Some(own) = calls.and_then(VecDeque::pop_front) {
                    *id = own;
                }
            }
            _ => {}
        }
    }
}

/// A tool that a model may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// 1 to [`MAX_TOOL_NAME_CHARS`] letters, digits, `_` and `-`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its input, an object.
    pub schema: Value,
}

/// Longest name of a tool: the type of its part, `tool-` and the name, has at most 64 bytes.
pub const MAX_TOOL_NAME_CHARS: usize = 50;

/// A tool's name in the characters that every provider allows, and no more than they do.
#[cfg(any(feature = "http", feature = "echo"))]
pub(crate) fn plain_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    name.chars().map(plain).take(MAX_TOOL_NAME_CHARS).collect()
}

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said, in order.
    pub parts: Vec<Part>,
}

impl Message {
    /// A message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            parts: vec![Part::Text(text.into())],
        }
    }
}

/// Who a message is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// A piece of a message. `Debug` shows its size, never its content.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// An image.
    Image {
        /// For example `image/png`.
        media_type: String,
        /// The file's bytes.
        bytes: Vec<u8>,
    },
    /// A document.
    Pdf {
        /// The file's name, as the visitor has it.
        name: String,
        /// The file's bytes.
        bytes: Vec<u8>,
    },
    /// What the model thought before it called a tool, for the provider that said so.
    Reasoning {
        /// The text; may be empty.
        text: String,
        /// As it came with [`Event::ReasoningEnd`](crate::Event::ReasoningEnd).
        metadata: Value,
    },
    /// The model called a tool. The next message, which is the user's, begins with the results of
    /// all calls.
    Call {
        /// Unique in the conversation.
        id: String,
        /// The tool.
        name: String,
        /// An object.
        input: Value,
    },
    /// What the call of a tool gave.
    Result {
        /// The call.
        id: String,
        /// Never empty.
        output: String,
        /// Whether it is the reason of a failure.
        is_error: bool,
    },
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Image { media_type, bytes } => {
                write!(f, "Image({media_type}, {} bytes)", bytes.len())
            }
            Self::Pdf { bytes, .. } => write!(f, "Pdf({} bytes)", bytes.len()),
            Self::Reasoning { text, .. } => write!(f, "Reasoning({} bytes)", text.len()),
            Self::Call { id, name, .. } => write!(f, "Call({id}, {name})"),
            Self::Result { id, output, .. } => {
                write!(f, "Result({id}, {} bytes)", output.len())
            }
        }
    }
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn calls_that_a_client_has_stored_are_told_as_providers_take_them() {
        let call = |id: &str, name: &str| Part::Call {
            id: id.to_owned(),
            name: name.to_owned(),
            input: json!({}),
        };
        let result = |id: &str, output: &str| Part::Result {
            id: id.to_owned(),
            output: output.to_owned(),
            is_error: false,
        };
        let says = |role, parts| Message { role, parts };
        let turn = Turn {
            model: "m".to_owned(),
            system: None,
            messages: vec![
                Message::text(Role::User, "look"),
                says(Role::Assistant, vec![call("c", "a.b"), call("c", "\u{e9}")]),
                says(Role::User, vec![result("c", "one"), result("c", "two")]),
                says(Role::Assistant, vec![call("c", &"x".repeat(80))]),
                says(Role::User, vec![result("c", "three")]),
            ],
            tools: Arc::default(),
            may_call: true,
            max_tokens: 1,
            deadline: SystemTime::UNIX_EPOCH,
        };
        assert_eq!(
            turn.conversation()[1..],
            [
                says(Role::Assistant, vec![call("c", "a_b"), call("c-2", "_")]),
                says(Role::User, vec![result("c", "one"), result("c-2", "two")]),
                says(Role::Assistant, vec![call("c-3", &"x".repeat(50))]),
                says(Role::User, vec![result("c-3", "three")]),
            ]
        );
    }
}
