//! The list's cursor: the last chat seen, as opaque base64url. Comparison and order use the same
//! pair, so ties are kept.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;

use crate::ids::ChatId;
use crate::values::{Invalid, kept};

/// Where a page of chats begins: after this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) updated_at: Timestamp,
    pub(crate) id: String,
}

const WRONG: Invalid = Invalid::Malformed("the cursor is not one that a list answered");

impl Cursor {
    /// Before every chat.
    pub(crate) fn start() -> Self {
        Self {
            updated_at: Timestamp::MAX,
            id: String::new(),
        }
    }

    /// # Errors
    /// Anything that [`encode`](Self::encode) did not make.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| WRONG)?;
        let text = String::from_utf8(bytes).map_err(|_| WRONG)?;
        let (microseconds, id) = text.split_once(' ').ok_or(WRONG)?;
        let id = ChatId::parse(id).map_err(|_| WRONG)?;
        let updated_at = microseconds
            .parse()
            .ok()
            .and_then(|n| Timestamp::from_microsecond(n).ok())
            .and_then(kept)
            .ok_or(WRONG)?;
        Ok(Self {
            updated_at,
            id: id.as_str().to_owned(),
        })
    }

    /// The text for the client.
    pub fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(format!("{} {}", self.updated_at.as_microsecond(), self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_what_it_wrote(
            us in 0_i64..4_000_000_000_000_000,
            id in "[A-Za-z0-9_-]{1,64}",
        ) {
            let cursor = Cursor { updated_at: Timestamp::from_microsecond(us).unwrap(), id };
            prop_assert_eq!(Cursor::parse(&cursor.encode()).unwrap(), cursor);
        }

        #[test]
        fn a_cursor_of_a_time_that_the_database_cannot_keep_is_refused(us in any::<i64>()) {
            let text = BASE64_URL_SAFE_NO_PAD.encode(format!("{us} c"));
            let lowest = "0000-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
            let is_kept = Timestamp::from_microsecond(us).is_ok_and(|time| time >= lowest);
            prop_assert_eq!(Cursor::parse(&text).is_ok(), is_kept);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = Cursor::parse(&text);
        }
    }
}
