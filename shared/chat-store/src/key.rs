//! How a chat is found by the id that its owner uses for it. Clients choose ids themselves, so two
//! owners may choose the same one, and no answer may reveal that to either. The key of a chat,
//! `chats.id`, is that id as long as it is free, and else one of the server's: then `public_id` is
//! what the chat is called. Whatever belongs to a chat belongs to its key, which stays when a chat
//! is claimed.
//!
//! # Promises
//! 1. A chat is found by its owner and what they call it, in the statement that needs it.
//! 2. Clients are told what a chat is called, and never its key. Keys are in the order of the ids
//!    that they were made from, so the order of lists and exports does not tell either which chats
//!    have one of the server's.

use dsql::Row;

use crate::ids::{ChatId, OwnerId};
use crate::secret::sha256_hex;

/// The CTE `key`: the key of the chat that the owner calls `$name`, or no row. It is `$1` of the
/// owner `$2` where nothing else is said.
macro_rules! key {
    () => {
        $crate::key::key!("$1", "$2")
    };
    ($name:literal, $owner:literal) => {
        concat!(
            "key AS (
    SELECT id FROM chats WHERE id = ",
            $name,
            " AND owner_id = ",
            $owner,
            "
    UNION ALL
    SELECT id FROM chats WHERE public_id = ",
            $name,
            " AND owner_id = ",
            $owner,
            "
    LIMIT 1
)"
        )
    };
}
pub(crate) use key;

/// The CTE `key` of a chat that is made if it is not there: the key that it has, or would get.
/// `$apart` is [`apart`].
macro_rules! key_of_new {
    ($name:literal, $owner:literal, $apart:literal) => {
        concat!(
            "key AS (
    SELECT COALESCE(
        (SELECT id FROM chats WHERE id = ",
            $name,
            " AND owner_id = ",
            $owner,
            "),
        (SELECT id FROM chats WHERE public_id = ",
            $name,
            " AND owner_id = ",
            $owner,
            " LIMIT 1),
        CASE WHEN EXISTS (SELECT FROM chats WHERE id = ",
            $name,
            ") THEN ",
            $apart,
            " ELSE ",
            $name,
            " END
    ) AS id
)"
        )
    };
}
pub(crate) use key_of_new;

/// Stands between the two parts of a key of the server's. No id has it, and each of their
/// characters comes after it.
const SEPARATOR: char = '!';

/// The key of a chat whose id is another owner's already. It comes after that id, and before
/// whatever comes after the id.
pub(crate) fn apart(owner: &OwnerId, id: &ChatId) -> String {
    let parts = [owner.as_str().as_bytes(), id.as_str().as_bytes()];
    format!("{}{SEPARATOR}{}", id.as_str(), sha256_hex(&parts))
}

/// The id that a key was made from.
pub(crate) fn made_from(key: &str) -> &str {
    key.split(SEPARATOR).next().unwrap_or(key)
}

/// The key of the chat that a row is about.
pub(crate) fn of_row(row: &Row) -> Option<ChatId> {
    row.get::<_, Option<String>>("key").map(ChatId::stored)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_the_ids_that_they_were_made_from(
            ids in proptest::collection::vec("[A-Z0-9_a-z-]{1,3}", 2),
            are_apart in proptest::array::uniform2(any::<bool>()),
        ) {
            let owner = OwnerId::parse("o").unwrap();
            let keys: Vec<String> = ids.iter().zip(are_apart).map(|(id, is_apart)| {
                if is_apart { apart(&owner, &ChatId::parse(id).unwrap()) } else { id.clone() }
            }).collect();
            prop_assume!(ids[0] != ids[1]);
            prop_assert_eq!(keys[0].cmp(&keys[1]), ids[0].cmp(&ids[1]));
            prop_assert_eq!(made_from(&keys[0]), &ids[0]);
        }
    }

    #[test]
    fn a_key_of_the_servers_is_the_owners_alone_and_no_clients_id() {
        let key = |owner: &str, id: &str| {
            apart(&OwnerId::parse(owner).unwrap(), &ChatId::parse(id).unwrap())
        };
        assert_eq!(key("o", "a"), key("o", "a"));
        assert_ne!(key("o", "a"), key("p", "a"));
        assert_ne!(key("o", "ab"), key("oa", "b"));
        assert!(ChatId::parse(&key("o", "a")).is_err());
    }
}
