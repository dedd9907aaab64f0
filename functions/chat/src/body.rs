//! The body of an answer: whole, or streamed. It never yields an error: the runtime would write
//! that into the body. Of a streamed one its writer can learn that nobody reads it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{
    Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel,
};
use tokio::time::sleep;

/// How long a client may read nothing, while there is something to read, before what is written for
/// it alone ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A body.
#[derive(Debug)]
pub enum AnswerBody {
    /// There from the start.
    Whole(Option<Bytes>),
    /// Written while it is read; it ends with its writer.
    Streamed(Reader),
    /// The same, and the writer waits for the reader.
    Paced(Receiver<Bytes>),
}

/// The writing end. Unbounded, because a reply is bounded, and a client that reads slowly must not
/// hold up its storing.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pieces: UnboundedSender<Bytes>,
    written: Arc<AtomicU64>,
    read: Arc<AtomicU64>,
}

impl Writer {
    /// Adds a piece.
    ///
    /// # Errors
    /// The client left.
    pub(crate) fn send(&self, piece: Bytes) -> Result<(), SendError<Bytes>> {
        self.written.fetch_add(1, Ordering::Relaxed);
        self.pieces.send(piece)
    }

    /// Whether the client left.
    pub(crate) fn is_left(&self) -> bool {
        self.pieces.is_closed()
    }

    /// Waits until the client left.
    pub(crate) async fn closed(&self) {
        self.pieces.closed().await;
    }

    /// Waits until nothing was read for [`PATIENCE`] of what was there to be read all that time.
    ///
    /// # Cancel safety
    /// The time starts again.
    pub(crate) async fn unread(&self) {
        loop {
            let (written, read) = self.so_far();
            sleep(PATIENCE).await;
            let (_, now_read) = self.so_far();
            if read < written && now_read == read {
                return;
            }
        }
    }

    fn so_far(&self) -> (u64, u64) {
        (
            self.written.load(Ordering::Relaxed),
            self.read.load(Ordering::Relaxed),
        )
    }
}

/// The reading end.
#[derive(Debug)]
pub struct Reader {
    pieces: UnboundedReceiver<Bytes>,
    read: Arc<AtomicU64>,
}

impl Reader {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let piece = self.pieces.poll_recv(context);
        if matches!(piece, Poll::Ready(Some(_))) {
            self.read.fetch_add(1, Ordering::Relaxed);
        }
        piece
    }

    #[cfg(test)]
    pub(crate) fn try_recv(&mut self) -> Option<Bytes> {
        self.pieces.try_recv().ok()
    }
}

impl AnswerBody {
    /// A streamed body and its writer.
    pub(crate) fn streamed() -> (Writer, Self) {
        let (pieces, reader) = unbounded_channel();
        let read = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            pieces,
            written: Arc::default(),
            read: Arc::clone(&read),
        };
        let reader = Reader {
            pieces: reader,
            read,
        };
        (writer, Self::Streamed(reader))
    }

    /// A body whose writer is at most one piece ahead.
    pub(crate) fn paced() -> (Sender<Bytes>, Self) {
        let (writer, reader) = channel(1);
        (writer, Self::Paced(reader))
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
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Streamed(reader) => reader.poll(context),
            Self::Paced(reader) => reader.poll_recv(context),
        };
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Streamed(_) | Self::Paced(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{Instant, timeout};

    use super::*;

    async fn read(body: &mut AnswerBody) {
        poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_for_30_s_is_noticed_and_who_reads_or_has_nothing_to_read_is_not() {
        let (out, mut body) = AnswerBody::streamed();
        let begun = Instant::now();
        assert!(timeout(10 * PATIENCE, out.unread()).await.is_err());
        for _ in 0..3 {
            out.send(Bytes::from_static(b"piece")).unwrap();
        }
        let reads = async {
            for _ in 0..2 {
                sleep(PATIENCE / 3).await;
                read(&mut body).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = reads => unreachable!("it goes on"),
            () = out.unread() => {}
        }
        // Read at one and at two thirds of the first time: it is noticed at the end of the second.
        assert_eq!(begun.elapsed(), 12 * PATIENCE);
    }
}
