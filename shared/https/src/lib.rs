//! The HTTPS client of the functions, for what is not the database: one HTTP/1.1 connection for
//! each call, driven by whoever reads the answer. There is no pool, because a socket that slept
//! through a freeze fails late and a model call must not be sent twice; and no task, so dropping
//! the answer closes the connection. Deployed code has no other HTTP client: the AWS SDK's own,
//! with HTTP/2 and the roots of the system, would weigh more than the functions that use it.

#[cfg(feature = "aws")]
mod connector;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[cfg(feature = "aws")]
pub use connector::Connector;

/// Why no answer arrived.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// It cannot be called.
    #[error("the address has no host, or a scheme other than http and https")]
    Address,
    /// Nobody answers there, or not as the host that was asked for.
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    /// The connection was lost, or what came is not HTTP.
    #[error("the exchange broke off")]
    Exchange(#[from] hyper::Error),
}

/// Opens connections. Holds the web's roots, so it is made once.
#[derive(Clone)]
pub struct Client {
    tls: TlsConnector,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for T {}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// Without I/O.
    #[expect(
        clippy::missing_panics_doc,
        reason = "ring implements the default protocol versions"
    )]
    pub fn new() -> Self {
        let roots = rustls::RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring implements the default protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    /// Sends a request with an absolute address; returns with the answer's headers. Time limits are
    /// the caller's: it drops the call.
    ///
    /// # Errors
    /// No answer arrived.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Answer>, HttpError> {
        let uri = request.uri().clone();
        let socket = self.connect(&uri).await?;
        let authority = uri.authority().ok_or(HttpError::Address)?.as_str();
        // Credentials in an address are not for the Host header.
        let host = authority.rsplit('@').next().unwrap_or(authority);
        let host = HeaderValue::from_str(host).map_err(|_| HttpError::Address)?;
        request.headers_mut().entry(HOST).or_insert(host);
        let path = uri
            .path_and_query()
            .map_or("/", hyper::http::uri::PathAndQuery::as_str);
        *request.uri_mut() = path.parse().map_err(|_| HttpError::Address)?;

        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        let mut connection: Driver = Some(Box::pin(connection));
        let mut response = Box::pin(sender.send_request(request));
        let response = std::future::poll_fn(|context| {
            drive(&mut connection, context);
            response.as_mut().poll(context)
        })
        .await?;
        Ok(response.map(|incoming| Answer {
            connection,
            incoming,
        }))
    }

    async fn connect(&self, uri: &Uri) -> Result<Box<dyn Socket>, HttpError> {
        let host = uri
            .host()
            .map(|host| host.trim_start_matches('[').trim_end_matches(']'))
            .ok_or(HttpError::Address)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(HttpError::Address),
        };
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let socket = TcpStream::connect((host, port))
            .await
            .map_err(HttpError::Connect)?;
        socket.set_nodelay(true).map_err(HttpError::Connect)?;
        if !tls {
            return Ok(Box::new(socket));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| HttpError::Address)?;
        let socket = self.tls.connect(name, socket);
        Ok(Box::new(socket.await.map_err(HttpError::Connect)?))
    }
}

type Driver = Option<Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send + Sync>>>;

/// Moves bytes. A connection that fails shows where its answer is read.
fn drive(connection: &mut Driver, context: &mut Context<'_>) {
    if let Some(running) = connection
        && running.as_mut().poll(context).is_ready()
    {
        *connection = None;
    }
}

/// An answer's body, together with the connection that brings it.
pub struct Answer {
    connection: Driver,
    incoming: Incoming,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        drive(&mut self.connection, context);
        Pin::new(&mut self.incoming).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.incoming.size_hint()
    }
}
