//! The control interface: JSON over loopback HTTP. Clock, faults, statistics, cutting connections.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HOST, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::clusters::Clusters;
use crate::faults::Faults;
use crate::http;

const MAX_BODY_BYTES: usize = 64 * 1024;
/// Farthest that the clock goes: a century, in either direction.
const MAX_CLOCK_S: u64 = 100 * 365 * 86_400;

/// Serves until it is dropped.
pub(crate) async fn serve(clusters: Arc<Clusters>, listener: TcpListener) {
    http::serve(listener, move |request| {
        let clusters = clusters.clone();
        async move { answer(&clusters, request).await }
    })
    .await;
}

/// A request that is not carried out.
struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "bad_request",
            message: message.into(),
        }
    }
}

async fn answer(clusters: &Clusters, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, body) = match route(clusters, request).await {
        Ok(body) => (StatusCode::OK, body),
        Err(problem) => (
            problem.status,
            json!({"code": problem.code, "message": problem.message}),
        ),
    };
    http::json(status, &body)
}

async fn route(clusters: &Clusters, request: Request<Incoming>) -> Result<Value, Problem> {
    // A web page that a developer has open must not reach this port, neither directly nor by a
    // rebound name.
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    if request.headers().contains_key(ORIGIN)
        || !["127.0.0.1", "localhost", "[::1]"].contains(&host)
    {
        let message = "the control interface does not talk to web pages".to_owned();
        return Err(Problem {
            status: StatusCode::FORBIDDEN,
            code: "forbidden",
            message,
        });
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match (&method, path.as_str()) {
        (&Method::GET, "/clock") => Ok(clock(clusters)),
        (&Method::POST, "/clock") => move_clock(clusters, &body(request).await?),
        (&Method::GET, "/stats") => Ok(json!(clusters.region.counters.snapshot())),
        (&Method::POST, "/faults") => set_faults(clusters, &body(request).await?),
        (&Method::POST, "/jobs") => set_jobs(clusters, &body(request).await?),
        (&Method::POST, "/connections/cut") => {
            clusters.cut();
            Ok(json!({}))
        }
        (_, "/clock" | "/stats" | "/faults" | "/jobs" | "/connections/cut") => Err(Problem {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "method_not_allowed",
            message: format!("{path} does not answer {method}"),
        }),
        _ => Err(Problem {
            status: StatusCode::NOT_FOUND,
            code: "not_found",
            message: "there are /clock, /faults, /jobs, /stats and /connections/cut".to_owned(),
        }),
    }
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Problem> {
    http::read_body(request.into_body(), MAX_BODY_BYTES)
        .await
        .map_err(Problem::bad_request)
}

fn clock(clusters: &Clusters) -> Value {
    json!({"epoch_s": clusters.region.clock.epoch_s()})
}

fn move_clock(clusters: &Clusters, body: &[u8]) -> Result<Value, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Move {
        advance_s: Option<u64>,
        set: Option<u64>,
    }
    let wanted: Move =
        serde_json::from_slice(body).map_err(|error| Problem::bad_request(error.to_string()))?;
    match (wanted.advance_s, wanted.set) {
        (Some(advance_s), None) if advance_s <= MAX_CLOCK_S => {
            clusters
                .region
                .clock
                .advance(Duration::from_secs(advance_s));
        }
        (None, Some(epoch_s)) if epoch_s <= 2 * MAX_CLOCK_S => {
            clusters
                .region
                .clock
                .set(UNIX_EPOCH + Duration::from_secs(epoch_s));
        }
        _ => {
            return Err(Problem::bad_request(
                "give either `advance_s` (seconds) or `set` (seconds since 1970), within a century",
            ));
        }
    }
    Ok(clock(clusters))
}

fn set_jobs(clusters: &Clusters, body: &[u8]) -> Result<Value, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Jobs {
        duration_ms: u64,
    }
    let wanted: Jobs =
        serde_json::from_slice(body).map_err(|error| Problem::bad_request(error.to_string()))?;
    if wanted.duration_ms > MAX_CLOCK_S * 1000 {
        return Err(Problem::bad_request(
            "`duration_ms` is longer than a century",
        ));
    }
    let duration = Duration::from_millis(wanted.duration_ms);
    clusters.region.job_duration.set(duration);
    Ok(json!({"duration_ms": wanted.duration_ms}))
}

fn set_faults(clusters: &Clusters, body: &[u8]) -> Result<Value, Problem> {
    let faults: Faults =
        serde_json::from_slice(body).map_err(|error| Problem::bad_request(error.to_string()))?;
    let shown = json!(faults);
    clusters
        .region
        .faults
        .set(faults)
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(shown)
}
