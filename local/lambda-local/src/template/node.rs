//! Owns the template as a tree whose every node keeps its line: YAML (and so JSON) with the short
//! forms of intrinsic functions, anchors, aliases and merge keys. Text stays text: CloudFormation
//! hands on numbers and booleans as text.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::error::Problem;

/// Nodes of a template once its aliases are followed. The largest template, 1 MB, has fewer.
const MAX_NODES: usize = 500_000;
/// Levels of a template.
const MAX_DEPTH: usize = 100;

/// One value of the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// An intrinsic function, without `Fn::`, and what it is given.
    Call(String, Box<Node>),
}

/// A key of a map and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn text(line: usize, text: impl Into<String>) -> Self {
        let kind = Kind::Text(text.into());
        Self { line, kind }
    }

    pub(super) fn list(line: usize, items: Vec<Self>) -> Self {
        let kind = Kind::List(items);
        Self { line, kind }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let entry = self.entries().iter().find(|entry| entry.key == key)?;
        Some(&entry.value)
    }

    /// What messages call it.
    pub(super) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "an empty value",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
            Kind::Call(..) => "an intrinsic function",
        }
    }

    fn count(&self) -> usize {
        let inner: usize = match &self.kind {
            Kind::Null | Kind::Text(_) => 0,
            Kind::List(items) => items.iter().map(Self::count).sum(),
            Kind::Map(entries) => entries.iter().map(|entry| entry.value.count()).sum(),
            Kind::Call(_, given) => given.count(),
        };
        inner.saturating_add(1)
    }

    fn depth(&self) -> usize {
        let inner = match &self.kind {
            Kind::Null | Kind::Text(_) => 0,
            Kind::List(items) => items.iter().map(Self::depth).max().unwrap_or(0),
            Kind::Map(entries) => {
                let depths = entries.iter().map(|entry| entry.value.depth());
                depths.max().unwrap_or(0)
            }
            Kind::Call(_, given) => given.depth(),
        };
        inner + 1
    }
}

/// Reads one YAML document.
pub(super) fn read(text: &str) -> Result<Node, (usize, Problem)> {
    let mut tree = Tree::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| scan_problem(&error))?;
        tree.add(event, span)
            .map_err(|problem| (span.start.line(), problem))?;
    }
    tree.root
        .ok_or_else(|| (1, Problem::Syntax("the template is empty".to_owned())))
}

fn scan_problem(error: &ScanError) -> (usize, Problem) {
    let problem = Problem::Syntax(format!("not YAML: {}", error.info()));
    (error.marker().line(), problem)
}

/// A list or map whose end has not been read.
struct Open {
    line: usize,
    anchor: usize,
    function: Option<String>,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Maps of merge keys, in the order in which they yield to each other.
        merged: Vec<Node>,
        key: Option<(String, usize)>,
    },
}

/// The measured copy that aliases get.
struct Anchored {
    node: Node,
    count: usize,
    depth: usize,
}

#[derive(Default)]
struct Tree {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Anchored>,
    nodes: usize,
}

impl Tree {
    fn add(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar(line, &text, style, tag.as_deref())?;
                self.close(anchor, node)
            }
            Event::SequenceStart(anchor, tag) => {
                let kind = OpenKind::List(Vec::new());
                self.open(line, anchor, tag.as_deref(), kind)
            }
            Event::MappingStart(anchor, tag) => {
                let kind = OpenKind::Map {
                    entries: Vec::new(),
                    merged: Vec::new(),
                    key: None,
                };
                self.open(line, anchor, tag.as_deref(), kind)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Ok(());
                };
                let anchor = open.anchor;
                let node = open.into_node()?;
                self.close(anchor, node)
            }
            Event::Alias(anchor) => {
                let anchored = self.anchors.get(&anchor);
                let anchored = anchored.ok_or_else(|| {
                    Problem::Syntax("an alias stands inside the value that it names".to_owned())
                })?;
                if self.open.len() + anchored.depth > MAX_DEPTH {
                    return Err(too_deep());
                }
                let node = anchored.node.clone();
                let count = anchored.count;
                self.count(count)?;
                self.place(node)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Problem::Syntax("a second YAML document".to_owned()))
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(
        &mut self,
        line: usize,
        anchor: usize,
        tag: Option<&Tag>,
        kind: OpenKind,
    ) -> Result<(), Problem> {
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep());
        }
        self.open.push(Open {
            line,
            anchor,
            function: function_of(tag)?,
            kind,
        });
        Ok(())
    }

    /// Takes a whole node: keeps it for aliases where it has an anchor, and puts it in its place.
    fn close(&mut self, anchor: usize, node: Node) -> Result<(), Problem> {
        self.count(1)?;
        if anchor != 0 {
            let anchored = Anchored {
                count: node.count(),
                depth: node.depth(),
                node: node.clone(),
            };
            self.anchors.insert(anchor, anchored);
        }
        self.place(node)
    }

    fn count(&mut self, nodes: usize) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            let text = "the template is too large once its aliases are followed";
            return Err(Problem::Syntax(text.to_owned()));
        }
        Ok(())
    }

    fn place(&mut self, node: Node) -> Result<(), Problem> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Map {
                entries,
                merged,
                key,
            } => match key.take() {
                None => match node.kind {
                    Kind::Text(text) => *key = Some((text, node.line)),
                    _ => return Err(Problem::Syntax("a key that is not text".to_owned())),
                },
                Some((name, _)) if name == "<<" => merge(merged, node)?,
                Some((name, line)) => {
                    if entries.iter().any(|entry| entry.key == name) {
                        return Err(Problem::Syntax(format!("the key {name} stands twice")));
                    }
                    entries.push(Entry {
                        key: name,
                        line,
                        value: node,
                    });
                }
            },
        }
        Ok(())
    }
}

impl Open {
    fn into_node(self) -> Result<Node, Problem> {
        let line = self.line;
        let kind = match self.kind {
            OpenKind::List(items) => Kind::List(items),
            OpenKind::Map {
                mut entries,
                merged,
                ..
            } => {
                for map in merged {
                    let Kind::Map(inherited) = map.kind else {
                        continue;
                    };
                    for entry in inherited {
                        if !entries.iter().any(|own| own.key == entry.key) {
                            entries.push(entry);
                        }
                    }
                }
                long_form(entries)?
            }
        };
        let node = Node { line, kind };
        Ok(match self.function {
            Some(function) => call(line, function, node),
            None => node,
        })
    }
}

fn too_deep() -> Problem {
    Problem::Syntax(format!("more than {MAX_DEPTH} levels"))
}

fn call(line: usize, function: String, given: Node) -> Node {
    let kind = Kind::Call(function, Box::new(given));
    Node { line, kind }
}

fn merge(merged: &mut Vec<Node>, node: Node) -> Result<(), Problem> {
    match node.kind {
        Kind::Map(_) => merged.push(node),
        Kind::List(items) if items.iter().all(|item| matches!(item.kind, Kind::Map(_))) => {
            merged.extend(items);
        }
        _ => {
            let text = "a merge key takes a map, or a list of maps";
            return Err(Problem::Syntax(text.to_owned()));
        }
    }
    Ok(())
}

/// A map whose only key is an intrinsic function's is a call of it.
fn long_form(mut entries: Vec<Entry>) -> Result<Kind, Problem> {
    let is_function = |entry: &Entry| entry.key == "Ref" || entry.key.starts_with("Fn::");
    let Some(function) = entries.iter().find(|entry| is_function(entry)) else {
        return Ok(Kind::Map(entries));
    };
    if entries.len() > 1 {
        let text = format!("{} has to be the only key of its map", function.key);
        return Err(Problem::Syntax(text));
    }
    Ok(match entries.pop() {
        Some(entry) => {
            let name = entry.key.strip_prefix("Fn::").unwrap_or(&entry.key);
            Kind::Call(name.to_owned(), Box::new(entry.value))
        }
        None => Kind::Map(entries),
    })
}

fn scalar(line: usize, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Node, Problem> {
    let function = function_of(tag)?;
    let is_plain = matches!(style, ScalarStyle::Plain) && tag.is_none_or(|_| function.is_some());
    let kind = match text {
        "" | "~" | "null" | "Null" | "NULL" if is_plain && function.is_none() => Kind::Null,
        // YAML 1.1, which SAM reads, has more words for these two.
        "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" if is_plain => {
            Kind::Text("true".to_owned())
        }
        "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" if is_plain => {
            Kind::Text("false".to_owned())
        }
        _ => Kind::Text(text.to_owned()),
    };
    let node = Node { line, kind };
    Ok(match function {
        Some(function) => call(line, function, node),
        None => node,
    })
}

/// The intrinsic function of a short form. YAML's own tags name none.
fn function_of(tag: Option<&Tag>) -> Result<Option<String>, Problem> {
    match tag {
        None => Ok(None),
        Some(tag) if tag.is_yaml_core_schema() => Ok(None),
        Some(tag) if tag.handle == "!" && !tag.suffix.is_empty() => Ok(Some(tag.suffix.clone())),
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(None),
        Some(tag) => Err(Problem::Unsupported(format!("the tag {tag}"))),
    }
}
