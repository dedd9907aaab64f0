//! The bodies of the routes, checked: a function for each.

use bounded_json::Fields;
use chat_store::{
    Changes, ChatId, Comment, Cut, Ends, FILE_TYPES, GUEST_DAYS, MAX_FILENAME_CHARS,
    MAX_RETENTION_HOURS, MessageId, NewMessage, Role, Title,
};
use http_api::{ApiError, ClientCode};
use jiff::{SignedDuration, Timestamp};
use lambda_http::Request;

use crate::input;

/// What a PATCH of a chat may change.
pub(crate) const CHANGEABLE: &[&str] = &["title", "visibility", "pinned", "archived", "retention"];

/// `{id?, title?, message?}`.
#[derive(Debug)]
pub(crate) struct NewChatBody {
    pub(crate) id: ChatId,
    pub(crate) title: Title,
    pub(crate) message: Option<NewMessage>,
}

/// `{messageId, isUpvoted?, comment?}`.
#[derive(Debug)]
pub(crate) struct VoteBody {
    pub(crate) message: MessageId,
    /// Without it the vote is taken back.
    pub(crate) is_upvoted: Option<bool>,
    pub(crate) comment: Option<Comment>,
}

/// `{mediaType, size, filename?}`.
#[derive(Debug)]
pub(crate) struct UploadBody {
    /// One of [`FILE_TYPES`].
    pub(crate) media_type: String,
    /// In bytes, at least one.
    pub(crate) size: u64,
    pub(crate) filename: Option<String>,
}

pub(crate) fn new_chat(request: &Request) -> Result<NewChatBody, ApiError> {
    let body = input::body(request)?;
    let fields = body.fields(&["id", "title", "message"])?;
    let message = match fields.object("message", input::MESSAGE)? {
        Some(message) => Some(input::message(&message, Some(Role::User))?),
        None => None,
    };
    Ok(NewChatBody {
        id: fields
            .text("id")?
            .map(|id| input::chat_id(&id))
            .transpose()?
            .unwrap_or_default(),
        title: input::title(&fields)?.unwrap_or_default(),
        message,
    })
}

/// The fields in `allowed`; others are refused, not ignored.
pub(crate) fn changes(
    request: &Request,
    allowed: &[&str],
    is_guest: bool,
    now: Timestamp,
) -> Result<Changes, ApiError> {
    let body = input::body(request)?;
    let fields = body.fields(CHANGEABLE)?;
    let is_given =
        |name: &str| fields.value(name).is_some() || (name == "retention" && fields.is_null(name));
    for name in CHANGEABLE {
        if is_given(name) && !allowed.contains(name) {
            return Err(ApiError::invalid(format!(
                "\"{name}\" cannot be changed here: only {}",
                allowed.join(", ")
            )));
        }
    }
    if !allowed.iter().any(|name| is_given(name)) {
        return Err(ApiError::invalid(format!(
            "nothing to change: give {}",
            allowed.join(", ")
        )));
    }
    Ok(Changes {
        title: input::title(&fields)?,
        visibility: input::visibility(&fields)?,
        pinned: fields.boolean("pinned")?,
        archived: fields.boolean("archived")?,
        ends: retention(&fields, is_guest, now)?,
    })
}

/// `retention`: hours from now, or `null` to keep the chat indefinitely, which guests cannot.
fn retention(
    fields: &Fields<'_>,
    is_guest: bool,
    now: Timestamp,
) -> Result<Option<Ends>, ApiError> {
    let most = if is_guest {
        24 * u64::from(GUEST_DAYS)
    } else {
        MAX_RETENTION_HOURS
    };
    let refused = || {
        let text = format!("\"retention\" is 1 to {most} hours");
        Err(ApiError::client(ClientCode::Unprocessable, text))
    };
    match fields.number("retention")? {
        None if !fields.is_null("retention") => Ok(None),
        None if is_guest => refused(),
        None => Ok(Some(Ends::Never)),
        Some(hours) if (1..=most).contains(&hours) => {
            let kept = SignedDuration::from_hours(i64::try_from(hours).unwrap_or(i64::MAX));
            Ok(Some(Ends::At(
                now.checked_add(kept).unwrap_or(Timestamp::MAX),
            )))
        }
        Some(_) => refused(),
    }
}

/// A message to append.
pub(crate) fn message(request: &Request) -> Result<NewMessage, ApiError> {
    input::message(&input::body(request)?.fields(input::MESSAGE)?, None)
}

/// `{messageId}`.
pub(crate) fn message_id(request: &Request) -> Result<MessageId, ApiError> {
    input::message_id(&input::body(request)?.fields(&["messageId"])?)
}

/// `{messageId, type}`: where a chat is cut, and what for.
pub(crate) fn cut(request: &Request) -> Result<(MessageId, Cut), ApiError> {
    let body = input::body(request)?;
    let fields = body.fields(&["messageId", "type"])?;
    let message = input::message_id(&fields)?;
    let cut = match fields.text("type")?.as_deref() {
        Some("edit") => Cut::Edit,
        Some("regenerate") => Cut::Regenerate,
        _ => return Err(ApiError::invalid("\"type\" must be edit or regenerate")),
    };
    Ok((message, cut))
}

/// A vote; `message` is the one in the path, if it names one.
pub(crate) fn vote(request: &Request, message: Option<&str>) -> Result<VoteBody, ApiError> {
    let body = input::body(request)?;
    let fields = body.fields(&["messageId", "isUpvoted", "comment"])?;
    Ok(VoteBody {
        message: match message {
            Some(text) => MessageId::parse(text).map_err(input::refusal)?,
            None => input::message_id(&fields)?,
        },
        is_upvoted: fields.boolean("isUpvoted")?,
        comment: fields
            .text("comment")?
            .map(|comment| Comment::parse(&comment))
            .transpose()
            .map_err(input::refusal)?,
    })
}

/// An attachment that will be uploaded.
pub(crate) fn upload(request: &Request) -> Result<UploadBody, ApiError> {
    let unprocessable = |message: String| ApiError::client(ClientCode::Unprocessable, message);
    let body = input::body(request)?;
    let fields = body.fields(&["mediaType", "size", "filename"])?;
    let media_type = fields
        .text("mediaType")?
        .ok_or_else(|| ApiError::invalid("\"mediaType\" is missing"))?;
    let size = fields
        .number("size")?
        .filter(|size| *size > 0)
        .ok_or_else(|| ApiError::invalid("\"size\" is missing: bytes, at least one"))?;
    if !FILE_TYPES.contains(&media_type.as_str()) {
        let types = FILE_TYPES.join(", ");
        return Err(unprocessable(format!("\"mediaType\" is one of {types}")));
    }
    let filename = fields.text("filename")?.filter(|name| !name.is_empty());
    let is_long = |name: &String| name.chars().count() > MAX_FILENAME_CHARS;
    if filename.as_ref().is_some_and(is_long) {
        return Err(unprocessable(format!(
            "\"filename\" may have {MAX_FILENAME_CHARS} characters"
        )));
    }
    Ok(UploadBody {
        media_type,
        size,
        filename,
    })
}

/// `{guestToken}`.
pub(crate) fn guest_token(request: &Request) -> Result<String, ApiError> {
    input::body(request)?
        .fields(&["guestToken"])?
        .text("guestToken")?
        .ok_or_else(|| ApiError::invalid("\"guestToken\" is missing"))
}
