//! The socket to a PostgreSQL backend, without the wake-ups of tokio's own.
//!
//! Linux reports that a Unix socket is writable each time its peer has read from it. Tokio listens
//! for that all the time, so that each statement wakes the session twice: when PostgreSQL has read
//! it, for nothing, and when it has answered. Here writability is listened for only while a write
//! waits.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// What arrives.
pub(crate) struct Reader(Arc<AsyncFd<UnixStream>>);

/// What is sent. Closing it alone does not close the socket: both halves hold it.
pub(crate) struct Writer {
    socket: Arc<AsyncFd<UnixStream>>,
    /// While the socket is full: a second descriptor of it, since one is listened to in one way.
    full: Option<AsyncFd<UnixStream>>,
}

/// Connects to the socket at this path.
pub(crate) async fn connect(path: &Path) -> io::Result<(Reader, Writer)> {
    let stream = tokio::net::UnixStream::connect(path).await?.into_std()?;
    let socket = Arc::new(listen(stream, Interest::READABLE)?);
    let reader = Reader(Arc::clone(&socket));
    Ok((reader, Writer { socket, full: None }))
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe, for owners whose descriptor may change; that of a UnixStream does not"
)]
fn listen(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(stream, interest)
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let free = buffer.initialize_unfilled();
            let room = free.len();
            if let Ok(read) = ready.try_io(|socket| socket.get_ref().read(free)) {
                let bytes = read?;
                // Less than there was room for: there is no more, which the next read need not ask.
                if 0 < bytes && bytes < room {
                    ready.clear_ready();
                }
                buffer.advance(bytes);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(full) = &self.full {
                let mut ready = ready!(full.poll_write_ready(context))?;
                if let Ok(written) = ready.try_io(|socket| socket.get_ref().write(bytes)) {
                    self.full = None;
                    return Poll::Ready(written);
                }
            } else {
                match self.socket.get_ref().write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let second = self.socket.get_ref().try_clone()?;
                        self.full = Some(listen(second, Interest::WRITABLE)?);
                    }
                    written => return Poll::Ready(written),
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::connect;

    const BYTES: usize = 8 << 20;

    #[tokio::test]
    async fn more_than_the_socket_holds_arrives_whole_in_both_directions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (mut reader, mut writer) = connect(&path).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let (mut from, mut to) = peer.into_split();
        let sent: Vec<u8> = (0..BYTES).map(|_| fastrand::u8(..)).collect();
        let mut returned = vec![0; BYTES];
        let echo = async {
            let echoed = tokio::io::copy(&mut from, &mut to).await.unwrap();
            to.shutdown().await.unwrap();
            echoed
        };
        let send = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let (echoed, (), read) = tokio::join!(echo, send, reader.read_exact(&mut returned));
        assert_eq!((echoed, read.unwrap()), (BYTES as u64, BYTES));
        assert!(sent == returned);
        assert_eq!(reader.read(&mut returned).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_write_to_nobody_is_an_error_and_a_read_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (mut reader, mut writer) = connect(&path).await.unwrap();
        drop(listener.accept().await.unwrap());
        assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(writer.write_all(b"anybody?").await.is_err());
    }
}
