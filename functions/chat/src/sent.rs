//! How much of a stored reply a client has got, when the reply is read again and again while it
//! grows.

use serde_json::Value;

use crate::body::Writer;
use crate::parts::{
    Kind, Stage, close, is_step, part_id, provider_metadata, send_delta, send_start, send_whole,
    stage,
};

/// How much of a stored reply was sent. Parts only grow: of what is said only the last one does,
/// and a tool's call gets its output.
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
        stage: Option<Stage>,
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
        // The first step has begun with the stream.
        let begun = usize::from(parts.first().is_some_and(is_step));
        let told = parts.iter().skip(begun);
        let told = told.filter(|part| kind(part).is_some() || stage(part).is_some());
        for (index, part) in told.enumerate() {
            if index >= self.parts.len() {
                self.end(out);
                has_news = true;
                let begun = if let Some(kind) = kind(part) {
                    self.begin(kind, out)
                } else {
                    send_whole(part, None, out);
                    SentPart::Whole { stage: stage(part) }
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
                *metadata = provider_metadata(part).cloned();
                let text = part.get("text").and_then(Value::as_str).unwrap_or_default();
                let delta = text.get(*length..).unwrap_or_default();
                if delta.is_empty() {
                    return false;
                }
                send_delta(*kind, id, delta, out);
                *length = text.len();
                true
            }
            Self::Whole { stage: sent } => {
                let is_new = *sent < stage(part);
                if is_new {
                    send_whole(part, *sent, out);
                    *sent = stage(part);
                }
                is_new
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
    use crate::draft::{Draft, Outcome};
    use crate::parts::{Manner, called};

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
            "tool-input-start" => {
                assert_eq!(known, None, "a call begins once");
                let (id, name) = (&chunk["toolCallId"], chunk["toolName"].as_str().unwrap());
                let mut part = called(id.as_str().unwrap(), name, &json!(""), manner(&chunk));
                part["state"] = "input-streaming".into();
                parts.push(part);
            }
            "tool-input-delta" => {
                let part = known.unwrap();
                assert_eq!(part["state"], "input-streaming");
            }
            "tool-input-available" => {
                let text = |key: &str| chunk[key].as_str().unwrap();
                let (id, name) = (text("toolCallId"), text("toolName"));
                let part = called(id, name, &chunk["input"], manner(&chunk));
                match known {
                    Some(known) => {
                        assert_eq!(known["state"], "input-streaming", "a call is made once");
                        *known = part;
                    }
                    None => parts.push(part),
                }
            }
            "tool-approval-request" => {
                let part = known.unwrap();
                assert_eq!(part["state"], "input-available", "it is asked once");
                part["state"] = "approval-requested".into();
                part["approval"] = json!({"id": chunk["approvalId"]});
            }
            "tool-output-available" | "tool-output-error" | "tool-output-denied" => {
                let part = known.unwrap();
                if kind != "tool-output-denied" {
                    // Older clients look for the part among those of its type alone.
                    assert_eq!(chunk["dynamic"] == true, part["type"] == "dynamic-tool");
                }
                let state = part["state"].as_str().unwrap();
                let is_open = matches!(state, "input-available" | "approval-requested");
                assert!(is_open, "an output comes once, not after {state}");
                part["state"] = kind.trim_start_matches("tool-").into();
                for key in ["output", "errorText"] {
                    if !chunk[key].is_null() {
                        part[key] = chunk[key].clone();
                    }
                }
            }
            "start-step" => parts.push(json!({"type": "step-start"})),
            "finish-step" => {}
            _ => parts.push(chunk),
        }
    }

    fn manner(chunk: &Value) -> Manner {
        Manner {
            is_dynamic: chunk["dynamic"] == true,
            is_provider_executed: chunk["providerExecuted"] == true,
        }
    }

    /// The `n`th thing that a provider does.
    fn go_on(step: u8, n: usize, draft: &mut Draft, out: &Writer) {
        let kind = if step.is_multiple_of(2) {
            Kind::Text
        } else {
            Kind::Reasoning
        };
        let manner = Manner {
            is_dynamic: n.is_multiple_of(2),
            is_provider_executed: false,
        };
        match step {
            0 | 1 => draft.push(kind, "open".to_owned(), &format!("ä{n} "), out),
            2 | 3 => draft.start(kind, "open".to_owned(), out),
            4 => draft.end(kind, "open".to_owned(), None, out),
            5 => draft.end(kind, "open".to_owned(), Some(json!({"p": {"n": n}})), out),
            6 => draft.add(
                json!({"type": "file", "mediaType": "image/png", "url": n.to_string()}),
                out,
            ),
            7 => draft.call(&format!("c{n}"), "look", &json!({"n": n}), manner, out),
            8 => draft.answer(&format!("c{}", n / 2), Outcome::Gave(json!(n)), out),
            9 => draft.answer(
                &format!("c{}", n / 3),
                Outcome::Failed("no".to_owned()),
                out,
            ),
            10 => draft.begin_call(&format!("c{n}"), "look", manner, out),
            11 => draft.call_delta(&format!("c{}", n / 2), "{", out),
            12 => draft.call(
                &format!("c{}", n / 2),
                "look",
                &json!({"n": n}),
                manner,
                out,
            ),
            13 => draft.ask(&format!("c{}", n / 2), &format!("a{n}"), out),
            14 => draft.answer(&format!("c{}", n / 3), Outcome::Denied, out),
            _ => draft.step(out),
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
            steps in proptest::collection::vec((0_u8..16, any::<bool>()), 0..40),
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
            draft.end_calls(&writer);
            sent.catch_up(&draft.parts(), &follower);
            sent.end(&follower);
            prop_assert_eq!(without_text_ids(&written()), draft.parts());
            prop_assert_eq!(without_text_ids(&followed()), draft.parts());
        }
    }
}
