//! The body of an answer: whole, or streamed. It never yields an error: the runtime would write that into the body.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A body.
pub enum AnswerBody {
    /// There from the start.
    Whole(Option<Bytes>),
    /// Written while it is read; it ends with its writer.
    Streamed(UnboundedReceiver<Bytes>),
    /// Made as it is read, no faster.
    Pulled(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole(_) => "Whole",
            Self::Streamed(_) => "Streamed",
            Self::Pulled(_) => "Pulled",
        })
    }
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
            Self::Pulled(pages) => match pages.as_mut().poll_next(context) {
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
            Self::Streamed(_) | Self::Pulled(_) => SizeHint::default(),
        }
    }
}
