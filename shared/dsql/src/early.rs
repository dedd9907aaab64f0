//! The password, sent together with the startup message. The driver sends it when it is asked, a
//! round trip later; by then it is on its way, and what the driver writes is dropped. Only for
//! servers that ask for it in clear text and take it unasked.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection on which the password may be sent along with the startup message.
pub(crate) struct EarlyPassword<S> {
    stream: S,
    state: State,
    /// What is not written yet of the first messages.
    out: BytesMut,
}

enum State {
    /// Nothing was written; this follows the first message.
    Startup(Bytes),
    /// This was sent; the driver is still to write it.
    Sent(Bytes),
    /// All goes through.
    Open,
}

impl<S> EarlyPassword<S> {
    /// All goes through as it is.
    pub(crate) fn none(stream: S) -> Self {
        Self {
            stream,
            state: State::Open,
            out: BytesMut::new(),
        }
    }

    /// The password goes along with the first message.
    pub(crate) fn of(stream: S, password: &str) -> io::Result<Self> {
        let mut message = BytesMut::new();
        frontend::password_message(password.as_bytes(), &mut message)?;
        Ok(Self {
            stream,
            state: State::Startup(message.freeze()),
            out: BytesMut::new(),
        })
    }
}

impl<S: AsyncWrite + Unpin> EarlyPassword<S> {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EarlyPassword<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EarlyPassword<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match &mut this.state {
            State::Startup(password) => {
                this.out.extend_from_slice(bytes);
                this.out.extend_from_slice(password);
                this.state = State::Sent(std::mem::take(password));
                Poll::Ready(Ok(bytes.len()))
            }
            State::Sent(password) => {
                let length = bytes.len().min(password.len());
                let sent = password.split_to(length);
                if bytes.get(..length) != Some(&sent[..]) {
                    let error = "the server asks for something else than a password in clear text";
                    return Poll::Ready(Err(io::Error::other(error)));
                }
                if password.is_empty() {
                    this.state = State::Open;
                }
                Poll::Ready(Ok(length))
            }
            State::Open => {
                ready!(this.poll_out(cx))?;
                Pin::new(&mut this.stream).poll_write(cx, bytes)
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio_postgres::NoTls;

    use super::*;

    const READY: &[u8] = b"Z\0\0\0\x05I";

    async fn connect(stream: EarlyPassword<DuplexStream>) -> Result<(), tokio_postgres::Error> {
        let mut startup = tokio_postgres::Config::new();
        startup.user("app").password("secret");
        startup.ssl_mode(tokio_postgres::config::SslMode::Disable);
        startup.connect_raw(stream, NoTls).await.map(drop)
    }

    /// Reads a startup message and a password, and asks for the password only then.
    async fn serve(mut server: DuplexStream, question: &[u8]) -> Vec<u8> {
        let length = server.read_u32().await.unwrap();
        let mut startup = vec![0; usize::try_from(length).unwrap() - 4];
        server.read_exact(&mut startup).await.unwrap();
        let mut password = vec![0; b"p\0\0\0\x0bsecret\0".len()];
        server.read_exact(&mut password).await.unwrap();
        server.write_all(question).await.unwrap();
        server.write_all(b"R\0\0\0\x08\0\0\0\0").await.unwrap();
        server.write_all(READY).await.unwrap();
        let mut rest = [0];
        assert_eq!(
            server.read(&mut rest).await.unwrap(),
            0,
            "nothing comes twice"
        );
        password
    }

    #[tokio::test]
    async fn a_server_that_asks_for_another_proof_gets_none() {
        let (client, server) = tokio::io::duplex(1024);
        let stream = EarlyPassword::of(client, "secret").unwrap();
        let salted = b"R\0\0\0\x0c\0\0\0\x05salt";
        let (connected, _) = tokio::join!(connect(stream), serve(server, salted));
        assert!(connected.is_err());
    }

    #[tokio::test]
    async fn the_password_is_there_before_it_is_asked_for_and_once() {
        let (client, server) = tokio::io::duplex(1024);
        let stream = EarlyPassword::of(client, "secret").unwrap();
        let question = b"R\0\0\0\x08\0\0\0\x03";
        let (connected, password) = tokio::join!(connect(stream), serve(server, question));
        connected.unwrap();
        assert_eq!(password, b"p\0\0\0\x0bsecret\0");
    }
}
