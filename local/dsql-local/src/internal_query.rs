//! A question of the front's own to a session's backend, between two statements of the client or in the middle of its
//! sequence of messages.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::backend::Backend;
use crate::wire::{Message, strings};

/// Name of the prepared statement and the portal of a question.
const NAME: &str = "dsql_local_question";

/// What PostgreSQL answers.
#[derive(Default)]
pub(crate) struct Reply {
    /// The first column of the first row.
    pub(crate) first: Option<String>,
    /// The transaction block, or the sequence under way, has failed.
    pub(crate) error: Option<Message>,
}

/// Runs a query with text parameters; without parameters given it is only parsed.
pub(crate) async fn ask(
    backend: &mut Backend,
    sql: &str,
    parameters: Option<&[&str]>,
    is_mid_sequence: bool,
) -> io::Result<Reply> {
    // One that failed is still there.
    backend.queue(&close(b'S'));
    let mut parse = BytesMut::from(&strings([NAME, sql])[..]);
    parse.put_u16(0);
    backend.queue(&Message::new(b'P', parse));
    let mut closes_left = 2;
    if let Some(parameters) = parameters {
        backend.queue(&bind(parameters));
        let mut execute = BytesMut::from(&strings([NAME])[..]);
        execute.put_u32(0);
        backend.queue(&Message::new(b'E', execute));
        backend.queue(&close(b'P'));
        closes_left += 1;
    }
    backend.queue(&close(b'S'));
    let end = if is_mid_sequence { b'H' } else { b'S' };
    backend.queue(&Message::new(end, Bytes::new()));
    let mut reply = Reply::default();
    loop {
        let message = backend.next().await?;
        match message.tag {
            b'D' if reply.first.is_none() => reply.first = Some(first_column(&message)),
            b'E' => reply.error = Some(message),
            b'3' => closes_left -= 1,
            b'Z' => return Ok(reply),
            _ => {}
        }
        if is_mid_sequence && (closes_left == 0 || reply.error.is_some()) {
            return Ok(reply);
        }
    }
}

fn bind(parameters: &[&str]) -> Message {
    let mut body = BytesMut::from(&strings([NAME, NAME])[..]);
    body.put_u16(0);
    body.put_u16(u16::try_from(parameters.len()).unwrap_or_default());
    for parameter in parameters {
        body.put_u32(u32::try_from(parameter.len()).unwrap_or_default());
        body.put_slice(parameter.as_bytes());
    }
    body.put_u16(0);
    Message::new(b'B', body)
}

fn close(kind: u8) -> Message {
    let mut body = BytesMut::from(&[kind][..]);
    body.put_slice(&strings([NAME]));
    Message::new(b'C', body)
}

/// The first column of a row as text; empty if NULL.
fn first_column(row: &Message) -> String {
    let mut body = row.body.clone();
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

/// The n-th parameter (from 1) of a Bind message, as the text it is in either format.
pub(crate) fn bound_text(bind: &Message, number: u32) -> Option<String> {
    let mut body = bind.body.clone();
    crate::wire::take_cstr(&mut body)?;
    crate::wire::take_cstr(&mut body)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_text_is_found_by_its_number() {
        let bind = bind(&["one", "", "three"]);
        assert_eq!(bound_text(&bind, 1).as_deref(), Some("one"));
        assert_eq!(bound_text(&bind, 3).as_deref(), Some("three"));
        assert_eq!(bound_text(&bind, 4), None);
        assert_eq!(bound_text(&Message::new(b'B', &b"\0"[..]), 1), None);
    }
}
