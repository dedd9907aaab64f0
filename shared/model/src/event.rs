//! What a reply consists of.

use serde_json::Value;

/// One event of a reply. A block's id (`t0`, `r1`, …) is unique within the reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A block of text begins.
    TextStart {
        /// The block.
        id: String,
    },
    /// Text is added to a block that has begun.
    TextDelta {
        /// The block.
        id: String,
        /// What is added; never empty.
        delta: String,
    },
    /// A block of text is complete.
    TextEnd {
        /// The block.
        id: String,
    },
    /// A block of reasoning begins.
    ReasoningStart {
        /// The block.
        id: String,
    },
    /// Reasoning is added to a block that has begun.
    ReasoningDelta {
        /// The block.
        id: String,
        /// What is added; never empty.
        delta: String,
    },
    /// A block of reasoning is complete.
    ReasoningEnd {
        /// The block.
        id: String,
        /// What the provider says of it, under its own name: a signature, or reasoning that only it
        /// can read.
        metadata: Option<Value>,
    },
    /// The reply rests on a page; said between blocks, each page once.
    Source {
        /// An address of `http` or `https`.
        url: String,
        /// The page's title, if the provider knows it.
        title: Option<String>,
    },
    /// The reply rests on a document that has no address; said between blocks, each once.
    Document {
        /// What it is called.
        title: String,
        /// What kind of file it is.
        media_type: String,
    },
    /// A file that the model made; said between blocks.
    File {
        /// For example `image/png`.
        media_type: String,
        /// The bytes, in base64.
        data: String,
    },
    /// The model begins to call a tool; said between blocks, and not by every provider.
    ToolInputStart {
        /// The call, unique within the reply.
        id: String,
        /// The tool: letters, digits, `_` and `-`.
        name: String,
    },
    /// A piece of what the tool is given, as JSON text.
    ToolInputDelta {
        /// A call that has begun.
        id: String,
        /// What is added; never empty.
        delta: String,
    },
    /// The model calls a tool; said between blocks. In a turn without tools its
    /// [`Event::ToolResult`] follows before the reply is complete; otherwise the call is the
    /// caller's to execute, unless the provider does.
    ToolCall {
        /// The call, unique within the reply.
        id: String,
        /// The tool: letters, digits, `_` and `-`.
        name: String,
        /// What it is given.
        input: Value,
    },
    /// A tool has been called.
    ToolResult {
        /// The call.
        id: String,
        /// What it gave, or why it failed.
        output: Result<Value, String>,
    },
    /// The reply is complete; nothing follows.
    Finish {
        /// Why it ended.
        reason: FinishReason,
        /// What it cost; zero where the provider does not say.
        usage: Usage,
    },
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model had said everything.
    Stop,
    /// The limit of tokens, or the model's context, was reached.
    Length,
    /// A filter or a guardrail stepped in.
    ContentFilter,
    /// The model wants a tool to be called.
    ToolCalls,
    /// The model failed to produce a well-formed reply.
    Error,
    /// A reason without a name of its own.
    Other,
}

impl FinishReason {
    /// The name that the UI message stream protocol has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content-filter",
            Self::ToolCalls => "tool-calls",
            Self::Error => "error",
            Self::Other => "other",
        }
    }
}

/// Tokens of one reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the conversation.
    pub input_tokens: u64,
    /// Tokens of the reply, reasoning included.
    pub output_tokens: u64,
    /// Both, as the provider counts them.
    pub total_tokens: u64,
    /// The part of `input_tokens` that the provider had cached.
    pub cached_input_tokens: u64,
}

impl Usage {
    /// Adds what another call has used.
    pub fn add(&mut self, other: &Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.total_tokens = self.total_tokens.saturating_add(other.total_tokens);
        self.cached_input_tokens = self
            .cached_input_tokens
            .saturating_add(other.cached_input_tokens);
    }
}
