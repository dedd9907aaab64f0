//! The body of an answer: whole, or streamed. It never yields an error: the runtime would write that into the body.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A body.
#[derive(Debug)]
pub enum AnswerBody {
    /// There from the start.
    Whole(Option<Bytes>),
    /// Written while it is read; it ends with its writer.
    Streamed(UnboundedReceiver<Bytes>),
}

/// The writing end. Unbounded, because a reply is bounded, and a client that reads slowly must not hold up its storing.
pub(crate) type Writer = UnboundedSender<Bytes>;

impl AnswerBody {
    /// A streamed body and its writer.
    pub(crate) fn streamed() -> (Writer, Self) {
        let (writer, reader) = unbounded_channel();
        (writer, Self::Streamed(reader))
    }
}

impl From<lambda_http::Body> for AnswerBody {
    fn from(body: lambda_http::Body) -> Self {
        Self::Whole(match body {
            lambda_http::Body::Text(text) => Some(text.into()),
            lambda_http::Body::Binary(bytes) => Some(bytes.into()),
            _ => None,
        })
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Streamed(reader) => match reader.poll_recv(context) {
                Poll::Ready(piece) => piece,
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Streamed(_) => SizeHint::default(),
        }
    }
}
