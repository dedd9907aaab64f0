//! What requests bring, checked: bodies, query parameters, ids. A refusal names the field.

use bounded_json::{Fields, Text};
use chat_store::{
    ChatId, Cursor, Invalid, MessageId, Metadata, NewMessage, Parts, Role, Title, Visibility,
};
use http_api::{ApiError, ClientCode};
use jiff::civil::Date;
use lambda_http::Request;

/// The fields of a message.
pub(crate) const MESSAGE: &[&str] = &["id", "role", "parts", "metadata"];

/// Most parts of one import: some gigabytes.
const MAX_PARTS: u16 = 1_000;

/// The answer to input that is not accepted.
pub(crate) fn refusal(invalid: Invalid) -> ApiError {
    let code = match invalid {
        Invalid::Malformed(_) => ClientCode::InvalidRequest,
        Invalid::NotAllowed(_) => ClientCode::Unprocessable,
        Invalid::TooLarge(_) => ClientCode::TooLarge,
    };
    ApiError::client(code, invalid.to_string())
}

/// The body, judged but not parsed.
pub(crate) fn body(request: &Request) -> Result<Text<'_>, ApiError> {
    http_api::body(request, &http_api::BODY)
}

pub(crate) fn chat_id(text: &str) -> Result<ChatId, ApiError> {
    ChatId::parse(text).map_err(refusal)
}

/// The field `messageId`.
pub(crate) fn message_id(fields: &Fields<'_>) -> Result<MessageId, ApiError> {
    let text = fields
        .text("messageId")?
        .ok_or_else(|| ApiError::invalid("\"messageId\" is missing"))?;
    MessageId::parse(&text).map_err(refusal)
}

/// A day in a query parameter, as `2026-11-25`.
pub(crate) fn day(request: &Request, name: &str) -> Result<Option<Date>, ApiError> {
    http_api::query(request, name)?
        .map(|text| {
            chat_store::day(text)
                .map_err(|invalid| ApiError::invalid(format!("\"{name}\": {invalid}")))
        })
        .transpose()
}

pub(crate) fn title(fields: &Fields<'_>) -> Result<Option<Title>, ApiError> {
    fields
        .text("title")?
        .map(|text| Title::parse(&text).map_err(refusal))
        .transpose()
}

pub(crate) fn visibility(fields: &Fields<'_>) -> Result<Option<Visibility>, ApiError> {
    fields
        .text("visibility")?
        .map(|text| Visibility::parse(&text).map_err(refusal))
        .transpose()
}

/// `{id?, role?, parts, metadata?}`; the role of a chat's first message is `user` unless it says
/// otherwise.
pub(crate) fn message(
    fields: &Fields<'_>,
    default_role: Option<Role>,
) -> Result<NewMessage, ApiError> {
    let role = match (fields.text("role")?, default_role) {
        (Some(text), _) => Role::parse(&text).map_err(refusal)?,
        (None, Some(role)) => role,
        (None, None) => return Err(ApiError::invalid("\"role\" is missing: user or assistant")),
    };
    let parts = fields
        .value("parts")
        .ok_or_else(|| ApiError::invalid("\"parts\" is missing"))?;
    let id = match fields.text("id")? {
        Some(text) => MessageId::parse(&text).map_err(refusal)?,
        None => MessageId::new(),
    };
    let metadata = fields
        .value("metadata")
        .map(|metadata| Metadata::parse(metadata.get()))
        .transpose()
        .map_err(refusal)?;
    Ok(NewMessage {
        id,
        role,
        parts: Parts::parse(parts.get()).map_err(refusal)?,
        metadata,
    })
}

/// The query parameter `limit`, 1 to 100.
pub(crate) fn limit(request: &Request, default: u16) -> Result<u16, ApiError> {
    let Some(text) = http_api::query(request, "limit")? else {
        return Ok(default);
    };
    text.parse()
        .ok()
        .filter(|n| (1..=100).contains(n))
        .ok_or_else(|| ApiError::invalid("\"limit\" must be a whole number from 1 to 100"))
}

pub(crate) fn cursor(request: &Request) -> Result<Option<Cursor>, ApiError> {
    http_api::query(request, "cursor")?
        .filter(|text| !text.is_empty())
        .map(|text| Cursor::parse(text).map_err(refusal))
        .transpose()
}

pub(crate) fn before(request: &Request) -> Result<Option<i64>, ApiError> {
    let Some(text) = http_api::query(request, "before")? else {
        return Ok(None);
    };
    let seq = text.parse().ok().filter(|seq| *seq >= 0);
    seq.map(Some)
        .ok_or_else(|| ApiError::invalid("\"before\" must be a prevCursor that a page answered"))
}

/// The query parameter `part` of an import: its number, from 1.
pub(crate) fn part(request: &Request) -> Result<Option<u16>, ApiError> {
    let Some(text) = http_api::query(request, "part")? else {
        return Ok(None);
    };
    let number = text.parse().ok().filter(|n| (1..=MAX_PARTS).contains(n));
    number.map(Some).ok_or_else(|| {
        ApiError::invalid(format!(
            "\"part\" must be a whole number from 1 to {MAX_PARTS}"
        ))
    })
}

pub(crate) fn archived(request: &Request) -> Result<bool, ApiError> {
    match http_api::query(request, "archived")? {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(ApiError::invalid("\"archived\" must be true or false")),
    }
}

/// The query parameter `q`: at most 100 characters; empty counts as missing.
pub(crate) fn search(request: &Request) -> Result<Option<&str>, ApiError> {
    match http_api::query(request, "q")?.map(str::trim) {
        Some(text) if text.chars().count() > 100 => {
            Err(ApiError::invalid("\"q\" may have 100 characters"))
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}
