//! Commands: what a direct invocation may ask for, parsed and checked before anything is done.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::roles::ROLES;

/// A checked command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Bring schema, database roles and IAM mappings up to date.
    Migrate {
        /// Which IAM role or user may connect as which database role.
        roles: BTreeMap<&'static str, String>,
    },
    /// Report the schema's version, pending migrations and role mappings.
    Status,
}

/// Why an event is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CommandError(String);

impl CommandError {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }
}

impl Command {
    /// # Errors
    /// Unknown commands, unknown keys, unknown roles, malformed ARNs; the text says which are known.
    pub fn parse(event: &Value) -> Result<Self, CommandError> {
        let Some(fields) = event.as_object() else {
            return Err(CommandError(
                "the event must be a JSON object with a \"command\"".to_owned(),
            ));
        };
        let known: &[&str] = match fields.get("command").and_then(Value::as_str) {
            Some("migrate") => &["command", "roles"],
            Some("status") => &["command"],
            other => {
                let other = other.map_or_else(
                    || "no command".to_owned(),
                    |name| format!("unknown command {name:?}"),
                );
                return Err(CommandError(format!(
                    "{other}: known are \"migrate\" and \"status\""
                )));
            }
        };
        if let Some(unknown) = fields.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(CommandError(format!(
                "unknown key {unknown:?}: known are {}",
                known.join(", ")
            )));
        }
        if fields.get("command").and_then(Value::as_str) == Some("status") {
            return Ok(Self::Status);
        }
        let mut roles = BTreeMap::new();
        match fields.get("roles") {
            None | Some(Value::Null) => {}
            Some(Value::Object(given)) => {
                for (name, arn) in given {
                    let Some(role) = ROLES.iter().find(|role| role.name == name) else {
                        let names: Vec<&str> = ROLES.iter().map(|role| role.name).collect();
                        return Err(CommandError(format!(
                            "unknown role {name:?}: known are {}",
                            names.join(", ")
                        )));
                    };
                    match arn.as_str() {
                        Some(arn) if is_iam_arn(arn) => roles.insert(role.name, arn.to_owned()),
                        _ => {
                            return Err(CommandError(format!(
                                "role {name:?} needs the ARN of an IAM role or user, such as \
                                 arn:aws:iam::111122223333:role/chats"
                            )));
                        }
                    };
                }
            }
            Some(_) => {
                return Err(CommandError(
                    "\"roles\" must be an object of role names and ARNs".to_owned(),
                ));
            }
        }
        Ok(Self::Migrate { roles })
    }
}

/// `arn:aws*:iam::<12 digits>:(role|user)/<name or path>`.
fn is_iam_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts.as_slice() else {
        return false;
    };
    let name = resource
        .strip_prefix("role/")
        .or_else(|| resource.strip_prefix("user/"));
    partition.starts_with("aws")
        && partition
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'-')
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && name.is_some_and(|name| {
            (1..=576).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+=,.@_/-".contains(&b))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_migration_takes_the_arns_of_known_roles() {
        let arn = "arn:aws:iam::111122223333:role/path/chats-function";
        let command =
            Command::parse(&json!({"command": "migrate", "roles": {"chats": arn}})).unwrap();
        assert_eq!(
            command,
            Command::Migrate {
                roles: BTreeMap::from([("chats", arn.to_owned())])
            }
        );
        assert_eq!(
            Command::parse(&json!({"command": "migrate"})).unwrap(),
            Command::Migrate {
                roles: BTreeMap::new()
            }
        );
    }

    #[test]
    fn what_is_wrong_is_named_together_with_what_is_known() {
        for (event, words) in [
            (json!([]), "JSON object"),
            (json!({}), "no command: known are \"migrate\""),
            (json!({"command": "drop"}), "unknown command \"drop\""),
            (json!({"command": "status", "x": 1}), "unknown key \"x\""),
            (
                json!({"command": "migrate", "roles": {"root": "arn:aws:iam::111122223333:role/a"}}),
                "unknown role \"root\"",
            ),
            (
                json!({"command": "migrate", "roles": []}),
                "must be an object",
            ),
        ] {
            let text = Command::parse(&event).unwrap_err().to_string();
            assert!(text.contains(words), "{event}: {text}");
        }
    }

    #[test]
    fn arns_that_could_not_be_mapped_are_refused() {
        for arn in [
            "",
            "arn:aws:sts::111122223333:assumed-role/a/b",
            "arn:aws:iam::1111:role/a",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role/a'; DROP TABLE chats",
            "arn:aws:iam::111122223333:group/a",
        ] {
            assert!(!is_iam_arn(arn), "{arn}");
        }
        assert!(is_iam_arn(
            "arn:aws-cn:iam::111122223333:user/jane.doe@example"
        ));
    }
}
