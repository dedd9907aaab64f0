//! Owns `docs/openapi.yaml` as tests see it: which operations it names, and whether an answer is
//! one that it describes. Of JSON Schema it knows what that file uses; anything else in a schema
//! fails, so that nothing passes unchecked.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use serde_json::Value;

use crate::binary::workspace;

/// The description of the API.
#[derive(Debug)]
pub struct Description(Value);

/// The one in `docs/`.
///
/// # Panics
/// When it is not YAML.
pub fn description() -> &'static Description {
    static READ: LazyLock<Description> = LazyLock::new(|| {
        let file = workspace().join("docs/openapi.yaml");
        let text = fs::read_to_string(&file).expect("docs/openapi.yaml is readable");
        let mut yaml: serde_yaml_ng::Value =
            serde_yaml_ng::from_str(&text).expect("docs/openapi.yaml is YAML");
        yaml.apply_merge().expect("merge keys name mappings");
        Description(serde_json::to_value(yaml).expect("YAML without tags is JSON"))
    });
    &READ
}

impl Description {
    /// `(method, path)` of every operation of a function; the buffered one is `chats`.
    pub fn operations(&self, function: &str) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for (path, item) in self.0["paths"].as_object().expect("there are paths") {
            for method in ["get", "post", "put", "patch", "delete"] {
                let Some(operation) = item.get(method) else {
                    continue;
                };
                if operation["x-function"].as_str().unwrap_or("chats") == function {
                    found.insert((method.to_uppercase(), path.clone()));
                }
            }
        }
        found
    }

    /// Whether an answer is described: its status, its content type and its JSON. Requests that the
    /// description does not know may only be refused.
    ///
    /// # Errors
    /// What does not fit, and where.
    pub fn check(
        &self,
        method: &str,
        path: &str,
        status: u16,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<(), String> {
        let Some(operation) = self.operation(method, path) else {
            return match status {
                204 if method == "OPTIONS" => Ok(()),
                400..500 => Ok(()),
                _ => Err(format!(
                    "{method} {path} is not described, and answers {status}"
                )),
            };
        };
        let responses = &operation["responses"];
        let group = format!("{}XX", status / 100);
        let response = responses
            .get(status.to_string())
            .or_else(|| responses.get(&group))
            .ok_or_else(|| format!("{method} {path} answers {status}, which is not described"))?;
        let Some(content) = self.resolve(response).get("content") else {
            return if body.is_empty() {
                Ok(())
            } else {
                Err(format!("{method} {path} {status} has a body"))
            };
        };
        let content_type = content_type.unwrap_or_default();
        let schema = content
            .get(content_type)
            .ok_or_else(|| format!("{method} {path} {status} is {content_type:?}"))?;
        if !content_type.ends_with("json") {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        self.fits(&schema["schema"], &value)
            .map_err(|what| format!("{method} {path} {status}: {what} in {value}"))
    }

    /// The fields that the body of an operation may have, as far as its schema names them.
    pub fn body_fields(&self, method: &str, path: &str) -> BTreeSet<String> {
        let operation = self.operation(method, path);
        let content =
            operation.and_then(|operation| operation["requestBody"]["content"].as_object());
        let schemas = content.into_iter().flat_map(|content| content.values());
        schemas
            .filter_map(|content| self.resolve(&content["schema"])["properties"].as_object())
            .flat_map(|properties| properties.keys().cloned())
            .collect()
    }

    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let asked: Vec<&str> = path.split('/').collect();
        let (_, item) = self.0["paths"].as_object()?.iter().find(|(template, _)| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == asked.len()
                && parts
                    .iter()
                    .zip(&asked)
                    .all(|(part, asked)| part.starts_with('{') || part == asked)
        })?;
        item.get(method.to_lowercase())
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(pointer) => self
                .0
                .pointer(pointer.trim_start_matches('#'))
                .unwrap_or_else(|| panic!("{pointer} leads nowhere")),
            None => value,
        }
    }

    fn fits(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = self.resolve(schema);
        for (keyword, rule) in schema.as_object().expect("a schema is an object") {
            let fits = match keyword.as_str() {
                "type" => match rule {
                    Value::Array(types) => types.iter().any(|name| is_a(name, value)),
                    name => is_a(name, value),
                },
                "enum" => rule
                    .as_array()
                    .is_some_and(|allowed| allowed.contains(value)),
                "const" => rule == value,
                "not" => self.fits(rule, value).is_err(),
                "required" => match value.as_object() {
                    Some(fields) => rule
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                        .all(|name| fields.contains_key(name)),
                    None => true,
                },
                "properties" => {
                    for (name, property) in rule.as_object().into_iter().flatten() {
                        if let Some(value) = value.get(name) {
                            self.fits(property, value)
                                .map_err(|what| format!("{name}: {what}"))?;
                        }
                    }
                    true
                }
                "additionalProperties" => {
                    assert_eq!(*rule, Value::Bool(false));
                    value.as_object().is_none_or(|fields| {
                        fields
                            .keys()
                            .all(|name| schema["properties"].get(name).is_some())
                    })
                }
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.fits(rule, item)?;
                    }
                    true
                }
                "oneOf" => {
                    let schemas = rule.as_array().into_iter().flatten();
                    schemas
                        .filter(|schema| self.fits(schema, value).is_ok())
                        .count()
                        == 1
                }
                "minLength" => length(value).is_none_or(|n| Some(n) >= rule.as_u64()),
                "maxLength" => length(value).is_none_or(|n| Some(n) <= rule.as_u64()),
                "minItems" => items(value).is_none_or(|n| Some(n) >= rule.as_u64()),
                "maxItems" => items(value).is_none_or(|n| Some(n) <= rule.as_u64()),
                "minimum" => value.as_i64().is_none_or(|n| Some(n) >= rule.as_i64()),
                "maximum" => value.as_i64().is_none_or(|n| Some(n) <= rule.as_i64()),
                "pattern" => value.as_str().is_none_or(|text| {
                    assert_eq!(rule, "^[A-Za-z0-9_-]{1,64}$");
                    chat_store::ChatId::parse(text).is_ok()
                }),
                "format" => value.as_str().is_none_or(|text| match rule.as_str() {
                    Some("date-time") => text.len() >= 20 && text.ends_with('Z'),
                    Some("date") => text.len() == 10,
                    other => panic!("the format {other:?} is not known"),
                }),
                "description" => true,
                other => panic!("the keyword {other} is not known"),
            };
            if !fits {
                return Err(format!("{value} does not fit {keyword}: {rule}"));
            }
        }
        Ok(())
    }
}

fn is_a(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("null") => value.is_null(),
        other => panic!("the type {other:?} is not known"),
    }
}

fn length(value: &Value) -> Option<u64> {
    let chars = value.as_str()?.chars().count();
    u64::try_from(chars).ok()
}

fn items(value: &Value) -> Option<u64> {
    u64::try_from(value.as_array()?.len()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_not_described_is_noticed() {
        let check = |path: &str, status, body: &str| {
            description().check(
                "GET",
                path,
                status,
                Some("application/json"),
                body.as_bytes(),
            )
        };
        assert_eq!(check("/api/health", 200, r#"{"status":"ok"}"#), Ok(()));
        for (path, status, body) in [
            ("/api/health", 200, r#"{"status":1}"#),
            ("/api/health", 200, r#"{"status":"ok","more":1}"#),
            ("/api/health", 200, "{}"),
            ("/api/health", 201, r#"{"status":"ok"}"#),
            ("/api/nothing", 200, "{}"),
        ] {
            assert!(check(path, status, body).is_err(), "{path} {status} {body}");
        }
    }
}
