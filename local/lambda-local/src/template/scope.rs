//! Owns what a template's values mean in one stack: its parameters, conditions and resources, and
//! the intrinsic functions over them. Values are reduced where they are read, so that what nothing
//! reads need not be known.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Inputs;
use super::error::{Fault, Problem};
use super::fields::Item;
use super::node::{Kind, Node};
use super::resource::Resource;
use super::sub::{Piece, pieces};

/// Intrinsic functions that have a value, apart from those of conditions and rules.
pub(super) const VALUE_FUNCTIONS: [&str; 9] = [
    "Ref",
    "GetAtt",
    "Sub",
    "Join",
    "If",
    "Select",
    "Split",
    "FindInMap",
    "Base64",
];

/// One stack of a template.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    pub(super) file: &'a str,
    pub(super) inputs: &'a Inputs,
    pub(super) parameters: BTreeMap<String, Kind>,
    pub(super) mappings: Option<&'a Node>,
    pub(super) conditions: BTreeMap<String, bool>,
    pub(super) resources: Vec<Resource>,
}

impl Scope<'_> {
    pub(super) fn fault(&self, line: usize, path: &str, problem: Problem) -> Fault {
        Fault {
            file: self.file.to_owned(),
            line,
            path: path.to_owned(),
            problem,
        }
    }

    pub(super) fn resource(&self, logical_id: &str) -> Option<&Resource> {
        self.resources
            .iter()
            .find(|resource| resource.logical_id == logical_id)
    }

    /// Reduces a node until it is no intrinsic function. Lists and maps keep what is in them as it
    /// is. `None` is `AWS::NoValue`.
    pub(super) fn reduce(&self, node: &Node, path: &str) -> Result<Option<Node>, Fault> {
        match &node.kind {
            Kind::Call(function, given) => self.call(node.line, function, given, path),
            Kind::Text(text) => {
                let text = self.dynamic_references(text);
                let text = text.map_err(|problem| self.fault(node.line, path, problem))?;
                Ok(Some(Node::text(node.line, text)))
            }
            Kind::Null => {
                let text = "the value is empty".to_owned();
                Err(self.fault(node.line, path, Problem::Invalid(text)))
            }
            Kind::List(_) | Kind::Map(_) => Ok(Some(node.clone())),
        }
    }

    /// Reduces a node to something that is there.
    pub(super) fn item(&self, node: &Node, path: &str) -> Result<Item<'_>, Fault> {
        let reduced = self.reduce(node, path)?.ok_or_else(|| {
            let text = "AWS::NoValue cannot stand here".to_owned();
            self.fault(node.line, path, Problem::Invalid(text))
        })?;
        Ok(Item::new(self, path.to_owned(), reduced))
    }

    fn call(
        &self,
        line: usize,
        function: &str,
        given: &Node,
        path: &str,
    ) -> Result<Option<Node>, Fault> {
        let at = |problem| self.fault(line, path, problem);
        match function {
            "Ref" => {
                let name = self.name(given, path)?;
                let kind = self.reference(name).map_err(at)?;
                Ok(kind.map(|kind| Node { line, kind }))
            }
            "GetAtt" => {
                let (resource, attribute) = get_att(given).map_err(at)?;
                let text = self.attribute(&resource, &attribute).map_err(at)?;
                Ok(Some(Node::text(line, text)))
            }
            "Sub" => Ok(Some(Node::text(line, self.sub(given, path)?))),
            "Join" => {
                let [separator, values] = self.arguments(given, path, "Join")?;
                let separator = self.item(separator, path)?.text()?;
                let values = self.item(values, path)?.texts()?;
                Ok(Some(Node::text(line, values.join(&separator))))
            }
            "Split" => {
                let [separator, value] = self.arguments(given, path, "Split")?;
                let separator = self.item(separator, path)?.text()?;
                let value = self.item(value, path)?.text()?;
                if separator.is_empty() {
                    let text = "Split needs a delimiter".to_owned();
                    return Err(at(Problem::Invalid(text)));
                }
                let parts = value.split(&separator).map(|part| Node::text(line, part));
                Ok(Some(Node::list(line, parts.collect())))
            }
            "Select" => {
                let [index, values] = self.arguments(given, path, "Select")?;
                let index: usize = self.item(index, path)?.number()?;
                let values = self.item(values, path)?.list()?;
                let count = values.len();
                let value = values.into_iter().nth(index).ok_or_else(|| {
                    let text = format!("Select asks for index {index} of {count} values");
                    at(Problem::Invalid(text))
                })?;
                Ok(Some(value.into_node()))
            }
            "If" => {
                let [condition, yes, no] = self.arguments(given, path, "If")?;
                let name = self.name(condition, path)?;
                let holds = self.condition(name).map_err(at)?;
                self.reduce(if holds { yes } else { no }, path)
            }
            "FindInMap" => self.find_in_map(line, given, path).map(Some),
            "Base64" => {
                let text = self.item(given, path)?.text()?;
                Ok(Some(Node::text(line, BASE64_STANDARD.encode(text))))
            }
            _ => Err(at(Problem::Unsupported(display_name(function)))),
        }
    }

    pub(super) fn condition(&self, name: &str) -> Result<bool, Problem> {
        let condition = self.conditions.get(name).copied();
        condition.ok_or_else(|| Problem::Undefined(format!("the condition {name}")))
    }

    /// What an intrinsic function is given where it takes exactly this many values.
    pub(super) fn arguments<'n, const N: usize>(
        &self,
        given: &'n Node,
        path: &str,
        function: &str,
    ) -> Result<&'n [Node; N], Fault> {
        let items = match &given.kind {
            Kind::List(items) => items.as_slice(),
            _ => &[],
        };
        items.try_into().map_err(|_| {
            let text = format!("{} takes a list of {N} values", display_name(function));
            self.fault(given.line, path, Problem::Invalid(text))
        })
    }

    /// A name as it stands: `Ref`, `Condition` and `If` take no intrinsic function.
    pub(super) fn name<'n>(&self, node: &'n Node, path: &str) -> Result<&'n str, Fault> {
        node.as_text().ok_or_else(|| {
            let text = format!("a name is needed here, not {}", node.kind_name());
            self.fault(node.line, path, Problem::Invalid(text))
        })
    }

    fn find_in_map(&self, line: usize, given: &Node, path: &str) -> Result<Node, Fault> {
        let arguments: &[Node; 3] = self.arguments(given, path, "FindInMap")?;
        let mut keys = Vec::with_capacity(arguments.len());
        for argument in arguments {
            keys.push(self.item(argument, path)?.text()?);
        }
        let mut found = self.mappings;
        for key in &keys {
            found = found.and_then(|node| node.get(key));
        }
        let found = found.ok_or_else(|| {
            let text = format!("Mappings.{}", keys.join("."));
            self.fault(line, path, Problem::Undefined(text))
        })?;
        Ok(found.clone())
    }

    fn sub(&self, given: &Node, path: &str) -> Result<String, Fault> {
        let (template, values) = if let Kind::Text(text) = &given.kind {
            (text.as_str(), None)
        } else {
            let [template, values] = self.arguments(given, path, "Sub")?;
            (self.name(template, path)?, Some(values))
        };
        let at = |problem| self.fault(given.line, path, problem);
        let mut text = String::with_capacity(template.len());
        for piece in pieces(template).map_err(at)? {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Variable(name) => {
                    if let Some(value) = values.and_then(|values| values.get(name)) {
                        text.push_str(&self.item(value, path)?.text()?);
                    } else if let Some((resource, attribute)) = name.split_once('.') {
                        text.push_str(&self.attribute(resource, attribute).map_err(at)?);
                    } else {
                        let kind = self.reference(name).map_err(at)?;
                        let line = given.line;
                        if let Some(kind) = kind {
                            let node = Node { line, kind };
                            let item = Item::new(self, path.to_owned(), node);
                            text.push_str(&item.text()?);
                        }
                    }
                }
            }
        }
        let text = self.dynamic_references(&text);
        text.map_err(at)
    }

    /// Puts in what `{{resolve:…}}` stands for: what was given, or a secret that the template has
    /// generated. None is fetched here.
    fn dynamic_references(&self, text: &str) -> Result<String, Problem> {
        let mut resolved = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, from)) = rest.split_once("{{resolve:") {
            let Some((reference, after)) = from.split_once("}}") else {
                break;
            };
            let whole = format!("{{{{resolve:{reference}}}}}");
            let given = self.inputs.attributes.get(&whole).cloned();
            let value = given.or_else(|| self.generated_secret(reference));
            resolved.push_str(before);
            resolved.push_str(&value.ok_or(Problem::Unresolved(whole))?);
            rest = after;
        }
        resolved.push_str(rest);
        Ok(resolved)
    }
}

/// How messages write an intrinsic function.
pub(super) fn display_name(function: &str) -> String {
    match function {
        "Ref" | "Condition" => function.to_owned(),
        _ => format!("Fn::{function}"),
    }
}

/// The resource and the attribute that `GetAtt` names, in either of its forms.
pub(super) fn get_att(given: &Node) -> Result<(String, String), Problem> {
    let parts = match &given.kind {
        Kind::Text(text) => text.split_once('.'),
        Kind::List(items) => match items.as_slice() {
            [resource, attribute] => resource.as_text().zip(attribute.as_text()),
            _ => None,
        },
        _ => None,
    };
    let (resource, attribute) = parts.ok_or_else(|| {
        Problem::Invalid("Fn::GetAtt takes a resource and its attribute".to_owned())
    })?;
    Ok((resource.to_owned(), attribute.to_owned()))
}
