//! PostgreSQL over WebSocket, as a cluster serves it on port 443: TLS, an HTTP/1.1 upgrade of `/`,
//! and from there a client's messages as bytes in binary messages. A request that is not an upgrade
//! gets an HTTP answer that says what is expected here.

mod postgres_stream;

use std::convert::Infallible;
use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

pub(crate) use self::postgres_stream::PostgresStream;

use crate::negotiate::server_name;
use crate::region::Region;
use crate::transport::{self, Secured};

/// The only path that is served.
const PATH: &str = "/";

/// Takes a connection up to the point where PostgreSQL's messages begin; `None` when its request
/// was no upgrade.
pub(crate) async fn accept(region: &Region, tcp: TcpStream) -> io::Result<Option<Secured>> {
    let acceptor = TlsAcceptor::from(region.tls.websocket.clone());
    let tls = acceptor.accept(tcp).await?;
    let sni = server_name(&tls);
    let asked = Mutex::new(None);
    let service = service_fn(|mut request: Request<Incoming>| {
        let upgrade = hyper::upgrade::on(&mut request);
        let response = answer(region, &request);
        *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, response.status()));
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades()
        .await
        .map_err(io::Error::other)?;
    let asked = asked.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Some((upgrade, status)) = asked else {
        return Ok(None);
    };
    // Hyper ends the connection of a request that asked for no upgrade, and of no other.
    let Ok(stream) = upgrade.await else {
        return Ok(None);
    };
    let mut stream = TokioIo::new(stream);
    if status != StatusCode::SWITCHING_PROTOCOLS {
        transport::end(&mut stream).await;
        return Ok(None);
    }
    Ok(Some(Secured {
        stream: Box::new(PostgresStream::new(stream).await),
        sni,
    }))
}

/// The answer to a request, which says whether the upgrade is granted.
fn answer(region: &Region, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let refused = if request.uri().path() == PATH {
        match create_response_with_body(request, Full::default) {
            Ok(response) => return response,
            Err(error) => refusal(&error),
        }
    } else {
        let text = "PostgreSQL over WebSocket is served at / alone";
        (StatusCode::NOT_FOUND, None, text)
    };
    let (status, header, text) = refused;
    tracing::info!(http.status = status.as_u16(), "refused to upgrade: {text}");
    region.counters.connections_refused.add_one("no_websocket");
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.extend(header);
    response
}

/// Status, a header that says what is expected, and a line for a person.
type Refusal = (StatusCode, Option<(HeaderName, HeaderValue)>, &'static str);

/// What a request is told that is no handshake of a WebSocket.
fn refusal(error: &tungstenite::Error) -> Refusal {
    let tungstenite::Error::Protocol(error) = error else {
        return (StatusCode::BAD_REQUEST, None, "the handshake is invalid");
    };
    let value = HeaderValue::from_static;
    match error {
        ProtocolError::WrongHttpMethod => (
            StatusCode::METHOD_NOT_ALLOWED,
            Some((ALLOW, value("GET"))),
            "a WebSocket is opened by GET",
        ),
        ProtocolError::WrongHttpVersion => (
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            None,
            "a WebSocket is opened by HTTP/1.1",
        ),
        ProtocolError::MissingConnectionUpgradeHeader
        | ProtocolError::MissingUpgradeWebSocketHeader => (
            StatusCode::UPGRADE_REQUIRED,
            Some((UPGRADE, value("websocket"))),
            "this is PostgreSQL over WebSocket: upgrade the connection",
        ),
        ProtocolError::MissingSecWebSocketVersionHeader => (
            StatusCode::UPGRADE_REQUIRED,
            Some((SEC_WEBSOCKET_VERSION, value("13"))),
            "version 13 of the WebSocket protocol is spoken here",
        ),
        _ => (
            StatusCode::BAD_REQUEST,
            None,
            "Sec-WebSocket-Key is missing or invalid",
        ),
    }
}
