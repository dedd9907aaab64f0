//! What a server answers.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::body::{strings, take_text};
use super::error::ErrorAnswer;
use super::message::{Message, put_message};

/// A message of a server.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    ParseComplete,
    BindComplete,
    CloseComplete,
    RowDescription(Bytes),
    NoData,
    DataRow(DataRow),
    CommandComplete(CommandTag),
    EmptyQueryResponse,
    PortalSuspended,
    CopyInResponse(Bytes),
    CopyDone,
    ErrorResponse(ErrorResponse),
    ReadyForQuery(TransactionStatus),
    ParameterStatus(ParameterStatus),
    KeyData(Bytes),
    /// What the front passes on without a look.
    Other(Message),
}

impl From<Message> for Backend {
    fn from(message: Message) -> Self {
        let body = message.body;
        match message.tag {
            b'1' => Self::ParseComplete,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'T' => Self::RowDescription(body),
            b'n' => Self::NoData,
            b'D' => Self::DataRow(DataRow(body)),
            b'C' => Self::CommandComplete(CommandTag(body)),
            b'I' => Self::EmptyQueryResponse,
            b's' => Self::PortalSuspended,
            b'G' => Self::CopyInResponse(body),
            b'c' => Self::CopyDone,
            b'E' => Self::ErrorResponse(ErrorResponse(body)),
            b'Z' => Self::ReadyForQuery(TransactionStatus::read(&body)),
            b'S' => Self::ParameterStatus(ParameterStatus(body)),
            b'K' => Self::KeyData(body),
            tag => Self::Other(Message { tag, body }),
        }
    }
}

impl Backend {
    /// Type and body.
    fn parts(&self) -> (u8, &[u8]) {
        match self {
            Self::ParseComplete => (b'1', b""),
            Self::BindComplete => (b'2', b""),
            Self::CloseComplete => (b'3', b""),
            Self::RowDescription(body) => (b'T', body),
            Self::NoData => (b'n', b""),
            Self::DataRow(DataRow(body)) => (b'D', body),
            Self::CommandComplete(CommandTag(body)) => (b'C', body),
            Self::EmptyQueryResponse => (b'I', b""),
            Self::PortalSuspended => (b's', b""),
            Self::CopyInResponse(body) => (b'G', body),
            Self::CopyDone => (b'c', b""),
            Self::ErrorResponse(ErrorResponse(body)) => (b'E', body),
            Self::ReadyForQuery(status) => (b'Z', status.body()),
            Self::ParameterStatus(ParameterStatus(body)) => (b'S', body),
            Self::KeyData(body) => (b'K', body),
            Self::Other(message) => (message.tag, &message.body),
        }
    }

    pub(crate) fn write_to(&self, out: &mut BytesMut) {
        let (tag, body) = self.parts();
        put_message(out, tag, &[body]);
    }

    /// Type and body of what tells a client how its statement ended: rows, and the end of a
    /// command.
    pub(crate) fn result(&self) -> Option<(u8, &[u8])> {
        matches!(
            self,
            Self::DataRow(_)
                | Self::CommandComplete(_)
                | Self::EmptyQueryResponse
                | Self::PortalSuspended
        )
        .then(|| self.parts())
    }
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct DataRow(Bytes);

impl DataRow {
    /// The first column as text; empty if NULL.
    pub(crate) fn first_text(&self) -> String {
        let mut body = self.0.clone();
        if body.try_get_u16().unwrap_or_default() == 0 {
            return String::new();
        }
        let length = body.try_get_i32().unwrap_or_default();
        let text = usize::try_from(length)
            .ok()
            .and_then(|length| body.get(..length))
            .unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    /// Whether it has one column, and that is NULL.
    pub(crate) fn is_one_null(&self) -> bool {
        self.0.as_ref() == b"\0\x01\xff\xff\xff\xff"
    }
}

/// How a command ended.
#[derive(Clone, Debug)]
pub(crate) struct CommandTag(Bytes);

/// What a command did to its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactionCommand {
    Begin,
    Commit,
    Rollback,
}

impl CommandTag {
    pub(crate) fn new(tag: &str) -> Self {
        Self(strings([tag]))
    }

    /// Its words.
    pub(crate) fn words(&self) -> impl Iterator<Item = &[u8]> {
        let tag = self.0.strip_suffix(b"\0").unwrap_or(&self.0);
        tag.split(|&byte| byte == b' ')
    }

    /// What the command did, if it began or ended a transaction.
    pub(crate) fn transaction(&self) -> Option<TransactionCommand> {
        match self.0.strip_suffix(b"\0")? {
            b"BEGIN" | b"START TRANSACTION" => Some(TransactionCommand::Begin),
            b"COMMIT" => Some(TransactionCommand::Commit),
            b"ROLLBACK" => Some(TransactionCommand::Rollback),
            _ => None,
        }
    }

    /// How many rows the command changed.
    pub(crate) fn changed_rows(&self) -> u64 {
        let words: Vec<&[u8]> = self.words().collect();
        let ([b"INSERT", _, number] | [b"UPDATE" | b"DELETE" | b"COPY", number]) = words.as_slice()
        else {
            return 0;
        };
        std::str::from_utf8(number)
            .ok()
            .and_then(|rows| rows.parse().ok())
            .unwrap_or(0)
    }
}

/// An error, as PostgreSQL or the front tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorResponse(Bytes);

impl ErrorResponse {
    /// An error with these fields.
    pub(crate) fn of<'a>(fields: impl IntoIterator<Item = (u8, &'a [u8])>) -> Self {
        let mut body = BytesMut::new();
        for (code, text) in fields {
            body.put_u8(code);
            // A NUL would end the field.
            body.extend(text.iter().filter(|&&byte| byte != 0));
            body.put_u8(0);
        }
        body.put_u8(0);
        Self(body.freeze())
    }

    /// A field by its code.
    pub(crate) fn field(&self, code: u8) -> Option<&[u8]> {
        let mut rest = self.0.as_ref();
        while let [first, text @ ..] = rest {
            let end = text.iter().position(|&byte| byte == 0)?;
            if *first == code {
                return text.get(..end);
            }
            rest = text.get(end + 1..)?;
        }
        None
    }

    pub(crate) fn sqlstate(&self) -> Option<&[u8]> {
        self.field(b'C')
    }
}

impl From<&ErrorAnswer> for ErrorResponse {
    fn from(answer: &ErrorAnswer) -> Self {
        let always = [
            (b'S', answer.severity),
            (b'V', answer.severity),
            (b'C', answer.sqlstate),
            (b'M', answer.message.as_str()),
        ];
        let detail = answer.detail.as_deref().map(|text| (b'D', text));
        let hint = answer.hint.as_deref().map(|text| (b'H', text));
        let fields = always.into_iter().chain(detail).chain(hint);
        Self::of(fields.map(|(code, text)| (code, text.as_bytes())))
    }
}

impl From<&ErrorAnswer> for Backend {
    fn from(answer: &ErrorAnswer) -> Self {
        Self::ErrorResponse(answer.into())
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
    fn read(body: &[u8]) -> Self {
        match body {
            [b'T', ..] => Self::InBlock,
            [b'E', ..] => Self::Failed,
            _ => Self::Idle,
        }
    }

    fn body(self) -> &'static [u8] {
        match self {
            Self::Idle => b"I",
            Self::InBlock => b"T",
            Self::Failed => b"E",
        }
    }
}

/// The value of a setting that clients are told of.
#[derive(Clone, Debug)]
pub(crate) struct ParameterStatus(Bytes);

impl ParameterStatus {
    pub(crate) fn new(name: &str, value: &str) -> Self {
        Self(strings([name, value]))
    }

    /// Name and value.
    pub(crate) fn read(&self) -> Option<(String, String)> {
        let mut body = self.0.clone();
        let name = take_text(&mut body)?;
        let value = take_text(&mut body)?;
        (!body.has_remaining()).then_some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_answers_is_passed_on_byte_for_byte() {
        for tag in b"123TnDCIsGEZSKtNHdcvR" {
            let body: &[u8] = match tag {
                b'1' | b'2' | b'3' | b'n' | b'I' | b's' | b'c' => b"",
                b'Z' => b"T",
                _ => b"S\0body\0",
            };
            let message = Message::new(*tag, body);
            let (mut expected, mut written) = (BytesMut::new(), BytesMut::new());
            message.write_to(&mut expected);
            Backend::from(message).write_to(&mut written);
            assert_eq!(written, expected, "{}", char::from(*tag));
        }
    }

    #[test]
    fn command_tags_tell_how_many_rows_were_changed() {
        for (tag, rows) in [
            ("INSERT 0 3", 3),
            ("UPDATE 12", 12),
            ("DELETE 0", 0),
            ("COPY 7", 7),
            ("SELECT 9", 0),
            ("INSERT", 0),
            ("", 0),
        ] {
            assert_eq!(CommandTag::new(tag).changed_rows(), rows, "{tag}");
        }
    }

    #[test]
    fn a_nul_does_not_end_a_field_of_an_error() {
        let error = ErrorResponse::from(&ErrorAnswer::error("22023", "a\0b").with_hint("c"));
        assert_eq!(error.sqlstate(), Some(&b"22023"[..]));
        assert_eq!(error.field(b'M'), Some(&b"ab"[..]));
        assert_eq!(error.field(b'H'), Some(&b"c"[..]));
        assert_eq!(error.field(b'D'), None);
    }
}
