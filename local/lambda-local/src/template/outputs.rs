//! Owns the section `Outputs`.

use super::error::{Fault, Problem};
use super::node::Entry;
use super::scope::Scope;

/// The text of an output; `None` where its condition is false.
pub(super) fn read(scope: &Scope<'_>, entry: &Entry) -> Result<Option<String>, Fault> {
    let path = format!("Outputs.{}", entry.key);
    if let Some(condition) = entry.value.get("Condition") {
        let name = scope.name(condition, &path)?;
        let holds = scope.condition(name);
        if !holds.map_err(|problem| scope.fault(condition.line, &path, problem))? {
            return Ok(None);
        }
    }
    for known in entry.value.entries() {
        if !["Value", "Description", "Export", "Condition"].contains(&known.key.as_str()) {
            let problem = Problem::Unsupported(known.key.clone());
            return Err(scope.fault(known.line, &path, problem));
        }
    }
    let value = entry
        .value
        .get("Value")
        .ok_or_else(|| scope.fault(entry.line, &path, Problem::Missing("Value".to_owned())))?;
    let item = scope.item(value, &format!("{path}.Value"))?;
    item.text().map(Some)
}
