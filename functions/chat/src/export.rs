//! Everything that is the caller's, as lines of JSON. The database is read no faster than the
//! client reads.

use chat_store::{Export, microseconds};
use http_api::ApiError;
use lambda_http::Response;
use lambda_http::http::{HeaderValue, header};
use tracing::Instrument as _;

use crate::app::{Answer, Call};
use crate::body::{AnswerBody, PATIENCE};

/// Streams the export. One without its last line, `end`, was cut off.
pub(crate) async fn all(call: &Call<'_>) -> Answer {
    let stream = call.app.limiter.open_stream(&call.caller, call.request)?;
    let mut export = Export::new(call.owner.clone(), microseconds(call.now));
    // Two steps before the status, so that a database that is away is a 503 and not a cut.
    let mut lines = export
        .next(&call.db)
        .await?
        .ok_or_else(ApiError::not_found)?;
    lines.push_str(&export.next(&call.db).await?.unwrap_or_default());
    let db = call.app.dsql.until(call.budget.last_event());
    let (out, body) = AnswerBody::paced();
    let span = tracing::info_span!("export", requestId = %call.request_id);
    let task = async move {
        let _stream = stream; // open as long as this
        let mut next = Some(lines);
        while let Some(lines) = next {
            if !lines.is_empty() && out.send_timeout(lines.into(), PATIENCE).await.is_err() {
                return; // the client left, or reads nothing
            }
            next = export.next(&db).await.unwrap_or_else(|error| {
                tracing::warn!(error.cause = error.report(), "an export was cut off");
                None
            });
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the body's reader polls what this task writes; the client's leaving or the deadline ends it"
    )]
    tokio::spawn(task.instrument(span));
    let mut response = Response::new(body);
    for (name, value) in [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}
