//! One `data:` of the stream, read tolerantly: everything may be missing or null, unknown keys are
//! ignored.

use serde_json::Value;

use crate::blocks::{Blocks, Kind};
use crate::error::{Error, ErrorKind};
use crate::event::{FinishReason, Usage};
use crate::openai::calls::Calls;
use crate::think::Think;

/// What the chunks have said so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) reason: Option<FinishReason>,
    pub(super) usage: Usage,
    think: Think,
    refused: bool,
    calls: Calls,
}

impl Progress {
    /// Reads one chunk.
    pub(super) fn read(&mut self, data: &[u8], blocks: &mut Blocks) -> Result<(), Error> {
        let chunk: Value = serde_json::from_slice(data).map_err(|_| {
            Error::new(
                ErrorKind::Interrupted,
                "the provider sent an event that is not JSON",
            )
        })?;
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(reported(error));
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.usage = read_usage(usage);
        }
        // As servers name their sources that search by themselves.
        for page in list(&chunk, "search_results") {
            if let Some(url) = page.get("url").and_then(Value::as_str) {
                blocks.cite(url, page.get("title").and_then(Value::as_str));
            }
        }
        for url in list(&chunk, "citations").filter_map(Value::as_str) {
            blocks.cite(url, None);
        }
        let Some(choice) = chunk.pointer("/choices/0") else {
            return Ok(());
        };
        if let Some(delta) = choice.get("delta") {
            self.read_delta(delta, blocks);
        }
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.end(blocks);
            self.reason = Some(match (self.refused, finish_reason(reason)) {
                (true, FinishReason::Stop) => FinishReason::ContentFilter,
                (_, reason) => reason,
            });
        }
        Ok(())
    }

    /// Ends what is open still.
    pub(super) fn end(&mut self, blocks: &mut Blocks) {
        self.think.end(blocks);
        blocks.end();
        self.calls.end(blocks);
    }

    fn read_delta(&mut self, delta: &Value, blocks: &mut Blocks) {
        let text = |name: &str| delta.get(name).and_then(Value::as_str);
        if let Some(reasoning) = text("reasoning_content").or_else(|| text("reasoning")) {
            blocks.push(Kind::Reasoning, reasoning);
        }
        for detail in list(delta, "reasoning_details") {
            let text = |name: &str| detail.get(name).and_then(Value::as_str);
            if let Some(signature) = text("signature").filter(|text| !text.is_empty()) {
                blocks.sign("openai", "signature", signature);
            } else if let Some(hidden) = text("data").filter(|text| !text.is_empty()) {
                blocks.sign("openai", "redactedData", hidden);
            }
        }
        match delta.get("content") {
            Some(Value::String(text)) => self.think.push(text, blocks),
            Some(Value::Array(parts)) => {
                for text in parts.iter().filter_map(|part| part.get("text")?.as_str()) {
                    self.think.push(text, blocks);
                }
            }
            _ => {}
        }
        for cited in list(delta, "annotations") {
            let text = |pointer: &str| cited.pointer(pointer)?.as_str();
            if let Some(url) = text("/url_citation/url") {
                blocks.cite(url, text("/url_citation/title"));
            }
            if let Some(name) = text("/file_citation/filename").or_else(|| text("/file/name")) {
                blocks.cite_document(name, "application/octet-stream");
            }
        }
        for image in list(delta, "images") {
            let url = image.pointer("/image_url/url").and_then(Value::as_str);
            let data = url.and_then(|url| url.strip_prefix("data:"));
            if let Some((media_type, data)) = data.and_then(|data| data.split_once(";base64,")) {
                blocks.file(media_type, data);
            }
        }
        for said in list(delta, "tool_calls") {
            self.calls.read(said, blocks);
        }
        if let Some(refusal) = text("refusal").filter(|refusal| !refusal.is_empty()) {
            self.refused = true;
            blocks.push(Kind::Text, refusal);
        }
    }
}

/// The items of a list, if there is one of that name.
fn list<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    of.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn finish_reason(name: &str) -> FinishReason {
    match name {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        "error" => FinishReason::Error,
        _ => FinishReason::Other,
    }
}

fn read_usage(usage: &Value) -> Usage {
    let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64);
    let input_tokens = count("/prompt_tokens").unwrap_or_default();
    let output_tokens = count("/completion_tokens").unwrap_or_default();
    Usage {
        input_tokens,
        output_tokens,
        total_tokens: count("/total_tokens")
            .unwrap_or_else(|| input_tokens.saturating_add(output_tokens)),
        cached_input_tokens: count("/prompt_tokens_details/cached_tokens").unwrap_or_default(),
    }
}

/// An error that the server reports inside the stream.
fn reported(error: &Value) -> Error {
    let names = error_names(error);
    let is = |wanted: &str| names.iter().any(|name| name.contains(wanted));
    let kind = if is("429") || is("rate_limit") {
        ErrorKind::Throttled { retry_after: None }
    } else if is("invalid_request") || is("context_length") || is("400") {
        ErrorKind::Refused
    } else {
        ErrorKind::Unavailable
    };
    Error::new(
        kind,
        format!("the provider reported an error ({})", names.join(", ")),
    )
}

/// What an error object calls itself. Its message is left out: it may quote the key or the
/// conversation.
pub(super) fn error_names(error: &Value) -> Vec<String> {
    ["type", "code", "param"]
        .iter()
        .filter_map(|name| match error.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .filter(|name| name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic()))
        .collect()
}
