//! Server-sent events: bytes in, the `data` of each event out. Comments, other fields and either
//! line ending are fine; an event that the end of the stream cuts off before its blank line still
//! counts.

/// The longest line and the longest event; a server that sends more is not answering a chat.
const LIMIT_BYTES: usize = 1 << 20;

/// An event exceeded the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Splits a stream into events.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
}

impl Events {
    /// Takes the next piece of the stream and returns the events it completes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            let held = self.line.len() + self.data.as_ref().map_or(0, Vec::len);
            if held > LIMIT_BYTES {
                return Err(TooLong);
            }
            if piece.ends_with(b"\n") {
                complete.extend(self.end_line());
            }
        }
        Ok(complete)
    }

    /// The stream is over: what is left of it.
    pub(super) fn end(&mut self) -> Option<Vec<u8>> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.data.take()
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return self.data.take();
        }
        if let Some(value) = line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(stream: &[u8], cut: usize) -> Vec<String> {
        let mut events = Events::default();
        let mut found = Vec::new();
        for piece in stream.chunks(cut) {
            found.extend(events.push(piece).unwrap());
        }
        found.extend(events.end());
        found
            .into_iter()
            .map(|data| String::from_utf8(data).unwrap())
            .collect()
    }

    #[test]
    fn comments_other_fields_and_both_line_endings_are_understood() {
        let stream = ": hi\r\nevent: x\r\nid: 1\r\ndata: {\"a\":1}\r\n\r\ndata:two\ndata: lines\n\n\n: PROCESSING\n\ndata: [DONE]";
        assert_eq!(
            all(stream.as_bytes(), 7),
            ["{\"a\":1}", "two\nlines", "[DONE]"]
        );
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let mut events = Events::default();
        let piece = vec![b'x'; LIMIT_BYTES];
        assert_eq!(events.push(&piece), Ok(Vec::new()));
        assert_eq!(events.push(b"x"), Err(TooLong));
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_makes_no_difference(
            texts in prop::collection::vec("[a-zé€😀 ]{0,12}", 0..6),
            cut in 1_usize..9,
        ) {
            let stream: Vec<u8> = texts.iter().flat_map(|text| format!("data: {text}\n\n").into_bytes()).collect();
            prop_assert_eq!(all(&stream, cut), texts);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1_usize..9) {
            let mut events = Events::default();
            for piece in bytes.chunks(cut) {
                let _ = events.push(piece);
            }
            events.end();
        }
    }
}
