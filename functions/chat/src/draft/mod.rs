//! A reply as it grows: what the client was sent, and the same as the parts that are stored.

mod calls;

use std::collections::HashMap;

use chat_store::is_blank;
use serde_json::{Value, json};

pub(crate) use calls::{OpenCall, Outcome};

use crate::body::Writer;
use crate::parts::{
    Kind, Manner, close, is_step, merge, part_id, provider_metadata, send_delta, send_start,
    send_whole,
};

/// A part, as far as it was said.
#[derive(Debug)]
enum Part {
    /// Grows by deltas.
    Said(Said),
    /// The call of a tool, of whose input a part is known.
    Calling(Calling),
    /// Was there at once: a source, a file, the begin of a step, or the call of a tool, as it is
    /// stored.
    Whole(Value),
}

#[derive(Debug)]
struct Said {
    kind: Kind,
    id: String,
    text: String,
    /// What the provider says of it.
    metadata: Option<Value>,
    is_open: bool,
}

#[derive(Debug)]
struct Calling {
    id: String,
    name: String,
    manner: Manner,
    input: String,
}

/// A page that a reply rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) url: String,
    pub(crate) title: Option<String>,
}

/// The parts so far. Ids are `t0`, `t1`, … and `r0`, `r1`, …, so that whoever reads them from the
/// database numbers them alike.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    parts: Vec<Part>,
    open: HashMap<(Kind, String), usize>,
    /// The calls of the step, by the ids that the provider has for them.
    calls: HashMap<String, usize>,
    bytes: usize,
}

impl Draft {
    /// A stored reply that goes on.
    pub(crate) fn stored(parts: &Value) -> Self {
        let mut draft = Self::default();
        let parts = parts.as_array().map(Vec::as_slice).unwrap_or_default();
        let begun = parts.first().is_some_and(is_step);
        for part in parts.iter().skip(usize::from(begun)) {
            let kind = match part.get("type").and_then(Value::as_str) {
                Some("text") => Kind::Text,
                Some("reasoning") => Kind::Reasoning,
                _ => {
                    draft.bytes += part.to_string().len();
                    draft.parts.push(Part::Whole(part.clone()));
                    continue;
                }
            };
            let text = part.get("text").and_then(Value::as_str).unwrap_or_default();
            draft.bytes += text.len();
            draft.parts.push(Part::Said(Said {
                kind,
                id: draft.next_id(kind),
                text: text.to_owned(),
                metadata: provider_metadata(part).cloned(),
                is_open: false,
            }));
        }
        draft
    }

    /// Bytes of what was said, files and tools included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was answered; reasoning, sources and tools alone are no answer.
    pub(crate) fn is_blank(&self) -> bool {
        let is_answer = |part: &Part| match part {
            Part::Said(said) => said.kind == Kind::Text && !is_blank(&said.text),
            Part::Calling(_) => false,
            Part::Whole(part) => part.get("type").is_some_and(|kind| kind == "file"),
        };
        !self.parts.iter().any(is_answer)
    }

    /// The id of the next part of its kind.
    fn next_id(&self, kind: Kind) -> String {
        let is_like = |part: &&Part| matches!(part, Part::Said(said) if said.kind == kind);
        part_id(kind, self.parts.iter().filter(is_like).count())
    }

    /// Begins a part that the provider calls `name`. The one before ends: of what is said only the
    /// last part ever grows, which is what followers rely on.
    pub(crate) fn start(&mut self, kind: Kind, name: String, out: &Writer) {
        if self.open.contains_key(&(kind, name.clone())) {
            return;
        }
        self.end_all(out);
        let id = self.next_id(kind);
        send_start(kind, &id, out);
        self.open.insert((kind, name), self.parts.len());
        self.parts.push(Part::Said(Said {
            kind,
            id,
            text: String::new(),
            metadata: None,
            is_open: true,
        }));
    }

    /// Adds a part that is there at once.
    pub(crate) fn add(&mut self, part: Value, out: &Writer) {
        self.end_all(out);
        self.bytes += part.to_string().len();
        send_whole(&part, None, out);
        self.parts.push(Part::Whole(part));
    }

    /// Begins another step of the reply.
    pub(crate) fn step(&mut self, out: &Writer) {
        self.end_calls(out);
        self.calls.clear();
        self.add(json!({"type": "step-start"}), out);
    }

    /// The id of the next source.
    pub(crate) fn next_source(&self) -> String {
        let is_source =
            |part: &&Part| matches!(part, Part::Whole(part) if part.get("sourceId").is_some());
        format!("s{}", self.parts.iter().filter(is_source).count())
    }

    /// Adds a page that the reply rests on.
    pub(crate) fn add_source(&mut self, source: &Source, out: &Writer) {
        let id = self.next_source();
        let mut part = json!({"type": "source-url", "sourceId": id, "url": source.url});
        if let Some(title) = &source.title {
            merge(&mut part, &json!({"title": title}));
        }
        self.add(part, out);
    }

    /// Adds a page that a tool's result rests on, once however many results do.
    pub(crate) fn cite(&mut self, source: &Source, out: &Writer) {
        let is_same = |part: &Part| match part {
            Part::Whole(part) => part.get("url").is_some_and(|url| *url == source.url),
            _ => false,
        };
        if !self.parts.iter().any(is_same) {
            self.add_source(source, out);
        }
    }

    /// Adds to a part; one that was never begun begins here, because a delta without a start fails
    /// every client.
    pub(crate) fn push(&mut self, kind: Kind, name: String, delta: &str, out: &Writer) {
        // PostgreSQL's text cannot hold NUL.
        let delta = delta.replace('\0', "");
        let key = (kind, name);
        if !self.open.contains_key(&key) {
            self.start(kind, key.1.clone(), out);
        }
        let index = self.open.get(&key);
        let Some(Part::Said(said)) = index.and_then(|index| self.parts.get_mut(*index)) else {
            return;
        };
        if !delta.is_empty() {
            said.text.push_str(&delta);
            self.bytes += delta.len();
            send_delta(kind, &said.id, &delta, out);
        }
    }

    /// Ends a part, with what the provider says of it.
    pub(crate) fn end(&mut self, kind: Kind, name: String, metadata: Option<Value>, out: &Writer) {
        let index = self.open.remove(&(kind, name));
        if let Some(Part::Said(said)) = index.and_then(|index| self.parts.get_mut(index)) {
            self.bytes += metadata.as_ref().map_or(0, |noted| noted.to_string().len());
            said.metadata = metadata;
            said.close(out);
        }
    }

    /// Ends every part of what is said that is open.
    pub(crate) fn end_all(&mut self, out: &Writer) {
        self.open.clear();
        for part in &mut self.parts {
            if let Part::Said(said) = part
                && said.is_open
            {
                said.close(out);
            }
        }
    }

    /// The parts as they are stored, up to a call whose input is not known yet. Each is `done`:
    /// they are read only once nobody adds to them.
    pub(crate) fn parts(&self) -> Value {
        let parts = self.parts.iter().map_while(|part| match part {
            Part::Whole(part) => Some(part.clone()),
            Part::Said(said) => Some(said.part()),
            Part::Calling(_) => None,
        });
        std::iter::once(json!({"type": "step-start"}))
            .chain(parts)
            .collect()
    }
}

impl Said {
    fn close(&mut self, out: &Writer) {
        self.is_open = false;
        close(self.kind, &self.id, self.metadata.as_ref(), out);
    }

    fn part(&self) -> Value {
        let mut part = match self.kind {
            Kind::Text => json!({"type": "text", "text": self.text, "state": "done"}),
            Kind::Reasoning => {
                json!({"type": "reasoning", "id": self.id, "text": self.text, "state": "done"})
            }
        };
        if let (Some(metadata), Some(fields)) = (&self.metadata, part.as_object_mut()) {
            fields.insert("providerMetadata".to_owned(), metadata.clone());
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::AnswerBody;

    fn sent(work: impl FnOnce(&Writer)) -> String {
        let (out, AnswerBody::Streamed(mut reader)) = AnswerBody::streamed() else {
            panic!("it is streamed")
        };
        work(&out);
        let mut text = String::new();
        while let Some(piece) = reader.try_recv() {
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        text
    }

    #[test]
    fn what_is_sent_and_what_is_stored_agree() {
        let mut draft = Draft::default();
        let text = sent(|out| {
            draft.start(Kind::Reasoning, "x".into(), out);
            draft.push(Kind::Reasoning, "x".into(), "hm", out);
            let signature = json!({"p": {"signature": "s"}});
            draft.end(Kind::Reasoning, "x".into(), Some(signature), out);
            draft.push(Kind::Text, "y".into(), "a\0b", out);
            draft.end_all(out);
        });
        let types: Vec<&str> = text
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: {\"type\":\""))
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(
            types,
            [
                "reasoning-start",
                "reasoning-delta",
                "reasoning-end",
                "text-start",
                "text-delta",
                "text-end"
            ]
        );
        assert_eq!(
            draft.parts(),
            json!([
                {"type": "step-start"},
                {"type": "reasoning", "id": "r0", "text": "hm", "state": "done", "providerMetadata": {"p": {"signature": "s"}}},
                {"type": "text", "text": "ab", "state": "done"},
            ])
        );
    }

    #[test]
    fn a_stored_reply_goes_on_where_it_ended() {
        let stored = json!([
            {"type": "step-start"},
            {"type": "reasoning", "id": "r0", "text": "hm", "state": "done", "providerMetadata": {"p": {"signature": "s"}}},
            {"type": "text", "text": "one", "state": "done"},
            {"type": "tool-x", "toolCallId": "c", "state": "approval-responded", "input": {}, "approval": {"id": "a", "approved": true}},
        ]);
        let mut draft = Draft::stored(&stored);
        assert_eq!(draft.parts(), stored);
        let [call] = &*draft.open_calls() else {
            panic!("one call is open")
        };
        assert_eq!((call.id.as_str(), call.is_approved), ("c", Some(true)));
        let text = sent(|out| {
            draft.answer("c", Outcome::Gave(json!(1)), out);
            draft.step(out);
            draft.push(Kind::Text, "t0".into(), "two", out);
            draft.call("c", "x", &json!({}), Manner::default(), out);
            draft.end_all(out);
        });
        assert!(
            text.contains(r#"{"type":"text-start","id":"t1"}"#),
            "{text}"
        );
        assert!(!text.contains("tool-approval-request"), "{text}");
        let parts = draft.parts();
        assert_eq!(parts[3]["output"], 1);
        assert_eq!(parts[4], json!({"type": "step-start"}));
        assert_eq!(parts[6]["toolCallId"], "c-2", "no two calls have one id");
    }

    #[test]
    fn what_is_cut_off_in_a_call_is_said_to_be() {
        let mut draft = Draft::default();
        sent(|out| {
            draft.begin_call("c", "x", Manner::default(), out);
            draft.call_delta("c", "{\"a\":", out);
            assert_eq!(draft.parts(), json!([{"type": "step-start"}]));
            draft.call("d", "x", &json!({}), Manner::default(), out);
            draft.call("e", "x", &json!({}), Manner::default(), out);
            draft.ask("e", "a", out);
            draft.end_calls(out);
        });
        let parts = draft.parts();
        let states: Vec<_> = (1..4)
            .map(|n| parts[n]["state"].as_str().unwrap())
            .collect();
        assert_eq!(
            states,
            ["output-error", "output-error", "approval-requested"]
        );
        assert_eq!(parts[1]["input"], "{\"a\":", "as far as it was said");
    }
}
