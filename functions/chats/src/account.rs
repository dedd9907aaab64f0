//! What concerns the caller as a whole: models, usage, claiming a guest's chats, deleting
//! everything.

use chat_store::{JobKind, OwnerId, SavedResponse};
use http_api::{ApiError, ClientCode};
use jiff::ToSpan as _;
use jiff::tz::TimeZone;
use lambda_http::http::StatusCode;
use serde_json::{Value, json};

use crate::app::{Answer, Call};
use crate::{body, idempotency, input};

/// Longest time between the days of a usage query.
const MAX_USAGE_DAYS: i32 = 366;

pub(crate) fn models(call: &Call<'_>) -> Answer {
    http_api::json(StatusCode::OK, &call.app.models)
}

/// The query parameters `from` and `to`, days included; by default the last 30.
pub(crate) async fn usage(call: &Call<'_>) -> Answer {
    let today = call.time().to_zoned(TimeZone::UTC).date();
    let to = input::day(call.request, "to")?.unwrap_or(today);
    let from = match input::day(call.request, "from")? {
        Some(from) => from,
        None => to
            .checked_sub(29.days())
            .ok()
            .filter(|from| chat_store::is_kept(*from))
            .ok_or_else(|| ApiError::invalid("\"to\" is too early"))?,
    };
    let days = (to - from).get_days();
    if !(0..=MAX_USAGE_DAYS).contains(&days) {
        return Err(ApiError::invalid(
            "from \"from\" to \"to\" are 0 to 366 days",
        ));
    }
    let days = chat_store::usage::by_day(&call.db, &call.owner, from, to).await?;
    let sum = |of: fn(&chat_store::DailyUsage) -> i64| days.iter().map(of).sum::<i64>();
    http_api::json(
        StatusCode::OK,
        &json!({
            "from": from,
            "to": to,
            "days": days,
            "total": {
                "requests": sum(|day| day.requests),
                "inputTokens": sum(|day| day.input_tokens),
                "outputTokens": sum(|day| day.output_tokens),
            },
        }),
    )
}

/// `{guestToken}`: the guest's chats become the caller's, which takes both tokens.
pub(crate) async fn claim(call: &Call<'_>) -> Answer {
    let token = body::guest_token(call.request)?;
    if call.is_guest {
        return Err(refused("a guest cannot claim chats: log in first"));
    }
    let guest = call
        .app
        .authenticator
        .subject_of(&token, call.now)
        .ok_or_else(|| refused("the guest token is not accepted"))?;
    if !guest.anonymous {
        return Err(refused("the guest token is not a guest's"));
    }
    let guest = OwnerId::parse(&guest.subject).map_err(input::refusal)?;
    let key = idempotency::key(call)?;
    call.admit().await?;
    let now = call.time();
    if let Some(key) = &key
        && let Some(before) =
            chat_store::idempotency::given(&call.db, &call.owner, &key.keyed, now).await?
    {
        return idempotency::answer(before, |moved: u64| {
            http_api::json(StatusCode::OK, &json!({"moved": moved}))
        });
    }
    let moved = chat_store::chats::claim(&call.db, &guest, &call.owner, now).await?;
    let body = json!({"moved": moved});
    let Some(key) = key else {
        return http_api::json(StatusCode::OK, &body);
    };
    let kept = chat_store::idempotency::once(
        &call.db,
        &call.owner,
        Some(&key.keyed),
        now,
        |_| async { Ok(()) },
        |()| {
            Some(SavedResponse {
                status: 200,
                body: body.to_string(),
            })
        },
    )
    .await?;
    idempotency::answer(kept, |()| http_api::json(StatusCode::OK, &body))
}

fn refused(message: &'static str) -> ApiError {
    ApiError::client(ClientCode::Unprocessable, message)
}

/// All chats disappear now and are deleted by a job.
pub(crate) async fn delete_all(call: &Call<'_>) -> Answer {
    discard(call, JobKind::DeleteAllChats).await
}

/// Everything about the caller is erased by a job; the chats disappear now.
pub(crate) async fn erase(call: &Call<'_>) -> Answer {
    discard(call, JobKind::EraseUser).await
}

async fn discard(call: &Call<'_>, kind: JobKind) -> Answer {
    call.admit().await?;
    let id = chat_store::jobs::new_id();
    let job = chat_store::jobs::discard(&call.db, &call.owner, kind, &id, call.time()).await?;
    http_api::json(StatusCode::ACCEPTED, &json!({"jobId": job}))
}

/// How far such a job is, and what it deleted.
pub(crate) async fn receipt(call: &Call<'_>, job: &str) -> Answer {
    let is_id = job.len() == 36 && job.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if !is_id {
        return Err(ApiError::not_found());
    }
    let receipt = chat_store::jobs::receipt(&call.db, &call.owner, job)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let part = |name: &str| {
        let result = receipt.result.as_ref();
        result
            .and_then(|result| result.get(name))
            .cloned()
            .unwrap_or(Value::Null)
    };
    http_api::json(
        StatusCode::OK,
        &json!({
            "jobId": job,
            "status": receipt.status,
            "requestedAt": receipt.requested_at,
            "finishedAt": part("finishedAt"),
            "deleted": part("deleted"),
        }),
    )
}
