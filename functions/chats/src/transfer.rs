//! Import: an export's lines, or an AI SDK array of messages, straight in the body.

use api::{ApiError, ClientCode, ServerCode};
use chat_store::{Given, Invalid, expiry, import};
use lambda_http::http::StatusCode;
use serde_json::json;

use crate::input::MAX_BODY_BYTES;
use crate::routes::Answer;
use crate::{Call, once};

pub(crate) async fn import(call: &Call<'_>) -> Answer {
    let bytes = api::bytes(call.request);
    if bytes.len() > MAX_BODY_BYTES {
        let text = format!("the body may have {MAX_BODY_BYTES} bytes");
        return Err(ApiError::client(ClientCode::TooLarge, text));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ApiError::client(ClientCode::InvalidJson, "the body must be UTF-8"))?;
    let file = import::parse(&api::whole_characters(text)).map_err(|invalid| {
        let code = match invalid.reason {
            Invalid::Malformed(_) => ClientCode::InvalidRequest,
            Invalid::NotAllowed(_) => ClientCode::Unprocessable,
            Invalid::TooLarge(_) => ClientCode::TooLarge,
        };
        ApiError::client(code, invalid.to_string())
    })?;
    let key = once::key(call)?;
    call.admit_heavy().await?;
    let now = call.time();
    let expires_at = expiry(call.is_guest, now);
    let seed = match &key {
        Some(key) => {
            if let Some(before) = chat_store::given(&call.db, &call.owner, &key.keyed, now).await? {
                return once::answer(before, |()| Err(ApiError::not_found()));
            }
            key.keyed.seed(&call.owner)
        }
        None => chat_store::random_text()
            .map_err(|error| ApiError::server(ServerCode::Internal, error))?,
    };
    let imported = import::store(&call.db, &call.owner, &file, &seed, expires_at, now).await?;
    let Some(key) = key else {
        return api::json(StatusCode::CREATED, &imported);
    };
    let kept = chat_store::once(
        &call.db,
        &call.owner,
        Some(&key.keyed),
        now,
        |_| async { Ok(()) },
        |()| {
            Some(Given {
                status: 201,
                body: json!(imported).to_string(),
            })
        },
    )
    .await?;
    once::answer(kept, |()| api::json(StatusCode::CREATED, &imported))
}
