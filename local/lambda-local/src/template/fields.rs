//! Owns typed reading of resolved values. A map is read key by key; what nobody took in the end is
//! a fault that names its line.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::error::{Fault, Problem};
use super::node::{Entry, Kind, Node};
use super::scope::Scope;

/// A value that is no intrinsic function, and its place.
#[derive(Debug)]
pub(super) struct Item<'s> {
    scope: &'s Scope<'s>,
    path: String,
    node: Node,
}

impl<'s> Item<'s> {
    pub(super) fn new(scope: &'s Scope<'s>, path: String, node: Node) -> Self {
        Self { scope, path, node }
    }

    pub(super) fn into_node(self) -> Node {
        self.node
    }

    pub(super) fn fault(&self, problem: Problem) -> Fault {
        self.scope.fault(self.node.line, &self.path, problem)
    }

    pub(super) fn invalid(&self, text: impl Into<String>) -> Fault {
        self.fault(Problem::Invalid(text.into()))
    }

    fn expected(&self, what: &str) -> Fault {
        self.invalid(format!(
            "{what} is needed here, not {}",
            self.node.kind_name()
        ))
    }

    pub(super) fn text(&self) -> Result<String, Fault> {
        let text = self.node.as_text();
        text.map(str::to_owned).ok_or_else(|| self.expected("text"))
    }

    /// Text that is one of a few words.
    pub(super) fn word(&self, words: &[&'static str]) -> Result<&'static str, Fault> {
        let text = self.text()?;
        let word = words.iter().copied().find(|word| *word == text);
        word.ok_or_else(|| self.invalid(format!("{text} is not one of {}", words.join(", "))))
    }

    pub(super) fn boolean(&self) -> Result<bool, Fault> {
        match self.text()?.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            text => Err(self.invalid(format!("{text} is neither true nor false"))),
        }
    }

    pub(super) fn number<T: FromStr>(&self) -> Result<T, Fault> {
        let text = self.text()?;
        text.trim()
            .parse()
            .map_err(|_| self.invalid(format!("{text} is not a number that can stand here")))
    }

    pub(super) fn number_within<T>(&self, range: RangeInclusive<T>) -> Result<T, Fault>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        let number: T = self.number()?;
        if !range.contains(&number) {
            let (low, high) = range.into_inner();
            return Err(self.invalid(format!("{number} is not within {low} to {high}")));
        }
        Ok(number)
    }

    pub(super) fn seconds(&self, range: RangeInclusive<u64>) -> Result<Duration, Fault> {
        self.number_within(range).map(Duration::from_secs)
    }

    /// The values of a list, reduced, without `AWS::NoValue`.
    pub(super) fn list(&self) -> Result<Vec<Item<'s>>, Fault> {
        let Kind::List(nodes) = &self.node.kind else {
            return Err(self.expected("a list"));
        };
        let mut items = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let path = format!("{}[{index}]", self.path);
            if let Some(reduced) = self.scope.reduce(node, &path)? {
                items.push(Item::new(self.scope, path, reduced));
            }
        }
        Ok(items)
    }

    /// The texts of a list.
    pub(super) fn texts(&self) -> Result<Vec<String>, Fault> {
        self.list()?.iter().map(Item::text).collect()
    }

    /// A list, or the one value that stands for it.
    pub(super) fn one_or_many(self) -> Result<Vec<Item<'s>>, Fault> {
        match self.node.kind {
            Kind::List(_) => self.list(),
            _ => Ok(vec![self]),
        }
    }

    pub(super) fn is_text(&self) -> bool {
        self.node.as_text().is_some()
    }

    pub(super) fn line(&self) -> usize {
        self.node.line
    }

    /// The keys of a map, as they are written.
    pub(super) fn keys(&self) -> Vec<&str> {
        let entries = self.node.entries();
        entries.iter().map(|entry| entry.key.as_str()).collect()
    }

    pub(super) fn fields(self) -> Result<Fields<'s>, Fault> {
        match self.node.kind {
            Kind::Map(entries) => Ok(Fields {
                scope: self.scope,
                path: self.path,
                line: self.node.line,
                entries,
            }),
            _ => Err(self.expected("a map")),
        }
    }

    /// Every value below it, each scalar as text: what CloudFormation sends to a custom resource.
    pub(super) fn to_json(&self) -> Result<Value, Fault> {
        match &self.node.kind {
            Kind::List(_) => {
                let items = self.list()?;
                items.iter().map(Item::to_json).collect()
            }
            Kind::Map(entries) => {
                let mut map = Map::new();
                for entry in entries {
                    let path = format!("{}.{}", self.path, entry.key);
                    if let Some(reduced) = self.scope.reduce(&entry.value, &path)? {
                        let item = Item::new(self.scope, path, reduced);
                        map.insert(entry.key.clone(), item.to_json()?);
                    }
                }
                Ok(Value::Object(map))
            }
            _ => self.text().map(Value::String),
        }
    }
}

/// A map that is read key by key.
#[derive(Debug)]
pub(super) struct Fields<'s> {
    scope: &'s Scope<'s>,
    path: String,
    line: usize,
    entries: Vec<Entry>,
}

impl<'s> Fields<'s> {
    pub(super) fn fault(&self, problem: Problem) -> Fault {
        self.scope.fault(self.line, &self.path, problem)
    }

    /// The value of a key as it is written, intrinsic functions and all.
    pub(super) fn take_unreduced(&mut self, key: &str) -> Option<Node> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index).value)
    }

    /// The value of a key; `None` where it is absent or `AWS::NoValue`.
    pub(super) fn take(&mut self, key: &str) -> Result<Option<Item<'s>>, Fault> {
        let Some(node) = self.take_unreduced(key) else {
            return Ok(None);
        };
        let path = self.path_of(key);
        let reduced = self.scope.reduce(&node, &path)?;
        Ok(reduced.map(|node| Item::new(self.scope, path, node)))
    }

    pub(super) fn require(&mut self, key: &str) -> Result<Item<'s>, Fault> {
        let missing = self.fault(Problem::Missing(key.to_owned()));
        self.take(key)?.ok_or(missing)
    }

    /// The text of a key, where it is there.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Fault> {
        self.take(key)?.map(|item| item.text()).transpose()
    }

    /// The truth of a key, or what holds where it is absent.
    pub(super) fn boolean(&mut self, key: &str, otherwise: bool) -> Result<bool, Fault> {
        let item = self.take(key)?;
        item.map_or(Ok(otherwise), |item| item.boolean())
    }

    /// Accepts keys that have no effect here.
    pub(super) fn ignore(&mut self, keys: &[&str]) {
        self.entries
            .retain(|entry| !keys.contains(&entry.key.as_str()));
    }

    /// Every key that is left, with its value.
    pub(super) fn drain(&mut self) -> Result<Vec<(String, Item<'s>)>, Fault> {
        let mut items = Vec::with_capacity(self.entries.len());
        for entry in std::mem::take(&mut self.entries) {
            let path = self.path_of(&entry.key);
            if let Some(node) = self.scope.reduce(&entry.value, &path)? {
                items.push((entry.key, Item::new(self.scope, path, node)));
            }
        }
        Ok(items)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// A key that nobody took.
    pub(super) fn finish(self) -> Result<(), Fault> {
        match self.entries.first() {
            None => Ok(()),
            Some(entry) => {
                let path = self.path_of(&entry.key);
                let problem = Problem::Unsupported(entry.key.clone());
                Err(self.scope.fault(entry.line, &path, problem))
            }
        }
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}
