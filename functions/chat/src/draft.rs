//! A reply as it grows: what the client was sent, and the same as the parts that are stored.

use std::collections::HashMap;

use chat_store::is_blank;
use serde_json::{Value, json};

use crate::body::Writer;
use crate::parts::{Kind, close, part_id, send_delta, send_start, send_whole};

/// A part, as far as it was said.
#[derive(Debug)]
enum Part {
    /// Grows by deltas.
    Said(Said),
    /// Was there at once: a source, a file, or the call of a tool, as it is stored.
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

/// The parts so far. Ids are `t0`, `t1`, … and `r0`, `r1`, …, so that who reads them from the database numbers them alike.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    parts: Vec<Part>,
    open: HashMap<(Kind, String), usize>,
    bytes: usize,
}

impl Draft {
    /// Bytes of what was said, files and tools included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was answered; reasoning, sources and tools alone are no answer.
    pub(crate) fn is_blank(&self) -> bool {
        let is_answer = |part: &Part| match part {
            Part::Said(said) => said.kind == Kind::Text && !is_blank(&said.text),
            Part::Whole(part) => part.get("type").is_some_and(|kind| kind == "file"),
        };
        !self.parts.iter().any(is_answer)
    }

    fn said(&self) -> impl Iterator<Item = &Said> {
        self.parts.iter().filter_map(|part| match part {
            Part::Said(said) => Some(said),
            Part::Whole(_) => None,
        })
    }

    /// Begins a part that the provider calls `name`. The one before ends: of what is said only the last part ever grows, which
    /// is what followers rely on.
    pub(crate) fn start(&mut self, kind: Kind, name: String, out: &Writer) {
        if self.open.contains_key(&(kind, name.clone())) {
            return;
        }
        self.end_all(out);
        let id = part_id(kind, self.said().filter(|said| said.kind == kind).count());
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
        send_whole(&part, false, out);
        self.parts.push(Part::Whole(part));
    }

    /// The id of the next source.
    pub(crate) fn next_source(&self) -> String {
        let is_source =
            |part: &&Part| matches!(part, Part::Whole(part) if part.get("sourceId").is_some());
        format!("s{}", self.parts.iter().filter(is_source).count())
    }

    /// Adds what became of the call of a tool.
    pub(crate) fn answer(&mut self, call: &str, output: Result<Value, String>, out: &Writer) {
        let call = self.parts.iter_mut().find_map(|part| match part {
            Part::Whole(Value::Object(part)) => {
                let is = |key: &str, value: &str| part.get(key).is_some_and(|of| of == value);
                (is("toolCallId", call) && is("state", "input-available")).then_some(part)
            }
            _ => None,
        });
        let Some(call) = call else { return };
        let (state, key, value) = match output {
            Ok(output) => ("output-available", "output", output),
            Err(reason) => ("output-error", "errorText", reason.into()),
        };
        self.bytes += value.to_string().len();
        call.insert("state".to_owned(), state.into());
        call.insert(key.to_owned(), value);
        send_whole(&Value::Object(call.clone()), true, out);
    }

    /// Adds to a part; one that was never begun begins here, because a delta without a start fails every client.
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

    /// Ends every part that is open.
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

    /// The parts as they are stored. Each is `done`: they are read only once nobody adds to them.
    pub(crate) fn parts(&self) -> Value {
        let parts = self.parts.iter().map(|part| match part {
            Part::Whole(part) => part.clone(),
            Part::Said(said) => said.part(),
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
}
