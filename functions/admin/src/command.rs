//! Commands: what a direct invocation may ask for, parsed and checked before anything is done.

use std::collections::BTreeMap;

use logins::{LoginName, Schemas};
use serde_json::{Map, Value};

use crate::error::CommandError;
use crate::login::{Access, SqlHost};
use crate::logins::{Data, Keep};
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
    /// Look for what is wrong between here and a working database, and say how to mend it.
    Doctor,
    /// Create a login of the `sql` function, or finish one that a run left half made.
    CreateLogin {
        /// Its name, and that of its role and its own schema.
        name: LoginName,
        /// What it may do.
        access: Access,
        /// Where.
        schemas: Schemas,
        /// The host for its connection string, where the configured one is not meant.
        host: Option<SqlHost>,
    },
    /// Make a new password.
    RotateLogin {
        /// Whose.
        name: LoginName,
        /// For how many seconds the old one stays valid; 0 ends all others at once.
        grace_s: u32,
        /// Which one stays valid, when two are.
        keep: Option<Keep>,
        /// As for [`CreateLogin`](Self::CreateLogin).
        host: Option<SqlHost>,
    },
    /// Take a login away.
    DropLogin {
        /// Which.
        name: LoginName,
        /// What becomes of what it created.
        data: Data,
    },
    /// Report every login.
    ListLogins,
}

/// Every command and the keys it knows besides `command`.
const COMMANDS: &[(&str, &[&str])] = &[
    ("migrate", &["roles"]),
    ("status", &[]),
    ("doctor", &[]),
    ("create-login", &["name", "access", "schemas", "host"]),
    ("rotate-login", &["name", "graceSeconds", "keep", "host"]),
    ("drop-login", &["name", "data"]),
    ("list-logins", &[]),
];

/// How long the old password stays valid where a rotation does not say.
const GRACE_S: u32 = 24 * 3_600;
/// The longest that it may say.
const MOST_GRACE_S: u32 = 30 * GRACE_S;

impl Command {
    /// # Errors
    /// Unknown commands, unknown keys, unknown roles, malformed ARNs, names and hosts; the text
    /// says which are known.
    pub fn parse(event: &Value) -> Result<Self, CommandError> {
        let Some(fields) = event.as_object() else {
            return Err(CommandError(
                "the event must be a JSON object with a \"command\"".to_owned(),
            ));
        };
        let name = fields.get("command").and_then(Value::as_str);
        let Some((command, keys)) = COMMANDS.iter().find(|(known, _)| Some(*known) == name) else {
            let given = name.map_or_else(
                || "no command".to_owned(),
                |name| format!("unknown command {name:?}"),
            );
            let known: Vec<String> = COMMANDS
                .iter()
                .map(|(known, _)| format!("{known:?}"))
                .collect();
            return Err(CommandError(format!(
                "{given}: known are {}",
                known.join(", ")
            )));
        };
        let is_known = |key: &str| key == "command" || keys.contains(&key);
        if let Some(unknown) = fields.keys().find(|key| !is_known(key)) {
            let known = [&["command"], *keys].concat();
            return Err(CommandError(format!(
                "unknown key {unknown:?}: known are {}",
                known.join(", ")
            )));
        }
        match *command {
            "migrate" => roles(fields.get("roles")).map(|roles| Self::Migrate { roles }),
            "create-login" => create_login(fields),
            "rotate-login" => rotate_login(fields),
            "drop-login" => Ok(Self::DropLogin {
                name: login_name(fields)?,
                data: data(fields)?,
            }),
            "list-logins" => Ok(Self::ListLogins),
            "doctor" => Ok(Self::Doctor),
            _ => Ok(Self::Status),
        }
    }
}

fn roles(given: Option<&Value>) -> Result<BTreeMap<&'static str, String>, CommandError> {
    let mut roles = BTreeMap::new();
    match given {
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
    Ok(roles)
}

fn create_login(fields: &Map<String, Value>) -> Result<Command, CommandError> {
    let name = login_name(fields)?;
    let access = text(fields, "access")?.ok_or_else(|| {
        let words: Vec<&str> = Access::WORDS.iter().map(|(word, _)| *word).collect();
        CommandError(format!(
            "\"access\" is missing: known are {}",
            words.join(", ")
        ))
    })?;
    let access = Access::parse(access).map_err(CommandError)?;
    let schemas = match fields.get("schemas") {
        None | Some(Value::Null) => Schemas::own(&name),
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            Schemas::parse(&names).map_err(CommandError)?
        }
        Some(_) => {
            return Err(CommandError(
                "\"schemas\" must be an array of names".to_owned(),
            ));
        }
    };
    let host = host(fields)?;
    Ok(Command::CreateLogin {
        name,
        access,
        schemas,
        host,
    })
}

fn rotate_login(fields: &Map<String, Value>) -> Result<Command, CommandError> {
    let grace_s = match fields.get("graceSeconds") {
        None | Some(Value::Null) => GRACE_S,
        Some(given) => given
            .as_u64()
            .and_then(|seconds| u32::try_from(seconds).ok())
            .filter(|seconds| *seconds <= MOST_GRACE_S)
            .ok_or_else(|| {
                CommandError(format!(
                    "\"graceSeconds\" must be a whole number from 0 to {MOST_GRACE_S}"
                ))
            })?,
    };
    let keep = match text(fields, "keep")? {
        None => None,
        Some("current") => Some(Keep::Current),
        Some("previous") => Some(Keep::Previous),
        Some(other) => {
            return Err(CommandError(format!(
                "unknown \"keep\" {other:?}: known are current, previous"
            )));
        }
    };
    Ok(Command::RotateLogin {
        name: login_name(fields)?,
        grace_s,
        keep,
        host: host(fields)?,
    })
}

fn login_name(fields: &Map<String, Value>) -> Result<LoginName, CommandError> {
    let name = text(fields, "name")?
        .ok_or_else(|| CommandError("\"name\" is missing: the login's name".to_owned()))?;
    LoginName::parse(name).map_err(CommandError)
}

fn data(fields: &Map<String, Value>) -> Result<Data, CommandError> {
    match text(fields, "data")? {
        None | Some("keep") => Ok(Data::Keep),
        Some("delete") => Ok(Data::Delete),
        Some(other) => Err(CommandError(format!(
            "unknown \"data\" {other:?}: known are keep, delete"
        ))),
    }
}

fn host(fields: &Map<String, Value>) -> Result<Option<SqlHost>, CommandError> {
    text(fields, "host")?
        .map(|host| SqlHost::parse(host).map_err(CommandError))
        .transpose()
}

fn text<'a>(fields: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, CommandError> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(CommandError(format!("{key:?} must be a string"))),
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
            (json!({"command": "create-login"}), "\"name\" is missing"),
            (
                json!({"command": "drop-login", "name": 1}),
                "\"name\" must be a string",
            ),
            (
                json!({"command": "drop-login", "name": "admin"}),
                "reserved",
            ),
            (
                json!({"command": "drop-login", "name": "blog", "data": "all"}),
                "known are keep, delete",
            ),
            (
                json!({"command": "create-login", "name": "blog"}),
                "\"access\" is missing: known are read-only, read-write, owner",
            ),
            (
                json!({"command": "create-login", "name": "blog", "access": "root"}),
                "unknown access \"root\"",
            ),
            (
                json!({"command": "create-login", "name": "blog", "access": "owner", "schemas": ["public"]}),
                "not for logins",
            ),
            (
                json!({"command": "create-login", "name": "blog", "access": "owner", "schemas": "blog"}),
                "array of names",
            ),
            (
                json!({"command": "create-login", "name": "blog", "access": "owner", "host": "a/b"}),
                "db.example.com",
            ),
            (
                json!({"command": "list-logins", "name": "blog"}),
                "unknown key \"name\"",
            ),
        ] {
            let text = Command::parse(&event).unwrap_err().to_string();
            assert!(text.contains(words), "{event}: {text}");
        }
    }

    #[test]
    fn a_login_gets_a_schema_of_its_own_unless_others_are_named() {
        let own =
            Command::parse(&json!({"command": "create-login", "name": "blog", "access": "owner"}));
        let name = LoginName::parse("blog").unwrap();
        assert_eq!(
            own.unwrap(),
            Command::CreateLogin {
                name: name.clone(),
                access: Access::Owner,
                schemas: Schemas::own(&name),
                host: None,
            }
        );
        let named = Command::parse(&json!({
            "command": "create-login", "name": "blog", "access": "read-only", "schemas": ["a", "b"],
            "host": "db.example.com"
        }));
        let Command::CreateLogin { schemas, host, .. } = named.unwrap() else {
            panic!("another command")
        };
        assert_eq!(schemas, Schemas::parse(&["a", "b"]).unwrap());
        assert_eq!(host, Some(SqlHost::parse("db.example.com").unwrap()));
    }

    #[test]
    fn a_rotation_leaves_a_day_unless_it_says_otherwise() {
        let parse = |more: Value| {
            let mut event = json!({"command": "rotate-login", "name": "blog"});
            event
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            Command::parse(&event)
        };
        let Command::RotateLogin { grace_s, keep, .. } = parse(json!({})).unwrap() else {
            panic!("another command")
        };
        assert_eq!((grace_s, keep), (86_400, None));
        assert!(matches!(
            parse(json!({"graceSeconds": 0, "keep": "previous"})),
            Ok(Command::RotateLogin {
                grace_s: 0,
                keep: Some(Keep::Previous),
                ..
            })
        ));
        for wrong in [
            json!({"graceSeconds": -1}),
            json!({"graceSeconds": 1.5}),
            json!({"graceSeconds": 2_592_001}),
            json!({"keep": "both"}),
        ] {
            assert!(parse(wrong.clone()).is_err(), "{wrong}");
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
