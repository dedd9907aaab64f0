//! Fuzz targets: an import's file and a message's parts. What is accepted keeps the limits of
//! posted messages.

use std::collections::HashSet;

use fuzzing::{Corpus, Seen, TestCaseError, check, prop_assert, prop_assert_eq};
use serde_json::Value;

use crate::import::{self, Import, MAX_IMPORT_BYTES, MAX_IMPORTED_CHATS};
use crate::{
    ChatId, Cursor, MAX_METADATA_BYTES, MAX_PARTS, MAX_PARTS_BYTES, MAX_ROWS, MAX_TITLE_CHARS,
    MessageId, Metadata, OwnerId, Parts, StreamId, time,
};

const EXPORT: &str = r#"{"type":"meta","version":1,"exportedAt":"2026-11-25T00:00:00Z"}
{"type":"chat","id":"c1","title":"First","pinned":true,"createdAt":"2026-11-25T00:00:00Z"}
{"type":"message","chatId":"c1","id":"u1","seq":1,"role":"user","parts":[{"type":"text","text":"hi"}],"metadata":{"a":1}}
{"type":"message","chatId":"c1","id":"a1","parentId":"u1","seq":2,"isCurrent":true,"role":"assistant","parts":[{"type":"step-start"},{"type":"text","text":"Hello"}]}
{"type":"vote","chatId":"c1","messageId":"a1","isUpvoted":true,"comment":"fine"}
{"type":"chat","id":"c2","title":"Second"}
{"type":"end","chats":2,"messages":2}
"#;
const ARRAY: &str = r#"[{"id":"u1","role":"user","parts":[{"type":"text","text":"hi"}],"createdAt":"2026-11-25T00:00:00Z"},
{"id":"a1","role":"assistant","parts":[{"type":"reasoning","text":"hm"},{"type":"tool-x","input":{"q":[1]}},{"type":"text","text":"Hello"}]},
{"role":"user","content":"old form"}]"#;
const MESSAGE: &str = r#"[{"type":"text","text":"hi \ud83d\ude00"},{"type":"file","mediaType":"text/plain","url":"data:text/plain;base64,aGk=","filename":"a.txt"},{"type":"data-x","data":{"a":[null,true]}}]"#;

fn files() -> Corpus {
    Corpus::new([EXPORT, ARRAY]).words([
        "\n",
        "{\"type\":\"end\",\"chats\":1,\"messages\":1}\n",
        "{\"type\":\"chat\",\"id\":\"c1\"}\n",
        "\"chatId\":",
        "\"seq\":2",
        "\"version\":2",
        "\"later\"",
        "\"text\":\"  \"",
        "\"createdAt\":\"2026-02-30T00:00:00Z\"",
    ])
}

fn holds_caps(import: &Import, most_chats: usize) -> Result<(), TestCaseError> {
    prop_assert!(import.chats.len() <= most_chats);
    for chat in &import.chats {
        prop_assert!(chat.title.as_str().chars().count() <= MAX_TITLE_CHARS);
        prop_assert!(i64::try_from(chat.messages.len()).is_ok_and(|rows| rows <= MAX_ROWS));
        let ids: HashSet<&str> = chat
            .messages
            .iter()
            .map(|message| message.id.as_str())
            .collect();
        prop_assert_eq!(ids.len(), chat.messages.len());
        for message in &chat.messages {
            prop_assert!(MessageId::parse(&message.id).is_ok());
            prop_assert!(message.parts.len() <= MAX_IMPORT_BYTES && !message.parts.contains('\0'));
            let parts: Value = serde_json::from_str(&message.parts).unwrap();
            prop_assert!(parts.as_array().is_some_and(|parts| !parts.is_empty()));
            prop_assert!(
                message
                    .metadata
                    .as_ref()
                    .is_none_or(|it| it.as_str().len() <= MAX_METADATA_BYTES)
            );
        }
        prop_assert!(
            chat.votes
                .iter()
                .all(|vote| MessageId::parse(&vote.message_id).is_ok())
        );
    }
    Ok(())
}

#[test]
fn an_import_that_is_accepted_is_whole_and_within_the_caps() {
    check("an import", files().text(), |file| {
        let Ok(import) = import::parse(&file) else {
            return Ok(Seen::Refused);
        };
        holds_caps(&import, MAX_IMPORTED_CHATS)?;
        let counts = import.counts();
        if let Some(end) = import.end() {
            prop_assert_eq!(end, counts);
            let kept: usize = import.chats.iter().map(|chat| chat.messages.len()).sum();
            prop_assert_eq!(
                u64::try_from(kept + import.skipped).unwrap(),
                counts.messages
            );
        } else {
            let array = file.trim_start_matches('\u{feff}');
            prop_assert!(serde_json::from_str::<Vec<serde::de::IgnoredAny>>(array).is_ok());
        }
        Ok(Seen::Accepted)
    });
}

#[test]
fn a_part_of_an_import_holds_every_line_that_is_valid_json() {
    check("a part of an import", files().text(), |file| {
        let Ok(import) = import::parse_part(&file) else {
            return Ok(Seen::Refused);
        };
        holds_caps(&import, 20_000)?;
        let text = file.trim_start_matches('\u{feff}').trim();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        for line in lines {
            let object = serde_json::from_str::<Value>(line).map(|line| line.is_object());
            prop_assert!(!matches!(object, Ok(false)), "{line}");
        }
        Ok(Seen::Accepted)
    });
}

#[test]
fn parts_that_are_accepted_are_within_the_caps_and_accepted_again_unchanged() {
    let corpus = Corpus::new([MESSAGE, r#"[{"type":"text","text":"hi"}]"#]).words([
        "{\"type\":\"text\",\"text\":\"x\"},",
        "\"image/svg+xml\"",
        "\"https://a.example/x.png\"",
        "\"type\":",
    ]);
    check("a message's parts", corpus.text(), |json| {
        let Ok(parts) = Parts::parse(&json) else {
            return Ok(Seen::Refused);
        };
        prop_assert!(parts.as_str().len() <= MAX_PARTS_BYTES);
        let stored: Vec<Value> = serde_json::from_str(parts.as_str()).unwrap();
        prop_assert!((1..=MAX_PARTS).contains(&stored.len()));
        for part in &stored {
            let url = part.get("url").and_then(Value::as_str);
            prop_assert!(part["type"] != "file" || url.is_some_and(|url| url.starts_with("data:")));
        }
        let again = Parts::parse(parts.as_str());
        prop_assert_eq!(again.as_ref(), Ok(&parts));
        Ok(Seen::Accepted)
    });
}

/// Whether a number in it is no whole one that fits.
fn has_floats(text: &str) -> bool {
    fn is_in(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.is_f64(),
            Value::Array(items) => items.iter().any(is_in),
            Value::Object(fields) => fields.values().any(is_in),
            _ => false,
        }
    }
    serde_json::from_str(text).is_ok_and(|value| is_in(&value))
}

#[test]
fn small_values_that_are_accepted_are_accepted_again_as_they_were_read() {
    let corpus = Corpus::new([
        r#"{"a":{"b":[1,"\u00e9"]}}"#,
        "2026-11-25T10:00:00.123456Z",
        "chat-1",
        "auth0|5f7c",
        "0198a1b2-0000-7000-8000-000000000001",
        "MTc5NTMwNTYwMDAwMDAwMCBj",
    ]);
    check("small values", corpus.text(), |text| {
        let mut is_any = false;
        if let Ok(metadata) = Metadata::parse(&text) {
            prop_assert!(metadata.as_str().len() <= MAX_METADATA_BYTES);
            let again = Metadata::parse(metadata.as_str());
            // Of a number with a fraction or an exponent the parser may take the neighbour in the
            // last digit.
            prop_assert!(again.is_ok() && (has_floats(&text) || again == Ok(metadata)));
            is_any = true;
        }
        if let Ok(cursor) = Cursor::parse(&text) {
            let again = Cursor::parse(&cursor.encode()).map(|cursor| cursor.encode());
            prop_assert_eq!(again, Ok(cursor.encode()));
            is_any = true;
        }
        if let Ok(at) = time(&text) {
            prop_assert_eq!(time(&at.to_string()), Ok(at));
            is_any = true;
        }
        if let Ok(owner) = OwnerId::parse(&text) {
            prop_assert!(owner.as_str() == text && text.len() <= 128 && !text.contains('\0'));
        }
        let ids = [
            ChatId::parse(&text).map(|id| id.as_str().to_owned()),
            MessageId::parse(&text).map(|id| id.as_str().to_owned()),
            StreamId::parse(&text).map(|id| id.as_str().to_owned()),
        ];
        for id in ids.into_iter().flatten() {
            prop_assert!(id == text && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_graphic()));
            is_any = true;
        }
        Ok(if is_any {
            Seen::Accepted
        } else {
            Seen::Refused
        })
    });
}
