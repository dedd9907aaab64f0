//! Uploads: attachments that are too large for a message go to a bucket, by a URL that takes one
//! object and nothing else, and come back by one that gives it for a minute.

use std::time::Duration;

use bucket::BucketError;
use chat_store::uploads::{self, NewUpload, UPLOAD_LIFE, Uploading};
use chat_store::{UploadId, microseconds};
use http_api::{ApiError, ClientCode, ServerCode};
use lambda_http::http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::app::{Answer, Call};
use crate::body::{self, UploadBody};
use crate::config::Uploads;

/// How long a URL gives an object.
const DOWNLOAD_LIFE: Duration = Duration::from_secs(60);

fn of<'a>(call: &Call<'a>) -> Result<&'a Uploads, ApiError> {
    call.app.uploads.as_ref().ok_or_else(ApiError::not_found)
}

fn unsigned(error: BucketError) -> ApiError {
    ApiError::server(ServerCode::Internal, error)
}

/// `{mediaType, size, filename?}`: an id, and a request that takes this many bytes of this type,
/// once.
pub(crate) async fn create(call: &Call<'_>) -> Answer {
    let of = of(call)?;
    let UploadBody {
        media_type,
        size,
        filename,
    } = body::upload(call.request)?;
    let size = i64::try_from(size).ok().filter(|size| *size <= of.bytes);
    let size = size.ok_or_else(|| {
        let message = format!("an upload has at most {} bytes", of.bytes);
        ApiError::client(ClientCode::TooLarge, message)
    })?;
    call.admit().await?;
    let id = UploadId::new();
    let upload = NewUpload {
        id: &id,
        media_type: &media_type,
        size,
        filename: filename.as_deref(),
        now: call.time(),
    };
    let bytes_per_day = if call.is_guest {
        of.bytes_per_day_of_guest
    } else {
        of.bytes_per_day
    };
    let made = uploads::create_upload(&call.db, &call.owner, &upload, bytes_per_day).await?;
    if let Uploading::Spent { retry_after } = made {
        let message = format!("of uploads there are {bytes_per_day} bytes a day");
        return Err(ApiError::client(ClientCode::RateLimited, message).retry_after(retry_after));
    }
    // What is signed has to be sent: bytes of this number and type, where there are none yet.
    let length = size.to_string();
    let signed = [
        ("content-length", length.as_str()),
        ("content-type", media_type.as_str()),
        ("if-none-match", "*"),
    ];
    let url = of
        .bucket
        .put_url(id.as_str(), &signed, UPLOAD_LIFE, call.now);
    http_api::json(
        StatusCode::CREATED,
        &json!({
            "id": id,
            "url": format!("/api/uploads/{}", id.as_str()),
            "upload": {
                "method": "PUT",
                "url": url.await.map_err(unsigned)?,
                "headers": {"content-type": media_type, "if-none-match": "*"},
            },
            "expiresAt": microseconds(call.now + UPLOAD_LIFE),
        }),
    )
}

/// Where the upload is for the next minute: a redirection, or, for whoever accepts JSON,
/// `{url, expiresAt}`. A page at another origin than the API needs the latter, since a browser does
/// not tell the bucket the origin of what was redirected.
pub(crate) async fn get(call: &Call<'_>, id: &str) -> Answer {
    let of = of(call)?;
    let id = UploadId::parse(id).ok_or_else(ApiError::not_found)?;
    let found = uploads::uploads(&call.db, &call.owner, &[id], call.time()).await?;
    let upload = found.first().ok_or_else(ApiError::not_found)?;
    let (key, filename) = (upload.id.as_str(), upload.filename.as_deref());
    let url = of.bucket.get_url(key, filename, DOWNLOAD_LIFE, call.now);
    let url = url.await.map_err(unsigned)?;
    let accepted = call.request.headers().get_all(header::ACCEPT);
    let mut accepted = accepted.iter().filter_map(|types| types.to_str().ok());
    let mut response = if accepted.any(|types| types.contains("application/json")) {
        let expires_at = microseconds(call.now + DOWNLOAD_LIFE);
        http_api::json(
            StatusCode::OK,
            &json!({"url": url, "expiresAt": expires_at}),
        )?
    } else {
        let location = HeaderValue::from_str(&url)
            .map_err(|error| ApiError::server(ServerCode::Internal, error))?;
        let mut response = http_api::empty();
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert(header::LOCATION, location);
        response
    };
    let vary = HeaderValue::from_static("Accept");
    response.headers_mut().append(header::VARY, vary);
    Ok(response)
}
