//! The `chat` function: a visitor's turns, answered by a model and streamed as the AI SDK reads it.
//! [`handle`] routes; `turn` opens one, `lock` holds the chat meanwhile, `produce` writes and
//! stores the reply, `follow` streams one that another container writes.
//!
//! # Promises
//! 1. No stream ends without `finish`, `abort` or `error`: shortly before its time is up the
//!    function stores what there is and says so.
//! 2. What a client was sent is stored before the stream ends, whether or not the client is still
//!    there.
//! 3. A request that is refused has written nothing.

mod admission;
mod app;
mod attachments;
mod body;
mod budget;
mod chunk;
mod context;
mod continuation;
mod decide;
mod draft;
mod export;
mod follow;
#[cfg(test)]
mod fuzz;
mod input;
mod lock;
mod parts;
mod posts;
mod produce;
mod sent;
mod settings;
mod shown;
mod sockets;
mod steps;
mod ticker;
mod tools;
mod turn;
mod uploads;
mod writing;

use chat_store::{OwnerId, Stopped, microseconds};
use http_api::ApiError;
use lambda_http::http::StatusCode;
use lambda_http::{Request, RequestExt as _, Response};
use serde_json::json;

use crate::app::{Answer, Call};
use crate::budget::Budget;
use crate::input::Posted;

pub use app::App;
pub use body::AnswerBody;
pub use settings::{
    CHECKPOINT_MS, CONCURRENT_REPLIES, CONTEXT_TOKENS, KEEP_ALIVE_MS, RESUME_POLL_MS,
    SYSTEM_PROMPT, TITLES_BY_MODEL, TOKENS_PER_DAY, TOKENS_PER_DAY_ADDRESS, TOKENS_PER_DAY_GUEST,
    TOOL_RESULT_BYTES, TOOL_STEPS, TOOL_TIMEOUT_MS, TURNS_PER_MINUTE, TURNS_PER_MINUTE_ADDRESS,
    TURNS_PER_MINUTE_GUEST,
};
pub use sockets::RuntimeSockets;

/// A path the function knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    Turn(Option<&'a str>),
    Stream(&'a str),
    Stop(&'a str),
    Export,
}

impl<'a> Route<'a> {
    fn of(segments: &[&'a str]) -> Option<Self> {
        Some(match segments {
            ["api", "chat"] => Self::Turn(None),
            ["api", "chats", id] => Self::Turn(Some(id)),
            ["api", "chat", id, "stream"] => Self::Stream(id),
            // Where a client whose `api` is /api/chats/{id} looks for it.
            ["api", "chats", id, again, "stream"] if id == again => Self::Stream(id),
            ["api", "chat", id, "stop"] => Self::Stop(id),
            ["api", "me", "export"] => Self::Export,
            _ => return None,
        })
    }

    /// The route in logs, without ids.
    fn name(self) -> &'static str {
        match self {
            Self::Turn(_) => "/api/chat",
            Self::Stream(_) => "/api/chat/{id}/stream",
            Self::Stop(_) => "/api/chat/{id}/stop",
            Self::Export => "/api/me/export",
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Turn(_) | Self::Stop(_) => "POST, OPTIONS",
            Self::Stream(_) | Self::Export => "GET, OPTIONS",
        }
    }
}

/// Every route with its methods, as the API's description has them.
pub fn routes() -> Vec<(&'static str, &'static str)> {
    [
        ("/api/chat", Route::Turn(None)),
        ("/api/chats/{id}", Route::Turn(Some(""))),
        ("/api/chat/{id}/stream", Route::Stream("")),
        ("/api/chats/{id}/{sameId}/stream", Route::Stream("")),
        ("/api/chat/{id}/stop", Route::Stop("")),
        ("/api/me/export", Route::Export),
    ]
    .map(|(path, route)| (path, route.allow()))
    .to_vec()
}

/// Answers one request. Never fails: every error is a response.
pub async fn handle(app: &App, request: Request) -> Response<AnswerBody> {
    let segments = http_api::segments(&request);
    let route = Route::of(&segments);
    let name = route.map_or("unknown route", Route::name);
    app.edge
        .answer(
            &request,
            name,
            || app.dsql.stats(),
            |request| answer(app, request, route),
        )
        .await
}

async fn answer(app: &App, request: &Request, route: Option<Route<'_>>) -> Answer {
    let route = route.ok_or_else(ApiError::not_found)?;
    let now = app.edge.clock().now();
    app.limiter.admit_address(request, now)?;
    let caller = app.authenticator.caller(request, now)?;
    app.limiter.admit_caller(&caller, now)?;
    let owner = OwnerId::parse(&caller.subject).map_err(input::refusal)?;
    let context = request.lambda_context_ref();
    let end = context
        .and_then(|context| runtime::known_deadline(context.deadline()))
        .unwrap_or(now + budget::USUAL);
    let budget = Budget::new(now, end);
    // A reply and its followers do not wait for the answers of other requests in this container,
    // nor these for theirs.
    let dsql = match route {
        Route::Turn(_) | Route::Stream(_) => app.dsql.pinned(),
        Route::Stop(_) | Route::Export => app.dsql.clone(),
    };
    let call = Call {
        app,
        request,
        request_id: context
            .map(|context| context.request_id.clone())
            .unwrap_or_default(),
        caller,
        owner,
        db: dsql.until(budget.first_byte()),
        dsql,
        now,
        budget,
    };
    match (request.method().as_str(), route) {
        ("POST", Route::Turn(id)) => match input::posted(request, id, app.provider.models())? {
            Posted::Turn(post) => turn::post(&call, *post).await,
            Posted::Answers(answers) => continuation::go_on(&call, answers).await,
        },
        ("GET", Route::Stream(id)) => follow::resume(&call, id).await,
        ("POST", Route::Stop(id)) => stop(&call, id).await,
        ("GET", Route::Export) => export::all(&call).await,
        _ => Err(ApiError::method_not_allowed(route.allow())),
    }
}

async fn stop(call: &Call<'_>, id: &str) -> Answer {
    let chat = input::chat_id(id)?;
    let stream = input::stop(call.request)?;
    let now = microseconds(call.now);
    let stopped = chat_store::replies::stop(&call.db, &call.owner, &chat, stream.as_ref(), now)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let (status, is_stopped) = match stopped {
        Stopped::Now => (StatusCode::ACCEPTED, true),
        Stopped::NothingToStop => (StatusCode::OK, false),
    };
    http_api::json(status, &json!({"stopped": is_stopped})).map(|response| response.map(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_routes_and_others_nowhere() {
        let route = |path: &'static str| Route::of(&path.split('/').collect::<Vec<_>>());
        assert_eq!(route("api/chat"), Some(Route::Turn(None)));
        assert_eq!(route("api/chats/x"), Some(Route::Turn(Some("x"))));
        assert_eq!(route("api/chat/x/stream"), Some(Route::Stream("x")));
        assert_eq!(route("api/chats/x/x/stream"), Some(Route::Stream("x")));
        assert_eq!(route("api/chat/x/stop"), Some(Route::Stop("x")));
        assert_eq!(route("api/me/export"), Some(Route::Export));
        for path in ["api", "api/chats", "api/chats/x/y/stream", "api/chat/x", ""] {
            assert_eq!(route(path), None, "{path}");
        }
    }
}
