//! Fuzz targets: everything that takes apart what a client sends before it is a statement.
//! Statements that are run: `tests/surfaces/fuzz.rs`.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut as _, Bytes, BytesMut};
use dsql_dialect::SETTABLE;
use fuzzing::{
    Corpus, Seen, Strategy, any, check, collection, prop_assert, prop_assert_eq, sample,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Faults;
use crate::schema;
use crate::startup::Startup;
use crate::token::Token;
use crate::websocket::PostgresStream;
use crate::wire::{Backend, Frontend, MAX_CLIENT_MESSAGE_BYTES, Message, MessageReader};

/// The tags of a client's messages, and some invalid ones.
const TAGS: &[u8] = b"QPBDECHSdcfFXp?\0";
/// Opcodes of WebSocket frames.
const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// The result of what is always ready, as everything on bytes in memory is.
fn now<T>(work: impl Future<Output = T>) -> Option<T> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn bodies() -> Corpus {
    Corpus::new([
        &b"SELECT 1\0"[..],
        b"s1\0SELECT $1::int\0\0\x01\0\0\0\x17",
        b"p1\0s1\0\0\x01\0\0\0\x01\0\0\0\x0242\0\x01\0\0",
        b"Ss1\0",
        b"p1\0\0\0\0\x05",
        b"INSERT 0 17\0",
        b"SERROR\0VERROR\0C42601\0Msyntax error\0\0",
        b"\0\x02\0\0\0\x011\xff\xff\xff\xff",
        b"",
    ])
    .words([
        &b"\0"[..],
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\x80\0",
        b"\xc3\x28",
        b"\0\x01",
    ])
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let message = (sample::select(TAGS), bodies().bytes());
    let message = message.prop_map(|(tag, body)| Message::new(tag, body));
    collection::vec(message, 1..5)
}

fn framed(messages: &[Message]) -> BytesMut {
    let mut wire = BytesMut::new();
    for message in messages {
        message.write_to(&mut wire);
    }
    wire
}

/// Reads messages as far as there are some.
fn read(bytes: &[u8]) -> (Vec<Message>, bool) {
    let mut reader = MessageReader::new(bytes, MAX_CLIENT_MESSAGE_BYTES);
    let mut found = Vec::new();
    loop {
        match now(reader.next()) {
            Some(Ok(Some(message))) => found.push(message),
            end => return (found, matches!(end, Some(Ok(None)))),
        }
    }
}

#[test]
fn messages_of_a_client_are_read_whole_and_passed_on_as_they_came() {
    check("messages of a client", messages(), |sent| {
        let (found, is_end) = read(&framed(&sent));
        prop_assert!(is_end && found.len() == sent.len());
        let mut seen = Seen::Refused;
        for (message, sent) in found.into_iter().zip(&sent) {
            prop_assert_eq!((message.tag, &message.body), (sent.tag, &sent.body));
            let frontend = Frontend::from(message);
            if let Frontend::Bind(bind) = &frontend {
                prop_assert!(
                    bind.text(0)
                        .is_none_or(|text| text.len() <= sent.body.len())
                );
                bind.text(2);
            }
            let mut again = BytesMut::new();
            frontend.write_to(&mut again);
            // What the front answers itself is not passed on.
            if !again.is_empty() {
                seen = Seen::Accepted;
                let has_body = !matches!(sent.tag, b'H' | b'S' | b'c');
                let body = if has_body {
                    sent.body.clone()
                } else {
                    Bytes::new()
                };
                prop_assert_eq!(&again, &framed(&[Message::new(sent.tag, body)]));
            }
        }
        Ok(seen)
    });
}

#[test]
fn answers_of_a_server_are_taken_apart() {
    let answers = (
        sample::select(&b"RSKZTDCEINstn123GHWdcAV?"[..]),
        bodies().bytes(),
    );
    check("answers of a server", answers, |(tag, body)| {
        match Backend::from(Message::new(tag, body)) {
            Backend::ErrorResponse(error) => drop(error.field(b'M').is_some()),
            Backend::DataRow(row) => drop(row.first_text()),
            Backend::CommandComplete(tag) => {
                schema::is_change(&tag);
                tag.changed_rows();
            }
            _ => return Ok(Seen::Refused),
        }
        Ok(Seen::Accepted)
    });
}

#[test]
fn bytes_that_frame_nothing_are_refused_before_they_are_kept() {
    let inputs = messages().prop_map(|messages| framed(&messages).to_vec());
    let corpus = Corpus::new([
        &b"Q\0\0\0\x0dSELECT 1\0S\0\0\0\x04"[..],
        b"P\0\0\0\x10\0SELECT 1\0\0\0B\0\0\0\x0c\0\0\0\0\0\0\0\0",
    ]);
    let inputs = (inputs, corpus.bytes(), any::<bool>());
    check(
        "bytes on the wire",
        inputs,
        |(framed, changed, is_framed)| {
            let bytes = if is_framed { framed } else { changed };
            let (found, is_end) = read(&bytes);
            let held: usize = found.iter().map(|message| message.body.len() + 5).sum();
            prop_assert!(held <= bytes.len() && (!is_end || held == bytes.len()));
            Ok(if is_end {
                Seen::Accepted
            } else {
                Seen::Refused
            })
        },
    );
}

fn frame(out: &mut Vec<u8>, head: u8, mask: [u8; 4], payload: &[u8]) {
    out.push(head);
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => out.put_u8(0x80 | length),
        _ => {
            out.put_u8(0xff);
            out.put_u64(payload.len() as u64);
        }
    }
    out.extend(mask);
    out.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
}

/// What is read of a WebSocket, and whether it ended as it should.
fn read_frames(wire: &[u8]) -> (Vec<u8>, bool) {
    let stream = tokio::io::join(wire, tokio::io::sink());
    let mut stream = now(PostgresStream::new(stream)).unwrap();
    let mut found = Vec::new();
    let ended = now(stream.read_to_end(&mut found));
    let _error = now(stream.write_all(&found));
    let _error = now(stream.shutdown());
    (found, matches!(ended, Some(Ok(_))))
}

#[test]
fn a_websocket_carries_the_bytes_however_they_are_cut_into_frames() {
    let piece = (
        bodies().bytes(),
        any::<[u8; 4]>(),
        any::<bool>(),
        any::<bool>(),
    );
    let pieces = collection::vec(piece, 1..6);
    check(
        "frames of a WebSocket",
        (pieces, any::<bool>()),
        |(pieces, is_closed)| {
            let (mut wire, mut payload) = (Vec::new(), Vec::new());
            let mut opcode = BINARY;
            for (bytes, mask, is_last, has_ping) in pieces {
                let head = if is_last { 0x80 | opcode } else { opcode };
                frame(&mut wire, head, mask, &bytes);
                opcode = if is_last { BINARY } else { CONTINUATION };
                payload.extend(bytes);
                if has_ping {
                    frame(&mut wire, 0x80 | PING, mask, b"are you there");
                }
            }
            let is_whole = opcode == BINARY;
            if is_closed {
                frame(&mut wire, 0x80 | CLOSE, [1, 2, 3, 4], &[3, 0xe8]);
            }
            let (found, ended) = read_frames(&wire);
            prop_assert!(payload.starts_with(&found));
            prop_assert!(!is_whole || found == payload);
            prop_assert_eq!(ended, is_closed);
            Ok(if ended { Seen::Accepted } else { Seen::Refused })
        },
    );
}

#[test]
fn mutated_frames_of_a_websocket_are_read_or_end_it() {
    let mut whole = Vec::new();
    frame(&mut whole, 0x80 | BINARY, [0; 4], b"Q\0\0\0\x0dSELECT 1\0");
    let mut two = Vec::new();
    frame(&mut two, BINARY, [9, 8, 7, 6], b"Q\0\0\0");
    frame(&mut two, 0x80, [0; 4], b"\x0dSELECT 1\0");
    frame(&mut two, 0x80 | CLOSE, [0; 4], &[3, 0xe8]);
    let corpus = Corpus::new([whole, two]).words([
        &b"\x82\x85\0\0\0\0Q\0\0\0\x04"[..],
        b"\x02\x80\0\0\0\0",
        b"\x88\x82\0\0\0\0\x03\xe8",
        b"\x81\x80\0\0\0\0",
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xc2\x80",
    ]);
    check("mutated frames", corpus.bytes(), |wire| {
        let (found, ended) = read_frames(&wire);
        prop_assert!(found.len() <= wire.len());
        Ok(if ended { Seen::Accepted } else { Seen::Refused })
    });
}

#[test]
fn a_startup_message_that_is_accepted_sets_what_may_be_set() {
    let corpus = Corpus::new([
        &b"user\0admin\0database\0postgres\0application_name\0psql\0\0"[..],
        b"user\0app\0database\0postgres\0options\0-c search_path=a\\ b --TimeZone=UTC -c amzn-cluster-id=abc\0\0",
        b"user\0app\0database\0postgres\0_pq_.x\x001\0client_encoding\0UTF8\0\0",
    ])
    .words([&b"options\0"[..], b"-c ", b"--", b"role=x", b"statement_timeout=1", b"\\", b"=", b"amzn-cluster-id"]);
    check("a startup message", corpus.bytes(), |bytes| {
        let Ok(startup) = Startup::parse(Bytes::from(bytes), "abc") else {
            return Ok(Seen::Refused);
        };
        prop_assert!(!startup.user.is_empty() && !startup.user.contains('\0'));
        for (name, value) in startup.for_postgres() {
            prop_assert!(SETTABLE.contains(&name) && !value.contains('\0'), "{name}");
        }
        startup.needs_backend();
        Ok(Seen::Accepted)
    });
}

#[test]
fn a_token_that_is_taken_apart_is_signed_by_nobody_who_has_not_its_secret() {
    let token = format!(
        "abc.dsql.us-east-1.on.aws/?Action=DbConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261129%2Fus-east-1%2Fdsql%2F\
         aws4_request&X-Amz-Date=20261129T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature={}",
        "0a".repeat(32)
    );
    let session = token.replace(
        "&X-Amz-SignedHeaders",
        "&X-Amz-Security-Token=a%2Bb&X-Amz-SignedHeaders",
    );
    let corpus = Corpus::new([token, session]).words([
        "%2F",
        "&",
        "DbConnectAdmin",
        "+900",
        "-1",
        "Z",
        "\u{661}",
        "X-Amz-Expires=",
    ]);
    check("a token", corpus.text(), |text| {
        let Some(token) = Token::parse(&text) else {
            return Ok(Seen::Refused);
        };
        prop_assert!(!token.signed.is_signed_with("secret"));
        prop_assert!(token.signed.canonical_request.len() <= 3 * text.len() + 200);
        prop_assert!(!token.host.is_empty() && !token.host.contains(['/', '@', ':', '?']));
        Ok(Seen::Accepted)
    });
}

#[test]
fn faults_are_the_known_ones() {
    let corpus = Corpus::new([
        r#"{"delay_ms":5,"conflict_rate":0.5,"refuse_connections":"access_denied","refuse_count":2,"once":true}"#,
        "{}",
    ]);
    check("faults", corpus.text(), |text| {
        let Ok(faults) = serde_json::from_str::<Faults>(&text) else {
            return Ok(Seen::Refused);
        };
        let again = serde_json::to_string(&faults).unwrap();
        prop_assert_eq!(serde_json::from_str::<Faults>(&again).unwrap(), faults);
        Ok(Seen::Accepted)
    });
}
