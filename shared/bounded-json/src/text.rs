//! A text of JSON before it is parsed: how large it is, and whether the database can store its
//! contents.

use std::borrow::Cow;

use crate::{Fields, Refused};

/// How much JSON is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the text.
    pub bytes: usize,
    /// Arrays and objects inside each other.
    pub depth: usize,
    /// Values of any kind, those inside others included.
    pub values: usize,
}

impl Limits {
    /// Judges `json`, without parsing it and without memory.
    ///
    /// # Errors
    /// [`Refused::TooLarge`], [`Refused::TooDeep`] or [`Refused::TooMany`].
    pub fn check(&self, json: &str) -> Result<(), Refused> {
        if json.len() > self.bytes {
            return Err(Refused::TooLarge(self.bytes));
        }
        let measured = measure(json);
        if measured.depth > self.depth {
            return Err(Refused::TooDeep(self.depth));
        }
        if measured.values > self.values {
            return Err(Refused::TooMany(self.values));
        }
        Ok(())
    }
}

/// How many values a JSON text holds. Of an empty array or object it counts one too many, of a text
/// that is no JSON what its brackets and commas would make.
pub fn count_values(json: &str) -> usize {
    measure(json).values
}

#[derive(Debug, PartialEq, Eq)]
struct Measured {
    depth: usize,
    values: usize,
}

fn measure(json: &str) -> Measured {
    let (mut depth, mut deepest, mut values) = (0_usize, 0_usize, 1_usize);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'[' | b'{' => {
                depth += 1;
                values += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
    }
    Measured {
        depth: deepest,
        values,
    }
}

/// Goes on after the quote that ends a string.
fn skip_string(bytes: &mut impl Iterator<Item = u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

/// A text that is within its limits, without NUL and without halves of characters.
#[derive(Debug)]
pub struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// Judges what was sent.
    ///
    /// # Errors
    /// Those of [`Limits::check`]; [`Refused::NotUtf8`]; [`Refused::Nul`].
    pub fn judge(bytes: &'a [u8], limits: &Limits) -> Result<Self, Refused> {
        if bytes.len() > limits.bytes {
            return Err(Refused::TooLarge(limits.bytes));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Refused::NotUtf8)?;
        limits.check(text)?;
        if has_nul(text) {
            return Err(Refused::Nul);
        }
        Ok(Self(whole_characters(text)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its fields of these names, if it is an object; the others are skipped.
    ///
    /// # Errors
    /// [`Refused::Malformed`] or [`Refused::NotAnObject`].
    pub fn fields(&self, names: &'static [&'static str]) -> Result<Fields<'_>, Refused> {
        Fields::parse(&self.0, names)
    }
}

/// Whether it holds a NUL, bare or as an escape.
fn has_nul(json: &str) -> bool {
    const ESCAPE: &str = "\\u0000";
    // A backslash before the escape's own makes it the text `\u0000`, unless that one is escaped
    // too.
    let is_escape = |at: usize| {
        let before = json.get(..at).unwrap_or_default().bytes().rev();
        before.take_while(|byte| *byte == b'\\').count() % 2 == 0
    };
    json.contains('\0') || json.match_indices(ESCAPE).any(|(at, _)| is_escape(at))
}

/// `json` with `\ufffd` in place of each escape that is half a character: JavaScript writes one
/// where a text was cut inside an emoji, and no parser of UTF-8 takes it. Positions and length stay
/// as they are.
fn whole_characters(json: &str) -> Cow<'_, str> {
    const ESCAPE: usize = 6; // \uXXXX
    let unit = |at: usize| {
        let escape = json.get(at..at + ESCAPE)?.strip_prefix("\\u")?;
        u16::from_str_radix(escape, 16).ok()
    };
    let is_high = |at| matches!(unit(at), Some(0xD800..=0xDBFF));
    let is_low = |at| matches!(unit(at), Some(0xDC00..=0xDFFF));
    let mut whole = Cow::Borrowed(json);
    let mut rest = 0;
    while let Some(found) = json.get(rest..).and_then(|rest| rest.find('\\')) {
        let at = rest + found;
        rest = if is_high(at) && is_low(at + ESCAPE) {
            at + 2 * ESCAPE
        } else if is_high(at) || is_low(at) {
            whole.to_mut().replace_range(at..at + ESCAPE, "\\ufffd");
            at + ESCAPE
        } else {
            at + 2 // an escape has two characters at least, and no second backslash begins another
        };
    }
    whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const LIMITS: Limits = Limits {
        bytes: 128,
        depth: 4,
        values: 10,
    };

    fn refused(json: &str) -> Option<Refused> {
        Text::judge(json.as_bytes(), &LIMITS).err()
    }

    #[test]
    fn size_depth_and_count_have_limits_and_strings_count_once() {
        assert_eq!(refused(&" ".repeat(129)), Some(Refused::TooLarge(128)));
        assert_eq!(refused("[[[[]]]]"), None);
        assert_eq!(refused("[[[[["), Some(Refused::TooDeep(4)));
        assert_eq!(refused("[0,0,0,0,0,0,0,0]"), None);
        assert_eq!(
            refused(r#"[0,0,0,{"a":0,"b":0},0,0,0,0]"#),
            Some(Refused::TooMany(10))
        );
        assert_eq!(refused(r#"["[[[[[[,,,,,,,,,,,,,\"]]{{{{{"]"#), None);
    }

    #[test]
    fn nul_is_refused_however_deep_and_however_written() {
        for body in [
            "{\"a\":\"\\u0000\"}",
            "{\"a\":[{\"b\":\"x\\u0000\"}]}",
            "{\"a\\u0000\":1}",
            "{\"a\":\"\\\\\\u0000\"}",
            "{\"a\":\"\0\"}",
        ] {
            assert_eq!(refused(body), Some(Refused::Nul), "{body:?}");
        }
        assert_eq!(refused(r#"{"a":"write \\u0000"}"#), None);
    }

    #[test]
    fn half_a_character_becomes_the_replacement_character() {
        for (sent, read) in [
            (r"\ud83d\ude00", "\u{1f600}"),
            (r"a\ud83d", "a\u{fffd}"),
            (r"\ude00b", "\u{fffd}b"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\\ud83d", r"\ud83d"),
            (r"\\\ud83d", "\\\u{fffd}"),
            (r"\uD83Dä", "\u{fffd}ä"),
        ] {
            let body = format!(r#"{{"a":"{sent}","b":{{"c{sent}":1}}}}"#);
            let text = Text::judge(body.as_bytes(), &LIMITS).unwrap();
            let fields = text.fields(&["a"]).unwrap();
            assert_eq!(fields.text("a").unwrap().as_deref(), Some(read), "{sent}");
        }
    }

    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(count).sum(),
            Value::Object(fields) => fields.values().map(count).sum(),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn no_value_goes_uncounted(text in r#"[\[\]{}":,\\a1]{0,40}"#, words in prop::collection::vec(".{0,8}", 0..8)) {
            let json = serde_json::json!({"a": words, "b": {"c": [text]}});
            let counted = count_values(&json.to_string());
            prop_assert!(counted >= count(&json) && counted <= count(&json) + 3);
        }
    }
}
