//! The CloudFormation custom resource: Create and Update migrate, Delete touches no data. The stack
//! waits for a PUT to the event's pre-signed URL and hangs for an hour without one, so an answer is
//! sent whatever happens: after an error, after a panic, and shortly before the deadline.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use dsql::{Db, Dsql};
use futures_util::FutureExt as _;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::command::Command;
use crate::error::{AdminError, CommandError};
use crate::fingerprint::fingerprint;
use crate::propagation::Propagation;
use crate::run::run;
use crate::settings::Settings;

/// Kept back to deliver the answer.
const TIME_TO_ANSWER: Duration = Duration::from_secs(5);
/// Attempts to deliver it. Each has its part of the time that is left, so that one which hangs
/// leaves time for the next.
const ATTEMPTS: u32 = 3;
/// No attempt takes longer.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// CloudFormation takes no longer reason together with the rest of the answer (4 KB).
const REASON_CHARS: usize = 1_000;

/// The part of CloudFormation's event that is needed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    request_type: String,
    #[serde(rename = "ResponseURL")]
    response_url: String,
    stack_id: String,
    request_id: String,
    logical_resource_id: String,
    physical_resource_id: Option<String>,
    #[serde(default)]
    resource_properties: Value,
}

/// Does what the event asks for and answers CloudFormation.
pub(crate) async fn answer(
    dsql: &Dsql,
    settings: &Settings,
    payload: Value,
    deadline: SystemTime,
) -> Result<Value, AdminError> {
    let event: Event = serde_json::from_value(payload).map_err(|error| {
        AdminError::Command(CommandError::new(format!(
            "the event of a custom resource is incomplete: {error}"
        )))
    })?;
    let until = deadline.checked_sub(TIME_TO_ANSWER).unwrap_or(deadline);
    let outcome = work(dsql, settings, &event, until).await;
    let mut body = json!({
        "Status": if outcome.is_ok() { "SUCCESS" } else { "FAILED" },
        "Reason": outcome.as_ref().err().map_or("done", String::as_str),
        "PhysicalResourceId": event.physical_resource_id.as_deref().unwrap_or("database-schema"),
        "StackId": event.stack_id,
        "RequestId": event.request_id,
        "LogicalResourceId": event.logical_resource_id,
    });
    // Attributes are text, and no attribute is better than an empty one.
    let version = outcome
        .as_ref()
        .ok()
        .and_then(|report| report.get("schemaVersion"));
    if let (Some(version), Some(answer)) = (version, body.as_object_mut()) {
        answer.insert(
            "Data".to_owned(),
            json!({"SchemaVersion": version.to_string()}),
        );
    }
    if let Err(reason) = &outcome {
        tracing::error!(
            "the custom resource {} failed: {reason}",
            event.request_type
        );
    }
    deliver(&event.response_url, &body, || {
        deadline
            .duration_since(dsql.clock().now())
            .unwrap_or_default()
    })
    .await?;
    Ok(json!({"status": body.get("Status"), "report": outcome.ok()}))
}

/// The report, or the reason for CloudFormation's console.
async fn work(
    dsql: &Dsql,
    settings: &Settings,
    event: &Event,
    until: SystemTime,
) -> Result<Value, String> {
    let short = |text: String| text.chars().take(REASON_CHARS).collect::<String>();
    match event.request_type.as_str() {
        "Create" | "Update" => {}
        "Delete" => return Ok(json!({})), // the data stays: the cluster is retained
        other => return Err(short(format!("unknown RequestType {other:?}"))),
    }
    let property = |name: &str| event.resource_properties.get(name);
    let own = fingerprint();
    if let Some(wanted) = property("Fingerprint")
        && wanted.as_str() != Some(own.as_str())
    {
        // No fault: a roll-back may ask in either order.
        tracing::warn!("the template asks for the schema {wanted}, this build provides {own}");
    }
    let roles = property("Roles").cloned().unwrap_or(Value::Null);
    let command = Command::parse(&json!({"command": "migrate", "roles": roles}))
        .map_err(|e| short(e.to_string()))?;
    let db = dsql.until(until);
    let left = until.duration_since(dsql.clock().now()).unwrap_or_default();
    match tokio::time::timeout(
        left,
        AssertUnwindSafe(run_with_patience(dsql, &db, settings, command)).catch_unwind(),
    )
    .await
    {
        Err(_) => Err(
            "not finished before the deadline; what was done stays: update the stack to go on"
                .to_owned(),
        ),
        Ok(Err(_)) => Err("a panic, see the log".to_owned()),
        Ok(Ok(Err(error))) => Err(short(error.to_string())),
        Ok(Ok(Ok(report))) => Ok(report),
    }
}

/// Runs the command, again while IAM does not yet know the function's role everywhere.
async fn run_with_patience(
    dsql: &Dsql,
    db: &Db,
    settings: &Settings,
    command: Command,
) -> Result<Value, AdminError> {
    let clock = dsql.clock();
    let mut propagation = Propagation::new(clock.now());
    loop {
        let error = match run(dsql, db, settings, command.clone()).await {
            Err(error) => error,
            done => return done,
        };
        let Some(pause) = propagation.pause_after(&error, clock.now()) else {
            return Err(error);
        };
        tracing::warn!("the function's role is refused, for now: {error}");
        tokio::time::sleep(pause).await;
    }
}

/// PUTs the answer, without a content type: the URL's signature was made without one. `left` is the
/// time there is.
async fn deliver(url: &str, body: &Value, left: impl Fn() -> Duration) -> Result<(), AdminError> {
    let undeliverable = |error: String| AdminError::Undeliverable(error);
    let uri: Uri = url
        .parse()
        .map_err(|_| undeliverable("the ResponseURL is not a URL".to_owned()))?;
    let is_loopback = matches!(uri.host(), Some("127.0.0.1" | "localhost"));
    if uri.scheme_str() != Some("https") && !is_loopback {
        return Err(undeliverable("the ResponseURL is not https".to_owned()));
    }
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let tls = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_safe_default_protocol_versions()
    .map_err(|error| undeliverable(error.to_string()))?
    .with_root_certificates(rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    })
    .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let mut last = String::new();
    for attempts in (1..=ATTEMPTS).rev() {
        let request = Request::builder()
            .method(Method::PUT)
            .uri(uri.clone())
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| undeliverable(error.to_string()))?;
        // The last attempt ends before the deadline, so that the log has the reason.
        let limit = (left() / (attempts + 1)).min(ATTEMPT_LIMIT);
        match tokio::time::timeout(limit, client.request(request)).await {
            Ok(Ok(response)) if response.status().is_success() => return Ok(()),
            Ok(Ok(response)) => last = format!("status {}", response.status()),
            Ok(Err(error)) => last = runtime::chain(&error),
            Err(_) => last = format!("no answer within {limit:?}"),
        }
    }
    Err(undeliverable(last))
}
