//! What message bodies are made of: strings that end with a NUL.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What ends a string.
pub(super) const NUL: &[u8] = b"\0";

/// UTF-8 text, mostly a piece of the message that it came in: a clone copies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(Bytes);

impl Text {
    /// Takes a NUL-terminated text from the front of a body.
    pub(crate) fn take(body: &mut Bytes) -> Option<Self> {
        let bytes = take_cstr(body)?;
        std::str::from_utf8(&bytes).is_ok().then_some(Self(bytes))
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a text is made of UTF-8 only")
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
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

/// A body of NUL-terminated strings.
pub(crate) fn strings<'a>(parts: impl IntoIterator<Item = &'a str>) -> Bytes {
    let mut body = BytesMut::new();
    for part in parts {
        body.put_slice(part.as_bytes());
        body.put_slice(NUL);
    }
    body.freeze()
}
