//! Branches: where a chat goes on in more than one way, and which of them is read.

use chat_store::{MessageId, Pruned, Switched};
use http_api::{ApiError, ClientCode};
use lambda_http::http::StatusCode;
use serde_json::json;

use crate::app::{Answer, Call};
use crate::{body, input};

pub(crate) async fn list(call: &Call<'_>, id: &str) -> Answer {
    let chat = input::chat_id(id)?;
    let branches = chat_store::branches::list(&call.db, &call.owner, &chat, call.time())
        .await?
        .ok_or_else(ApiError::not_found)?;
    http_api::json(StatusCode::OK, &json!({"branches": branches}))
}

/// `{messageId}`: the chat leads through that message from now on.
pub(crate) async fn switch(call: &Call<'_>, id: &str) -> Answer {
    let chat = input::chat_id(id)?;
    let message = body::message_id(call.request)?;
    call.admit().await?;
    match chat_store::branches::switch(&call.db, &call.owner, &chat, &message, call.time()).await? {
        Switched::Done => http_api::json(StatusCode::OK, &json!({"success": true})),
        Switched::Busy => Err(ApiError::client(
            ClientCode::GenerationInProgress,
            "a reply is being written in this chat",
        )),
        Switched::Missing => Err(ApiError::not_found()),
    }
}

/// Deletes a message that was set aside, with all that follows it there.
pub(crate) async fn delete(call: &Call<'_>, id: &str, message: &str) -> Answer {
    let chat = input::chat_id(id)?;
    let message = MessageId::parse(message).map_err(input::refusal)?;
    call.admit().await?;
    match chat_store::branches::prune(&call.db, &call.owner, &chat, &message, call.time()).await? {
        Pruned::Done => Ok(http_api::empty()),
        Pruned::Current => Err(ApiError::client(
            ClientCode::Unprocessable,
            "the chat leads through this message: lead it elsewhere first",
        )),
        Pruned::Missing => Err(ApiError::not_found()),
    }
}
