//! What an import file says, checked: the same caps as for what is posted. Lines that count each
//! other, one array, or a part of the lines.

use std::collections::HashMap;

use bounded_json::{Fields, Limits, Refused, Stopped, Text, items};

use super::chat::{Extent, ImportedChat, NAMES, number, text, vote};
use crate::values::{Invalid, Title};

/// Most chats in one import.
pub const MAX_IMPORTED_CHATS: usize = 1_000;
/// Most chats in one part: more than 2.5 MiB of an export's lines have.
const MAX_PART_CHATS: usize = 20_000;

/// Most bytes of a file.
pub const MAX_IMPORT_BYTES: usize = 4 * 1024 * 1024;
/// How deep it may nest.
const MAX_DEPTH: usize = 100;
/// How much one line may be.
const LINE: Limits = Limits {
    bytes: MAX_IMPORT_BYTES,
    depth: MAX_DEPTH,
    values: 20_000,
};
/// How much an array may be: it is never held as a tree, only its messages are, one by one.
const ARRAY: Limits = Limits {
    values: 400_000,
    ..LINE
};

/// Why a file is refused, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct InvalidImport {
    /// Counted from 1; in an array, the message.
    pub line: usize,
    /// What is wrong there.
    pub reason: Invalid,
}

/// How many chats and messages there are, those among them of which nothing is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Chats.
    pub chats: u64,
    /// Messages.
    pub messages: u64,
}

/// A file that can be stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Import {
    pub(crate) chats: Vec<ImportedChat>,
    pub(crate) skipped: usize,
    counts: Counts,
    end: Option<Counts>,
}

impl Import {
    /// What the file has.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What its last line says that the whole export has, if that is the end of an export.
    pub fn end(&self) -> Option<Counts> {
        self.end
    }
}

/// Reads a file: lines of JSON as an export has them, or one array of messages.
///
/// # Errors
/// The first line that is not accepted; an export that was cut off.
pub fn parse(text: &str) -> Result<Import, InvalidImport> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with('[') {
        array(text)
    } else {
        lines(text, Extent::Whole)
    }
}

/// Reads some of an export's lines, in their order: its chats may have begun in an earlier part,
/// and go on in a later one. A message's place is the `seq` that the export gives it.
///
/// # Errors
/// The first line that is not accepted.
pub fn parse_part(text: &str) -> Result<Import, InvalidImport> {
    lines(text.trim_start_matches('\u{feff}').trim(), Extent::Part)
}

fn at(line: usize) -> impl Fn(Invalid) -> InvalidImport {
    move |reason| InvalidImport { line, reason }
}

fn malformed(line: usize, text: &'static str) -> InvalidImport {
    at(line)(Invalid::Malformed(text))
}

/// What is wrong with a text that is not read at all.
fn unread(refused: Refused) -> Invalid {
    match refused {
        Refused::TooLarge(_) => Invalid::TooLarge("an import may have 4194304 bytes"),
        Refused::TooDeep(_) => Invalid::NotAllowed("it nests more than 100 deep"),
        Refused::TooMany(_) => Invalid::NotAllowed("it holds too many values"),
        Refused::Nul => Invalid::Malformed("a text must not contain NUL characters"),
        _ => Invalid::Malformed("it is not a JSON object"),
    }
}

fn array(text: &str) -> Result<Import, InvalidImport> {
    let text = Text::judge(text.as_bytes(), &ARRAY).map_err(|refused| at(1)(unread(refused)))?;
    let mut import = Import::default();
    let mut chat = ImportedChat::new(String::new(), Title::default());
    let mut n = 0;
    items(text.as_str(), |message| {
        n += 1;
        let message =
            Fields::of(message, NAMES).ok_or_else(|| malformed(n, "a message is an object"))?;
        let taken = chat.take(&message, Extent::Whole).map_err(at(n))?;
        import.skipped += usize::from(!taken);
        Ok(())
    })
    .map_err(|stopped| match stopped {
        Stopped::NotAnArray(error) => malformed(error.line(), "it is not a JSON array"),
        Stopped::Item(invalid) => invalid,
    })?;
    if let Some(title) = chat.title_from_text() {
        chat.title = title;
    }
    if !chat.messages.is_empty() {
        import.chats.push(chat);
    }
    Ok(import)
}

fn lines(file: &str, extent: Extent) -> Result<Import, InvalidImport> {
    let mut import = Import::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut last = 1;
    for (n, line) in file
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.trim()))
    {
        last = n;
        if line.is_empty() {
            continue;
        }
        let line = Text::judge(line.as_bytes(), &LINE).map_err(|refused| at(n)(unread(refused)))?;
        let line = line
            .fields(NAMES)
            .map_err(|refused| at(n)(unread(refused)))?;
        if import.end.is_some() {
            return Err(malformed(n, "something follows the end"));
        }
        match text(&line, "type").as_deref() {
            Some("meta") if number(&line, "version") != Some(1) => {
                return Err(at(n)(Invalid::NotAllowed("only version 1 can be read")));
            }
            Some("chat") => {
                let id = text(&line, "id").unwrap_or_default();
                let chat = ImportedChat::read(&id, &line).map_err(at(n))?;
                if places.insert(id, import.chats.len()).is_some() {
                    return Err(malformed(n, "a chat with this id is above it"));
                }
                import.begin(chat, extent).map_err(at(n))?;
                import.counts.chats += 1;
            }
            Some("message") => {
                let taken = import
                    .chat_of(&line, &mut places, extent)
                    .and_then(|chat| chat.take(&line, extent))
                    .map_err(at(n))?;
                import.skipped += usize::from(!taken);
                import.counts.messages += 1;
            }
            Some("vote") => {
                let vote = vote(&line).map_err(at(n))?;
                import
                    .chat_of(&line, &mut places, extent)
                    .map_err(at(n))?
                    .votes
                    .push(vote);
            }
            Some("end") => {
                let end = number(&line, "chats").zip(number(&line, "messages"));
                let end = end.map(|(chats, messages)| Counts { chats, messages });
                if end.is_none() || extent == Extent::Whole && end != Some(import.counts) {
                    return Err(at(n)(Invalid::NotAllowed(
                        "the end counts other chats or messages",
                    )));
                }
                import.end = end;
            }
            None => return Err(malformed(n, "a line has a type")),
            Some(_) => {} // of a later version
        }
    }
    if import.end.is_none() && extent == Extent::Whole {
        return Err(at(last)(Invalid::NotAllowed(
            "the export was cut off: it has no end line",
        )));
    }
    Ok(import)
}

impl Import {
    fn begin(&mut self, chat: ImportedChat, extent: Extent) -> Result<(), Invalid> {
        match extent {
            Extent::Whole if self.chats.len() >= MAX_IMPORTED_CHATS => {
                return Err(Invalid::NotAllowed("an import has at most 1000 chats"));
            }
            Extent::Part if self.chats.len() >= MAX_PART_CHATS => {
                return Err(Invalid::NotAllowed("a part has at most 20000 chats"));
            }
            Extent::Whole | Extent::Part => {}
        }
        self.chats.push(chat);
        Ok(())
    }

    /// The chat that a line belongs to; one that the part does not know has begun in an earlier
    /// one.
    fn chat_of(
        &mut self,
        line: &Fields<'_>,
        places: &mut HashMap<String, usize>,
        extent: Extent,
    ) -> Result<&mut ImportedChat, Invalid> {
        let id = text(line, "chatId").unwrap_or_default();
        if extent == Extent::Part && !id.is_empty() && !places.contains_key(&id) {
            let mut chat = ImportedChat::new(id.clone(), Title::default());
            chat.is_continued = true;
            self.begin(chat, extent)?;
            places.insert(id.clone(), self.chats.len() - 1);
        }
        places
            .get(&id)
            .and_then(|place| self.chats.get_mut(*place))
            .ok_or(Invalid::Malformed("its chatId names no chat above it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn an_array_of_messages_is_one_chat_named_by_its_first_text() {
        let import = parse(
            &json!([
                {"id": "s", "role": "system", "parts": [{"type": "text", "text": "be nice"}]},
                {"id": "u1", "role": "user", "parts": [{"type": "text", "text": " Hello\n there "}]},
                {"role": "assistant", "parts": [
                    {"type": "step-start"},
                    {"type": "reasoning", "text": "hm", "id": "r0", "state": "done"},
                    {"type": "tool-x", "input": {}},
                    {"type": "text", "text": "Hi", "state": "done"}
                ]},
                {"role": "user", "content": "old form"},
            ])
            .to_string(),
        )
        .unwrap();
        let chat = &import.chats[0];
        assert_eq!(chat.title.as_str(), "Hello there");
        assert_eq!((import.skipped, chat.messages.len()), (1, 3));
        let reply: Value = serde_json::from_str(&chat.messages[1].parts).unwrap();
        assert_eq!(
            reply,
            json!([
                {"type": "step-start"},
                {"type": "reasoning", "text": "hm", "id": "r0", "state": "done"},
                {"type": "tool-x", "input": {}},
                {"type": "text", "text": "Hi", "state": "done"}
            ])
        );
    }

    #[test]
    fn an_export_that_was_cut_off_or_does_not_add_up_is_refused_with_its_line() {
        let meta = r#"{"type":"meta","version":1}"#;
        let chat = r#"{"type":"chat","id":"c","title":"T"}"#;
        let message = r#"{"type":"message","chatId":"c","id":"m","role":"user","parts":[{"type":"text","text":"x"}]}"#;
        let end = r#"{"type":"end","chats":1,"messages":1}"#;
        assert!(parse(&[meta, chat, message, end].join("\n")).is_ok());
        for (lines, line) in [
            (vec![meta, chat, message], 3),
            (vec![meta, message, end], 2),
            (vec![meta, chat, end], 3),
            (vec![meta, chat, chat, end], 3),
            (vec![meta, chat, message, message, end], 4),
            (vec![r#"{"type":"meta","version":2}"#, end], 1),
            (vec!["nonsense"], 1),
            (vec![""], 1),
        ] {
            assert_eq!(
                parse(&lines.join("\n")).unwrap_err().line,
                line,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn caps_hold_for_files_too() {
        let many = json!(vec![json!({"role": "user", "content": "x"}); 501]).to_string();
        assert_eq!(parse(&many).unwrap_err().line, 501);
        let long = json!([{"role": "user", "content": "x".repeat(16_001)}]).to_string();
        assert!(parse(&long).is_err());
        let nul = r#"[{"role":"assistant","content":"a\u0000b"}]"#;
        assert!(parse(nul).is_err());
        let about_nul = r#"[{"role":"assistant","content":"write \\u0000"}]"#;
        assert!(parse(about_nul).is_ok());
        let url = r#"[{"role":"user","parts":[{"type":"file","mediaType":"image/png","url":"https://a.example/x.png"}]}]"#;
        assert!(parse(url).is_err());
    }

    #[test]
    fn a_part_may_begin_and_end_anywhere_between_the_lines_of_an_export() {
        let message = |id: &str, seq: i64| {
            json!({"type": "message", "chatId": "c", "id": id, "seq": seq, "role": "user",
                "parts": [{"type": "text", "text": "x"}]})
            .to_string()
        };
        let chat = r#"{"type":"chat","id":"c","title":"T"}"#.to_owned();
        let end = r#"{"type":"end","chats":1,"messages":3}"#.to_owned();
        let begin = parse_part(&[chat, message("a", 0)].join("\n")).unwrap();
        assert!(!begin.chats[0].is_continued && begin.end().is_none());
        let rest = parse_part(&[message("b", 4), message("c", 9), end].join("\n")).unwrap();
        let chat = &rest.chats[0];
        let seqs: Vec<i64> = chat.messages.iter().map(|message| message.seq).collect();
        assert_eq!((chat.is_continued, seqs), (true, vec![4, 9]));
        assert_eq!(
            (rest.counts().messages, rest.end().unwrap().messages),
            (2, 3)
        );
        assert_eq!(chat.id, begin.chats[0].id);
        let many: Vec<String> = (0..1_500)
            .map(|n| format!(r#"{{"type":"chat","id":"c{n}"}}"#))
            .collect();
        assert_eq!(parse_part(&many.join("\n")).unwrap().chats.len(), 1_500);
        for wrong in [
            message("a", -1),
            message("a", 0).replace("\"seq\":0,", ""),
            message("a", 0).replace("\"chatId\":\"c\",", ""),
        ] {
            assert!(parse_part(&wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,300}", tail in r#"[\[\]{}":,a-z0-9\n]{0,200}"#) {
            let _ = parse(&text);
            let _ = parse_part(&text);
            let _ = parse(&format!("[{tail}"));
            let _ = parse(&format!("{{\"type\":\"message\"{tail}"));
        }
    }
}
