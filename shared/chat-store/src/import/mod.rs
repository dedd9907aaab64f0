//! Import: [`parse()`] reads what an export wrote, or an AI SDK array of messages; [`store()`] writes it in batches, each of
//! which may be repeated.

mod parse;
mod store;

pub use parse::{Import, InvalidImport, MAX_IMPORTED_CHATS, parse};
pub use store::{Imported, store};
