//! PostgreSQL's messages on a WebSocket, as a stream of bytes.
//!
//! 1. A client's binary messages are one stream of bytes: one of them may hold several messages of
//!    PostgreSQL, or a part of one.
//! 2. Every message of PostgreSQL to the client is a WebSocket message of its own, as on a
//!    cluster: its client looks at the first byte of each.
//! 3. What is no binary message, or is too large, ends the connection with a Close that says why.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::wire::{MAX_CLIENT_MESSAGE_BYTES, framed_bytes};

/// Longest WebSocket message of a client: the longest of PostgreSQL's, with others around it.
const MAX_RECEIVED_BYTES: usize = MAX_CLIENT_MESSAGE_BYTES + 6 * 1024 * 1024;
/// What is read and written at a time.
const BUFFER_BYTES: usize = 16 * 1024;

/// A WebSocket after its handshake.
pub(crate) struct PostgresStream<S> {
    socket: WebSocketStream<S>,
    /// What is left of the client's last message.
    received: Bytes,
    /// What is to be sent and is not yet a whole message, or one that found no room yet.
    outgoing: BytesMut,
    closing: Closing,
}

/// How far the end of the connection has come.
enum Closing {
    /// The client is to be told this, when it ends.
    Open(CloseCode, &'static str),
    /// It has been told, and may still answer.
    Told,
    /// The WebSocket has ended. What the client still sends is read, since a close with unread
    /// input may destroy what it has been told.
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PostgresStream<S> {
    pub(crate) async fn new(stream: S) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_message_size(Some(MAX_RECEIVED_BYTES))
            .max_frame_size(Some(MAX_RECEIVED_BYTES));
        Self {
            socket: WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await,
            received: Bytes::new(),
            outgoing: BytesMut::new(),
            closing: Closing::Open(CloseCode::Normal, ""),
        }
    }

    /// Notes why the connection ends.
    fn fail(&mut self, code: CloseCode, reason: &'static str) -> io::Error {
        if matches!(self.closing, Closing::Open(..)) {
            self.closing = Closing::Open(code, reason);
        }
        io::Error::new(io::ErrorKind::InvalidData, reason)
    }

    fn read_failed(&mut self, error: Error) -> io::Error {
        match error {
            Error::Io(error) => error,
            Error::Capacity(_) => self.fail(CloseCode::Size, "the message is too large"),
            _ => self.fail(CloseCode::Protocol, "the WebSocket protocol was violated"),
        }
    }

    /// Sends the whole messages among what is outgoing, each by itself.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(bytes) = framed_bytes(&self.outgoing) {
            ready!(self.socket.poll_ready_unpin(cx)).map_err(write_failed)?;
            let message = self.outgoing.split_to(bytes).freeze();
            let sent = self.socket.start_send_unpin(Message::Binary(message));
            sent.map_err(write_failed)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the client that the connection ends, and why.
    fn poll_tell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Closing::Open(code, reason) = self.closing {
            ready!(self.socket.poll_ready_unpin(cx)).map_err(write_failed)?;
            self.closing = Closing::Told;
            let reason = Utf8Bytes::from_static(reason);
            let close = Message::Close(Some(CloseFrame { code, reason }));
            // A client that closed first has been answered already.
            if let Err(Error::Io(error)) = self.socket.start_send_unpin(close) {
                return Poll::Ready(Err(error));
            }
        }
        self.socket.poll_flush_unpin(cx).map_err(write_failed)
    }
}

fn write_failed(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::new(io::ErrorKind::BrokenPipe, error),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for PostgresStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.received.is_empty() {
            match ready!(self.socket.poll_next_unpin(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => self.received = bytes,
                Some(Ok(Message::Text(_))) => {
                    let reason = "PostgreSQL's messages are binary";
                    return Poll::Ready(Err(self.fail(CloseCode::Unsupported, reason)));
                }
                // Answered below this; after a Close comes the end.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(self.read_failed(error))),
            }
        }
        let bytes = self.received.len().min(buffer.remaining());
        buffer.put_slice(self.received.get(..bytes).unwrap_or_default());
        self.received.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PostgresStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        self.outgoing.extend_from_slice(bytes);
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What found no room is sent before anything else is taken.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.socket.poll_flush_unpin(cx).map_err(write_failed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !matches!(self.closing, Closing::Over) {
            ready!(self.poll_tell(cx))?;
            // Its own Close, or an error, ends the WebSocket.
            while let Some(Ok(_)) = ready!(self.socket.poll_next_unpin(cx)) {}
            self.closing = Closing::Over;
        }
        let mut stream = Pin::new(self.socket.get_mut());
        ready!(stream.as_mut().poll_shutdown(cx))?;
        let mut unread = [0; 1024];
        loop {
            let mut unread = ReadBuf::new(&mut unread);
            let read = ready!(stream.as_mut().poll_read(cx, &mut unread));
            if read.is_err() || unread.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
