//! Chats and their messages: input, one call into the store, answer.

use std::fmt::Write as _;

use chat_store::{
    Appended, Chat, ChatId, Conversation, Created, CutOff, Listing, Message, NewChat, expiry,
};
use dsql::Db;
use http_api::{ApiError, ClientCode};
use lambda_http::http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::json;

use crate::app::{Answer, Call};
use crate::{body, input};

pub(crate) fn health() -> Answer {
    http_api::json(StatusCode::OK, &json!({"status": "ok"}))
}

pub(crate) async fn ready(db: &Db) -> Answer {
    db.query_idempotent("SELECT 1", &[]).await?;
    http_api::json(StatusCode::OK, &json!({"status": "ready"}))
}

// Answers that may be long are written as they are: `json!` would copy them first.

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    items: &'a [Chat],
    next_cursor: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    #[serde(flatten)]
    chat: &'a Chat,
    is_owner: bool,
    active_stream_id: Option<&'a str>,
    #[serde(flatten)]
    page: Page<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    messages: &'a [Message],
    prev_cursor: Option<i64>,
}

impl<'a> From<&'a Conversation> for Page<'a> {
    fn from(found: &'a Conversation) -> Self {
        Self {
            messages: &found.messages,
            prev_cursor: found.previous,
        }
    }
}

pub(crate) async fn list(call: &Call<'_>) -> Answer {
    let (limit, after) = (
        input::limit(call.request, 20)?,
        input::cursor(call.request)?,
    );
    let (archived, search) = (input::archived(call.request)?, input::search(call.request)?);
    let listing = Listing {
        archived,
        search,
        after: after.as_ref(),
        behind: None,
        limit,
    };
    let page = chat_store::chats::list(&call.db, &call.owner, listing, call.time()).await?;
    let next = page.next.map(|cursor| cursor.encode());
    let is_bare = match http_api::query(call.request, "shape")? {
        None => false,
        Some("array") => true,
        Some(_) => return Err(ApiError::invalid("\"shape\" must be array")),
    };
    let mut response = if is_bare {
        http_api::json(StatusCode::OK, &page.items)?
    } else {
        let listed = Listed {
            items: &page.items,
            next_cursor: next.as_deref(),
        };
        http_api::json(StatusCode::OK, &listed)?
    };
    if let Some(next) = next {
        let mut link = format!("</api/chats?limit={limit}&cursor={next}");
        if archived {
            link.push_str("&archived=true");
        }
        if let Some(search) = search {
            link.push_str("&q=");
            for byte in search.bytes() {
                if byte.is_ascii_alphanumeric() {
                    link.push(char::from(byte));
                } else {
                    let _ = write!(link, "%{byte:02X}"); // a String takes everything
                }
            }
        }
        link.push_str(">; rel=\"next\"");
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(response)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct History<'a> {
    chats: &'a [Chat],
    has_more: bool,
}

/// The list as the sidebar of vercel/chatbot asks for it: after the last chat that it has.
pub(crate) async fn history(call: &Call<'_>) -> Answer {
    let behind = http_api::query(call.request, "ending_before")?
        .filter(|id| !id.is_empty())
        .map(input::chat_id)
        .transpose()?;
    let listing = Listing {
        archived: false,
        search: None,
        after: None,
        behind: behind.as_ref(),
        limit: input::limit(call.request, 20)?,
    };
    let page = chat_store::chats::list(&call.db, &call.owner, listing, call.time()).await?;
    let history = History {
        chats: &page.items,
        has_more: page.next.is_some(),
    };
    http_api::json(StatusCode::OK, &history)
}

pub(crate) async fn create(call: &Call<'_>) -> Answer {
    let body = body::new_chat(call.request)?;
    let new = NewChat {
        id: body.id,
        title: body.title,
        message: body.message,
        created_at: call.time(),
        expires_at: expiry(call.is_guest, call.time()),
    };
    call.admit().await?;
    match chat_store::chats::create(&call.db, &call.owner, &new).await? {
        Created::Chat(chat) => http_api::json(StatusCode::CREATED, &chat),
        Created::IdTaken => Err(ApiError::client(
            ClientCode::IdTaken,
            "a chat with this id exists",
        )),
    }
}

/// The caller's own chat.
async fn conversation(call: &Call<'_>, id: &str) -> Result<Option<Conversation>, ApiError> {
    let id = input::chat_id(id)?;
    let (limit, before) = (
        input::limit(call.request, 100)?,
        input::before(call.request)?,
    );
    let found =
        chat_store::chats::get(&call.db, &call.owner, &id, before, limit, call.time()).await?;
    if let Some(found) = &found
        && before.is_none()
    {
        note_what_is_shown(call, &id, found).await;
    }
    Ok(found)
}

/// A chat that someone else has made public.
async fn made_public(call: &Call<'_>, id: &str) -> Result<Conversation, ApiError> {
    let id = input::chat_id(id)?;
    chat_store::chats::read_public(&call.db, &id, call.time())
        .await?
        .ok_or_else(ApiError::not_found)
}

/// A page that is shown a chat without the reply being written will come for it; one that is shown
/// it will not.
async fn note_what_is_shown(call: &Call<'_>, chat: &ChatId, shown: &Conversation) {
    let (db, owner) = (&call.db, &call.owner);
    let noted = match (&shown.left_out, &shown.awaited) {
        (Some(reply), _) => chat_store::replies::awaited(db, owner, chat, reply, call.time()).await,
        (None, Some(reply)) => chat_store::replies::delivered(db, owner, chat, reply).await,
        (None, None) => Ok(()),
    };
    if let Err(error) = noted {
        tracing::warn!(
            error.cause = error.report(),
            "what a page was shown could not be noted: a resume may miss a reply, or repeat one"
        );
    }
}

pub(crate) async fn get(call: &Call<'_>, id: &str) -> Answer {
    let (found, is_owner) = match conversation(call, id).await? {
        Some(found) => (found, true),
        None => (made_public(call, id).await?, false),
    };
    let whole = Whole {
        chat: &found.chat,
        is_owner,
        active_stream_id: found.active_stream_id.as_deref(),
        page: Page::from(&found),
    };
    http_api::json(StatusCode::OK, &whole)
}

pub(crate) async fn messages(call: &Call<'_>, id: &str) -> Answer {
    let found = conversation(call, id).await?;
    let found = found.ok_or_else(ApiError::not_found)?;
    http_api::json(StatusCode::OK, &Page::from(&found))
}

/// Changes the fields in `allowed`; others are refused, not ignored.
pub(crate) async fn change(call: &Call<'_>, id: &str, allowed: &[&str]) -> Answer {
    let id = input::chat_id(id)?;
    let changes = body::changes(call.request, allowed, call.is_guest, call.time())?;
    call.admit().await?;
    chat_store::chats::change(&call.db, &call.owner, &id, &changes, call.time())
        .await?
        .map_or_else(
            || Err(ApiError::not_found()),
            |chat| http_api::json(StatusCode::OK, &chat),
        )
}

pub(crate) async fn delete(call: &Call<'_>, id: &str) -> Answer {
    let id = input::chat_id(id)?;
    call.admit().await?;
    if chat_store::chats::delete(&call.db, &call.owner, &id).await? {
        Ok(http_api::empty())
    } else {
        Err(ApiError::not_found())
    }
}

pub(crate) async fn append(call: &Call<'_>, id: &str) -> Answer {
    let chat = input::chat_id(id)?;
    let message = body::message(call.request)?;
    call.admit().await?;
    match chat_store::messages::append(&call.db, &call.owner, &chat, &message, call.time()).await? {
        None => Err(ApiError::not_found()),
        Some(Appended::Stored) => http_api::json(
            StatusCode::CREATED,
            &json!({"id": message.id, "chatId": chat, "role": message.role}),
        ),
        Some(Appended::IdTaken) => Err(ApiError::client(
            ClientCode::IdTaken,
            "a message with this id and other content exists",
        )),
        Some(Appended::Full) => Err(ApiError::client(
            ClientCode::Unprocessable,
            "a chat has at most 500 messages",
        )),
    }
}

/// `{messageId, type}`: what a page does before it edits a message or asks for another reply.
pub(crate) async fn cut(call: &Call<'_>, id: &str) -> Answer {
    let chat = input::chat_id(id)?;
    let (message, cut) = body::cut(call.request)?;
    call.admit().await?;
    match chat_store::messages::cut(&call.db, &call.owner, &chat, &message, cut, call.time())
        .await?
    {
        None => Err(ApiError::not_found()),
        Some(CutOff::Done) => http_api::json(StatusCode::OK, &json!({"success": true})),
        Some(CutOff::Busy) => Err(ApiError::client(
            ClientCode::GenerationInProgress,
            "a reply is being written in this chat",
        )),
        Some(CutOff::NotTheirs) => Err(ApiError::client(
            ClientCode::Unprocessable,
            "only a message of the visitor's can be edited",
        )),
    }
}
