//! Owns the body of a response, whole or streamed. Every piece that was sent is read before the
//! end.
//!
//! Not `http_body_util`'s `Channel`: it looks for pieces, then whether its sender is gone, and ends
//! without the pieces that came between the two looks.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc::{Sender, channel};

/// A response's body: whole, or as it comes.
pub type Body =
    Either<Full<Bytes>, StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>>;

/// A body that ends with its sender; that many pieces wait for the client.
pub(super) fn streamed(pieces: usize) -> (Sender<Bytes>, Body) {
    let (sender, mut receiver) = channel(pieces);
    let pieces = stream::poll_fn(move |context| receiver.poll_recv(context));
    let frames = pieces.map(|piece| Ok(Frame::data(piece))).boxed();
    (sender, Either::Right(StreamBody::new(frames)))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_last_piece_of_a_stream_is_read_however_soon_its_end_follows() {
        for round in 0..20_000 {
            let (sender, body) = streamed(1);
            let send = async move {
                sender.send(Bytes::from_static(b"last")).await.unwrap();
            };
            #[expect(
                clippy::disallowed_methods,
                reason = "the two have to run at the same time"
            )]
            let sent = tokio::spawn(send);
            let read = body.collect().await.unwrap().to_bytes();
            assert_eq!(read, "last", "round {round}");
            sent.await.unwrap();
        }
    }
}
