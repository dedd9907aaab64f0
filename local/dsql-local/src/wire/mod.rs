//! PostgreSQL protocol 3.0: the messages of both sides as types, and their bounded reading.
//!
//! A [`Frontend`] message comes from a client, a [`Backend`] message from a server. Only what the
//! front acts on is taken apart; the rest of a body stays the bytes that arrived, and passes
//! through without being copied.

mod backend;
mod body;
mod error;
mod frontend;
mod message;

pub(crate) use backend::{
    Backend, CommandTag, ErrorResponse, ParameterStatus, TransactionCommand, TransactionStatus,
};
pub(crate) use body::{Text, strings, take_text};
pub(crate) use error::ErrorAnswer;
pub(crate) use frontend::{Bind, Close, Execute, Frontend, Parse, Protocol, Target};
pub(crate) use message::{
    MAX_CLIENT_MESSAGE_BYTES, MAX_SERVER_MESSAGE_BYTES, Message, MessageReader, framed_bytes,
};
