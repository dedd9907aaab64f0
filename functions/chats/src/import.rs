//! Import: an export's lines, or an AI SDK array of messages, straight in the body. An export that
//! is too large for one request comes in parts, cut between its lines, under one `Idempotency-Key`.

use chat_store::import::{Counts, Import, Imported, MAX_IMPORT_BYTES, StoreError};
use chat_store::{IdempotencyKey, Invalid, SavedResponse, expiry, import};
use http_api::{ApiError, ClientCode, ServerCode};
use jiff::Timestamp;
use lambda_http::Request;
use lambda_http::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::app::{Answer, Call};
use crate::{idempotency, input};

pub(crate) async fn import(call: &Call<'_>) -> Answer {
    let part = input::part(call.request)?;
    let file = file(call.request, part)?;
    let key = idempotency::key(call)?.map(|key| key.keyed);
    match (part, key) {
        (None, None) => {
            call.admit().await?;
            let seed = chat_store::random_text()
                .map_err(|error| ApiError::server(ServerCode::Internal, error))?;
            let imported = store(call, &file, &seed, call.time()).await?;
            http_api::json(StatusCode::CREATED, &imported)
        }
        (None, Some(key)) => {
            let seed = key.seed(&call.owner);
            keyed(call, &file, &key, &seed, None).await
        }
        (Some(_), None) => Err(ApiError::invalid(
            "the parts of an import have one Idempotency-Key",
        )),
        (Some(number), Some(key)) => {
            let seed = key.seed_of_parts(&call.owner);
            keyed(call, &file, &key.part(number), &seed, Some((number, &key))).await
        }
    }
}

/// What the body says.
pub(crate) fn file(request: &Request, part: Option<u16>) -> Result<Import, ApiError> {
    let bytes = http_api::bytes(request);
    if bytes.len() > MAX_IMPORT_BYTES {
        let text =
            format!("the body may have {MAX_IMPORT_BYTES} bytes; a longer export comes in parts");
        return Err(ApiError::client(ClientCode::TooLarge, text));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ApiError::client(ClientCode::InvalidJson, "the body must be UTF-8"))?;
    if text.trim().is_empty() {
        return Err(ApiError::invalid(
            "the body is empty: an export, or an array of messages",
        ));
    }
    let parsed = match part {
        None => import::parse(text),
        Some(_) => import::parse_part(text),
    };
    parsed.map_err(|invalid| {
        let code = match invalid.reason {
            Invalid::Malformed(_) => ClientCode::InvalidRequest,
            Invalid::NotAllowed(_) => ClientCode::Unprocessable,
            Invalid::TooLarge(_) => ClientCode::TooLarge,
        };
        ApiError::client(code, invalid.to_string())
    })
}

/// Stores a file once for its key. Of a `part`, the number and the key of the whole import; it is
/// only taken if the parts before it are there, and the last one if they add up.
async fn keyed(
    call: &Call<'_>,
    file: &Import,
    key: &IdempotencyKey,
    seed: &str,
    part: Option<(u16, &IdempotencyKey)>,
) -> Answer {
    call.admit().await?;
    let now = call.time();
    if let Some(before) = chat_store::idempotency::given(&call.db, &call.owner, key, now).await? {
        return idempotency::answer(before, |()| Err(ApiError::not_found()));
    }
    if let Some((number, whole)) = part
        && (number > 1 || file.end().is_some())
    {
        let before =
            chat_store::idempotency::given_parts(&call.db, &call.owner, whole, number, now).await?;
        check_before(&before, number, file)?;
    }
    let imported = store(call, file, seed, now).await?;
    let kept = chat_store::idempotency::once(
        &call.db,
        &call.owner,
        Some(key),
        now,
        |_| async { Ok(()) },
        |()| {
            Some(SavedResponse {
                status: 201,
                body: json!(imported).to_string(),
            })
        },
    )
    .await?;
    idempotency::answer(kept, |()| http_api::json(StatusCode::CREATED, &imported))
}

async fn store(
    call: &Call<'_>,
    file: &Import,
    seed: &str,
    now: Timestamp,
) -> Result<Imported, ApiError> {
    let expires_at = expiry(call.is_guest, now);
    import::store(&call.db, &call.owner, file, seed, expires_at, now)
        .await
        .map_err(|error| match error {
            StoreError::Database(error) => error.into(),
            refused @ StoreError::NotTaken => unprocessable(refused.to_string()),
        })
}

fn unprocessable(message: String) -> ApiError {
    ApiError::client(ClientCode::Unprocessable, message)
}

/// What of an answer tells how much of the export its part was.
#[derive(Debug, Deserialize)]
struct Taken {
    chats: u64,
    messages: u64,
    skipped: u64,
}

/// Whether all parts before `number` are there, and with `file` are what the export's end counts,
/// if that is in it.
fn check_before(before: &[String], number: u16, file: &Import) -> Result<(), ApiError> {
    let taken: Vec<Taken> = before
        .iter()
        .filter_map(|answer| serde_json::from_str(answer).ok())
        .collect();
    if taken.len() + 1 != usize::from(number) {
        return Err(unprocessable(format!(
            "of the {} parts before this one {} were imported",
            number - 1,
            taken.len()
        )));
    }
    let Some(end) = file.end() else {
        return Ok(());
    };
    let sum = taken.iter().fold(file.counts(), |sum, part| Counts {
        chats: sum.chats + part.chats,
        messages: sum.messages + part.messages + part.skipped,
    });
    if sum != end {
        return Err(unprocessable(format!(
            "the end counts other chats or messages: {} and {}, the parts have {} and {}",
            end.chats, end.messages, sum.chats, sum.messages
        )));
    }
    Ok(())
}
