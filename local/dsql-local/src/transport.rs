//! A client's encrypted connection, whatever carries its bytes, and its clean end.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// How long a client may take to hear that the connection ends; real time.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Both directions of a connection: PostgreSQL's messages, one after the other.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A connection after its handshake.
pub(crate) struct Secured {
    pub(crate) stream: Box<dyn Transport>,
    /// The host that the client named in the handshake, in lower case.
    pub(crate) sni: Option<String>,
}

/// Ends a connection as the protocol below it does: TLS with a `close_notify`, a WebSocket with a
/// Close before that. A client that does not listen keeps nobody waiting.
pub(crate) async fn end(stream: &mut (impl AsyncWrite + Unpin)) {
    let ended = tokio::time::timeout(END_PATIENCE, stream.shutdown());
    if let Err(error) = ended
        .await
        .unwrap_or_else(|late| Err(io::Error::from(late)))
    {
        tracing::debug!(error = %error, "a client did not wait for the end of its connection");
    }
}
