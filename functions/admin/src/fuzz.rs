//! Fuzz target: a command. What it names is checked before anything is done.

use fuzzing::{Corpus, Seen, check, prop_assert};
use serde_json::Value;

use crate::Command;

/// Whether it may stand in a statement as it is.
fn is_plain(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[test]
fn a_command_that_is_accepted_names_nothing_that_needs_quotes() {
    let corpus = Corpus::new([
        r#"{"command":"migrate","roles":{"chats":"arn:aws:iam::111122223333:role/path/chats"}}"#,
        r#"{"command":"create-login","name":"blog","access":"read-write","schemas":["blog","blog_2"],"host":"db.example.com"}"#,
        r#"{"command":"create-login","name":"blog","access":"owner"}"#,
        r#"{"command":"rotate-login","name":"blog","graceSeconds":60,"keep":"new","host":"db.example.com:5432"}"#,
        r#"{"command":"drop-login","name":"blog","data":"delete"}"#,
        r#"{"command":"doctor"}"#,
    ])
    .words(["\"admin\"", "\"chats\"", "\"keep\"", "\"read-only\"", "\"a\\\"b\"", "\"a;b\"", "\"Blog\"", "\"name\":", "\"host\":", "'"]);
    check("a command", corpus.text(), |text| {
        let Ok(event) = serde_json::from_str::<Value>(&text) else {
            return Ok(Seen::Refused);
        };
        let (name, host) = match Command::parse(&event) {
            Err(_) => return Ok(Seen::Refused),
            Ok(Command::CreateLogin {
                name,
                host,
                schemas,
                ..
            }) => {
                prop_assert!(schemas.joined().split(',').all(is_plain), "{schemas:?}");
                (Some(name), host)
            }
            Ok(Command::RotateLogin { name, host, .. }) => (Some(name), host),
            Ok(Command::DropLogin { name, .. }) => (Some(name), None),
            Ok(Command::Migrate { roles }) => {
                prop_assert!(
                    roles
                        .values()
                        .all(|arn| arn.starts_with("arn:") && !arn.contains('\''))
                );
                (None, None)
            }
            Ok(Command::Status | Command::Doctor | Command::ListLogins) => (None, None),
        };
        prop_assert!(name.is_none_or(|name| is_plain(name.as_str())));
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        let given = event["host"].as_str().unwrap_or_default();
        prop_assert!(host.is_none() || given.chars().all(is_host), "{given}");
        Ok(Seen::Accepted)
    });
}
