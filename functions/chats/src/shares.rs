//! Copies of chats: forks, and snapshots that anyone may read who has their token.

use chat_store::{ChatId, Forked, SavedResponse, ShareId, ShareToken, Shared};
use dsql::Db;
use http_api::{ApiError, ClientCode, ServerCode};
use jiff::Timestamp;
use lambda_http::Request;
use lambda_http::http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::app::{Answer, Call};
use crate::idempotency::{self, Key};
use crate::{body, input};

/// `{messageId}`: a new chat that begins as this one did, up to that message.
pub(crate) async fn fork(call: &Call<'_>, id: &str) -> Answer {
    let source = input::chat_id(id)?;
    let message = body::message_id(call.request)?;
    let key = idempotency::key(call)?;
    call.admit().await?;
    let (new, now) = (ChatId::new(), call.time());
    let forked = chat_store::idempotency::once(
        &call.db,
        &call.owner,
        key.as_ref().map(|key| &key.keyed),
        now,
        |tx| {
            let (source, message, new) = (&source, &message, &new);
            async move { chat_store::chats::fork(&tx, &call.owner, source, message, new, now).await }
        },
        |forked| match forked {
            Forked::Chat(chat) => Some(SavedResponse {
                status: 201,
                body: json!(chat).to_string(),
            }),
            _ => None,
        },
    )
    .await?;
    idempotency::answer(forked, |forked| match forked {
        Forked::Chat(chat) => http_api::json(StatusCode::CREATED, &chat),
        Forked::Missing => Err(ApiError::not_found()),
        Forked::TooLarge => Err(ApiError::client(
            ClientCode::Unprocessable,
            "more than 6 MiB cannot be copied at once",
        )),
    })
}

/// Makes the chat public and answers a token for a snapshot of it. Only here is the token in clear;
/// with the `Idempotency-Key` it is made again.
pub(crate) async fn share(call: &Call<'_>, id: &str) -> Answer {
    let chat = input::chat_id(id)?;
    let key = idempotency::key(call)?;
    call.admit().await?;
    let now = call.time();
    let nonce =
        chat_store::random_text().map_err(|error| ApiError::server(ServerCode::Internal, error))?;
    let token_of = |nonce: &str| ShareToken::new(key.as_ref().map(|key: &Key<'_>| key.text), nonce);
    let token = token_of(&nonce);
    let shared = chat_store::idempotency::once(
        &call.db,
        &call.owner,
        key.as_ref().map(|key| &key.keyed),
        now,
        |tx| {
            let (chat, token) = (&chat, &token);
            async move { chat_store::shares::create(&tx, &call.owner, chat, token, now).await }
        },
        |shared| {
            (*shared == Shared::Done).then(|| SavedResponse {
                status: 201,
                body: json!({"nonce": nonce}).to_string(),
            })
        },
    )
    .await?;
    let created = |token: &ShareToken| {
        let token = token.expose();
        http_api::json(
            StatusCode::CREATED,
            &json!({"token": token, "url": format!("/api/shared/{token}")}),
        )
    };
    idempotency::answer_with(
        shared,
        |shared| match shared {
            Shared::Done => created(&token),
            Shared::Missing => Err(ApiError::not_found()),
            Shared::TooLarge => Err(ApiError::client(
                ClientCode::Unprocessable,
                "a chat of more than 900 KiB cannot be shared",
            )),
            Shared::TooMany => Err(ApiError::client(
                ClientCode::Unprocessable,
                "a chat has at most 20 shares",
            )),
        },
        |given| {
            let kept: Value = serde_json::from_str(&given.body).unwrap_or_default();
            let nonce = kept
                .get("nonce")
                .and_then(Value::as_str)
                .unwrap_or_default();
            created(&token_of(nonce))
        },
    )
}

/// The shares of the chat.
pub(crate) async fn list(call: &Call<'_>, id: &str) -> Answer {
    let chat = input::chat_id(id)?;
    let shares = chat_store::shares::list(&call.db, &call.owner, &chat, call.time())
        .await?
        .ok_or_else(ApiError::not_found)?;
    http_api::json(StatusCode::OK, &json!({"shares": shares}))
}

/// Ends one share of the chat; with the last one, a chat that was not made public otherwise is
/// private again.
pub(crate) async fn unshare_one(call: &Call<'_>, id: &str, share: &str) -> Answer {
    let chat = input::chat_id(id)?;
    let share = ShareId::parse(share).ok_or_else(ApiError::not_found)?;
    call.admit().await?;
    if chat_store::shares::end(&call.db, &call.owner, &chat, &share, call.time()).await? {
        Ok(http_api::empty())
    } else {
        Err(ApiError::not_found())
    }
}

/// Ends all shares of the chat and makes it private.
pub(crate) async fn unshare(call: &Call<'_>, id: &str) -> Answer {
    let chat = input::chat_id(id)?;
    call.admit().await?;
    if chat_store::shares::end_all(&call.db, &call.owner, &chat, call.time()).await? {
        Ok(http_api::empty())
    } else {
        Err(ApiError::not_found())
    }
}

/// A snapshot, for anyone with its token. Caches, of browsers and of an edge, may keep it for a
/// minute, which is how long an ended share may be seen, and then ask whether it is the same.
pub(crate) async fn open(request: &Request, db: &Db, token: &str, now: Timestamp) -> Answer {
    let token = ShareToken::parse(token).ok_or_else(ApiError::not_found)?;
    let snapshot = chat_store::shares::open(db, &token, now)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let mut response = http_api::with_tag(request, http_api::json_text(StatusCode::OK, snapshot));
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=60, s-maxage=60"),
    );
    Ok(response)
}
