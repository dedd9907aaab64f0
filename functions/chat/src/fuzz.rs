//! Fuzz targets: the bodies of a turn and of a stop, compared with a parser that builds the whole
//! tree.

use chat_store::MessageId;
use fuzzing::{Corpus, Seen, check, prop_assert, prop_assert_eq};
use lambda_http::Request;
use serde_json::Value;

use crate::input::{Answers, Posted, Trigger, posted, stop};

const TURNS: [&str; 5] = [
    r#"{"id":"c1","messages":[{"id":"u1","role":"user","parts":[{"type":"text","text":"Hello"}]}],"trigger":"submit-message"}"#,
    r#"{"id":"c1","messages":[{"id":"u1","role":"user","parts":[{"type":"text","text":"a"}]},{"id":"a1","role":"assistant","parts":[]},
        {"id":"u2","role":"user","parts":[{"type":"text","text":"b"},{"type":"file","mediaType":"image/png","url":"data:image/png;base64,AA=="}]}],
        "trigger":"submit-message","messageId":"u2","model":"m2"}"#,
    r#"{"id":"c1","messages":[{"id":"u1","role":"user","parts":[{"type":"text","text":"a"}]},{"id":"a1","role":"assistant"}],
        "trigger":"regenerate-message","messageId":"a1"}"#,
    r#"{"id":"c1","message":{"id":"u2","role":"user","parts":[{"type":"text","text":"And \ud83d\ude00"}],"metadata":{"x":[1]}},"selectedChatModel":"chat-model"}"#,
    r#"{"id":"c1","messages":[{"id":"a1","role":"assistant","parts":[{"type":"tool-x","toolCallId":"t1","state":"approval-responded",
        "input":{"a":1},"approval":{"id":"p1","approved":true,"reason":"why"}}]}],"messageId":"a1","trigger":"submit-message"}"#,
];

fn models() -> [String; 2] {
    ["m1".to_owned(), "m2".to_owned()]
}

/// The last message of the visitor, and what stands before it.
fn last_of_user(tree: &Value) -> Option<(&Value, &[Value])> {
    if let Some(message) = tree.get("message").filter(|message| !message.is_null()) {
        return Some((message, &[]));
    }
    let messages = tree.get("messages")?.as_array()?;
    let at = messages
        .iter()
        .rposition(|message| message["role"] == "user")?;
    Some((&messages[at], &messages[..at]))
}

/// Whether answers are those of the last message, which is a reply's.
fn are_answers(answers: &Answers, tree: &Value) -> bool {
    let of_list = || {
        tree["messages"]
            .as_array()
            .and_then(|messages| messages.last())
    };
    let alone = tree.get("message").filter(|message| !message.is_null());
    let Some(last) = alone.or_else(of_list) else {
        return false;
    };
    let given = last["parts"].as_array().into_iter().flatten();
    let given = given.filter(|part| part["state"] == "approval-responded");
    last["role"] == "assistant"
        && last["id"] == answers.message.as_str()
        && given
            .map(|part| part["approval"]["approved"].as_bool())
            .eq(answers.answered.iter().map(|one| Some(one.is_approved)))
}

#[test]
fn a_turn_is_what_a_parser_of_everything_finds_in_its_body() {
    let corpus = Corpus::new(TURNS).words([
        "\"message\":",
        "\"messages\":",
        "\"role\":\"user\"",
        "\"model\":\"m1\"",
        "\"regenerate-message\"",
        "{\"id\":\"u9\",\"role\":\"user\"},",
    ]);
    check("POST /api/chat", corpus.bytes(), |sent| {
        let posted = posted(&Request::new(sent.clone().into()), None, &models());
        let tree = serde_json::from_slice::<Value>(&sent);
        let post = match posted {
            Ok(Posted::Turn(post)) => post,
            Ok(Posted::Answers(answers)) => {
                let is_read = tree.map_or(true, |tree| are_answers(&answers, &tree));
                prop_assert!(is_read, "{answers:?}");
                return Ok(Seen::Accepted);
            }
            Err(refused) => {
                let status = refused.status().as_u16();
                prop_assert!(matches!(status, 400 | 413 | 422), "{status}");
                return Ok(Seen::Refused);
            }
        };
        prop_assert!(models().contains(&post.model));
        let Ok(tree) = tree else {
            return Ok(Seen::Accepted); // halves of characters, numbers beyond all ranges
        };
        prop_assert_eq!(tree["id"].as_str(), Some(post.chat.as_str()));
        let (message, before) = last_of_user(&tree).unwrap();
        prop_assert_eq!(message["id"].as_str(), Some(post.message.id.as_str()));
        let stored: Vec<Value> = serde_json::from_str(post.message.parts.as_str()).unwrap();
        prop_assert_eq!(
            Some(stored.len()),
            message["parts"].as_array().map(Vec::len)
        );
        let is_edit = post.trigger == Trigger::Submit && post.message_id.is_some();
        prop_assert!(!is_edit || post.message_id.as_ref() == Some(&post.message.id));
        let ids = before.iter().rev().take(16).rev();
        let shown = ids.filter_map(|message| MessageId::parse(message["id"].as_str()?).ok());
        prop_assert_eq!(post.shown, shown.collect::<Vec<_>>());
        Ok(Seen::Accepted)
    });
}

#[test]
fn a_stop_names_the_reply_that_its_body_names() {
    let corpus = Corpus::new([
        r#"{"activeStreamId":"s-1","assistantMessage":{"parts":[]}}"#,
        "",
        "{}",
    ]);
    check("POST /api/chat/{id}/stop", corpus.bytes(), |sent| {
        let Ok(stream) = stop(&Request::new(sent.clone().into())) else {
            return Ok(Seen::Refused);
        };
        let tree = serde_json::from_slice::<Value>(&sent).unwrap_or_default();
        if !tree.is_null() {
            let named = tree.get("activeStreamId").and_then(Value::as_str);
            prop_assert_eq!(stream.as_ref().map(chat_store::StreamId::as_str), named);
        }
        Ok(Seen::Accepted)
    });
}
