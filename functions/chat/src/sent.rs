//! What of a stored reply a client was sent, when it is read again and again while it grows.

use serde_json::Value;

use crate::body::Writer;
use crate::parts::{Kind, close, is_answered, part_id, send_delta, send_start, send_whole};

/// How much of a stored reply was sent. Parts only grow: of what is said only the last one does, and a tool's call gets its
/// output.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    parts: Vec<SentPart>,
}

#[derive(Debug)]
enum SentPart {
    Said {
        kind: Kind,
        id: String,
        length: usize,
        metadata: Option<Value>,
        is_open: bool,
    },
    Whole {
        is_answered: bool,
    },
}

impl Sent {
    /// Sends what is new in `parts`; says whether anything was.
    pub(crate) fn catch_up(&mut self, parts: &Value, out: &Writer) -> bool {
        let mut has_news = false;
        let parts = parts.as_array().map(Vec::as_slice).unwrap_or_default();
        let kind = |part: &Value| match part.get("type")?.as_str()? {
            "text" => Some(Kind::Text),
            "reasoning" => Some(Kind::Reasoning),
            _ => None,
        };
        let told = parts
            .iter()
            .filter(|part| kind(part).is_some() || is_answered(part).is_some());
        for (index, part) in told.enumerate() {
            if index >= self.parts.len() {
                self.end(out);
                has_news = true;
                let begun = if let Some(kind) = kind(part) {
                    self.begin(kind, out)
                } else {
                    send_whole(part, false, out);
                    let is_answered = is_answered(part) == Some(true);
                    SentPart::Whole { is_answered }
                };
                self.parts.push(begun);
            }
            has_news |= match self.parts.get_mut(index) {
                Some(sent) => sent.go_on(part, out),
                None => false,
            };
        }
        has_news
    }

    fn begin(&self, kind: Kind, out: &Writer) -> SentPart {
        let is_like =
            |part: &&SentPart| matches!(part, SentPart::Said { kind: k, .. } if *k == kind);
        let id = part_id(kind, self.parts.iter().filter(is_like).count());
        send_start(kind, &id, out);
        SentPart::Said {
            kind,
            id,
            length: 0,
            metadata: None,
            is_open: true,
        }
    }

    /// Ends every part that is open.
    pub(crate) fn end(&mut self, out: &Writer) {
        for part in &mut self.parts {
            if let SentPart::Said {
                kind,
                id,
                metadata,
                is_open,
                ..
            } = part
                && *is_open
            {
                *is_open = false;
                close(*kind, id, metadata.as_ref(), out);
            }
        }
    }
}

impl SentPart {
    /// Sends what the part has more by now; says whether it has.
    fn go_on(&mut self, part: &Value, out: &Writer) -> bool {
        match self {
            Self::Said {
                kind,
                id,
                length,
                metadata,
                ..
            } => {
                *metadata = part.get("providerMetadata").cloned();
                let text = part.get("text").and_then(Value::as_str).unwrap_or_default();
                let delta = text.get(*length..).unwrap_or_default();
                if delta.is_empty() {
                    return false;
                }
                send_delta(*kind, id, delta, out);
                *length = text.len();
                true
            }
            Self::Whole { is_answered: true } => false,
            Self::Whole {
                is_answered: is_sent,
            } => {
                *is_sent = is_answered(part) == Some(true);
                if *is_sent {
                    send_whole(part, true, out);
                }
                *is_sent
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::body::AnswerBody;
    use crate::draft::Draft;
    use crate::parts::tool_call;

    /// A stream, and what a client makes of it.
    fn streamed() -> (Writer, impl FnMut() -> Value) {
        let (out, AnswerBody::Streamed(mut reader)) = AnswerBody::streamed() else {
            panic!("it is streamed")
        };
        let mut parts = vec![json!({"type": "step-start"})];
        let made = move || {
            while let Some(event) = reader.try_recv() {
                let data = event.strip_prefix(b"data: ").unwrap();
                take(serde_json::from_slice(data).unwrap(), &mut parts);
            }
            json!(parts)
        };
        (out, made)
    }

    /// Takes a chunk as the AI SDK does.
    fn take(chunk: Value, parts: &mut Vec<Value>) {
        let key = if chunk["id"].is_null() {
            "toolCallId"
        } else {
            "id"
        };
        let is_meant = |part: &Value| !chunk[key].is_null() && part[key] == chunk[key];
        let known = parts.iter_mut().find(|part| is_meant(part));
        let kind = chunk["type"].as_str().unwrap().to_owned();
        match kind.as_str() {
            "text-start" | "reasoning-start" => {
                let kind = kind.trim_end_matches("-start");
                parts.push(json!({"type": kind, "id": chunk["id"], "text": ""}));
            }
            "text-delta" | "reasoning-delta" => {
                let part = known.unwrap();
                assert!(part["state"].is_null(), "a delta for a part that has ended");
                let text = part["text"].as_str().unwrap().to_owned();
                part["text"] = (text + chunk["delta"].as_str().unwrap()).into();
            }
            "text-end" | "reasoning-end" => {
                let part = known.unwrap();
                part["state"] = "done".into();
                if chunk["providerMetadata"].is_object() {
                    part["providerMetadata"] = chunk["providerMetadata"].clone();
                }
            }
            "tool-input-available" => {
                assert_eq!(known, None, "a call is made once");
                let text = |key: &str| chunk[key].as_str().unwrap();
                let part = tool_call(text("toolCallId"), text("toolName"), &chunk["input"]);
                parts.push(part);
            }
            "tool-output-available" | "tool-output-error" => {
                let (state, key) = match kind.as_str() {
                    "tool-output-error" => ("output-error", "errorText"),
                    _ => ("output-available", "output"),
                };
                let part = known.unwrap();
                assert_eq!(part["state"], "input-available", "an output comes once");
                part["state"] = state.into();
                part[key] = chunk[key].clone();
            }
            _ => parts.push(chunk),
        }
    }

    /// The `n`th thing that a provider does.
    fn go_on(step: u8, n: usize, draft: &mut Draft, out: &Writer) {
        let kind = if step.is_multiple_of(2) {
            Kind::Text
        } else {
            Kind::Reasoning
        };
        match step {
            0 | 1 => draft.push(kind, "open".to_owned(), &format!("ä{n} "), out),
            2 | 3 => draft.start(kind, "open".to_owned(), out),
            4 => draft.end(kind, "open".to_owned(), None, out),
            5 => draft.end(kind, "open".to_owned(), Some(json!({"p": {"n": n}})), out),
            6 => draft.add(
                json!({"type": "file", "mediaType": "image/png", "url": n}),
                out,
            ),
            7 => draft.add(tool_call(&format!("c{n}"), "look", &json!({"n": n})), out),
            8 => draft.answer(&format!("c{}", n / 2), Ok(json!(n)), out),
            _ => draft.answer(&format!("c{}", n / 3), Err("no".to_owned()), out),
        }
    }

    /// As it is stored, with the ids that a client has and a text does not keep.
    fn without_text_ids(parts: &Value) -> Value {
        let mut parts = parts.clone();
        for part in parts.as_array_mut().unwrap() {
            if part["type"] == "text" {
                part.as_object_mut().unwrap().remove("id");
            }
        }
        parts
    }

    proptest! {
        #[test]
        fn whenever_a_follower_looks_it_tells_what_the_writer_tells_and_stores(
            steps in proptest::collection::vec((0_u8..10, any::<bool>()), 0..30),
        ) {
            let (writer, mut written) = streamed();
            let (follower, mut followed) = streamed();
            let (mut draft, mut sent) = (Draft::default(), Sent::default());
            for (n, (step, is_look)) in steps.into_iter().enumerate() {
                go_on(step, n, &mut draft, &writer);
                if is_look {
                    sent.catch_up(&draft.parts(), &follower);
                }
            }
            draft.end_all(&writer);
            sent.catch_up(&draft.parts(), &follower);
            sent.end(&follower);
            prop_assert_eq!(without_text_ids(&written()), draft.parts());
            prop_assert_eq!(without_text_ids(&followed()), draft.parts());
        }
    }
}
