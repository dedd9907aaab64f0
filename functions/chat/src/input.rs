//! What requests bring, checked. Of the messages a client posts only the visitor's last one is
//! read: the history is the database's. The ids of the others tell what the client shows.

use std::collections::VecDeque;

use bounded_json::{Fields, Limits, RawValue, Stopped, items};
use chat_store::{
    ChatId, Invalid, MessageId, Metadata, NewMessage, OwnerId, Parts, Role, StreamId, TurnKey,
};
use http_api::{ApiError, ClientCode};
use lambda_http::Request;
use serde_json::Value;

/// What a turn's body may be: an unmodified client posts its history again with every turn. It is
/// read message by message.
const TURN: Limits = Limits {
    bytes: 4 * 1024 * 1024,
    depth: http_api::MAX_DEPTH,
    values: 400_000,
};
/// What of a turn is looked at.
const POST: &[&str] = &[
    "id",
    "message",
    "messages",
    "trigger",
    "messageId",
    "model",
    "selectedChatModel",
];
/// What of a message is looked at.
const MESSAGE: &[&str] = &["id", "role", "parts", "metadata"];

/// Most answers in one message.
const MAX_ANSWERS: usize = 64;
/// Longest reason of an answer.
const MAX_REASON_CHARS: usize = 1_000;

/// How many of the messages before the visitor's are looked at: some may never have been stored.
const SHOWN: usize = 16;

/// What a client wants of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    Submit,
    Regenerate,
}

/// A turn as it is posted.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) chat: ChatId,
    pub(crate) message: NewMessage,
    /// The last messages that the client shows before it.
    pub(crate) shown: Vec<MessageId>,
    /// Whether it is the first one that the client shows: the AI SDK, which says its `trigger`, posts
    /// all that it shows as `messages`.
    pub(crate) is_first: bool,
    pub(crate) trigger: Trigger,
    /// The message to replace.
    pub(crate) message_id: Option<MessageId>,
    pub(crate) model: String,
}

/// What is posted.
#[derive(Debug, Clone)]
pub(crate) enum Posted {
    Turn(Box<Post>),
    Answers(Answers),
}

/// What a visitor answers to a reply that asks whether tools may be called.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    pub(crate) chat: ChatId,
    /// The reply.
    pub(crate) message: MessageId,
    pub(crate) answered: Vec<Answered>,
    pub(crate) model: String,
}

/// One answer, with the call as the client shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answered {
    pub(crate) call: String,
    pub(crate) approval: String,
    pub(crate) input: Value,
    pub(crate) is_approved: bool,
    pub(crate) reason: Option<String>,
}

/// The answer to input that is not accepted.
pub(crate) fn refusal(invalid: Invalid) -> ApiError {
    let code = match invalid {
        Invalid::Malformed(_) => ClientCode::InvalidRequest,
        Invalid::NotAllowed(_) => ClientCode::Unprocessable,
        Invalid::TooLarge(_) => ClientCode::TooLarge,
    };
    ApiError::client(code, invalid.to_string())
}

fn unprocessable(message: &'static str) -> ApiError {
    ApiError::client(ClientCode::Unprocessable, message)
}

pub(crate) fn chat_id(text: &str) -> Result<ChatId, ApiError> {
    ChatId::parse(text).map_err(refusal)
}

/// `{id, messages[] or message, trigger?, messageId?, model? or selectedChatModel?}`; `path` is the
/// chat in the path, if it names one, and `models` are those that may be named. A last message of
/// the reply's own is an answer to what it asks.
pub(crate) fn posted(
    request: &Request,
    path: Option<&str>,
    models: &[String],
) -> Result<Posted, ApiError> {
    let body = http_api::body(request, &TURN)?;
    let fields = body.fields(POST)?;
    let chat = match (path, fields.text("id")?.as_deref()) {
        (Some(path), Some(id)) if path != id => {
            return Err(ApiError::invalid("\"id\" is not the chat in the path"));
        }
        (Some(id), _) | (None, Some(id)) => chat_id(id)?,
        (None, None) => return Err(ApiError::invalid("\"id\" is missing: the chat")),
    };
    match answers(&fields)? {
        Some((message, answered)) => Ok(Posted::Answers(Answers {
            chat,
            message,
            answered,
            model: model(&fields, models)?,
        })),
        None => post(&fields, chat, models).map(|post| Posted::Turn(Box::new(post))),
    }
}

/// What the last message answers, if it is a reply with answers.
fn answers(fields: &Fields<'_>) -> Result<Option<(MessageId, Vec<Answered>)>, ApiError> {
    let last = match (fields.value("message"), fields.value("messages")) {
        (Some(message), _) => Some(message),
        (None, Some(messages)) => last_of(messages)?,
        (None, None) => None,
    };
    let Some(message) = last.and_then(|last| Fields::of(last, MESSAGE)) else {
        return Ok(None);
    };
    if text(&message, "role").as_deref() != Some("assistant") {
        return Ok(None);
    }
    let mut answered = Vec::new();
    if let Some(parts) = message.value("parts") {
        items(parts.get(), |part| {
            answered.extend(answer(part)?);
            if answered.len() > MAX_ANSWERS {
                return Err(unprocessable("a message has too many answers"));
            }
            Ok::<_, ApiError>(())
        })
        .map_err(|stopped| match stopped {
            Stopped::NotAnArray(_) => ApiError::invalid("parts must be an array"),
            Stopped::Item(error) => error,
        })?;
    }
    if answered.is_empty() {
        return Ok(None);
    }
    let id = text(&message, "id").ok_or_else(|| ApiError::invalid("the message has no id"))?;
    Ok(Some((MessageId::parse(&id).map_err(refusal)?, answered)))
}

/// The answer in a part, if it is one.
fn answer(part: &RawValue) -> Result<Option<Answered>, ApiError> {
    let names = &["state", "toolCallId", "input", "approval"];
    let Some(part) = Fields::of(part, names) else {
        return Ok(None);
    };
    if text(&part, "state").as_deref() != Some("approval-responded") {
        return Ok(None);
    }
    let malformed = || ApiError::invalid("an answer has a call, and an approval with its id");
    let approval = part.value("approval").ok_or_else(malformed)?;
    let approval = Fields::of(approval, &["id", "approved", "reason"]).ok_or_else(malformed)?;
    let reason = text(&approval, "reason").filter(|reason| !reason.trim().is_empty());
    if reason
        .as_ref()
        .is_some_and(|reason| reason.chars().count() > MAX_REASON_CHARS)
    {
        return Err(unprocessable("a reason has at most 1000 characters"));
    }
    let input = part.value("input").map_or("null", RawValue::get);
    Ok(Some(Answered {
        call: text(&part, "toolCallId").ok_or_else(malformed)?,
        approval: text(&approval, "id").ok_or_else(malformed)?,
        is_approved: approval.boolean("approved")?.ok_or_else(malformed)?,
        input: serde_json::from_str(input).map_err(|_| malformed())?,
        // PostgreSQL's text cannot hold NUL.
        reason: reason.map(|reason| reason.replace('\0', "")),
    }))
}

/// The last of a list of messages.
fn last_of(messages: &RawValue) -> Result<Option<&RawValue>, ApiError> {
    let mut last = None;
    items(messages.get(), |message| {
        last = Some(message);
        Ok::<_, ApiError>(())
    })
    .map_err(|stopped| match stopped {
        Stopped::NotAnArray(_) => ApiError::invalid("\"messages\" must be an array"),
        Stopped::Item(error) => error,
    })?;
    Ok(last)
}

fn post(fields: &Fields<'_>, chat: ChatId, models: &[String]) -> Result<Post, ApiError> {
    let trigger = match fields.text("trigger")?.as_deref() {
        None | Some("submit-message") => Trigger::Submit,
        Some("regenerate-message") => Trigger::Regenerate,
        Some(_) => {
            return Err(ApiError::invalid(
                "\"trigger\" is submit-message or regenerate-message",
            ));
        }
    };
    let message_id = fields
        .text("messageId")?
        .map(|text| MessageId::parse(&text).map_err(refusal))
        .transpose()?;
    let (message, shown, is_alone) = message(fields)?;
    let is_new = trigger == Trigger::Submit && message_id.is_none();
    if trigger == Trigger::Submit && message_id.as_ref().is_some_and(|id| *id != message.id) {
        return Err(unprocessable(
            "\"messageId\" must be that of the message: only a visitor's message can be edited",
        ));
    }
    Ok(Post {
        chat,
        message,
        shown,
        is_first: is_alone && is_new && fields.text("trigger")?.is_some(),
        trigger,
        message_id,
        model: model(fields, models)?,
    })
}

/// The model that answers. `selectedChatModel` is what vercel/chatbot sends with every turn, also
/// where nobody chose: a model that is not known here is then the default one.
fn model(fields: &Fields<'_>, models: &[String]) -> Result<String, ApiError> {
    let known = |name: &str| models.iter().find(|model| *model == name);
    let found = match (fields.text("model")?, fields.text("selectedChatModel")?) {
        (Some(name), _) => known(&name),
        (None, Some(name)) => known(&name).or(models.first()),
        (None, None) => models.first(),
    };
    found
        .cloned()
        .ok_or_else(|| unprocessable("\"model\" is not one of GET /api/models"))
}

/// The `Idempotency-Key` of a turn, which is the same turn if it says the same about the same
/// message.
pub(crate) fn key(
    request: &Request,
    owner: &OwnerId,
    post: &Post,
) -> Result<Option<TurnKey>, ApiError> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let trigger: &[u8] = match post.trigger {
        Trigger::Submit => b"submit",
        Trigger::Regenerate => b"regenerate",
    };
    let target = post.message_id.as_ref().map_or("", MessageId::as_str);
    let said = [
        post.chat.as_str().as_bytes(),
        post.message.id.as_str().as_bytes(),
        post.message.parts.as_str().as_bytes(),
        trigger,
        target.as_bytes(),
        post.model.as_bytes(),
    ];
    TurnKey::new(owner, value.to_str().unwrap_or_default(), &said)
        .map(Some)
        .map_err(refusal)
}

/// The visitor's message: `message`, or the last of `messages` with the role `user`; the ids of
/// those before it; and whether `messages` has none before it.
fn message(fields: &Fields<'_>) -> Result<(NewMessage, Vec<MessageId>, bool), ApiError> {
    let (message, shown, is_alone) = match (fields.value("message"), fields.value("messages")) {
        (Some(message), _) => (message, Vec::new(), false),
        (None, Some(messages)) => last_of_user(messages)?,
        (None, None) => return Err(ApiError::invalid("\"messages\" or \"message\" is missing")),
    };
    let missing = || ApiError::invalid("the message has no role");
    let message = Fields::of(message, MESSAGE).ok_or_else(missing)?;
    match text(&message, "role").as_deref() {
        Some("user") => {}
        Some(_) => return Err(unprocessable("the message's role must be user")),
        None => return Err(missing()),
    }
    let id = text(&message, "id").ok_or_else(|| ApiError::invalid("the message has no id"))?;
    let parts = message
        .value("parts")
        .ok_or_else(|| ApiError::invalid("the message has no parts"))?;
    let metadata = message.value("metadata");
    let message = NewMessage {
        id: MessageId::parse(&id).map_err(refusal)?,
        role: Role::User,
        parts: Parts::parse_with_uploads(parts.get()).map_err(refusal)?,
        metadata: metadata
            .map(|metadata| Metadata::parse(metadata.get()))
            .transpose()
            .map_err(refusal)?,
    };
    Ok((message, shown, is_alone))
}

/// A field, if it is a text.
fn text(fields: &Fields<'_>, name: &'static str) -> Option<String> {
    fields.text(name).ok()?
}

/// The last message of `messages` with the role `user`, the ids of the last ones before it, and
/// whether there are none.
fn last_of_user(messages: &RawValue) -> Result<(&RawValue, Vec<MessageId>, bool), ApiError> {
    let mut before: VecDeque<Option<MessageId>> = VecDeque::with_capacity(SHOWN + 1);
    let mut last = None;
    items(messages.get(), |message| {
        let fields = Fields::of(message, MESSAGE);
        let text = |name| text(fields.as_ref()?, name);
        if text("role").as_deref() == Some("user") {
            let ids = before.iter().flatten().cloned().collect();
            last = Some((message, ids, before.is_empty()));
        }
        before.push_back(text("id").and_then(|id| MessageId::parse(&id).ok()));
        if before.len() > SHOWN {
            before.pop_front();
        }
        Ok::<_, ApiError>(())
    })
    .map_err(|stopped| match stopped {
        Stopped::NotAnArray(_) => ApiError::invalid("\"messages\" must be an array"),
        Stopped::Item(error) => error,
    })?;
    last.ok_or_else(|| ApiError::invalid("\"messages\" has no message of the role user"))
}

/// The last message that a page which resumes shows, if it says so: the id of the last event that
/// it has read.
pub(crate) fn last_event_id(request: &Request) -> Option<&str> {
    let value = request.headers().get("last-event-id")?;
    value.to_str().ok().filter(|id| !id.is_empty())
}

/// The reply that is to stop: `{activeStreamId?}`, or no body at all. A snapshot of the message is
/// ignored.
pub(crate) fn stop(request: &Request) -> Result<Option<StreamId>, ApiError> {
    if http_api::bytes(request).is_empty() {
        return Ok(None);
    }
    http_api::body(request, &http_api::BODY)?
        .fields(&["activeStreamId"])?
        .text("activeStreamId")?
        .map(|text| StreamId::parse(&text).map_err(refusal))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: &Value) -> Result<Post, (u16, String)> {
        let request = Request::new(body.to_string().into());
        posted(&request, None, &["m1".to_owned(), "m2".to_owned()])
            .map(|posted| match posted {
                Posted::Turn(post) => *post,
                Posted::Answers(answers) => panic!("{answers:?}"),
            })
            .map_err(|error| (error.status().as_u16(), error.client_message().to_owned()))
    }

    fn says(id: &str, role: &str) -> Value {
        json!({"id": id, "role": role, "parts": [{"type": "text", "text": "hi"}]})
    }

    #[test]
    fn of_all_messages_the_visitors_last_one_counts() {
        let body = json!({"id": "c", "messages": [says("u1", "user"), says("a1", "assistant"), says("u2", "user"), says("a2", "assistant")]});
        let post = read(&body).unwrap();
        assert_eq!(post.message.id.as_str(), "u2");
        let shown: Vec<&str> = post.shown.iter().map(MessageId::as_str).collect();
        assert_eq!(shown, ["u1", "a1"]);
        assert_eq!((post.trigger, post.model.as_str()), (Trigger::Submit, "m1"));
        assert!(!post.is_first);
        let alone =
            json!({"id": "c", "model": "m2", "message": says("u3", "user"), "messageId": "u3"});
        let post = read(&alone).unwrap();
        assert_eq!(
            (post.message.id.as_str(), post.model.as_str()),
            ("u3", "m2")
        );
    }

    #[test]
    fn the_first_message_that_an_sdk_shows_is_told_from_the_last_one_that_is_posted_alone() {
        let all = json!({"id": "c", "trigger": "submit-message", "messages": [says("u1", "user")]});
        assert!(read(&all).unwrap().is_first);
        for (key, value) in [
            ("trigger", json!(null)),
            ("trigger", json!("regenerate-message")),
            ("messageId", json!("u1")),
            ("message", says("u1", "user")),
            (
                "messages",
                json!([{"id": "?", "role": "system"}, says("u1", "user")]),
            ),
        ] {
            let mut body = all.clone();
            body[key] = value;
            assert!(!read(&body).unwrap().is_first, "{body}");
        }
    }

    #[test]
    fn a_model_that_is_chosen_answers_and_a_template_s_own_name_is_no_choice() {
        let answers = |key: &str, name: &str| {
            let mut body = json!({"id": "c", "message": says("u", "user")});
            body[key] = name.into();
            read(&body).map(|post| post.model)
        };
        assert_eq!(answers("selectedChatModel", "m2").unwrap(), "m2");
        assert_eq!(answers("selectedChatModel", "chat-model").unwrap(), "m1");
        assert_eq!(answers("model", "m2").unwrap(), "m2");
        assert!(answers("model", "chat-model").is_err());
    }

    #[test]
    fn what_does_not_fit_has_its_own_status() {
        let with = |key: &str, value: Value| {
            let mut body = json!({"id": "c", "message": says("u", "user")});
            body[key] = value;
            read(&body).map(|_| ()).unwrap_err().0
        };
        assert_eq!(with("id", json!("a/b")), 400);
        assert_eq!(with("id", json!(7)), 400);
        assert_eq!(with("trigger", json!("resume")), 400);
        assert_eq!(with("messageId", json!("other")), 422);
        assert_eq!(with("model", json!("m3")), 422);
        assert_eq!(with("message", says("u", "assistant")), 422);
        assert_eq!(with("message", says("u", "system")), 422);
        assert_eq!(with("message", json!({"id": "u", "role": "user"})), 400);
        assert_eq!(
            with("message", json!({"role": "user", "parts": []})),
            400,
            "no id"
        );
        assert_eq!(
            read(&json!({"message": says("u", "user")})).unwrap_err().0,
            400
        );
        assert_eq!(
            read(&json!({"id": "c", "messages": [says("a", "assistant")]}))
                .unwrap_err()
                .0,
            400
        );
    }

    #[test]
    fn a_stop_without_a_body_is_one_for_whatever_runs() {
        let ask = |body: &str| stop(&Request::new(body.to_owned().into()));
        assert!(ask("").unwrap().is_none());
        assert!(
            ask(r#"{"assistantMessage":{"parts":[]}}"#)
                .unwrap()
                .is_none()
        );
        assert_eq!(
            ask(r#"{"activeStreamId":"s-1"}"#)
                .unwrap()
                .unwrap()
                .as_str(),
            "s-1"
        );
        assert!(ask(r#"{"activeStreamId":"../x"}"#).is_err());
        assert!(ask("[]").is_err());
    }
}
