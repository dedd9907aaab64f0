//! Owns the values of parameters: defaults, what was given, and the bounds that the template sets.
//! No message holds a value, because it may be a secret.

use std::collections::BTreeMap;

use regex::Regex;

use super::Inputs;
use super::error::{Fault, Problem};
use super::node::{Entry, Kind, Node};

const KNOWN_KEYS: [&str; 11] = [
    "Type",
    "Default",
    "AllowedValues",
    "AllowedPattern",
    "ConstraintDescription",
    "Description",
    "MaxLength",
    "MinLength",
    "MaxValue",
    "MinValue",
    "NoEcho",
];

/// The value of every parameter, and everything that is wrong with any of them.
pub(super) fn values(
    file: &str,
    section: Option<&Node>,
    inputs: &Inputs,
) -> (BTreeMap<String, Kind>, Vec<Fault>) {
    let entries = section.map_or(&[][..], Node::entries);
    let mut values = BTreeMap::new();
    let mut faults = Vec::new();
    for entry in entries {
        match value(entry, inputs.parameters.get(&entry.key)) {
            Ok(value) => {
                values.insert(entry.key.clone(), value);
            }
            Err((line, problem)) => faults.push(Fault {
                file: file.to_owned(),
                line,
                path: format!("Parameters.{}", entry.key),
                problem,
            }),
        }
    }
    for name in inputs.parameters.keys() {
        if !entries.iter().any(|entry| entry.key == *name) {
            faults.push(Fault {
                file: file.to_owned(),
                line: section.map_or(1, |section| section.line),
                path: "Parameters".to_owned(),
                problem: Problem::Undefined(format!("the parameter {name}, which was given,")),
            });
        }
    }
    (values, faults)
}

fn value(entry: &Entry, given: Option<&String>) -> Result<Kind, (usize, Problem)> {
    let node = &entry.value;
    for known in node.entries() {
        if !KNOWN_KEYS.contains(&known.key.as_str()) {
            return Err((known.line, Problem::Unsupported(known.key.clone())));
        }
    }
    let at = |problem| (entry.line, problem);
    let text_of = |key: &str| node.get(key).and_then(Node::as_text);
    let kind = text_of("Type").ok_or_else(|| at(Problem::Missing("Type".to_owned())))?;
    let value = given.map(String::as_str).or_else(|| text_of("Default"));
    let value = value.ok_or_else(|| {
        let name = &entry.key;
        at(Problem::Missing(format!("a value of the parameter {name}")))
    })?;
    match kind {
        "String" => {
            check(node, value, Form::Text).map_err(at)?;
            Ok(Kind::Text(value.to_owned()))
        }
        "Number" => {
            check(node, value, Form::Number).map_err(at)?;
            Ok(Kind::Text(value.to_owned()))
        }
        "CommaDelimitedList" | "List<Number>" => {
            let form = if kind == "List<Number>" {
                Form::Number
            } else {
                Form::Text
            };
            let mut items = Vec::new();
            for part in value.split(',').map(str::trim) {
                check(node, part, form).map_err(at)?;
                items.push(Node::text(entry.line, part));
            }
            Ok(Kind::List(items))
        }
        _ => {
            let line = node.get("Type").map_or(entry.line, |node| node.line);
            let problem = Problem::Unsupported(format!("the parameter type {kind}"));
            Err((line, problem))
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Number,
}

fn check(node: &Node, value: &str, form: Form) -> Result<(), Problem> {
    let invalid = |text: String| Err(Problem::Invalid(text));
    if let Some(Kind::List(allowed)) = node.get("AllowedValues").map(|node| &node.kind) {
        let mut allowed = allowed.iter().filter_map(Node::as_text);
        if !allowed.clone().any(|allowed| same(allowed, value, form)) {
            let first = allowed.next().unwrap_or_default();
            let text = allowed.fold(first.to_owned(), |text, word| text + ", " + word);
            return invalid(format!("the value is not one of {text}"));
        }
    }
    if let Some(pattern) = node.get("AllowedPattern").and_then(Node::as_text) {
        let pattern_of_all = Regex::new(&format!("^(?:{pattern})$"));
        let regex = pattern_of_all
            .map_err(|_| Problem::Unsupported(format!("the regular expression {pattern}")))?;
        if !regex.is_match(value) {
            return invalid(format!("the value does not match {pattern}"));
        }
    }
    let (low, high, measure) = match form {
        Form::Text => {
            let length = value.chars().count();
            let length = u32::try_from(length).map_or(f64::INFINITY, f64::from);
            ("MinLength", "MaxLength", length)
        }
        Form::Number => {
            let number: f64 = value
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .ok_or_else(|| Problem::Invalid("the value is not a number".to_owned()))?;
            ("MinValue", "MaxValue", number)
        }
    };
    let bound = |key: &str| -> Result<Option<f64>, Problem> {
        let Some(text) = node.get(key).and_then(Node::as_text) else {
            return Ok(None);
        };
        let bound = text.parse();
        bound
            .map(Some)
            .map_err(|_| Problem::Invalid(format!("{key} is not a number")))
    };
    if bound(low)?.is_some_and(|bound| measure < bound) {
        return invalid(format!("the value is below {low}"));
    }
    if bound(high)?.is_some_and(|bound| measure > bound) {
        return invalid(format!("the value is above {high}"));
    }
    Ok(())
}

fn same(allowed: &str, value: &str, form: Form) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    allowed == value
        || (form == Form::Number && number(allowed).is_some() && number(allowed) == number(value))
}
