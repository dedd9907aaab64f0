//! PostgreSQL protocol 3.0: messages as bytes, bounded reading, and the answers that the front makes itself.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest message that a client may send (reference: protocol message, 10 MiB); longer ones close the connection.
pub(crate) const MAX_CLIENT_MESSAGE_BYTES: usize = 10 * 1024 * 1024;
/// Longest answer message that PostgreSQL can send.
pub(crate) const MAX_SERVER_MESSAGE_BYTES: usize = 0x7fff_ffff;
/// What is read at a time, so that a length field alone allocates nothing.
const READ_BYTES: usize = 16 * 1024;

/// One message: its type and what follows the length.
#[derive(Clone)]
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
        out.reserve(self.body.len() + 5);
        out.put_u8(self.tag);
        out.put_u32(length_field(self.body.len()));
        out.put_slice(&self.body);
    }
}

fn length_field(body_bytes: usize) -> u32 {
    u32::try_from(body_bytes + 4).expect("both readers bound a message below 2 GiB")
}

/// Reads messages. Cancel-safe: what was read of an unfinished message stays in the buffer.
pub(crate) struct MessageReader<R> {
    inner: R,
    buffer: BytesMut,
    max_bytes: usize,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    pub(crate) fn new(inner: R, max_bytes: usize) -> Self {
        Self {
            inner,
            buffer: BytesMut::new(),
            max_bytes,
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

    /// The next message, if all of it has been read already.
    pub(crate) fn buffered(&mut self) -> io::Result<Option<Message>> {
        let Some((&[tag, a, b, c, d], _)) = self.buffer.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(io::Error::other)?;
        if length < 4 || length > self.max_bytes {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "message length out of range",
            ));
        }
        if self.buffer.len() < length + 1 {
            return Ok(None);
        }
        let mut message = self.buffer.split_to(length + 1);
        message.advance(5);
        Ok(Some(Message {
            tag,
            body: message.freeze(),
        }))
    }
}

/// Takes a NUL-terminated string from the front of a body.
pub(crate) fn take_cstr(body: &mut Bytes) -> Option<Bytes> {
    let end = body.iter().position(|&byte| byte == 0)?;
    let text = body.split_to(end);
    body.advance(1);
    Some(text)
}

/// Like [`take_cstr`], for text that has to be UTF-8.
pub(crate) fn take_text(body: &mut Bytes) -> Option<String> {
    String::from_utf8(take_cstr(body)?.to_vec()).ok()
}

/// A field of an ErrorResponse.
pub(crate) fn error_field(message: &Message, code: u8) -> Option<&[u8]> {
    let mut rest = message.body.as_ref();
    while let [first, text @ ..] = rest {
        let end = text.iter().position(|&byte| byte == 0)?;
        if *first == code {
            return text.get(..end);
        }
        rest = text.get(end + 1..)?;
    }
    None
}

/// An ErrorResponse that the front makes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorAnswer {
    pub(crate) severity: &'static str,
    pub(crate) sqlstate: &'static str,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
}

impl ErrorAnswer {
    /// The statement fails; the connection stays.
    pub(crate) fn error(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: "ERROR",
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// The connection ends.
    pub(crate) fn fatal(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: "FATAL",
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn message(&self) -> Message {
        let mut body = BytesMut::new();
        let mut field = |code: u8, text: &str| {
            body.put_u8(code);
            // A NUL would end the field.
            body.extend(text.bytes().filter(|&byte| byte != 0));
            body.put_u8(0);
        };
        field(b'S', self.severity);
        field(b'V', self.severity);
        field(b'C', self.sqlstate);
        field(b'M', &self.message);
        if let Some(detail) = &self.detail {
            field(b'D', detail);
        }
        if let Some(hint) = &self.hint {
            field(b'H', hint);
        }
        body.put_u8(0);
        Message::new(b'E', body)
    }
}

/// What ReadyForQuery reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactionStatus {
    Idle,
    InBlock,
    Failed,
}

impl TransactionStatus {
    pub(crate) fn parse(byte: u8) -> Self {
        match byte {
            b'T' => Self::InBlock,
            b'E' => Self::Failed,
            _ => Self::Idle,
        }
    }

    pub(crate) fn ready_for_query(self) -> Message {
        let byte: &'static [u8] = match self {
            Self::Idle => b"I",
            Self::InBlock => b"T",
            Self::Failed => b"E",
        };
        Message::new(b'Z', byte)
    }
}

/// A body of NUL-terminated strings.
pub(crate) fn strings<'a>(parts: impl IntoIterator<Item = &'a str>) -> Bytes {
    let mut body = BytesMut::new();
    for part in parts {
        body.put_slice(part.as_bytes());
        body.put_u8(0);
    }
    body.freeze()
}

#[cfg(test)]
mod tests {
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
