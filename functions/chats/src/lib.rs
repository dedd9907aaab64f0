//! The `chats` function: a visitor's chats and messages over HTTP, buffered. [`handle`] routes; each route checks its
//! input, makes one call into `chat-store`, and answers. Every failure leaves through `api::Edge`.

mod input;
mod routes;

use std::sync::Arc;
use std::time::SystemTime;

use api::{ApiError, Authenticator, ConfigError, Cors, Edge, Line, Lookup, Metrics};
use chat_store::OwnerId;
use dsql::{Db, Dsql};
use lambda_http::http::Method;
use lambda_http::{Body, Request, Response};

/// What every request needs.
#[derive(Debug)]
pub struct App {
    dsql: Dsql,
    authenticator: Authenticator,
    edge: Edge,
}

impl App {
    /// Reads the configuration of `api`; metrics go to `line`.
    ///
    /// # Errors
    /// When a variable is missing or wrong; the error names it.
    pub fn from_lookup(
        dsql: Dsql,
        lookup: Lookup<'_>,
        line: Arc<dyn Line>,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            authenticator: Authenticator::from_lookup(lookup)?,
            edge: Edge::new(
                Cors::from_lookup(lookup)?,
                Arc::clone(dsql.clock()),
                Metrics::new("chats", line),
            ),
            dsql,
        })
    }
}

/// One request of a known caller.
struct Call<'a> {
    request: &'a Request,
    owner: OwnerId,
    db: Db,
    now: SystemTime,
}

/// A path the function knows, without its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    Health,
    Ready,
    Chats,
    Chat(&'a str),
    Title(&'a str),
    Visibility(&'a str),
    Messages(&'a str),
}

impl<'a> Route<'a> {
    fn of(segments: &[&'a str]) -> Option<Self> {
        Some(match segments {
            ["api", "health"] => Self::Health,
            ["api", "ready"] => Self::Ready,
            ["api", "chats"] => Self::Chats,
            ["api", "chats", id] => Self::Chat(id),
            ["api", "chats", id, "title"] => Self::Title(id),
            ["api", "chats", id, "visibility"] => Self::Visibility(id),
            ["api", "chats", id, "messages"] => Self::Messages(id),
            _ => return None,
        })
    }

    /// The route in logs, without ids.
    fn name(self) -> &'static str {
        match self {
            Self::Health => "/api/health",
            Self::Ready => "/api/ready",
            Self::Chats => "/api/chats",
            Self::Chat(_) => "/api/chats/{id}",
            Self::Title(_) => "/api/chats/{id}/title",
            Self::Visibility(_) => "/api/chats/{id}/visibility",
            Self::Messages(_) => "/api/chats/{id}/messages",
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Health | Self::Ready => "GET, OPTIONS",
            Self::Chats | Self::Messages(_) => "GET, POST, OPTIONS",
            Self::Chat(_) => "GET, PATCH, DELETE, OPTIONS",
            Self::Title(_) | Self::Visibility(_) => "PATCH, OPTIONS",
        }
    }
}

/// Answers one request. Never fails: every error is a response.
pub async fn handle(app: &App, request: Request) -> Response<Body> {
    let segments = api::segments(&request);
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

async fn answer(
    app: &App,
    request: &Request,
    route: Option<Route<'_>>,
) -> Result<Response<Body>, ApiError> {
    let route = route.ok_or_else(ApiError::not_found)?;
    let now = app.edge.clock().now();
    let db = app.dsql.until(api::deadline(request, now));
    let method = request.method();
    match route {
        Route::Health if method == Method::GET => return routes::health(),
        Route::Ready if method == Method::GET => return routes::ready(&db).await,
        _ => {}
    }
    let caller = app.authenticator.caller(request, now)?;
    let owner = OwnerId::parse(&caller.subject).map_err(input::refusal)?;
    let call = Call {
        request,
        owner,
        db,
        now,
    };
    match (method.as_str(), route) {
        ("GET", Route::Chats) => routes::list(&call).await,
        ("POST", Route::Chats) => routes::create(&call).await,
        ("GET", Route::Chat(id)) => routes::get(&call, id).await,
        ("PATCH", Route::Chat(id)) => {
            routes::change(&call, id, &["title", "visibility", "pinned", "archived"]).await
        }
        ("PATCH", Route::Title(id)) => routes::change(&call, id, &["title"]).await,
        ("PATCH", Route::Visibility(id)) => routes::change(&call, id, &["visibility"]).await,
        ("DELETE", Route::Chat(id)) => routes::delete(&call, id).await,
        ("GET", Route::Messages(id)) => routes::messages(&call, id).await,
        ("POST", Route::Messages(id)) => routes::append(&call, id).await,
        _ => Err(ApiError::method_not_allowed(route.allow())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_routes_and_others_nowhere() {
        assert_eq!(Route::of(&["api", "chats"]), Some(Route::Chats));
        assert_eq!(
            Route::of(&["api", "chats", "x", "title"]),
            Some(Route::Title("x"))
        );
        for path in [
            &["api"][..],
            &["api", "chats", "x", "y"],
            &[""],
            &["chats"],
            &["api", "chats", "x", "messages", "y"],
        ] {
            assert_eq!(Route::of(path), None, "{path:?}");
        }
    }
}
