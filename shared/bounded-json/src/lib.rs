//! JSON from strangers, read within a limit of memory. The limits of a text (its bytes, how deep it
//! nests, how many values it has) are checked in one pass before anything is parsed. Of an object
//! only the fields that a reader knows are kept, each as it was written, and an array is read item
//! by item. No tree is built of unknown parts.

mod fields;
#[cfg(test)]
mod fuzz;
mod items;
mod object;
mod text;

pub use fields::Fields;
pub use items::{Stopped, items};
pub use object::Object;
pub use serde_json::value::RawValue;
pub use text::{Limits, Text, count_values};

/// Why a text is refused. The words are fit for whoever sent it: they quote nothing of it but the
/// names of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has more bytes than this.
    #[error("the body may have {0} bytes")]
    TooLarge(usize),
    /// It nests deeper than this.
    #[error("the body may nest {0} deep")]
    TooDeep(usize),
    /// It holds more values than this.
    #[error("the body may hold {0} values")]
    TooMany(usize),
    /// It is not text.
    #[error("the body must be UTF-8")]
    NotUtf8,
    /// It has a NUL, bare or as an escape: PostgreSQL keeps none.
    #[error("the body must not contain NUL characters")]
    Nul,
    /// It is JSON of another kind.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// It is no JSON.
    #[error("the body is not valid JSON at line {line}, column {column}")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A field has another type.
    #[error("\"{name}\" must be {expected}")]
    WrongType {
        /// The field.
        name: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
}
