//! The pieces that a text falls into, whatever its grammar: words, strings, blanks, signs, and
//! everything between a bracket and the one that closes it.

use std::ops::Range;

/// Where the pieces of `bytes` are.
pub(crate) fn pieces(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let end = at + length(rest);
        found.push(at..end);
        match rest.first() {
            Some(b'(' | b'[' | b'{') => open.push(at),
            Some(b')' | b']' | b'}') => found.extend(open.pop().map(|begin| begin..end)),
            _ => {}
        }
        at = end;
    }
    found
}

/// How long the piece is that `rest` begins with.
fn length(rest: &[u8]) -> usize {
    let run = |is_part: fn(u8) -> bool| rest.iter().take_while(|byte| is_part(**byte)).count();
    match rest.first() {
        Some(quote @ (b'"' | b'\'')) => quoted(rest, *quote),
        Some(byte) if is_word(*byte) => run(is_word),
        Some(byte) if byte.is_ascii_whitespace() => run(|byte| byte.is_ascii_whitespace()),
        _ => 1,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// The length of a string; of one that never ends, that of its quote.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut is_escaped = true; // the quote that opens it
    for (at, byte) in rest.iter().enumerate() {
        if !is_escaped && *byte == quote {
            return at + 1;
        }
        is_escaped = !is_escaped && *byte == b'\\';
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_falls_into_words_strings_signs_and_groups() {
        let text = br#"{"a\"b": [1, 'x']}"#;
        let found: Vec<_> = pieces(text)
            .into_iter()
            .map(|piece| std::str::from_utf8(&text[piece]).unwrap())
            .collect();
        assert_eq!(
            found,
            [
                "{",
                r#""a\"b""#,
                ":",
                " ",
                "[",
                "1",
                ",",
                " ",
                "'x'",
                "]",
                "[1, 'x']",
                "}",
                r#"{"a\"b": [1, 'x']}"#
            ]
        );
        assert_eq!(pieces(b"\"a"), [0..1, 1..2]);
        assert_eq!(pieces(b"])"), [0..1, 1..2]);
    }
}
