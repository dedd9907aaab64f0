//! What the model sees of a conversation: the newest messages that fit, in turns that alternate.

mod reply;

use model::{Message, Part, Role, Tool};

pub(crate) use reply::reply;

use crate::attachments::Files;
use crate::shown::parts;

/// Bytes of text to a token, on average.
const BYTES_PER_TOKEN: usize = 4;
/// What an image costs, roughly.
const IMAGE_TOKENS: usize = 1_000;
/// What the dearest of the usual models makes of a large one.
const MOST_IMAGE_TOKENS: usize = 5_000;
/// What stands around a message.
const MESSAGE_TOKENS: usize = 16;
/// Bytes of a PDF to a token, roughly: it is compressed, and its pages are read as text and as
/// images.
const PDF_BYTES_PER_TOKEN: usize = 16;

/// What the visitor says, as a model is shown it.
pub(crate) fn question(stored: &str, files: &Files) -> Message {
    Message {
        role: Role::User,
        parts: serde_json::from_str(stored)
            .map(|value| parts(&value, files))
            .unwrap_or_default(),
    }
}

/// A stored message of the visitor's, in the same way.
pub(crate) fn asked(message: &chat_store::Message, files: &Files) -> Message {
    Message {
        role: Role::User,
        parts: parts(&message.parts.read(), files),
    }
}

/// Tokens that are left for what was said before, of `limit_tokens` for the conversation with
/// `question`.
pub(crate) fn left_beside(question: &Message, limit_tokens: usize) -> usize {
    limit_tokens.saturating_sub(tokens(question))
}

/// The conversation before `question`, oldest first, and `question` itself, within about
/// `limit_tokens`. The question is always there; the first message is the visitor's, and no two
/// neighbours are of one role, as some providers demand. The calls of tools are told only where
/// `has_tools`, each with its result behind it.
pub(crate) fn conversation(
    history: &[chat_store::Message],
    question: Message,
    files: &Files,
    limit_tokens: usize,
    has_tools: bool,
) -> Vec<Message> {
    let mut left = left_beside(&question, limit_tokens);
    let mut newest_first = vec![question];
    for message in history.iter().rev() {
        let stored = message.parts.read();
        let said = if message.role == "user" {
            let (role, parts) = (Role::User, parts(&stored, files));
            vec![Message { role, parts }]
        } else {
            reply(&stored, has_tools, false)
        };
        let Some(rest) = left.checked_sub(said.iter().map(tokens).sum()) else {
            break;
        };
        left = rest;
        for message in said.into_iter().rev().filter(|said| !said.parts.is_empty()) {
            match newest_first.last_mut() {
                Some(newer) if newer.role == message.role => {
                    newer.parts.splice(0..0, message.parts);
                }
                _ => newest_first.push(message),
            }
        }
    }
    while let Some(oldest) = newest_first.last_mut() {
        // Results whose calls are left out.
        oldest
            .parts
            .retain(|part| oldest.role == Role::Assistant || !matches!(part, Part::Result { .. }));
        if oldest.role == Role::User && (!oldest.parts.is_empty() || newest_first.len() == 1) {
            break;
        }
        newest_first.pop();
    }
    newest_first.reverse();
    newest_first
}

/// The most tokens of a conversation, by any tokenizer: one for each byte of text, and what marks a
/// message. Of files it is a generous guess, since how they are read is the provider's own.
pub(crate) fn most(messages: &[Message]) -> u64 {
    let of_part = |part: &Part| match part {
        Part::Text(text) => text.len(),
        Part::Image { .. } => MOST_IMAGE_TOKENS,
        Part::Pdf { bytes, .. } => bytes.len(),
        Part::Reasoning { .. } | Part::Call { .. } | Part::Result { .. } => {
            MESSAGE_TOKENS + said_bytes(part)
        }
    };
    let of = |message: &Message| MESSAGE_TOKENS + message.parts.iter().map(of_part).sum::<usize>();
    let tokens: usize = messages.iter().map(of).sum();
    tokens.try_into().unwrap_or(u64::MAX)
}

/// The most tokens that a history of this many, roughly, has by any tokenizer.
pub(crate) fn most_of_history(tokens: usize) -> usize {
    tokens.saturating_mul(BYTES_PER_TOKEN + MESSAGE_TOKENS)
}

/// Tokens of a conversation, roughly: for providers that do not count.
pub(crate) fn estimate(messages: &[Message]) -> u64 {
    messages
        .iter()
        .map(tokens)
        .sum::<usize>()
        .try_into()
        .unwrap_or(u64::MAX)
}

/// Tokens of a text of this many bytes, roughly.
pub(crate) fn estimate_bytes(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

fn tokens(message: &Message) -> usize {
    message
        .parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.len().div_ceil(BYTES_PER_TOKEN),
            Part::Image { .. } => IMAGE_TOKENS,
            Part::Pdf { bytes, .. } => bytes.len().div_ceil(PDF_BYTES_PER_TOKEN),
            Part::Reasoning { .. } | Part::Call { .. } | Part::Result { .. } => {
                said_bytes(part).div_ceil(BYTES_PER_TOKEN)
            }
        })
        .sum()
}

/// Bytes of reasoning, and of what a tool was given or gave.
fn said_bytes(part: &Part) -> usize {
    match part {
        Part::Reasoning { text, metadata } => text.len() + metadata.to_string().len(),
        Part::Call { id, name, input } => id.len() + name.len() + input.to_string().len(),
        Part::Result { id, output, .. } => id.len() + output.len(),
        Part::Text(_) | Part::Image { .. } | Part::Pdf { .. } => 0,
    }
}

/// Bytes of the tools that a model is offered: it reads them like a text.
pub(crate) fn bytes_of_tools(tools: &[Tool]) -> usize {
    let of = |tool: &Tool| {
        tool.name.len() + tool.description.len() + tool.schema.to_string().len() + MESSAGE_TOKENS
    };
    tools.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_store::StoredParts;
    use serde_json::json;

    fn said(role: &str, text: &str) -> chat_store::Message {
        chat_store::Message {
            id: "x".to_owned(),
            role: role.to_owned(),
            parts: StoredParts::parse(&json!([{"type": "step-start"}, {"type": "reasoning", "text": "hm"}, {"type": "text", "text": text}]).to_string()),
            metadata: None,
        }
    }

    fn shown(history: &[chat_store::Message], limit: usize) -> Vec<(Role, usize)> {
        conversation(
            history,
            question(r#"[{"type":"text","text":"now"}]"#, &Files::new()),
            &Files::new(),
            limit,
            false,
        )
        .into_iter()
        .map(|message| (message.role, message.parts.len()))
        .collect()
    }

    #[test]
    fn neighbours_of_one_role_become_one_and_the_first_is_the_visitors() {
        let history = [
            said("assistant", "hello"),
            said("user", "one"),
            said("user", "two"),
            said("assistant", "three"),
            said("assistant", ""),
            said("user", "unanswered"),
        ];
        assert_eq!(
            shown(&history, 1_000),
            [(Role::User, 2), (Role::Assistant, 1), (Role::User, 2)]
        );
    }

    #[test]
    fn of_a_reply_the_text_is_said_again_and_nothing_else() {
        let reply = json!([
            {"type": "reasoning", "text": "hm", "providerMetadata": {"p": {"signature": "s"}}},
            {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AAEC"},
            {"type": "tool-x", "toolCallId": "c", "state": "output-available", "input": {}, "output": 1},
            {"type": "source-url", "sourceId": "s0", "url": "https://example.com/"},
            {"type": "text", "text": "here"},
        ]);
        let mut said = said("assistant", "");
        said.parts = StoredParts::parse(&reply.to_string());
        let history = [self::said("user", "draw"), said];
        let question = question(r#"[{"type":"text","text":"now"}]"#, &Files::new());
        let shown = conversation(&history, question, &Files::new(), 1_000, false);
        assert_eq!(shown[1], Message::text(Role::Assistant, "here"));
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_oldest_on() {
        let history = [
            said("user", &"a".repeat(400)),
            said("assistant", "b"),
            said("user", "c"),
            said("assistant", "d"),
        ];
        assert_eq!(
            shown(&history, 50),
            [(Role::User, 1), (Role::Assistant, 1), (Role::User, 1)]
        );
        assert_eq!(shown(&history, 0), [(Role::User, 1)]);
    }

    #[test]
    fn no_tokenizer_makes_more_of_a_text_than_is_counted_at_most() {
        // One token a byte is what a tokenizer of bytes makes of what it does not know.
        for text in ["a", "\u{1f980}\u{20ac}", &"x".repeat(999)] {
            let messages = [Message::text(Role::User, text.to_owned())];
            let tokens = u64::try_from(text.len()).unwrap();
            assert!(
                most(&messages) > tokens && most(&messages) > estimate(&messages),
                "{text}"
            );
        }
        let left = left_beside(
            &question(r#"[{"type":"text","text":"now"}]"#, &Files::new()),
            1_000,
        );
        let history = vec![said("user", "a"); 2_000];
        let shown = conversation(
            &history,
            question("[]", &Files::new()),
            &Files::new(),
            left,
            false,
        );
        assert!(most(&shown) <= u64::try_from(most_of_history(left)).unwrap());
    }

    #[test]
    fn a_text_file_is_shown_as_its_text_and_a_pdf_as_its_bytes() {
        let stored = r#"[
            {"type":"file","mediaType":"text/csv","filename":"a.csv","url":"data:text/csv;base64,YSxi"},
            {"type":"file","mediaType":"application/pdf","url":"data:application/pdf;base64,AAEC"},
            {"type":"data-mine","data":1}
        ]"#;
        assert_eq!(
            question(stored, &Files::new()).parts,
            [
                Part::Text("File a.csv:\n\na,b".to_owned()),
                Part::Pdf {
                    name: "file".to_owned(),
                    bytes: vec![0, 1, 2]
                }
            ]
        );
    }

    #[test]
    fn an_image_is_shown_as_its_bytes() {
        let stored = r#"[{"type":"file","mediaType":"image/png","url":"data:image/png;base64,AAEC"},{"type":"text","text":"what?"}]"#;
        assert_eq!(
            question(stored, &Files::new()).parts[0],
            Part::Image {
                media_type: "image/png".to_owned(),
                bytes: vec![0, 1, 2]
            }
        );
    }
}
