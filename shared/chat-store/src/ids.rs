//! Ids. Clients make their own (16 random letters and digits, by default of the AI SDK), so they
//! are opaque text of a fixed alphabet, unique per owner's chat only where the schema says so.

use crate::values::Invalid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// # Errors
            /// Anything but 1 to 64 letters, digits, `_` or `-`.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                let fits = (1..=64).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                fits.then(|| Self(text.to_owned()))
                    .ok_or(Invalid::Malformed("an id has 1 to 64 letters, digits, _ or -"))
            }

            /// A new one, ordered by time (UUID version 7).
            pub fn new() -> Self {
                Self(uuid::Uuid::now_v7().to_string())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }
    };
}

id!(
    /// What a chat's owner calls it, unique among their chats; or its key, which is unique in the
    /// database.
    ChatId
);
id!(
    /// A message's id, unique within its chat.
    MessageId
);
id!(
    /// The id of a reply under way, which clients know as `activeStreamId`.
    StreamId
);

impl ChatId {
    /// A key, as it was read from the database.
    pub(crate) fn stored(key: String) -> Self {
        Self(key)
    }
}

/// The id of an upload, and the key of its object: a UUID, which the server makes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct UploadId(String);

impl UploadId {
    /// A UUID as the server writes them; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = |(at, b): (usize, u8)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        };
        let is_id = text.len() == 36 && text.bytes().enumerate().all(is_one);
        is_id.then(|| Self(text.to_owned()))
    }

    /// A new one, which nothing that was made before or after it tells.
    pub fn new() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }

    /// As it was read from the database.
    pub(crate) fn stored(id: String) -> Self {
        Self(id)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for UploadId {
    fn default() -> Self {
        Self::new()
    }
}

/// Who owns a chat: the subject of a verified token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnerId(String);

impl OwnerId {
    /// # Errors
    /// Empty, longer than 128 bytes, or with a NUL.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let fits = (1..=128).contains(&text.len()) && !text.contains('\0');
        fits.then(|| Self(text.to_owned()))
            .ok_or(Invalid::Malformed("an owner has 1 to 128 bytes"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_and_of_ours_are_accepted_and_nothing_else() {
        for text in [
            "xDFlQfPfB0rzfXah",
            "a",
            "018f-chat",
            "A_b-9",
            ChatId::new().as_str(),
        ] {
            assert!(ChatId::parse(text).is_ok(), "{text}");
        }
        for text in [
            "",
            " ",
            "a b",
            "a/b",
            "ä",
            "a\0",
            "%41",
            ".",
            &"a".repeat(65),
        ] {
            assert!(ChatId::parse(text).is_err(), "{text}");
        }
    }
}
