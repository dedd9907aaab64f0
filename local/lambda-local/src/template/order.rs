//! Owns which resource needs which, through `DependsOn` and references, and the order that follows
//! from it.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Fault, Problem};
use super::node::{Kind, Node};
use super::resource::{Resource, ResourceKind};
use super::scope::{Scope, get_att};
use super::sub::{Piece, pieces};

/// Properties of a function that SAM makes other resources of, which need the function: so what
/// they name is not needed by it.
const OF_OTHERS: [&str; 2] = ["Events", "DeploymentPreference"];

/// Logical ids of the resources that the stack has, each after those that it needs; otherwise in
/// the template's order.
pub(super) fn order<'s>(scope: &'s Scope<'_>) -> Result<Vec<&'s str>, Fault> {
    let mut needs = BTreeMap::new();
    for resource in scope
        .resources
        .iter()
        .filter(|resource| resource.is_present)
    {
        needs.insert(resource.logical_id.as_str(), needs_of(scope, resource));
    }
    // SAM writes an API's functions into its definition; events become resources of their own.
    for function in &scope.resources {
        for api in apis_of(scope, function) {
            if let Some(api_needs) = needs.get_mut(api) {
                api_needs.insert(function.logical_id.as_str());
            }
        }
    }
    let mut search = Search {
        scope,
        needs,
        ordered: Vec::new(),
        done: BTreeSet::new(),
        path: Vec::new(),
    };
    for resource in scope
        .resources
        .iter()
        .filter(|resource| resource.is_present)
    {
        search.visit(&resource.logical_id)?;
    }
    Ok(search.ordered)
}

struct Search<'s, 'a> {
    scope: &'s Scope<'a>,
    needs: BTreeMap<&'s str, BTreeSet<&'s str>>,
    ordered: Vec<&'s str>,
    done: BTreeSet<&'s str>,
    path: Vec<&'s str>,
}

impl<'s> Search<'s, '_> {
    fn visit(&mut self, id: &'s str) -> Result<(), Fault> {
        if self.done.contains(id) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|visited| *visited == id) {
            let circle: Vec<_> = self.path.iter().skip(start).chain([&id]).copied().collect();
            let line = self.scope.resource(id).map_or(1, |resource| resource.line);
            let problem = Problem::Circle(circle.join(" -> "));
            return Err(self.scope.fault(line, &format!("Resources.{id}"), problem));
        }
        self.path.push(id);
        for needed in self.needs.get(id).cloned().unwrap_or_default() {
            self.visit(needed)?;
        }
        self.path.pop();
        self.done.insert(id);
        self.ordered.push(id);
        Ok(())
    }
}

fn needs_of<'s>(scope: &'s Scope<'_>, resource: &Resource) -> BTreeSet<&'s str> {
    let mut names = BTreeSet::new();
    for node in &resource.depends_on {
        names.extend(node.as_text().map(str::to_owned));
    }
    for entry in resource.properties.entries() {
        let is_of_others =
            resource.kind == ResourceKind::Function && OF_OTHERS.contains(&entry.key.as_str());
        if !is_of_others {
            collect(scope, &entry.value, &mut names);
        }
    }
    names.iter().filter_map(|name| owner(scope, name)).collect()
}

/// Logical ids of the APIs that a function's events name.
fn apis_of<'s>(scope: &'s Scope<'_>, function: &Resource) -> BTreeSet<&'s str> {
    let mut names = BTreeSet::new();
    if function.kind == ResourceKind::Function
        && function.is_present
        && let Some(events) = function.properties.get("Events")
    {
        for event in events.entries() {
            let properties = event.value.get("Properties");
            if let Some(api) = properties.and_then(|node| node.get("RestApiId")) {
                collect(scope, api, &mut names);
            }
        }
    }
    names.iter().filter_map(|name| owner(scope, name)).collect()
}

/// The resource of the template that a name belongs to: itself, or the function whose role SAM
/// makes.
fn owner<'s>(scope: &'s Scope<'_>, name: &str) -> Option<&'s str> {
    let name = name.strip_suffix(".Stage").unwrap_or(name);
    let resource = scope.resource(name);
    let resource = resource.filter(|resource| resource.is_present);
    resource.map(|resource| resource.logical_id.as_str())
}

/// Every name that a node refers to, on the branches that its conditions choose.
fn collect(scope: &Scope<'_>, node: &Node, names: &mut BTreeSet<String>) {
    match &node.kind {
        Kind::Null | Kind::Text(_) => {}
        Kind::List(items) => items.iter().for_each(|item| collect(scope, item, names)),
        Kind::Map(entries) => {
            for entry in entries {
                collect(scope, &entry.value, names);
            }
        }
        Kind::Call(function, given) => match (function.as_str(), &given.kind) {
            ("Ref", Kind::Text(name)) => {
                names.insert(name.clone());
            }
            ("GetAtt", _) => {
                names.extend(get_att(given).ok().map(|(resource, _)| resource));
            }
            ("If", Kind::List(arguments)) => {
                if let [condition, yes, no] = arguments.as_slice() {
                    let name = condition.as_text().unwrap_or_default();
                    let holds = scope.conditions.get(name).copied().unwrap_or(false);
                    collect(scope, if holds { yes } else { no }, names);
                }
            }
            ("Sub", _) => {
                for (name, _) in sub_names(given) {
                    names.insert(name);
                }
                if let Kind::List(arguments) = &given.kind {
                    for node in arguments {
                        collect(scope, node, names);
                    }
                }
            }
            _ => collect(scope, given, names),
        },
    }
}

/// The names in `Fn::Sub` that its own map does not give: each resource or parameter, and its
/// attribute.
pub(super) fn sub_names(given: &Node) -> Vec<(String, Option<String>)> {
    let (text, own) = match &given.kind {
        Kind::Text(text) => (text.as_str(), None),
        Kind::List(arguments) => match arguments.as_slice() {
            [template, own] => (template.as_text().unwrap_or_default(), Some(own)),
            _ => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    let mut names = Vec::new();
    for piece in pieces(text).unwrap_or_default() {
        if let Piece::Variable(name) = piece
            && own.and_then(|own| own.get(name)).is_none()
        {
            names.push(match name.split_once('.') {
                Some((name, attribute)) => (name.to_owned(), Some(attribute.to_owned())),
                None => (name.to_owned(), None),
            });
        }
    }
    names
}
