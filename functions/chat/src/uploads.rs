//! Attachments that were uploaded: a message names them, and the model gets their bytes as if they
//! had been inline.

use std::time::Duration;

use bucket::BucketError;
use bytes::Bytes;
use chat_store::uploads::Upload;
use chat_store::{Message, Parts, UploadId, microseconds, upload_of};
use futures_util::{StreamExt as _, stream};
use http_api::{ApiError, ClientCode, ServerCode};
use lambda_http::http::header::HOST;
use serde_json::Value;
use tokio::time::timeout;

use crate::app::Call;
use crate::attachments::{Files, Uploads};

/// The files of the visitor's own message are waited for this long.
const QUESTION_LIMIT: Duration = Duration::from_secs(15);
/// Those of earlier ones only this long: the turn is open by then, and its lock kept by nobody.
const HISTORY_LIMIT: Duration = Duration::from_secs(3);
/// Most earlier files that are looked for.
const MAX_EARLIER: usize = 20;
/// Connections at once.
const AT_ONCE: usize = 4;

/// The uploads that the visitor's message names, as `NewTurn` has them, and their bytes. All of
/// them have to be there, and the visitor's.
pub(crate) async fn of_question(
    call: &Call<'_>,
    parts: &Parts,
) -> Result<(Vec<UploadId>, Files), ApiError> {
    let sent = parts.uploads();
    if sent.is_empty() {
        return Ok((Vec::new(), Files::new()));
    }
    let unprocessable =
        |message: &'static str| ApiError::client(ClientCode::Unprocessable, message);
    let uploads =
        call.app.uploads.as_ref().ok_or_else(|| {
            unprocessable("there are no uploads here: a file has a base64 data: URL")
        })?;
    let own = call.request.headers().get(HOST);
    let own = own.and_then(|host| host.to_str().ok());
    let is_ours = |host: &str| own == Some(host) || uploads.cors.allows_host(host);
    let mut hosts = sent.iter().filter_map(|of| of.host.as_deref());
    if hosts.any(|host| !is_ours(host)) {
        return Err(unprocessable(
            "an upload is named by its path, or at this API's own host",
        ));
    }
    let mut ids: Vec<UploadId> = Vec::new();
    for upload in &sent {
        if !ids.contains(&upload.id) {
            ids.push(upload.id.clone());
        }
    }
    let now = microseconds(call.now);
    let found = chat_store::uploads::uploads(&call.db, &call.owner, &ids, now).await?;
    let mut total = 0_usize;
    for upload in &sent {
        let row = found.iter().find(|row| row.id == upload.id);
        let row =
            row.ok_or_else(|| unprocessable("the message names an upload that is not there"))?;
        if row.media_type != upload.media_type {
            return Err(unprocessable("the upload is of another mediaType"));
        }
    }
    for row in &found {
        total = total.saturating_add(usize::try_from(row.size).unwrap_or(usize::MAX));
    }
    if total > uploads.bytes_per_turn {
        let most = uploads.bytes_per_turn;
        let message = format!("the uploads of a message have at most {most} bytes together");
        return Err(ApiError::client(ClientCode::TooLarge, message));
    }
    let each = found.iter().map(|row| fetched(call, uploads, row));
    let all = stream::iter(each.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let unavailable = |cause| ApiError::server(ServerCode::Unavailable, cause);
    let all = timeout(QUESTION_LIMIT, all).await;
    let all = all.map_err(|_| unavailable(BucketError::Late))?;
    let mut files = Files::new();
    for (id, bytes) in all {
        let bytes = bytes.map_err(unavailable)?;
        let bytes = bytes
            .ok_or_else(|| unprocessable("nothing was uploaded yet of what the message names"))?;
        files.insert(id, bytes);
    }
    Ok((ids, files))
}

/// The bytes of the uploads that earlier messages name, from the newest on, as far as they are the
/// visitor's, come in time, and fit beside those of the question.
pub(crate) async fn of_history(call: &Call<'_>, history: &[Message], files: &mut Files) {
    let Some(uploads) = call.app.uploads.as_ref() else {
        return;
    };
    let mut ids: Vec<UploadId> = Vec::new();
    for message in history
        .iter()
        .rev()
        .filter(|message| message.role == "user")
    {
        for id in named(&message.parts.read()) {
            if ids.len() < MAX_EARLIER && !ids.contains(&id) && !files.contains_key(&id) {
                ids.push(id);
            }
        }
    }
    if ids.is_empty() {
        return;
    }
    let now = microseconds(call.app.edge.clock().now());
    let known: usize = files.values().map(Bytes::len).sum();
    let mut left = uploads.bytes_per_turn.saturating_sub(known);
    let fetch = async {
        let found = chat_store::uploads::uploads(&call.db, &call.owner, &ids, now).await;
        let found = found.unwrap_or_else(|error| {
            let cause = error.report();
            tracing::warn!(
                error.cause = cause,
                "earlier uploads are not looked for: {cause}"
            );
            Vec::new()
        });
        let mut fitting = Vec::new();
        for id in &ids {
            let Some(row) = found.iter().find(|row| row.id == *id) else {
                continue;
            };
            let size = usize::try_from(row.size).unwrap_or(usize::MAX);
            if let Some(rest) = left.checked_sub(size) {
                left = rest;
                fitting.push(fetched(call, uploads, row));
            }
        }
        let mut all = stream::iter(fitting).buffer_unordered(AT_ONCE);
        while let Some((id, bytes)) = all.next().await {
            match bytes {
                Ok(Some(bytes)) => {
                    files.insert(id, bytes);
                }
                Ok(None) => {}
                Err(error) => {
                    let cause = runtime::chain(&error);
                    tracing::warn!(error.cause = cause, "an upload is left out: {cause}");
                }
            }
        }
    };
    if timeout(HISTORY_LIMIT, fetch).await.is_err() {
        tracing::warn!("earlier uploads did not come in time and are left out");
    }
}

async fn fetched(
    call: &Call<'_>,
    uploads: &Uploads,
    row: &Upload,
) -> (UploadId, Result<Option<Bytes>, BucketError>) {
    let now = call.app.edge.clock().now();
    (row.id.clone(), uploads.bytes(row, now).await)
}

/// The uploads that stored parts name.
fn named(parts: &Value) -> Vec<UploadId> {
    let id = |part: &Value| {
        let url = part.get("url").and_then(Value::as_str)?;
        let is_file = part.get("type").and_then(Value::as_str) == Some("file");
        upload_of(url).filter(|_| is_file).map(|(id, _)| id)
    };
    parts
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(id)
        .collect()
}

#[cfg(test)]
mod tests {
    use model::Part;

    use super::*;
    use crate::context::question;

    #[test]
    fn an_upload_is_shown_as_its_bytes_and_mentioned_where_they_are_not_there() {
        let id = UploadId::new();
        let stored = serde_json::json!([{
            "type": "file",
            "mediaType": "image/png",
            "filename": "cat.png",
            "url": format!("https://a.example/v1/api/uploads/{}", id.as_str()),
        }]);
        assert_eq!(named(&stored), std::slice::from_ref(&id));
        let left_out = Part::Text("(The file cat.png is left out.)".to_owned());
        let shown = |files: &Files| question(&stored.to_string(), files).parts;
        assert_eq!(shown(&Files::new()), [left_out]);
        let image = Part::Image {
            media_type: "image/png".to_owned(),
            bytes: vec![1, 2],
        };
        let files = Files::from([(id, Bytes::from_static(&[1, 2]))]);
        assert_eq!(shown(&files), [image]);
    }
}
