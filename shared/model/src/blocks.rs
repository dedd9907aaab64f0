//! Blocks: turns a provider's deltas into events, so that a block starts once, ends once, and ends
//! before the reply does, whatever order a provider sends things in.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value, json};

use crate::event::{Event, FinishReason, Usage};
#[cfg(any(feature = "http", feature = "echo"))]
use crate::turn::plain_name;

/// Most sources of a reply.
#[cfg(any(feature = "http", feature = "echo"))]
const MAX_SOURCES: usize = 50;
#[cfg(any(feature = "http", feature = "echo"))]
const MAX_URL_BYTES: usize = 2_048;
#[cfg(any(feature = "http", feature = "echo"))]
const MAX_TITLE_CHARS: usize = 300;
/// Most calls of tools in a reply.
#[cfg(any(feature = "http", feature = "echo"))]
const MAX_CALLS: usize = 50;
/// What files a model makes are passed on: those that a page can show and that carry no script.
#[cfg(any(feature = "http", feature = "echo"))]
const FILE_TYPES: [&str; 5] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "application/pdf",
];

const NO_TOOL: &str = "no tool of this name is configured";

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Reasoning,
}

/// The blocks of one reply: which one is open, and the events not yet handed out.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    open: Option<(Kind, String)>,
    /// What the provider says of the open block.
    metadata: Map<String, Value>,
    texts: u32,
    reasonings: u32,
    ready: VecDeque<Event>,
    /// Sources that wait for the end of the open block.
    cited: Vec<Event>,
    /// Every address and document that was cited.
    urls: HashSet<String>,
    /// Calls of tools, and whether each is whole.
    #[cfg(any(feature = "http", feature = "echo"))]
    calls: HashMap<String, bool>,
    /// Those without a result, in their order.
    unanswered: Vec<String>,
    /// Whether calls are the caller's to execute.
    has_tools: bool,
}

impl Blocks {
    /// Those of a turn with tools, or without.
    pub(crate) fn new(has_tools: bool) -> Self {
        Self {
            has_tools,
            ..Self::default()
        }
    }

    /// Adds to the open block if it is of this kind; otherwise ends that one and begins another.
    pub(crate) fn push(&mut self, kind: Kind, delta: impl Into<String>) {
        let delta = delta.into();
        if delta.is_empty() {
            return;
        }
        let id = match &self.open {
            Some((open, id)) if *open == kind => id.clone(),
            _ => self.begin(kind),
        };
        self.ready.push_back(match kind {
            Kind::Text => Event::TextDelta { id, delta },
            Kind::Reasoning => Event::ReasoningDelta { id, delta },
        });
    }

    fn begin(&mut self, kind: Kind) -> String {
        self.end();
        let (letter, count) = match kind {
            Kind::Text => ('t', &mut self.texts),
            Kind::Reasoning => ('r', &mut self.reasonings),
        };
        let id = format!("{letter}{count}");
        *count += 1;
        self.open = Some((kind, id.clone()));
        self.ready.push_back(match kind {
            Kind::Text => Event::TextStart { id: id.clone() },
            Kind::Reasoning => Event::ReasoningStart { id: id.clone() },
        });
        id
    }

    /// Adds what the provider says of the open block of reasoning; without one it is a block of its
    /// own, of which nobody but the provider can read the text.
    #[cfg(any(feature = "http", feature = "echo"))]
    pub(crate) fn sign(&mut self, provider: &str, name: &str, value: &str) {
        if !matches!(self.open, Some((Kind::Reasoning, _))) {
            self.begin(Kind::Reasoning);
        }
        let said = self.metadata.entry(provider).or_insert_with(|| json!({}));
        if let Some(said) = said.as_object_mut() {
            said.insert(name.to_owned(), value.into());
        }
    }

    /// Names a source, once; it is told when the open block ends. Addresses that are no web pages
    /// are left out.
    #[cfg(any(feature = "http", feature = "echo"))]
    pub(crate) fn cite(&mut self, url: &str, title: Option<&str>) {
        let is_page = url.starts_with("https://") || url.starts_with("http://");
        if !is_page || url.len() > MAX_URL_BYTES || self.urls.len() >= MAX_SOURCES {
            return;
        }
        if self.urls.insert(url.to_owned()) {
            self.cited.push(Event::Source {
                url: url.to_owned(),
                title: title.map(|title| title.chars().take(MAX_TITLE_CHARS).collect()),
            });
        }
    }

    /// Names a document as a source, once, as [`cite`](Self::cite) does a page.
    #[cfg(any(feature = "http", feature = "echo"))]
    pub(crate) fn cite_document(&mut self, title: &str, media_type: &str) {
        let title: String = title.chars().take(MAX_TITLE_CHARS).collect();
        if title.is_empty() || self.urls.len() >= MAX_SOURCES {
            return;
        }
        if self.urls.insert(format!("{media_type} {title}")) {
            self.cited.push(Event::Document {
                title,
                media_type: media_type.to_owned(),
            });
        }
    }

    /// Takes a file that the model made, in base64; ends the open block. What a page cannot show is
    /// left out.
    #[cfg(any(feature = "http", feature = "echo"))]
    pub(crate) fn file(&mut self, media_type: &str, data: &str) {
        let is_base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
        if FILE_TYPES.contains(&media_type) && !data.is_empty() && data.bytes().all(is_base64) {
            self.end();
            self.ready.push_back(Event::File {
                media_type: media_type.to_owned(),
                data: data.to_owned(),
            });
        }
    }

    /// Begins to call a tool, once for each id; ends the open block.
    #[cfg(any(feature = "http", feature = "echo"))]
    pub(crate) fn begin_call(&mut self, id: &str, name: &str) {
        if let Some(name) = self.admit(id, name) {
            let id = id.to_owned();
            self.ready.push_back(Event::ToolInputStart { id, name });
        }
    }

    /// Adds to the input of a call that has begun.
    #[cfg(any(feature = "http", feature = "echo"))]
    pub(crate) fn call_delta(&mut self, id: &str, delta: &str) {
        if self.calls.get(id) == Some(&false) && !delta.is_empty() {
            self.ready.push_back(Event::ToolInputDelta {
                id: id.to_owned(),
                delta: delta.to_owned(),
            });
        }
    }

    /// Calls a tool, once for each id; ends the open block.
    #[cfg(any(feature = "http", feature = "echo"))]
    pub(crate) fn call(&mut self, id: &str, name: &str, input: Value) {
        let name = match self.calls.get(id) {
            None => self.admit(id, name),
            Some(is_whole) => (!is_whole).then(|| plain_name(name)),
        };
        if let Some(name) = name {
            self.end();
            self.calls.insert(id.to_owned(), true);
            self.unanswered.push(id.to_owned());
            let id = id.to_owned();
            self.ready.push_back(Event::ToolCall { id, name, input });
        }
    }

    /// The name of the tool that a new call is for, if it may be told.
    #[cfg(any(feature = "http", feature = "echo"))]
    fn admit(&mut self, id: &str, name: &str) -> Option<String> {
        let is_told = id.is_empty() || name.is_empty() || self.calls.len() >= MAX_CALLS;
        if is_told || self.calls.contains_key(id) {
            return None;
        }
        self.calls.insert(id.to_owned(), false);
        self.end();
        Some(plain_name(name))
    }

    /// Answers a call that has no answer yet.
    #[cfg(feature = "echo")]
    pub(crate) fn answer(&mut self, id: &str, output: Result<Value, String>) {
        if let Some(at) = self.unanswered.iter().position(|call| call == id) {
            let id = self.unanswered.remove(at);
            self.ready.push_back(Event::ToolResult { id, output });
        }
    }

    /// Ends the open block, if there is one, and tells what was cited in it.
    pub(crate) fn end(&mut self) {
        if let Some((kind, id)) = self.open.take() {
            let metadata = std::mem::take(&mut self.metadata);
            let metadata = (!metadata.is_empty()).then_some(Value::Object(metadata));
            self.ready.push_back(match kind {
                Kind::Text => Event::TextEnd { id },
                Kind::Reasoning => Event::ReasoningEnd { id, metadata },
            });
        }
        self.ready.extend(self.cited.drain(..));
    }

    /// Ends the reply. Without tools a call that has no result will get none.
    pub(crate) fn finish(&mut self, reason: FinishReason, usage: Usage) {
        self.end();
        let unanswered = std::mem::take(&mut self.unanswered);
        for id in unanswered.into_iter().filter(|_| !self.has_tools) {
            let output = Err(NO_TOOL.to_owned());
            self.ready.push_back(Event::ToolResult { id, output });
        }
        self.ready.push_back(Event::Finish { reason, usage });
    }

    /// The next event to hand out.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }
}

/// What a tool is given, from its text. What is not JSON is passed on as the text it is; nothing is
/// an empty input.
#[cfg(feature = "http")]
pub(crate) fn input(text: &str) -> Value {
    match text.trim() {
        "" => json!({}),
        json => serde_json::from_str(json).unwrap_or_else(|_| text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(blocks: &mut Blocks) -> Vec<Event> {
        std::iter::from_fn(|| blocks.pop()).collect()
    }

    #[test]
    fn a_block_of_the_other_kind_ends_the_open_one() {
        let mut blocks = Blocks::default();
        blocks.push(Kind::Reasoning, "hm");
        blocks.push(Kind::Text, "a");
        blocks.push(Kind::Text, "b");
        blocks.finish(FinishReason::Stop, Usage::default());
        let id = |name: &str| name.to_owned();
        assert_eq!(
            drain(&mut blocks),
            [
                Event::ReasoningStart { id: id("r0") },
                Event::ReasoningDelta {
                    id: id("r0"),
                    delta: id("hm")
                },
                Event::ReasoningEnd {
                    id: id("r0"),
                    metadata: None
                },
                Event::TextStart { id: id("t0") },
                Event::TextDelta {
                    id: id("t0"),
                    delta: id("a")
                },
                Event::TextDelta {
                    id: id("t0"),
                    delta: id("b")
                },
                Event::TextEnd { id: id("t0") },
                Event::Finish {
                    reason: FinishReason::Stop,
                    usage: Usage::default()
                },
            ]
        );
    }

    #[cfg(any(feature = "http", feature = "echo"))]
    #[test]
    fn a_page_is_cited_once_after_the_block_that_cites_it() {
        let mut blocks = Blocks::default();
        blocks.push(Kind::Text, "a");
        blocks.cite("https://a.example/", Some("A"));
        blocks.cite("https://a.example/", Some("A again"));
        blocks.cite("javascript:alert(1)", None);
        blocks.push(Kind::Text, "b");
        blocks.finish(FinishReason::Stop, Usage::default());
        let told = drain(&mut blocks);
        let sources: Vec<_> = told
            .iter()
            .filter(|event| matches!(event, Event::Source { .. }))
            .collect();
        let (url, title) = ("https://a.example/".to_owned(), Some("A".to_owned()));
        assert_eq!(sources, [&Event::Source { url, title }]);
        assert!(matches!(told.get(3), Some(Event::TextEnd { .. })));
    }

    #[test]
    fn an_empty_delta_starts_nothing_and_an_id_is_used_once() {
        let mut blocks = Blocks::default();
        blocks.push(Kind::Text, "");
        assert_eq!(drain(&mut blocks), []);
        blocks.push(Kind::Text, "a");
        blocks.end();
        blocks.push(Kind::Text, "b");
        let starts: Vec<_> = drain(&mut blocks)
            .into_iter()
            .filter(|event| matches!(event, Event::TextStart { .. }))
            .collect();
        assert_eq!(
            starts,
            ["t0", "t1"].map(|id| Event::TextStart { id: id.to_owned() })
        );
    }
}
