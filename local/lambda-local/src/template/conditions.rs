//! Owns conditions and rules: the functions that are true or false.

use std::collections::BTreeMap;

use super::error::{Fault, Problem};
use super::fields::Item;
use super::node::{Entry, Kind, Node};
use super::scope::{Scope, display_name};

/// Functions that are true or false, rules' own included.
pub(super) const CONDITION_FUNCTIONS: [&str; 8] = [
    "Equals",
    "Not",
    "And",
    "Or",
    "Condition",
    "Contains",
    "EachMemberEquals",
    "EachMemberIn",
];

/// Evaluates the section `Conditions` in a scope that has parameters only.
pub(super) fn evaluate(
    scope: &Scope<'_>,
    section: Option<&Node>,
) -> Result<BTreeMap<String, bool>, Fault> {
    let entries = section.map_or(&[][..], Node::entries);
    let mut evaluation = Evaluation {
        scope,
        entries,
        known: BTreeMap::new(),
        visiting: Vec::new(),
    };
    for entry in entries {
        evaluation.named(&entry.key, entry.line, "Conditions")?;
    }
    Ok(evaluation.known)
}

/// Evaluates the section `Rules`: every assertion that fails is a fault.
pub(super) fn check_rules(scope: &Scope<'_>, section: Option<&Node>) -> Result<Vec<Fault>, Fault> {
    let mut evaluation = Evaluation {
        scope,
        entries: &[],
        known: BTreeMap::new(),
        visiting: Vec::new(),
    };
    let mut faults = Vec::new();
    for rule in section.map_or(&[][..], Node::entries) {
        let path = format!("Rules.{}", rule.key);
        if let Some(condition) = rule.value.get("RuleCondition")
            && !evaluation.holds(condition, &format!("{path}.RuleCondition"))?
        {
            continue;
        }
        let assertions = rule.value.get("Assertions").map(|node| &node.kind);
        let Some(Kind::List(assertions)) = assertions else {
            let problem = Problem::Missing("Assertions".to_owned());
            return Err(scope.fault(rule.line, &path, problem));
        };
        for assertion in assertions {
            let Some(assert) = assertion.get("Assert") else {
                let problem = Problem::Missing("Assert".to_owned());
                return Err(scope.fault(assertion.line, &path, problem));
            };
            if !evaluation.holds(assert, &format!("{path}.Assertions"))? {
                let text = assertion.get("AssertDescription").and_then(Node::as_text);
                let text = text.unwrap_or("an assertion of the rule fails");
                let problem = Problem::Invalid(text.to_owned());
                faults.push(scope.fault(assertion.line, &path, problem));
            }
        }
    }
    Ok(faults)
}

struct Evaluation<'e, 's> {
    scope: &'e Scope<'s>,
    entries: &'e [Entry],
    known: BTreeMap<String, bool>,
    visiting: Vec<String>,
}

impl Evaluation<'_, '_> {
    fn named(&mut self, name: &str, line: usize, path: &str) -> Result<bool, Fault> {
        if let Some(known) = self.known.get(name) {
            return Ok(*known);
        }
        let entries = self.entries;
        let Some(entry) = entries.iter().find(|entry| entry.key == name) else {
            let problem = Problem::Undefined(format!("the condition {name}"));
            return Err(self.scope.fault(line, path, problem));
        };
        if self.visiting.iter().any(|visited| visited == name) {
            let circle = format!("{} -> {name}", self.visiting.join(" -> "));
            return Err(self.scope.fault(line, path, Problem::Circle(circle)));
        }
        self.visiting.push(name.to_owned());
        let holds = self.holds(&entry.value, &format!("Conditions.{name}"))?;
        self.visiting.pop();
        self.known.insert(name.to_owned(), holds);
        Ok(holds)
    }

    fn holds(&mut self, node: &Node, path: &str) -> Result<bool, Fault> {
        let scope = self.scope;
        let (function, given) = match &node.kind {
            Kind::Call(function, given) => (function.as_str(), given.as_ref()),
            // The long form of !Condition.
            Kind::Map(entries) => match entries.as_slice() {
                [entry] if entry.key == "Condition" => ("Condition", &entry.value),
                _ => return Err(self.not_a_condition(node, path)),
            },
            Kind::Null | Kind::Text(_) | Kind::List(_) => {
                return Err(self.not_a_condition(node, path));
            }
        };
        match function {
            "Condition" => {
                let name = scope.name(given, path)?;
                self.named(name, node.line, path)
            }
            "Equals" => {
                let [left, right] = scope.arguments(given, path, function)?;
                let left = scope.item(left, path)?.to_json()?;
                Ok(left == scope.item(right, path)?.to_json()?)
            }
            "Not" => {
                let [inner] = scope.arguments(given, path, function)?;
                Ok(!self.holds(inner, path)?)
            }
            "And" | "Or" => {
                let Kind::List(inner) = &given.kind else {
                    return Err(self.not_a_condition(node, path));
                };
                if !(2..=10).contains(&inner.len()) {
                    let text = format!("{} takes 2 to 10 conditions", display_name(function));
                    return Err(scope.fault(node.line, path, Problem::Invalid(text)));
                }
                let mut count = 0;
                for condition in inner {
                    count += usize::from(self.holds(condition, path)?);
                }
                Ok(if function == "And" {
                    count == inner.len()
                } else {
                    count > 0
                })
            }
            "Contains" | "EachMemberEquals" | "EachMemberIn" => {
                let [left, right] = scope.arguments(given, path, function)?;
                let left = scope.item(left, path)?.texts()?;
                let right = scope.item(right, path)?;
                let right: Vec<_> = right
                    .one_or_many()?
                    .iter()
                    .map(Item::text)
                    .collect::<Result<_, _>>()?;
                Ok(match function {
                    "Contains" => right.iter().all(|value| left.contains(value)),
                    _ => left.iter().all(|value| right.contains(value)),
                })
            }
            _ => {
                let problem = Problem::Unsupported(display_name(function));
                Err(scope.fault(node.line, path, problem))
            }
        }
    }

    fn not_a_condition(&self, node: &Node, path: &str) -> Fault {
        let text = format!("a condition is needed here, not {}", node.kind_name());
        self.scope.fault(node.line, path, Problem::Invalid(text))
    }
}
