//! What the fuzz target feeds with bytes: everything that takes apart what a client sends. Nothing here may panic.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Faults;
use crate::dialect;
use crate::schema;
use crate::startup::Startup;
use crate::token::Token;
use crate::websocket::PostgresStream;
use crate::wire::{Backend, Frontend, MAX_CLIENT_MESSAGE_BYTES, MessageReader, take_text};

/// Runs every parser over the bytes.
pub fn parse(bytes: &[u8]) {
    let _refused = Startup::parse(Bytes::copy_from_slice(bytes), "cluster");
    let _refused = serde_json::from_slice::<Faults>(bytes);
    read_messages(bytes);
    read_frames(bytes);
    let text = String::from_utf8_lossy(bytes);
    let _refused = Token::parse(&text);
    let _read = dialect::read_without_rules(&text);
    let _read = dialect::read(&text, &dsql_dialect::Session::default());
}

fn read_messages(bytes: &[u8]) {
    let mut reader = MessageReader::new(bytes, MAX_CLIENT_MESSAGE_BYTES);
    loop {
        let next = pin!(reader.next());
        // A slice is always ready.
        let Poll::Ready(Ok(Some(message))) = next.poll(&mut Context::from_waker(Waker::noop()))
        else {
            return;
        };
        take_text(&mut message.body.clone());
        if let Frontend::Bind(bind) = Frontend::from(message.clone()) {
            bind.text(2);
        }
        match Backend::from(message) {
            Backend::ErrorResponse(error) => drop(error.field(b'M').is_some()),
            Backend::DataRow(row) => drop(row.first_text()),
            Backend::CommandComplete(tag) => {
                schema::is_change(&tag);
                tag.changed_rows();
            }
            _ => {}
        }
    }
}

/// Reads what comes after the upgrade to a WebSocket, and ends it.
fn read_frames(bytes: &[u8]) {
    let mut context = Context::from_waker(Waker::noop());
    let wire = tokio::io::join(bytes, tokio::io::sink());
    let mut opened = pin!(PostgresStream::new(wire));
    let Poll::Ready(mut stream) = opened.as_mut().poll(&mut context) else {
        return;
    };
    let mut read = Vec::new();
    let _error = pin!(stream.read_to_end(&mut read)).poll(&mut context);
    let _error = pin!(stream.write_all(&read)).poll(&mut context);
    let _error = pin!(stream.shutdown()).poll(&mut context);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_parser_panics_at_garbage() {
        let mut random = fastrand::Rng::with_seed(1);
        let words: [&[u8]; 15] = [
            b"BEGIN",
            b";",
            b"/*",
            b"*/",
            b"--",
            b"$a$",
            b"'",
            b"\"",
            b"\0",
            b"Q\0\0\0\x09",
            b"/?Action=",
            // Frames of a WebSocket: masked binary ones, and a Close.
            b"\x82\x85\0\0\0\0Q\0\0\0\x04",
            b"\x02\x80\0\0\0\0",
            b"\x88\x82\0\0\0\0\x03\xe8",
            "\u{e9}\u{1f980}".as_bytes(),
        ];
        for _ in 0..5_000 {
            let mut bytes = Vec::new();
            for _ in 0..random.usize(..24) {
                if random.bool() {
                    bytes.extend_from_slice(words[random.usize(..words.len())]);
                } else {
                    bytes.push(random.u8(..));
                }
            }
            parse(&bytes);
        }
    }
}
