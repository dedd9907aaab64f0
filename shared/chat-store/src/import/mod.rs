//! Import: [`parse()`] reads what an export wrote, or an AI SDK array of messages; [`store()`]
//! writes it in batches, each of which may be repeated. An export that is larger than a request
//! comes in parts, cut between lines: [`parse_part`] reads one, and what the others had is known
//! from the database.

mod chat;
mod parse;
mod store;

pub use parse::{
    Counts, Import, InvalidImport, MAX_IMPORT_BYTES, MAX_IMPORTED_CHATS, parse, parse_part,
};
pub use store::{Imported, StoreError, store};
