//! Votes on replies.

use chat_store::{Comment, Voted};
use http_api::ApiError;
use lambda_http::http::StatusCode;
use serde_json::json;

use crate::app::{Answer, Call};
use crate::body::VoteBody;
use crate::{body, input};

pub(crate) async fn list(call: &Call<'_>, id: &str) -> Answer {
    let chat = input::chat_id(id)?;
    chat_store::votes::list(&call.db, &call.owner, &chat, call.time())
        .await?
        .map_or_else(
            || Err(ApiError::not_found()),
            |votes| http_api::json(StatusCode::OK, &votes),
        )
}

/// `{messageId, isUpvoted?, comment?}`, the message in the path or in the body; without `isUpvoted`
/// the vote is taken back.
pub(crate) async fn vote(call: &Call<'_>, id: &str, message: Option<&str>) -> Answer {
    let chat = input::chat_id(id)?;
    let VoteBody {
        message,
        is_upvoted,
        comment,
    } = body::vote(call.request, message)?;
    call.admit().await?;
    let (db, owner) = (&call.db, &call.owner);
    match chat_store::votes::cast(
        db,
        owner,
        &chat,
        &message,
        is_upvoted,
        comment.as_ref(),
        call.time(),
    )
    .await?
    {
        None => Err(ApiError::not_found()),
        Some(Voted::NotAReply) => Err(ApiError::invalid("\"messageId\" is not a reply")),
        Some(Voted::Done) => http_api::json(
            StatusCode::OK,
            &json!({
                "chatId": chat,
                "messageId": message,
                "isUpvoted": is_upvoted,
                "comment": comment.as_ref().filter(|_| is_upvoted.is_some()).map(Comment::as_str),
            }),
        ),
    }
}
