//! Fuzz targets: the body of each route. Accepted input means what a general parser finds in it;
//! refused input gets a 4xx status and a message that quotes none of it.

use chat_store::{MAX_PARTS_BYTES, NewMessage};
use fuzzing::{Corpus, Seen, TestCaseError, Verdict, check, prop_assert, prop_assert_eq};
use http_api::ApiError;
use jiff::Timestamp;
use lambda_http::Request;
use serde_json::Value;

use crate::{body, import};

/// Never part of a refusal.
const CANARY: &str = "canary";
/// Whoever refuses in more words than this quotes.
const MAX_REFUSAL_BYTES: usize = 250;

const SEEDS: [&str; 13] = [
    r#"{"mediaType":"image/png","size":1048576,"filename":"canary.png"}"#,
    r#"{"id":"sample-chat","title":"Hello canary","message":{"id":"m1","role":"user","parts":[{"type":"text","text":"canary"}],"metadata":{"a":1}}}"#,
    r#"{"title":"By the other payload"}"#,
    r#"{"pinned":true,"archived":false,"title":"Renamed","visibility":"public","retention":720}"#,
    r#"{"retention":null}"#,
    r#"{"id":"m2","role":"assistant","parts":[{"type":"step-start"},{"type":"text","text":"Hi \ud83d\ude00"}]}"#,
    r#"{"messageId":"a1","isUpvoted":true,"comment":"canary"}"#,
    r#"{"messageId":"a1","isUpvoted":null}"#,
    r#"{"messageId":"a1","type":"regenerate"}"#,
    r#"{"messageId":"a1","type":"edit"}"#,
    r#"{"guestToken":"eyJhbGciOiJFZERTQSJ9.e30.AA"}"#,
    r#"[{"id":"u1","role":"user","parts":[{"type":"text","text":"canary"}]}]"#,
    "{\"type\":\"meta\",\"version\":1}\n{\"type\":\"chat\",\"id\":\"c\",\"title\":\"T\"}\n{\"type\":\"end\",\"chats\":1,\"messages\":0}",
];

fn fuzz<T>(
    route: &str,
    read: impl Fn(&Request) -> Result<T, ApiError>,
    holds: impl Fn(&T, &Value) -> Result<(), TestCaseError>,
) {
    let corpus = Corpus::new(SEEDS).words([
        "canary",
        "\"canary\":",
        "\"id\":",
        "\"parts\":",
        "\"role\":\"user\"",
        "\"\\ud83d\"",
        "8785",
        "null",
    ]);
    check(route, corpus.bytes(), |sent| -> Verdict {
        let request = Request::new(sent.clone().into());
        match read(&request) {
            Ok(accepted) => {
                // Halves of characters are replaced, wherever they are; no tree of values can hold
                // them.
                let sent = String::from_utf8(sent).unwrap();
                if let Ok(tree) = serde_json::from_str(&sent) {
                    holds(&accepted, &tree)?;
                }
                Ok(Seen::Accepted)
            }
            Err(refused) => {
                let (status, says) = (refused.status().as_u16(), refused.client_message());
                prop_assert!(matches!(status, 400 | 413 | 422), "{status}: {says}");
                prop_assert!(
                    says.len() <= MAX_REFUSAL_BYTES && !says.contains(CANARY),
                    "{says}"
                );
                Ok(Seen::Refused)
            }
        }
    });
}

fn text<'a>(tree: &'a Value, name: &str) -> Option<&'a str> {
    tree.get(name).and_then(Value::as_str)
}

fn holds_message(message: &NewMessage, tree: &Value) -> Result<(), TestCaseError> {
    if let Some(id) = text(tree, "id") {
        prop_assert_eq!(message.id.as_str(), id);
    }
    prop_assert_eq!(message.role.as_str(), text(tree, "role").unwrap_or("user"));
    prop_assert!(message.parts.as_str().len() <= MAX_PARTS_BYTES);
    prop_assert!(!message.parts.as_str().contains("\\u0000"));
    let stored: Vec<Value> = serde_json::from_str(message.parts.as_str()).unwrap();
    let kinds = |parts: &[Value]| {
        parts
            .iter()
            .map(|part| part["type"].clone())
            .collect::<Vec<_>>()
    };
    prop_assert_eq!(kinds(&stored), kinds(tree["parts"].as_array().unwrap()));
    Ok(())
}

#[test]
fn the_body_of_a_new_chat() {
    fuzz("POST /api/chats", body::new_chat, |new, tree| {
        if let Some(id) = text(tree, "id") {
            prop_assert_eq!(new.id.as_str(), id);
        }
        let message = tree.get("message").filter(|message| !message.is_null());
        prop_assert_eq!(new.message.is_some(), message.is_some());
        match new.message.as_ref().zip(message) {
            Some((message, tree)) => holds_message(message, tree),
            None => Ok(()),
        }
    });
}

#[test]
fn the_body_of_a_change() {
    for is_guest in [false, true] {
        let read = |request: &Request| {
            body::changes(request, body::CHANGEABLE, is_guest, Timestamp::UNIX_EPOCH)
        };
        fuzz("PATCH /api/chats/{id}", read, |changes, tree| {
            let is = |name: &str| tree.get(name).and_then(Value::as_bool);
            prop_assert_eq!(
                (changes.pinned, changes.archived),
                (is("pinned"), is("archived"))
            );
            prop_assert_eq!(changes.title.is_some(), text(tree, "title").is_some());
            prop_assert_eq!(
                changes.visibility.is_some(),
                text(tree, "visibility").is_some()
            );
            prop_assert_eq!(changes.ends.is_some(), tree.get("retention").is_some());
            Ok(())
        });
    }
}

#[test]
fn the_body_of_a_change_of_one_field() {
    let read = |request: &Request| body::changes(request, &["title"], true, Timestamp::UNIX_EPOCH);
    fuzz("PATCH /api/chats/{id}/title", read, |changes, _| {
        let others = (
            changes.visibility,
            changes.pinned,
            changes.archived,
            &changes.ends,
        );
        prop_assert!(matches!(others, (None, None, None, None)), "{changes:?}");
        prop_assert!(changes.title.is_some());
        Ok(())
    });
}

#[test]
fn the_body_of_a_message() {
    fuzz(
        "POST /api/chats/{id}/messages",
        body::message,
        holds_message,
    );
}

#[test]
fn the_body_of_a_vote() {
    let read = |request: &Request| body::vote(request, None);
    fuzz("PATCH /api/chats/{id}/votes", read, |vote, tree| {
        prop_assert_eq!(Some(vote.message.as_str()), text(tree, "messageId"));
        prop_assert_eq!(
            vote.is_upvoted,
            tree.get("isUpvoted").and_then(Value::as_bool)
        );
        prop_assert_eq!(vote.comment.is_some(), text(tree, "comment").is_some());
        Ok(())
    });
}

#[test]
fn the_body_of_a_cut() {
    fuzz(
        "DELETE /api/chats/{id}/messages",
        body::cut,
        |(message, _), tree| {
            prop_assert_eq!(Some(message.as_str()), text(tree, "messageId"));
            Ok(())
        },
    );
}

#[test]
fn the_body_of_a_fork_and_of_a_switch() {
    fuzz(
        "POST /api/chats/{id}/fork",
        body::message_id,
        |message, tree| {
            prop_assert_eq!(Some(message.as_str()), text(tree, "messageId"));
            Ok(())
        },
    );
}

#[test]
fn the_body_of_a_claim() {
    fuzz("POST /api/me/claim", body::guest_token, |token, tree| {
        prop_assert_eq!(Some(token.as_str()), text(tree, "guestToken"));
        Ok(())
    });
}

#[test]
fn the_body_of_an_upload() {
    fuzz("POST /api/uploads", body::upload, |upload, tree| {
        prop_assert_eq!(Some(upload.media_type.as_str()), text(tree, "mediaType"));
        prop_assert_eq!(Some(upload.size), tree.get("size").and_then(Value::as_u64));
        prop_assert!(upload.size > 0);
        Ok(())
    });
}

#[test]
fn the_body_of_an_import() {
    let whole = |request: &Request| import::file(request, None);
    fuzz("POST /api/import", whole, |_, _| Ok(()));
    let part = |request: &Request| import::file(request, Some(1));
    fuzz("POST /api/import?part=1", part, |_, _| Ok(()));
}
