//! From a TCP connection to an encrypted one: TLS, at once or after an `SSLRequest`.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::region::Region;
use crate::startup::{CANCEL_REQUEST, GSS_REQUEST, MAX_STARTUP_BYTES, SSL_REQUEST};
use crate::transport::Secured;
use crate::wire::{Backend, ErrorAnswer};

/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// Encrypts a connection; `None` when it was refused or went away.
pub(crate) async fn negotiate(region: &Region, tcp: TcpStream) -> io::Result<Option<Secured>> {
    Ok(handshake(region, tcp).await?.map(secured))
}

/// The connection with the name that its handshake brought.
fn secured(stream: TlsStream<TcpStream>) -> Secured {
    let sni = server_name(&stream);
    Secured {
        stream: Box::new(stream),
        sni,
    }
}

/// The host that the client named, in lower case.
pub(crate) fn server_name(stream: &TlsStream<TcpStream>) -> Option<String> {
    let (_, tls) = stream.get_ref();
    tls.server_name().map(str::to_ascii_lowercase)
}

async fn handshake(
    region: &Region,
    mut tcp: TcpStream,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if tcp.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    let acceptor = TlsAcceptor::from(region.tls.postgres.clone());
    if first == [TLS_HANDSHAKE] {
        let stream = acceptor.accept(tcp).await?;
        // PostgreSQL 17's rule, so that a server for another protocol cannot be meant.
        let has_alpn = stream.get_ref().1.alpn_protocol().is_some();
        return Ok(has_alpn.then_some(stream));
    }
    loop {
        let length = tcp.read_u32().await?;
        if !(8..=MAX_STARTUP_BYTES).contains(&length) {
            return Ok(None);
        }
        match tcp.read_u32().await? {
            SSL_REQUEST if length == 8 => {
                // What follows is read by TLS alone, so nothing slips in before the handshake.
                tcp.write_all(b"S").await?;
                return acceptor.accept(tcp).await.map(Some);
            }
            GSS_REQUEST if length == 8 => tcp.write_all(b"N").await?,
            CANCEL_REQUEST => return Ok(None),
            _ => {
                // Drained, since a close with unread input may destroy the answer on its way.
                let mut startup = vec![0; usize::try_from(length - 8).map_err(io::Error::other)?];
                tcp.read_exact(&mut startup).await?;
                refuse_plain_text(region, &mut tcp).await?;
                return Ok(None);
            }
        }
    }
}

async fn refuse_plain_text(region: &Region, tcp: &mut TcpStream) -> io::Result<()> {
    region.counters.connections_refused.add_one("no_tls");
    let error = ErrorAnswer::fatal("08006", "unable to accept connection, SSL is required");
    let mut out = BytesMut::new();
    Backend::from(&error).write_to(&mut out);
    tcp.write_all(&out).await?;
    tcp.shutdown().await
}
