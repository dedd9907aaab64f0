//! Owns the reading of a provider's answer, by CloudFormation's rules.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Largest answer.
const MAX_BYTES: usize = 4096;
/// Longest physical id.
const MAX_ID_BYTES: usize = 1024;

/// An answer with `Status: SUCCESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) physical_resource_id: String,
    pub(super) attributes: BTreeMap<String, String>,
}

impl Answer {
    /// Reads the answer to `event`: it, or the reason of a failure.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(body: &[u8], event: &Value) -> Result<Result<Self, String>, String> {
        if body.len() > MAX_BYTES {
            return Err(format!(
                "it has {} bytes, and {MAX_BYTES} are the limit",
                body.len()
            ));
        }
        let answer: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|error| format!("it is no JSON object: {error}"))?;
        for name in ["StackId", "RequestId", "LogicalResourceId"] {
            if answer.get(name) != event.get(name) {
                return Err(format!("its {name} is not the request's"));
            }
        }
        match answer.get("Status").and_then(Value::as_str) {
            Some("SUCCESS") => {}
            Some("FAILED") => {
                let reason = answer.get("Reason").and_then(Value::as_str);
                let reason = reason.filter(|reason| !reason.is_empty());
                return Ok(Err(reason.unwrap_or("the answer has no Reason").to_owned()));
            }
            _ => return Err("its Status is neither SUCCESS nor FAILED".to_owned()),
        }
        let id = answer.get("PhysicalResourceId").and_then(Value::as_str);
        let id = id.filter(|id| !id.is_empty());
        let id = id.ok_or("it has no PhysicalResourceId")?;
        if id.len() > MAX_ID_BYTES {
            return Err(format!(
                "its PhysicalResourceId is longer than {MAX_ID_BYTES} bytes"
            ));
        }
        Ok(Ok(Self {
            physical_resource_id: id.to_owned(),
            attributes: attributes(answer.get("Data"))?,
        }))
    }
}

/// `Data` as what `GetAtt` can yield: texts.
fn attributes(data: Option<&Value>) -> Result<BTreeMap<String, String>, String> {
    let data = match data {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(data)) => data,
        Some(_) => return Err("its Data is no object".to_owned()),
    };
    let mut attributes = BTreeMap::new();
    for (name, value) in data {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(format!("its Data.{name} is no text, number or boolean"));
            }
        };
        attributes.insert(name.clone(), text);
    }
    Ok(attributes)
}
