//! Owns the split of a streamed answer into its JSON prelude and its body: 8 NUL bytes lie between
//! them, and the pieces they arrive in may be cut anywhere.

use bytes::{Bytes, BytesMut};

const SEPARATOR: [u8; 8] = [0; 8];

/// Collects pieces until the separator has passed.
#[derive(Debug, Default)]
pub(super) struct PreludeSplitter {
    pending: BytesMut,
}

impl PreludeSplitter {
    /// Takes a piece; yields the prelude and the first bytes of the body once the separator is
    /// complete.
    pub(super) fn push(&mut self, piece: &[u8]) -> Option<(Bytes, Bytes)> {
        self.pending.extend_from_slice(piece);
        let start = self
            .pending
            .windows(SEPARATOR.len())
            .position(|window| window == SEPARATOR)?;
        let prelude = self.pending.split_to(start).freeze();
        let body = self.pending.split_off(SEPARATOR.len()).freeze();
        Some((prelude, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: &[u8] = b"{\"statusCode\":200}\0\0\0\0\0\0\0\0data: a\0b";

    #[test]
    fn a_stream_splits_the_same_wherever_it_is_cut() {
        for cut in 0..=WIRE.len() {
            let mut splitter = PreludeSplitter::default();
            let (first, second) = WIRE.split_at(cut);
            let (prelude, body) = if let Some((prelude, body)) = splitter.push(first) {
                (prelude, [&body[..], second].concat())
            } else {
                let (prelude, body) = splitter.push(second).expect("the separator has passed");
                (prelude, body.to_vec())
            };
            assert_eq!(&prelude[..], b"{\"statusCode\":200}", "cut at {cut}");
            assert_eq!(body, b"data: a\0b", "cut at {cut}");
        }
    }

    #[test]
    fn seven_nul_bytes_are_no_separator() {
        assert!(
            PreludeSplitter::default()
                .push(b"{}\0\0\0\0\0\0\0")
                .is_none()
        );
    }
}
