//! Owns the place where a custom resource's answer arrives: a server on loopback that keeps every
//! PUT, as the pre-signed URL of CloudFormation would, and can refuse the first few, or leave them
//! without an answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::Value;

use crate::background::Task;
use crate::server::serve;
use crate::wait;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(120);

/// One PUT.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Path and query.
    pub target: String,
    /// The content type it came with; a pre-signed URL was signed without one.
    pub content_type: Option<String>,
    /// The body.
    pub body: Value,
}

/// What becomes of a request that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Refused,
    Silence,
}

/// The server.
#[derive(Debug)]
pub struct ResponseUrl {
    address: SocketAddr,
    answers: Arc<Mutex<Vec<Answer>>>,
    _server: Task,
}

impl ResponseUrl {
    /// Starts it; the first `refusals` requests are answered 500 and not kept.
    pub async fn refusing(refusals: usize) -> Self {
        Self::failing(refusals, Failure::Refused).await
    }

    /// Starts it; the first `silences` requests are never answered, and not kept.
    pub async fn silent(silences: usize) -> Self {
        Self::failing(silences, Failure::Silence).await
    }

    async fn failing(failures: usize, failure: Failure) -> Self {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&answers);
        let left = Arc::new(Mutex::new(failures));
        let (address, server) = serve(move |request| {
            let (kept, left) = (Arc::clone(&kept), Arc::clone(&left));
            async move { keep(request, &kept, &left, failure).await }
        })
        .await;
        Self {
            address,
            answers,
            _server: server,
        }
    }

    /// Starts it.
    pub async fn start() -> Self {
        Self::refusing(0).await
    }

    /// A URL with a query, as a signature would be.
    pub fn url(&self) -> String {
        format!(
            "http://{}/stack/answer?X-Amz-Signature=0a%2Fb",
            self.address
        )
    }

    /// Every answer so far.
    pub fn answers(&self) -> Vec<Answer> {
        self.answers.lock().expect("no holder panics").clone()
    }

    /// The only answer, once it is there.
    ///
    /// # Panics
    /// When none comes, or more than one.
    pub async fn answer(&self) -> Answer {
        let answers = wait::until("the answer to CloudFormation", LIMIT, || {
            let answers = self.answers();
            (!answers.is_empty()).then_some(answers)
        })
        .await;
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers[0].clone()
    }
}

async fn keep(
    request: Request<Incoming>,
    kept: &Mutex<Vec<Answer>>,
    left: &Mutex<usize>,
    failure: Failure,
) -> Response<Full<Bytes>> {
    let target = request.uri().to_string();
    let is_put = request.method() == hyper::Method::PUT;
    let content_type = request
        .headers()
        .get("content-type")
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let body = request.into_body().collect().await;
    let refused = {
        let mut left = left.lock().expect("no holder panics");
        let refused = *left > 0;
        *left = left.saturating_sub(1);
        refused
    };
    if refused && failure == Failure::Silence {
        std::future::pending::<()>().await;
    }
    let (Ok(body), true, false) = (body, is_put, refused) else {
        let mut response = Response::new(Full::default());
        *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    };
    kept.lock().expect("no holder panics").push(Answer {
        target,
        content_type,
        body: serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null),
    });
    Response::new(Full::default())
}
