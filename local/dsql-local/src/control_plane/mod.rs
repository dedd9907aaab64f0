//! The control plane: the operations of the AWS API on clusters and their tags, over HTTP on
//! loopback.
//!
//! 1. Requests are signed, and the signature is verified as a token's is.
//! 2. Each cluster beside the default one has a PostgreSQL server of its own.
//! 3. What was made is there again after a restart, if there is a data directory.

mod authorization;
mod error;
mod fleet;
#[cfg(test)]
mod fuzz;
mod input;
mod operation;
mod operations;
mod output;
mod register;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{DATE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub(crate) use self::fleet::Fleet;

use self::error::{ApiError, Reason};
use self::fleet::Site;
use self::operation::Operation;
use self::register::{Record, Register, Status};
use crate::clusters::Clusters;
use crate::data_dir::{DataDir, DataDirError};
use crate::http;
use crate::sigv4::parameters;

const MAX_BODY_BYTES: usize = 64 * 1024;
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The control plane of a stand-in.
pub(crate) struct ControlPlane {
    clusters: Arc<Clusters>,
    register: Arc<Register>,
    /// Takes the identifiers of clusters to start.
    starter: mpsc::UnboundedSender<String>,
    /// The cluster that every stand-in has. It cannot be deleted.
    default_cluster: String,
    max_clusters: usize,
}

impl ControlPlane {
    /// Takes over the default cluster, which serves already, and starts the others that the data
    /// directory knows; waits until they serve, or cannot.
    pub(crate) async fn open(
        clusters: Arc<Clusters>,
        data_dir: Arc<DataDir>,
        max_clusters: u32,
    ) -> Result<(Self, Fleet), DataDirError> {
        let default_cluster = data_dir.identity.cluster_id.clone();
        let default = Record {
            identifier: default_cluster.clone(),
            status: Status::Active,
            created_ms: epoch_ms(clusters.region.clock.now()),
            deletion_protection_enabled: true,
            kms_key_arn: None,
            metric_groups: Vec::new(),
            tags: input::Tags::new(),
        };
        let register = Arc::new(Register::open(data_dir.clusters_file(), default)?);
        let fleet = Fleet::start(Site {
            clusters: clusters.clone(),
            data_dir,
            register: register.clone(),
        });
        let is_started = |record: &Record| record.status != Status::Creating;
        register
            .wait_for(|state| state.list(None).all(is_started))
            .await;
        let control_plane = Self {
            clusters,
            register,
            starter: fleet.starter(),
            default_cluster,
            max_clusters: usize::try_from(max_clusters).unwrap_or(usize::MAX),
        };
        Ok((control_plane, fleet))
    }

    /// Serves until it is dropped.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let plane = Arc::new(self);
        http::serve(listener, move |request| {
            let plane = plane.clone();
            async move { plane.answer(request).await }
        })
        .await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let answered = match http::read_body(body, MAX_BODY_BYTES).await {
            Ok(body) => self.carry_out(&head, &body),
            Err(error) => Err(ApiError::validation(Reason::CannotParse, error)),
        };
        let mut response = match &answered {
            Ok(body) => http::json(StatusCode::OK, body),
            Err(error) => {
                tracing::info!(error = %error, "refused {method} {path}: {}", error.name());
                let mut response = http::json(error.status(), &error.body());
                let name = HeaderValue::from_static(error.name());
                response.headers_mut().insert(ERROR_TYPE, name);
                response
            }
        };
        let headers = response.headers_mut();
        // Clients that were refused for their clock go by ours from then on.
        if let Some(date) = http_date(self.clusters.region.clock.now()) {
            headers.insert(DATE, date);
        }
        headers.insert(REQUEST_ID, request_id());
        response
    }

    fn carry_out(&self, head: &Parts, body: &[u8]) -> Result<Value, ApiError> {
        let signer = authorization::signer(&self.clusters.region, head, body)?;
        let operation = Operation::of(&head.method, head.uri.path()).ok_or_else(|| {
            let message = format!(
                "dsql-local has no operation {} {}",
                head.method,
                head.uri.path()
            );
            ApiError::validation(Reason::UnknownOperation, message)
        })?;
        self.perform(&operation, &signer, parameters(head), body)
    }
}

fn epoch_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn http_date(time: SystemTime) -> Option<HeaderValue> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    let text = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::from_str(&text).ok()
}

fn request_id() -> HeaderValue {
    let id = format!("{:032x}", fastrand::u128(..));
    HeaderValue::from_str(&id).expect("digits are a header's value")
}
