//! The `chats` function: a visitor's chats and messages over HTTP, buffered. [`handle`] finds the
//! route in one table; each handler checks its input, makes one call into `chat-store`, and
//! answers. Every failure leaves through `http_api::Edge`.

mod account;
mod app;
mod body;
mod branches;
mod chats;
mod config;
#[cfg(test)]
mod fuzz;
mod idempotency;
mod import;
mod input;
mod routes;
mod shares;
mod uploads;
mod votes;

use chat_store::{OwnerId, microseconds};
use http_api::ApiError;
use lambda_http::{Body, Request, Response};

use crate::app::{Answer, Call};
use crate::routes::{Handler, Open, Route};

pub use app::App;
pub use config::{
    UPLOAD_BYTES, UPLOAD_BYTES_PER_DAY, UPLOAD_BYTES_PER_DAY_GUEST, WRITES_PER_MINUTE,
};
pub use routes::routes;

/// Answers one request. Never fails: every error is a response.
pub async fn handle(app: &App, request: Request) -> Response<Body> {
    let segments = http_api::segments(&request);
    let found = Route::find(&segments);
    let name = found.map_or("unknown route", |(route, _)| route.path);
    app.edge
        .answer(
            &request,
            name,
            || app.dsql.stats(),
            |request| answer(app, request, found),
        )
        .await
}

async fn answer(
    app: &App,
    request: &Request,
    found: Option<(&'static Route, [&str; 2])>,
) -> Answer {
    let (route, ids) = found.ok_or_else(ApiError::not_found)?;
    let now = app.edge.clock().now();
    app.limiter.admit_address(request, now)?;
    let db = app.dsql.until(http_api::deadline(request, now));
    let endpoint = route.endpoint(request.method().as_str());
    let handler = match endpoint.map(|endpoint| (endpoint.cost, endpoint.handler)) {
        Some((_, Handler::Anyone(handler))) => {
            let now = microseconds(now);
            return handler(&Open { request, db, now }, ids).await;
        }
        Some((cost, Handler::Caller(handler))) => Some((cost, handler)),
        None => None,
    };
    let caller = app.authenticator.caller(request, now)?;
    app.limiter.admit_caller(&caller, now)?;
    let (cost, handler) = handler.ok_or_else(|| ApiError::method_not_allowed(route.allow()))?;
    let owner = OwnerId::parse(&caller.subject).map_err(input::refusal)?;
    let call = Call {
        app,
        request,
        owner,
        is_guest: caller.anonymous,
        cost,
        db,
        now,
    };
    handler(&call, ids).await
}
