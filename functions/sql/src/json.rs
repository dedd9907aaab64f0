//! JSON that is being written, up to a limit: beyond it nothing is added, and there is no text in
//! the end.

use serde::Serialize;

/// How much of a text is escaped at once.
const PIECE_BYTES: usize = 8 * 1024;

/// A text of JSON.
#[derive(Debug)]
pub(crate) struct Json {
    text: String,
    max_bytes: usize,
    is_full: bool,
}

/// A place in a text of JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    length: usize,
    is_full: bool,
}

impl Json {
    /// An empty one, with room for `expected_bytes` at first.
    pub(crate) fn new(expected_bytes: usize, max_bytes: usize) -> Self {
        Self {
            text: String::with_capacity(expected_bytes.min(max_bytes)),
            max_bytes,
            is_full: false,
        }
    }

    /// Whether something did not fit.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// The text, if all of it fitted.
    pub(crate) fn finish(self) -> Option<String> {
        (!self.is_full).then_some(self.text)
    }

    /// Where the text ends now, for [`Json::back_to`].
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            length: self.text.len(),
            is_full: self.is_full,
        }
    }

    /// Takes back what was written since, also what did not fit.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        self.text.truncate(mark.length);
        self.is_full = mark.is_full;
    }

    /// Appends JSON as it is.
    pub(crate) fn push_str(&mut self, json: &str) {
        self.is_full = self.is_full || self.text.len() + json.len() > self.max_bytes;
        if !self.is_full {
            self.text.push_str(json);
        }
    }

    /// Appends a small value.
    pub(crate) fn put(&mut self, value: &impl Serialize) {
        let json =
            serde_json::to_string(value).expect("texts, numbers and lists can be serialised");
        self.push_str(&json);
    }

    /// Appends text as a JSON string; most needs no escapes.
    pub(crate) fn put_text(&mut self, text: &str) {
        self.push_str("\"");
        if text.bytes().any(|b| b < b' ' || matches!(b, b'"' | b'\\')) {
            self.escape(text);
        } else {
            self.push_str(text);
        }
        self.push_str("\"");
    }

    /// Piece by piece, since escapes are up to six times as long.
    fn escape(&mut self, mut text: &str) {
        while !text.is_empty() && !self.is_full {
            let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE_BYTES));
            let json = serde_json::to_string(piece).expect("a text can be serialised");
            self.push_str(json.get(1..json.len() - 1).unwrap_or_default());
            text = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str, max_bytes: usize) -> Option<String> {
        let mut json = Json::new(0, max_bytes);
        json.put_text(text);
        json.finish()
    }

    proptest! {
        #[test]
        fn any_text_is_the_string_that_serde_would_write(text in ".*|\\PC*|[\u{0}-\u{7f}]*", times in 1_usize..200) {
            let text = text.repeat(times);
            let expected = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(written(&text, usize::MAX), Some(expected.clone()));
            prop_assert_eq!(written(&text, expected.len()), Some(expected.clone()));
            prop_assert_eq!(written(&text, expected.len() - 1), None);
        }
    }
}
