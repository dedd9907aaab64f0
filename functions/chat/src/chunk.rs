//! The UI message stream as the AI SDK reads it: server-sent events, one JSON object each. Only
//! chunks and keys that every supported version accepts (5.0.100 and later, all of 6 and 7) can be
//! written: a key too many fails the whole stream there.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

/// What the stream consists of.
#[derive(Debug, Serialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub(crate) enum Chunk<'a> {
    Start {
        message_id: &'a str,
        message_metadata: &'a Value,
    },
    StartStep,
    TextStart {
        id: &'a str,
    },
    TextDelta {
        id: &'a str,
        delta: &'a str,
    },
    TextEnd {
        id: &'a str,
    },
    ReasoningStart {
        id: &'a str,
    },
    ReasoningDelta {
        id: &'a str,
        delta: &'a str,
    },
    ReasoningEnd {
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        provider_metadata: Option<&'a Value>,
    },
    ToolInputStart {
        tool_call_id: &'a str,
        tool_name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        provider_executed: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        dynamic: Option<bool>,
    },
    ToolInputDelta {
        tool_call_id: &'a str,
        input_text_delta: &'a str,
    },
    ToolInputAvailable {
        tool_call_id: &'a str,
        tool_name: &'a str,
        input: &'a Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        provider_executed: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        dynamic: Option<bool>,
    },
    /// Known from 6 on: sent only where a tool is configured to ask.
    ToolApprovalRequest {
        approval_id: &'a str,
        tool_call_id: &'a str,
    },
    ToolOutputAvailable {
        tool_call_id: &'a str,
        output: &'a Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        provider_executed: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        dynamic: Option<bool>,
    },
    ToolOutputError {
        tool_call_id: &'a str,
        error_text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        provider_executed: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        dynamic: Option<bool>,
    },
    ToolOutputDenied {
        tool_call_id: &'a str,
    },
    #[serde(rename = "data-chat-title")]
    ChatTitle {
        data: &'a str,
        transient: bool,
    },
    FinishStep,
    MessageMetadata {
        message_metadata: &'a Value,
    },
    Finish {
        finish_reason: &'a str,
        message_metadata: &'a Value,
    },
    Abort,
    Error {
        error_text: &'a str,
    },
    /// A part that is sent whole: a source or a file, which is the same as a chunk and as a part of
    /// a message.
    #[serde(untagged)]
    Whole(&'a Value),
}

/// The last event of every stream.
pub(crate) const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// The last event of a stream that has brought all of a reply: with its id a client that resumes
/// says so.
pub(crate) fn done(message_id: &str) -> Bytes {
    format!("id: {message_id}\ndata: [DONE]\n\n").into()
}
/// A comment, against the idle limits on the way.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

impl Chunk<'_> {
    /// As one event.
    pub(crate) fn encode(&self) -> Bytes {
        let mut event = b"data: ".to_vec();
        serde_json::to_writer(&mut event, self).expect("text and values serialise into memory");
        event.extend_from_slice(b"\n\n");
        event.into()
    }
}

/// Why a stream ends with an error: small JSON, as the bodies of failed requests have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The model failed after it had begun.
    Model,
    /// It ended without a word.
    Empty,
    /// A filter left nothing of what it said.
    Filtered,
    /// Its tokens were used up, or the reply was as long as it may be, before it said anything.
    OutOfTokens,
    /// What is left of a day's tokens does not suffice for another step.
    Spent,
    /// The time was up, or the writer is gone.
    Interrupted,
    /// What was sent could not be stored.
    NotStored,
    /// A follower's own time is up; the reply goes on.
    ResumeAgain,
}

impl Fault {
    /// That of a reply which the model ended, for this reason, without an answer; without a reason
    /// the model failed.
    pub(crate) fn without_answer(finish_reason: Option<&str>) -> Self {
        match finish_reason {
            None => Self::Model,
            Some("content-filter") => Self::Filtered,
            Some("length") => Self::OutOfTokens,
            Some(_) => Self::Empty,
        }
    }

    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Model => "model_failed",
            Self::Empty => "empty_reply",
            Self::Filtered => "content_filtered",
            Self::OutOfTokens => "out_of_tokens",
            Self::Spent => "budget_spent",
            Self::Interrupted => "interrupted",
            Self::NotStored => "not_stored",
            Self::ResumeAgain => "resume_again",
        }
    }

    pub(crate) fn text(self, request_id: &str) -> String {
        let message = match self {
            Self::Model => "the model failed while it answered",
            Self::Empty => "the model gave no answer",
            Self::Filtered => "a content filter kept the model from answering",
            Self::OutOfTokens => "the reply was at its limit before the model answered",
            Self::Spent => "what the tools gave would take more tokens than are left of the day",
            Self::Interrupted => "the reply was cut short",
            Self::NotStored => "the reply could not be stored",
            Self::ResumeAgain => "the reply goes on: resume it again",
        };
        json!({"code": self.code(), "message": message, "requestId": request_id}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_written_as_the_protocol_has_them() {
        let metadata = json!({"model": "m"});
        for (chunk, wire) in [
            (
                Chunk::Start {
                    message_id: "a",
                    message_metadata: &metadata,
                },
                r#"{"type":"start","messageId":"a","messageMetadata":{"model":"m"}}"#,
            ),
            (Chunk::StartStep, r#"{"type":"start-step"}"#),
            (
                Chunk::TextDelta {
                    id: "t0",
                    delta: "a\nb",
                },
                r#"{"type":"text-delta","id":"t0","delta":"a\nb"}"#,
            ),
            (
                Chunk::ReasoningEnd {
                    id: "r0",
                    provider_metadata: None,
                },
                r#"{"type":"reasoning-end","id":"r0"}"#,
            ),
            (
                Chunk::ChatTitle {
                    data: "T",
                    transient: true,
                },
                r#"{"type":"data-chat-title","data":"T","transient":true}"#,
            ),
            (
                Chunk::Finish {
                    finish_reason: "stop",
                    message_metadata: &metadata,
                },
                r#"{"type":"finish","finishReason":"stop","messageMetadata":{"model":"m"}}"#,
            ),
            (Chunk::Abort, r#"{"type":"abort"}"#),
            (
                Chunk::Error { error_text: "{}" },
                r#"{"type":"error","errorText":"{}"}"#,
            ),
        ] {
            assert_eq!(chunk.encode(), format!("data: {wire}\n\n"));
        }
    }
}
