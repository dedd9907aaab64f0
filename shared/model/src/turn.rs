//! What a provider is asked: one turn of a conversation.

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
    /// is blank.
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
        conversation
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
