//! Objects that the function itself reads and deletes.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, Response, StatusCode};

use crate::Bucket;
use crate::error::BucketError;

/// A request is sent at once.
const LIFE: Duration = Duration::from_secs(60);
/// Connections at once.
const AT_ONCE: usize = 8;
const ATTEMPTS: u32 = 3;
/// After the first attempt; twice as much after the next.
const PAUSE: Duration = Duration::from_millis(100);

impl BucketError {
    /// Whether the same request may succeed in a moment.
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Unreadable(_) => true,
            Self::Refused(status) => status.is_server_error(),
            Self::NoCredentials(_) | Self::Signing(_) | Self::Late => false,
        }
    }
}

impl Bucket {
    /// An object of at most `limit_bytes`; `None` if there is none. Its time limit is the caller's,
    /// who drops the call.
    ///
    /// # Errors
    /// The bucket cannot be reached, or refuses; the object is larger.
    pub async fn get(
        &self,
        key: &str,
        limit_bytes: usize,
        now: SystemTime,
    ) -> Result<Option<Bytes>, BucketError> {
        let url = self.url(("GET", key), &[], &[], LIFE, now).await?;
        patiently(|| async {
            let response = self.send(Method::GET, &url).await?;
            if response.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            if !response.status().is_success() {
                return Err(BucketError::Refused(response.status()));
            }
            let body = Limited::new(response.into_body(), limit_bytes).collect();
            let body = body
                .await
                .map_err(|error| BucketError::Unreadable(error.to_string()))?;
            Ok(Some(body.to_bytes()))
        })
        .await
    }

    /// Deletes objects, within `limit`; one that is not there is deleted.
    ///
    /// # Errors
    /// The bucket cannot be reached, refuses, or takes too long; some may be deleted then.
    pub async fn delete(
        &self,
        keys: &[String],
        limit: Duration,
        now: SystemTime,
    ) -> Result<(), BucketError> {
        let each = keys.iter().cloned().map(|key| async move {
            let url = self.url(("DELETE", &key), &[], &[], LIFE, now).await?;
            patiently(|| async {
                let response = self.send(Method::DELETE, &url).await?;
                let status = response.status();
                if status.is_success() || status == StatusCode::NOT_FOUND {
                    return Ok(());
                }
                Err(BucketError::Refused(status))
            })
            .await
        });
        let all = stream::iter(each).buffer_unordered(AT_ONCE).try_collect();
        let done = tokio::time::timeout(limit, all).await;
        done.unwrap_or(Err(BucketError::Late))
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
    ) -> Result<Response<https::Answer>, BucketError> {
        let request = Request::builder().method(method).uri(url);
        let request = request
            .body(Full::default())
            .map_err(|error| BucketError::Signing(error.to_string()))?;
        let answer = self.client.send(request).await;
        answer.map_err(BucketError::Unreachable)
    }
}

async fn patiently<T, F>(attempt: impl Fn() -> F) -> Result<T, BucketError>
where
    F: Future<Output = Result<T, BucketError>>,
{
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
            done => return done,
        }
        pause *= 2;
    }
    attempt().await
}
