//! Owns the place where answers arrive: a server on loopback in the part of the pre-signed URL. It
//! takes the PUT of a request that waits, and like a URL signed without a content type refuses a
//! PUT that has one.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::loopback::{Server, read_body};

/// Largest body that is read at all; the limit of an answer is lower and reported by whoever waits
/// for it.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// By path and query: where the answer goes.
type Waiting = Arc<Mutex<HashMap<String, mpsc::Sender<Bytes>>>>;

/// The running server.
#[derive(Debug)]
pub(super) struct ResponseServer {
    server: Server,
    waiting: Waiting,
}

/// A request whose answer is waited for; its URL is void when this is dropped.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    server: &'a ResponseServer,
    target: String,
    answers: mpsc::Receiver<Bytes>,
}

impl ResponseServer {
    pub(super) async fn start() -> io::Result<Self> {
        let waiting = Waiting::default();
        let shared = Arc::clone(&waiting);
        let server = Server::start(0, move |request| take(Arc::clone(&shared), request)).await?;
        Ok(Self { server, waiting })
    }

    /// A URL that nobody can guess, with a query as a signature would be.
    pub(super) fn expect(&self, logical_id: &str) -> Pending<'_> {
        let (path, signature) = (Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let target = format!("/{logical_id}/{path}?X-Amz-Signature={signature}%2F");
        let (sender, answers) = mpsc::channel(1);
        locked(&self.waiting).insert(target.clone(), sender);
        Pending {
            server: self,
            target,
            answers,
        }
    }
}

impl Pending<'_> {
    pub(super) fn url(&self) -> String {
        format!("http://{}{}", self.server.server.address(), self.target)
    }

    /// The first body that arrives.
    pub(super) async fn answer(&mut self) -> Bytes {
        match self.answers.recv().await {
            Some(body) => body,
            // The sender lives in the server as long as this does.
            None => std::future::pending().await,
        }
    }

    /// The first body, if it is there.
    pub(super) fn answered(&mut self) -> Option<Bytes> {
        self.answers.try_recv().ok()
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        locked(&self.server.waiting).remove(&self.target);
    }
}

async fn take(waiting: Waiting, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let target = request.uri().path_and_query().map(PathAndQuery::as_str);
    let sender = target.and_then(|target| locked(&waiting).get(target).cloned());
    let Some(sender) = sender else {
        return refuse(StatusCode::FORBIDDEN, "no request waits for this answer\n");
    };
    if request.method() != Method::PUT {
        return refuse(StatusCode::FORBIDDEN, "the URL was signed for PUT\n");
    }
    let content_type = request.headers().get(CONTENT_TYPE);
    if content_type.is_some_and(|value| !value.is_empty()) {
        return refuse(
            StatusCode::FORBIDDEN,
            "the URL was signed without a content type: send none, or an empty one\n",
        );
    }
    let Some(body) = read_body(request.into_body(), MAX_BODY_BYTES).await else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "the body broke off or is too large\n",
        );
    };
    // A second answer is stored by the service and read by nobody.
    let _ = sender.try_send(body);
    Response::new(Full::default())
}

fn refuse(status: StatusCode, reason: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(reason));
    *response.status_mut() = status;
    response
}

fn locked(
    waiting: &Mutex<HashMap<String, mpsc::Sender<Bytes>>>,
) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Bytes>>> {
    // Nothing panics half way through a change.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
