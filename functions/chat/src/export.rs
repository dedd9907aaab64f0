//! The export: lines of JSON, read from the database only as fast as the client takes them. One that was cut off lacks its
//! last line, so a failure in the middle is not silent.

use chat_store::{Export, microseconds};
use futures_util::stream;
use lambda_http::Response;
use lambda_http::http::{HeaderValue, header};

use crate::body::AnswerBody;
use crate::{Answer, Call};

pub(crate) async fn export(call: &Call<'_>) -> Answer {
    let mut export = Export::new(call.owner.clone(), microseconds(call.now));
    // The first line needs no database; the second page does. Both before the status, so that a database which is away
    // is a 503.
    let mut first = export.next(&call.db).await?.unwrap_or_default();
    first.push_str(&export.next(&call.db).await?.unwrap_or_default());
    let db = call.db.clone();
    let pages = stream::unfold(
        (Some(first), export, db),
        |(waiting, mut export, db)| async move {
            if let Some(lines) = waiting {
                return Some((lines.into(), (None, export, db)));
            }
            match export.next(&db).await {
                Ok(lines) => lines.map(|lines| (lines.into(), (None, export, db))),
                Err(error) => {
                    let cause = api::chain(&error);
                    tracing::warn!(
                        error.cause = cause,
                        "an export ended before its end: {cause}"
                    );
                    None
                }
            }
        },
    );
    let mut response = Response::new(AnswerBody::Pulled(Box::pin(pages)));
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"chats.ndjson\"",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}
