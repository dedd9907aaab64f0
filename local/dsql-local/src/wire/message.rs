//! One message as it is framed, whatever it means, and the bounded reader of such messages.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest message that a client may send (User Guide, database limits: 10 MiB); longer ones close
/// the connection.
pub(crate) const MAX_CLIENT_MESSAGE_BYTES: usize = 10 * 1024 * 1024;
/// Longest answer message that PostgreSQL can send.
pub(crate) const MAX_SERVER_MESSAGE_BYTES: usize = 0x7fff_ffff;
/// What is read at a time, so that a length field alone allocates nothing.
const READ_BYTES: usize = 16 * 1024;

/// One message: its type and what follows the length.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Bytes,
}

impl Message {
    pub(crate) fn new(tag: u8, body: impl Into<Bytes>) -> Self {
        Self {
            tag,
            body: body.into(),
        }
    }

    pub(crate) fn write_to(&self, out: &mut BytesMut) {
        put_message(out, self.tag, &[&self.body]);
    }
}

/// Appends a message whose body consists of `pieces`.
pub(super) fn put_message(out: &mut BytesMut, tag: u8, pieces: &[&[u8]]) {
    let body_bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    out.reserve(body_bytes + 5);
    out.put_u8(tag);
    out.put_u32(length_field(body_bytes));
    for piece in pieces {
        out.put_slice(piece);
    }
}

fn length_field(body_bytes: usize) -> u32 {
    u32::try_from(body_bytes + 4).expect("both readers bound a message below 2 GiB")
}

/// The type of the message that begins here, and its length without that.
fn header(bytes: &[u8]) -> Option<(u8, usize)> {
    let (&[tag, a, b, c, d], _) = bytes.split_first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    Some((tag, length))
}

/// How many bytes the first message takes; `None` unless all of it is there.
pub(crate) fn framed_bytes(bytes: &[u8]) -> Option<usize> {
    let (_, length) = header(bytes)?;
    let framed = length.checked_add(1)?;
    (framed <= bytes.len()).then_some(framed)
}

/// Reads messages. Cancel-safe: what was read of an unfinished message stays in the buffer.
pub(crate) struct MessageReader<R> {
    inner: R,
    buffer: BytesMut,
    max_bytes: usize,
    /// Bytes that had arrived at the mark and were not returned since.
    marked: usize,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    pub(crate) fn new(inner: R, max_bytes: usize) -> Self {
        Self {
            inner,
            buffer: BytesMut::new(),
            max_bytes,
            marked: 0,
        }
    }

    /// The next message; `None` when the other side closed between two messages.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            self.buffer.reserve(READ_BYTES);
            if self.inner.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Marks what has arrived so far. Reads it, and waits for nothing.
    pub(crate) fn mark(&mut self) {
        while self.buffer.len() <= self.max_bytes {
            self.buffer.reserve(READ_BYTES);
            let arrived = self.inner.read_buf(&mut self.buffer);
            // An end or an error is met again by whoever waits for the next message.
            match tokio::task::coop::unconstrained(arrived).now_or_never() {
                Some(Ok(1..)) => {}
                _ => break,
            }
        }
        self.marked = self.buffer.len();
    }

    /// Whether the next message had begun to arrive at the last mark.
    pub(crate) fn is_before_mark(&self) -> bool {
        self.marked > 0
    }

    /// The next message, if all of it has been read already.
    pub(crate) fn buffered(&mut self) -> io::Result<Option<Message>> {
        let Some((tag, length)) = header(&self.buffer) else {
            return Ok(None);
        };
        if length < 4 || length > self.max_bytes {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "message length out of range",
            ));
        }
        if self.buffer.len() < length + 1 {
            return Ok(None);
        }
        self.marked = self.marked.saturating_sub(length + 1);
        let mut message = self.buffer.split_to(length + 1);
        message.advance(5);
        Ok(Some(Message {
            tag,
            body: message.freeze(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn messages_are_read_whole_and_in_order() {
        let mut bytes = BytesMut::new();
        Message::new(b'Q', &b"SELECT 1\0"[..]).write_to(&mut bytes);
        Message::new(b'S', Bytes::new()).write_to(&mut bytes);
        let mut reader = MessageReader::new(&bytes[..], MAX_CLIENT_MESSAGE_BYTES);
        let query = reader.next().await.unwrap().unwrap();
        assert_eq!((query.tag, &query.body[..]), (b'Q', &b"SELECT 1\0"[..]));
        assert_eq!(reader.next().await.unwrap().unwrap().tag, b'S');
        assert!(reader.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_arrives_after_the_mark_is_not_before_it() {
        let (mut client, server) = tokio::io::duplex(1024);
        let mut reader = MessageReader::new(server, MAX_CLIENT_MESSAGE_BYTES);
        let mut sync = BytesMut::new();
        Message::new(b'S', Bytes::new()).write_to(&mut sync);
        reader.mark();
        assert!(!reader.is_before_mark(), "nothing has arrived");
        client.write_all(&sync.repeat(2)).await.unwrap();
        reader.mark();
        client.write_all(&sync).await.unwrap();
        for is_before in [true, true, false] {
            assert_eq!(reader.is_before_mark(), is_before);
            reader.next().await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_length_out_of_range_is_refused_before_the_body_arrives() {
        for length in [0_u32, 3, 64 * 1024 * 1024, u32::MAX] {
            let mut bytes = BytesMut::from(&b"Q"[..]);
            bytes.put_u32(length);
            let mut reader = MessageReader::new(&bytes[..], MAX_CLIENT_MESSAGE_BYTES);
            let error = reader.next().await.err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{length}");
        }
    }

    #[tokio::test]
    async fn a_message_that_is_cut_off_is_an_error() {
        let mut reader = MessageReader::new(&b"Q\0\0\0\x20SEL"[..], MAX_CLIENT_MESSAGE_BYTES);
        assert_eq!(
            reader.next().await.err().unwrap().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
