//! What a client sends once it is logged in.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::body::{NUL, Text, take_cstr};
use super::message::{Message, put_message};

/// A message of a client.
#[derive(Clone, Debug)]
pub(crate) enum Frontend {
    /// A simple query.
    Query(Text),
    Parse(Parse),
    Bind(Bind),
    /// What is described, as it came.
    Describe(Bytes),
    Execute(Execute),
    Close(Close),
    Flush,
    Sync,
    CopyData(Bytes),
    CopyDone,
    /// Why, as it came.
    CopyFail(Bytes),
    FunctionCall,
    Terminate,
    /// One whose strings do not end or are no text.
    Malformed(Protocol),
    /// One with a type that no client sends.
    Unknown(u8),
}

/// Which of the two ways to run statements a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Simple,
    Extended,
}

/// Makes a prepared statement of a text.
#[derive(Clone, Debug)]
pub(crate) struct Parse {
    pub(crate) name: Bytes,
    pub(crate) sql: Text,
    /// The types of its parameters, as they came.
    types: Bytes,
}

/// Makes a portal of a prepared statement and values.
#[derive(Clone, Debug)]
pub(crate) struct Bind {
    pub(crate) portal: Bytes,
    pub(crate) statement: Bytes,
    /// Formats and values, as they came.
    values: Bytes,
}

/// Runs a portal.
#[derive(Clone, Debug)]
pub(crate) struct Execute {
    pub(crate) portal: Bytes,
    /// How many rows at most, as it came.
    limit: Bytes,
}

/// Forgets a prepared statement or a portal.
#[derive(Clone, Debug)]
pub(crate) struct Close {
    pub(crate) target: Target,
    pub(crate) name: Bytes,
}

/// What a [`Close`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Statement,
    Portal,
}

impl From<Message> for Frontend {
    fn from(message: Message) -> Self {
        let Message { tag, body } = message;
        match tag {
            b'Q' => query(body).map_or(Self::Malformed(Protocol::Simple), Self::Query),
            b'P' => Parse::read(body).map_or(Self::Malformed(Protocol::Extended), Self::Parse),
            b'B' => Bind::read(body).map_or(Self::Malformed(Protocol::Extended), Self::Bind),
            b'D' => Self::Describe(body),
            b'E' => Execute::read(body).map_or(Self::Malformed(Protocol::Extended), Self::Execute),
            b'C' => Close::read(body).map_or(Self::Malformed(Protocol::Extended), Self::Close),
            b'H' => Self::Flush,
            b'S' => Self::Sync,
            b'd' => Self::CopyData(body),
            b'c' => Self::CopyDone,
            b'f' => Self::CopyFail(body),
            b'F' => Self::FunctionCall,
            b'X' => Self::Terminate,
            tag => Self::Unknown(tag),
        }
    }
}

impl Frontend {
    pub(crate) fn write_to(&self, out: &mut BytesMut) {
        match self {
            Self::Query(sql) => put_message(out, b'Q', &[sql.as_bytes(), NUL]),
            Self::Parse(parse) => {
                let (name, sql) = (&parse.name, parse.sql.as_bytes());
                put_message(out, b'P', &[name, NUL, sql, NUL, &parse.types]);
            }
            Self::Bind(bind) => {
                let (portal, statement) = (&bind.portal, &bind.statement);
                put_message(out, b'B', &[portal, NUL, statement, NUL, &bind.values]);
            }
            Self::Describe(what) => put_message(out, b'D', &[what]),
            Self::Execute(execute) => {
                put_message(out, b'E', &[&execute.portal, NUL, &execute.limit]);
            }
            Self::Close(close) => {
                let target: &[u8] = match close.target {
                    Target::Statement => b"S",
                    Target::Portal => b"P",
                };
                put_message(out, b'C', &[target, &close.name, NUL]);
            }
            Self::Flush => put_message(out, b'H', &[]),
            Self::Sync => put_message(out, b'S', &[]),
            Self::CopyData(data) => put_message(out, b'd', &[data]),
            Self::CopyDone => put_message(out, b'c', &[]),
            Self::CopyFail(reason) => put_message(out, b'f', &[reason]),
            // The front answers these itself.
            Self::FunctionCall | Self::Terminate | Self::Malformed(_) | Self::Unknown(_) => {}
        }
    }

    /// Whether the client waits for an answer after it.
    pub(crate) fn ends_flight(&self) -> bool {
        matches!(
            self,
            Self::Query(_)
                | Self::Sync
                | Self::Flush
                | Self::FunctionCall
                | Self::Terminate
                | Self::Malformed(Protocol::Simple)
        )
    }

    /// The bytes that it keeps in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Query(sql) => sql.as_bytes().len(),
                Self::Parse(parse) => parse.sql.as_bytes().len() + parse.types.len(),
                Self::Bind(bind) => bind.values.len(),
                Self::Describe(body) | Self::CopyData(body) | Self::CopyFail(body) => body.len(),
                _ => 0,
            }
    }

    /// The SQL that it brings.
    pub(crate) fn sql(&self) -> Option<&str> {
        match self {
            Self::Query(sql) => Some(sql.as_str()),
            Self::Parse(parse) => Some(parse.sql.as_str()),
            _ => None,
        }
    }
}

/// As PostgreSQL, which takes no message that goes on behind its last string.
fn query(mut body: Bytes) -> Option<Text> {
    Text::take(&mut body).filter(|_| body.is_empty())
}

impl Parse {
    /// A statement that leaves the types of its parameters to PostgreSQL.
    pub(crate) fn new(name: &'static str, sql: impl Into<Text>) -> Self {
        Self {
            name: Bytes::from_static(name.as_bytes()),
            sql: sql.into(),
            types: Bytes::from_static(b"\0\0"),
        }
    }

    fn read(mut body: Bytes) -> Option<Self> {
        Some(Self {
            name: take_cstr(&mut body)?,
            sql: Text::take(&mut body)?,
            types: body,
        })
    }

    /// The same under another name.
    pub(crate) fn named(&self, name: &'static str) -> Self {
        Self {
            name: Bytes::from_static(name.as_bytes()),
            ..self.clone()
        }
    }

    /// The same with another text.
    pub(crate) fn with_sql(&self, sql: String) -> Self {
        Self {
            sql: sql.into(),
            ..self.clone()
        }
    }
}

impl Bind {
    /// A portal whose values are texts.
    pub(crate) fn of_texts(name: &'static str, texts: &[&str]) -> Self {
        let mut values = BytesMut::new();
        values.put_u16(0);
        values.put_u16(u16::try_from(texts.len()).unwrap_or_default());
        for text in texts {
            values.put_u32(u32::try_from(text.len()).unwrap_or_default());
            values.put_slice(text.as_bytes());
        }
        values.put_u16(0);
        Self {
            portal: Bytes::from_static(name.as_bytes()),
            statement: Bytes::from_static(name.as_bytes()),
            values: values.freeze(),
        }
    }

    fn read(mut body: Bytes) -> Option<Self> {
        Some(Self {
            portal: take_cstr(&mut body)?,
            statement: take_cstr(&mut body)?,
            values: body,
        })
    }

    /// The same portal of another statement.
    pub(crate) fn to(&self, statement: &'static str) -> Self {
        Self {
            statement: Bytes::from_static(statement.as_bytes()),
            ..self.clone()
        }
    }

    /// The bytes of its values.
    pub(crate) fn value_bytes(&self) -> usize {
        self.values.len()
    }

    /// The n-th value (from 1), as the text it is in either format.
    pub(crate) fn text(&self, number: u32) -> Option<String> {
        let mut body = self.values.clone();
        for _ in 0..body.try_get_u16().ok()? {
            body.try_get_u16().ok()?;
        }
        let count = body.try_get_u16().ok()?;
        for at in 1..=u32::from(count) {
            let length = usize::try_from(body.try_get_i32().ok()?).unwrap_or(0);
            let text = body.get(..length)?.to_vec();
            body.advance(length);
            if at == number {
                return String::from_utf8(text).ok();
            }
        }
        None
    }
}

impl Execute {
    /// Runs a portal to its end.
    pub(crate) fn whole(portal: &'static str) -> Self {
        Self {
            portal: Bytes::from_static(portal.as_bytes()),
            limit: Bytes::from_static(b"\0\0\0\0"),
        }
    }

    fn read(mut body: Bytes) -> Option<Self> {
        Some(Self {
            portal: take_cstr(&mut body)?,
            limit: body,
        })
    }
}

impl Close {
    pub(crate) fn new(target: Target, name: &'static str) -> Self {
        Self {
            target,
            name: Bytes::from_static(name.as_bytes()),
        }
    }

    fn read(mut body: Bytes) -> Option<Self> {
        let target = match body.try_get_u8().ok()? {
            b'S' => Target::Statement,
            b'P' => Target::Portal,
            _ => return None,
        };
        let name = take_cstr(&mut body)?;
        body.is_empty().then_some(Self { target, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(message: &Frontend) -> BytesMut {
        let mut out = BytesMut::new();
        message.write_to(&mut out);
        out
    }

    #[test]
    fn what_a_client_sends_is_passed_on_byte_for_byte() {
        for (tag, body) in [
            (b'Q', &b"SELECT 1\0"[..]),
            (b'P', b"name\0SELECT $1\0\0\x01\0\0\0\x17"),
            (b'B', b"portal\0name\0\0\0\0\x01\0\0\0\x01x\0\0"),
            (b'D', b"Sname\0"),
            (b'E', b"portal\0\0\0\0\x05"),
            (b'C', b"Sname\0"),
            (b'C', b"Pportal\0"),
            (b'H', b""),
            (b'S', b""),
            (b'd', b"1\t2\n"),
            (b'c', b""),
            (b'f', b"enough\0"),
        ] {
            let message = Message::new(tag, body);
            let mut expected = BytesMut::new();
            message.write_to(&mut expected);
            assert_eq!(written(&message.into()), expected, "{}", char::from(tag));
        }
    }

    #[test]
    fn a_string_that_does_not_end_is_malformed() {
        for (tag, body, protocol) in [
            (b'Q', &b"SELECT 1"[..], Protocol::Simple),
            (b'Q', b"\xff\0", Protocol::Simple),
            (b'P', b"name\0SELECT 1", Protocol::Extended),
            (b'B', b"portal", Protocol::Extended),
            (b'E', b"portal", Protocol::Extended),
            (b'C', b"Xname\0", Protocol::Extended),
            (b'C', b"", Protocol::Extended),
        ] {
            let read = Frontend::from(Message::new(tag, body));
            let Frontend::Malformed(read) = read else {
                panic!("{}", char::from(tag))
            };
            assert_eq!(read, protocol, "{}", char::from(tag));
        }
    }

    #[test]
    fn a_value_is_found_by_its_number() {
        let bind = Bind::of_texts("", &["one", "", "three"]);
        assert_eq!(bind.text(1).as_deref(), Some("one"));
        assert_eq!(bind.text(3).as_deref(), Some("three"));
        assert_eq!(bind.text(4), None);
        let cut = Bind {
            values: Bytes::new(),
            ..bind
        };
        assert_eq!(cut.text(1), None);
    }
}
