//! A reply as it grows: what the client was sent, and the same as the parts that are stored.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::body::Writer;
use crate::chunk::Chunk;

/// What a part says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Text,
    Reasoning,
    /// A page that the reply rests on; `text` is its address.
    Source,
}

#[derive(Debug)]
struct Part {
    kind: Kind,
    id: String,
    text: String,
    /// Of a source.
    title: Option<String>,
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
    /// Bytes of text and reasoning.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was said; reasoning alone is no answer.
    pub(crate) fn is_blank(&self) -> bool {
        let is_said = |part: &Part| part.kind == Kind::Text && !part.text.trim().is_empty();
        !self.parts.iter().any(is_said)
    }

    /// Begins a part that the provider calls `name`. The one before ends: only the last part ever grows, which is what
    /// followers rely on.
    pub(crate) fn start(&mut self, kind: Kind, name: String, out: &Writer) {
        if self.open.contains_key(&(kind, name.clone())) {
            return;
        }
        self.end_all(out);
        let id = self.next_id(kind);
        send_start(kind, &id, out);
        self.open.insert((kind, name), self.parts.len());
        self.parts.push(Part {
            kind,
            id,
            text: String::new(),
            title: None,
            is_open: true,
        });
    }

    fn next_id(&self, kind: Kind) -> String {
        part_id(
            kind,
            self.parts.iter().filter(|part| part.kind == kind).count(),
        )
    }

    /// Adds a page that the reply rests on.
    pub(crate) fn cite(&mut self, url: String, title: Option<String>, out: &Writer) {
        self.end_all(out);
        let id = self.next_id(Kind::Source);
        send_source(&id, &url, title.as_deref(), out);
        self.bytes += url.len() + title.as_deref().map_or(0, str::len);
        self.parts.push(Part {
            kind: Kind::Source,
            id,
            text: url,
            title,
            is_open: false,
        });
    }

    /// Adds to a part; one that was never begun begins here, because a delta without a start fails every client.
    pub(crate) fn push(&mut self, kind: Kind, name: String, delta: &str, out: &Writer) {
        // PostgreSQL's text cannot hold NUL.
        let delta = delta.replace('\0', "");
        let key = (kind, name);
        if !self.open.contains_key(&key) {
            self.start(kind, key.1.clone(), out);
        }
        let part = self
            .open
            .get(&key)
            .and_then(|index| self.parts.get_mut(*index));
        let Some(part) = part.filter(|_| !delta.is_empty()) else {
            return;
        };
        part.text.push_str(&delta);
        self.bytes += delta.len();
        send_delta(kind, &part.id, &delta, out);
    }

    /// Ends a part.
    pub(crate) fn end(&mut self, kind: Kind, name: String, out: &Writer) {
        let index = self.open.remove(&(kind, name));
        if let Some(part) = index.and_then(|index| self.parts.get_mut(index)) {
            close(part, out);
        }
    }

    /// Ends every part that is open.
    pub(crate) fn end_all(&mut self, out: &Writer) {
        self.open.clear();
        for part in self.parts.iter_mut().filter(|part| part.is_open) {
            close(part, out);
        }
    }

    /// The parts as they are stored. Each is `done`: they are read only once nobody adds to them.
    pub(crate) fn parts(&self) -> Value {
        let parts = self.parts.iter().map(|part| match part.kind {
            Kind::Text => json!({"type": "text", "text": part.text, "state": "done"}),
            Kind::Reasoning => {
                json!({"type": "reasoning", "id": part.id, "text": part.text, "state": "done"})
            }
            Kind::Source => match &part.title {
                Some(title) => {
                    json!({"type": "source-url", "sourceId": part.id, "url": part.text, "title": title})
                }
                None => json!({"type": "source-url", "sourceId": part.id, "url": part.text}),
            },
        });
        std::iter::once(json!({"type": "step-start"}))
            .chain(parts)
            .collect()
    }
}

fn close(part: &mut Part, out: &Writer) {
    part.is_open = false;
    send_end(part.kind, &part.id, out);
}

/// A source is sent whole, by [`send_source`]: it has no start, deltas and end.
pub(crate) fn send_start(kind: Kind, id: &str, out: &Writer) {
    match kind {
        Kind::Text => send(out, &Chunk::TextStart { id }),
        Kind::Reasoning => send(out, &Chunk::ReasoningStart { id }),
        Kind::Source => {}
    }
}

pub(crate) fn send_delta(kind: Kind, id: &str, delta: &str, out: &Writer) {
    match kind {
        Kind::Text => send(out, &Chunk::TextDelta { id, delta }),
        Kind::Reasoning => send(out, &Chunk::ReasoningDelta { id, delta }),
        Kind::Source => {}
    }
}

pub(crate) fn send_end(kind: Kind, id: &str, out: &Writer) {
    match kind {
        Kind::Text => send(out, &Chunk::TextEnd { id }),
        Kind::Reasoning => send(out, &Chunk::ReasoningEnd { id }),
        Kind::Source => {}
    }
}

pub(crate) fn send_source(source_id: &str, url: &str, title: Option<&str>, out: &Writer) {
    send(
        out,
        &Chunk::SourceUrl {
            source_id,
            url,
            title,
        },
    );
}

/// The id of the `n`th part of its kind.
pub(crate) fn part_id(kind: Kind, n: usize) -> String {
    match kind {
        Kind::Text => format!("t{n}"),
        Kind::Reasoning => format!("r{n}"),
        Kind::Source => format!("s{n}"),
    }
}

/// Sends a chunk. A client that left is none of the writer's business: the reply is stored all the same.
pub(crate) fn send(out: &Writer, chunk: &Chunk<'_>) {
    let _ = out.send(chunk.encode());
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
            draft.end(Kind::Reasoning, "x".into(), out);
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
                {"type": "reasoning", "id": "r0", "text": "hm", "state": "done"},
                {"type": "text", "text": "ab", "state": "done"},
            ])
        );
    }
}
