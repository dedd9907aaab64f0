//! Reads what the server sends alongside the driver, for the tag of the last command, which the
//! driver does not pass on: a COMMIT in a failed transaction is answered without an error, by the
//! tag `ROLLBACK`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use postgres_protocol::message::backend::{COMMAND_COMPLETE_TAG, Header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The tag of a transaction that was undone, with the zero byte that ends it.
const ROLLBACK: &[u8] = b"ROLLBACK\0";
/// A message's type and length.
const HEADER_BYTES: usize = 5;

/// Whether the last command that was answered undid its transaction. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastCommand(Arc<AtomicBool>);

impl LastCommand {
    pub(crate) fn rolled_back(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A connection whose answers are also read here.
#[derive(Debug)]
pub(crate) struct Tagged<S> {
    stream: S,
    scanner: Scanner,
}

impl<S> Tagged<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            scanner: Scanner::default(),
        }
    }

    pub(crate) fn last_command(&self) -> LastCommand {
        self.scanner.last.clone()
    }
}

/// Where in the stream of messages it is.
#[derive(Debug, Default)]
struct Scanner {
    /// The current message's, as far as it has come.
    header: Vec<u8>,
    /// What is left of the current message's body.
    body_left: usize,
    /// The start of the body, if the message is a command's end.
    tag: Vec<u8>,
    last: LastCommand,
}

impl Scanner {
    fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.body_left == 0 {
                // Most messages come whole, and are no command's end.
                if self.header.is_empty()
                    && let Some(&[kind, ..]) = bytes.first_chunk::<HEADER_BYTES>()
                    && kind != COMMAND_COMPLETE_TAG
                    && let Some(header) = Header::parse(bytes)?
                    && let Ok(length) = usize::try_from(header.len())
                    && let Some(rest) = bytes.get(length + 1..)
                {
                    bytes = rest;
                    continue;
                }
                let missing = HEADER_BYTES.saturating_sub(self.header.len());
                let (header, rest) = bytes.split_at(missing.min(bytes.len()));
                self.header.extend_from_slice(header);
                bytes = rest;
                if let Some(header) = Header::parse(&self.header)? {
                    self.body_left = usize::try_from(header.len()).unwrap_or(0).saturating_sub(4);
                }
            }
            let (body, rest) = bytes.split_at(self.body_left.min(bytes.len()));
            bytes = rest;
            self.body_left -= body.len();
            let is_command = self.header.first() == Some(&COMMAND_COMPLETE_TAG);
            if is_command && self.tag.len() <= ROLLBACK.len() {
                self.tag.extend(body.iter().take(ROLLBACK.len() + 1));
            }
            if self.body_left == 0 && self.header.len() == HEADER_BYTES {
                if is_command {
                    self.last.0.store(self.tag == ROLLBACK, Ordering::Release);
                }
                self.header.clear();
                self.tag.clear();
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tagged<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        Poll::Ready(this.scanner.read(new))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tagged<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    proptest! {
        #[test]
        fn the_last_command_is_known_however_the_bytes_come(
            commands in prop::collection::vec(
                prop::sample::select(vec!["COMMIT", "ROLLBACK", "ROLLBACK PREPARED", "SELECT 1"]), 1..5),
            pieces in prop::collection::vec(1_usize..9, 1..20),
        ) {
            let mut scanner = Scanner::default();
            let mut bytes = message(b'S', b"name\0value\0");
            for command in &commands {
                bytes.extend(message(b'D', b"C\0\0\0\x0dROLLBACK\0"));
                bytes.extend(message(b'C', format!("{command}\0").as_bytes()));
                bytes.extend(message(b'I', b""));
                bytes.extend(message(b'Z', b"I"));
            }
            let mut rest = bytes.as_slice();
            for piece in pieces.iter().cycle() {
                let (now, later) = rest.split_at((*piece).min(rest.len()));
                scanner.read(now).unwrap();
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(scanner.last.rolled_back(), commands.last() == Some(&"ROLLBACK"));
        }
    }
}
